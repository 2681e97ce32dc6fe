//! How often a training step waits for the GPU and asks for memory, counted under emulation.
//!
//! A GPU works while the program prepares what comes next, unless the program waits; and memory that is asked for in every
//! step costs a call of the driver each time. One test, for the counts are the process's.

use rebit::data::{Patches, Photo, SrPair};
use rebit::nn::layers::Embedding;
use rebit::nn::{EdsrConfig, cifar_resnet, edsr};
use rebit::prelude::*;
use rebit::train::{SrConfig, train_sr};
use rebit_cuda_emulator::{allocations, waits};

/// Waits and requests for memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Calls {
    waits: u64,
    allocations: u64,
}

impl Calls {
    fn now() -> Self {
        Calls {
            waits: waits(),
            allocations: allocations(),
        }
    }

    fn since(self, before: Calls) -> Self {
        Calls {
            waits: self.waits - before.waits,
            allocations: self.allocations - before.allocations,
        }
    }
}

/// The loss, the logits that are counted, and what a tape copies of them over the host: never something of every layer.
const WAITS: u64 = 8;

#[test]
fn a_step_at_full_precision_waits_a_few_times_however_deep_the_network_is() -> Result<()> {
    for blocks in [1, 3] {
        let (steps, parameters) = steps_of_a_classifier(blocks)?;
        assert_eq!(steps.len(), 6);
        for (step, calls) in steps.iter().enumerate().skip(2) {
            let case = format!(
                "step {} of a classifier of {blocks} blocks: {calls:?}",
                step + 1
            );
            assert!(calls.waits <= WAITS, "{case}");
            // Gradients may be made anew, from memory that the driver keeps; nothing else is.
            assert!(
                calls.allocations <= parameters + 8,
                "{case}, {parameters} parameters"
            );
        }
    }
    let calls = step_of_super_resolution()?;
    assert!(
        calls.waits <= WAITS,
        "a step of super-resolution: {calls:?}"
    );
    // Each table says once whether its indices are classes, and its gradient stays where it is.
    let (one, three) = (waits_of_tables(1)?, waits_of_tables(3)?);
    assert_eq!(three - one, 2, "{one} with one table, {three} with three");
    Ok(())
}

/// Waits of a pass there and back through the sum of so many embeddings.
fn waits_of_tables(tables: usize) -> Result<u64> {
    let mut b = NetBuilder::new(1, 1, 1, rng(3));
    let (class, table) = (b.input(), Embedding::new(5, 4));
    let mut sum = b.embedding("table 0", class, table)?;
    for k in 1..tables {
        let row = b.embedding(&format!("table {k}"), class, table)?;
        sum = b.add(&format!("sum {k}"), sum, row, Activation::None)?;
    }
    let net = b.build(sum)?;
    let classes = from_vec(vec![4.0, 0.0, 4.0], (3, 1, 1, 1))?;
    let before = waits();
    let mut pass = net.trace(&classes, Mode::Train)?;
    let output = pass.output()?;
    output.sum::<(), _>().backward();
    Ok(waits() - before)
}

/// Notes the counts after each step.
struct Count {
    before: Calls,
    steps: Vec<Calls>,
}

impl Observer for Count {
    fn after_step(&mut self, _: Step, _: &Net, _: f32) -> Result<()> {
        let now = Calls::now();
        self.steps.push(now.since(self.before));
        self.before = now;
        Ok(())
    }
}

/// The calls of each of six steps of a small residual network, and its parameters.
fn steps_of_a_classifier(blocks: usize) -> Result<(Vec<Calls>, u64)> {
    let n = 24;
    let data = Dataset {
        name: "noise".into(),
        images: (0..n * 3 * 64).map(|k| (k * 7919 % 251) as u8).collect(),
        labels: (0..n).map(|k| (k % 3) as u8).collect(),
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    };
    let net = cifar_resnet(3, 8, [4, 8, 8], blocks, 3, rng(1))?;
    let config = TrainConfig {
        epochs: 1,
        batch_size: 4,
        lr: 0.01,
        show: false,
        ..TrainConfig::default()
    };
    let mut count = Count {
        before: Calls::now(),
        steps: Vec::new(),
    };
    train_with(&net, &data, &data.subset(0..0), &config, &mut count)?;
    Ok((count.steps, net.parameters().len() as u64))
}

/// What one step more costs in a run of super-resolution.
fn step_of_super_resolution() -> Result<Calls> {
    let photo = Photo {
        name: "stripes".into(),
        height: 32,
        width: 32,
        rgb: (0..32 * 32 * 3).map(|k| (k * 7919 % 251) as u8).collect(),
    };
    let patches = Patches::new(std::slice::from_ref(&photo), 2, 8)?;
    let test = [SrPair::new(&photo.centre(16, 16), 2)?];
    let size = EdsrConfig {
        blocks: 1,
        channels: 8,
        ..EdsrConfig::default()
    };
    let net = edsr(&size, rng(2))?;
    let run = |iterations| -> Result<Calls> {
        let config = SrConfig {
            iterations,
            batch: 2,
            ..SrConfig::default()
        };
        let before = Calls::now();
        train_sr(&net, &patches, &test, &config)?;
        Ok(Calls::now().since(before))
    };
    run(3)?;
    let (few, many) = (run(3)?, run(7)?);
    let each = |few: u64, many: u64| (many - few) / 4;
    Ok(Calls {
        waits: each(few.waits, many.waits),
        allocations: each(few.allocations, many.allocations),
    })
}
