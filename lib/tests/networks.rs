//! A few training steps of whole networks, LTS and DDTB, on the device of this build against those on the CPU.
//!
//! `Dev` is one device a build, so two builds take part: that for the CPU writes what it computed to
//! `$REBIT_CPU_RESULTS`, that for a GPU reads it there (`tests/cuda/run` runs both) and writes its own to
//! `$REBIT_GPU_RESULTS`. With the feature `_emu` the GPU is emulated, in three orders of its threads: they must give the
//! same bits, launch no kernel but the library's, and free every buffer. One test, for the count of buffers is the
//! process's.

use std::path::PathBuf;

use rand::Rng as _;
use rebit::data::{Patches, Photo, SrPair};
use rebit::nn::{EdsrConfig, cifar_resnet, edsr};
use rebit::papers::ddtb::{self, DdtbConfig, Gates};
use rebit::papers::lts::{self, Lts, LtsConfig};
use rebit::prelude::*;

/// What was computed, by name.
type Results = Vec<(String, Vec<f32>)>;

/// Sums are made in another order on a GPU. After a few steps more a rounding that falls the other way moves a level,
/// as between any two machines.
const TOLERANCE: f32 = 1e-3;

#[test]
fn networks_learn_the_same_on_every_device() -> Result<()> {
    let file = named("REBIT_CPU_RESULTS");
    if cfg!(feature = "cuda") {
        let Some(file) = file else {
            eprintln!("not compared with the CPU: REBIT_CPU_RESULTS names no file");
            assert_learning(&compute()?);
            return Ok(());
        };
        let text = std::fs::read_to_string(file).expect("the results of the CPU");
        let expected = serde_json::from_str(&text).expect("what this test writes");
        return on_a_gpu(&expected);
    }
    let results = compute()?;
    assert_learning(&results);
    if let Some(file) = file {
        write(&results, file);
    }
    Ok(())
}

/// The file that an environment variable names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn write(results: &Results, file: PathBuf) {
    let text = serde_json::to_string(results).expect("numbers");
    std::fs::write(file, text).expect("a file that can be written");
}

#[cfg(not(feature = "_emu"))]
fn on_a_gpu(expected: &Results) -> Result<()> {
    let found = compute()?;
    if let Some(file) = named("REBIT_GPU_RESULTS") {
        write(&found, file);
    }
    assert_same("on the GPU", &found, expected);
    Ok(())
}

#[cfg(feature = "_emu")]
fn on_a_gpu(expected: &Results) -> Result<()> {
    use rebit_cuda_emulator::{Order, foreign_launches, live_allocations, set_order, take_mistake};
    let device = dev();
    device.empty_cache();
    free_scratch();
    let before = live_allocations();
    let mut first: Option<Results> = None;
    for order in [Order::Ascending, Order::Reversed, Order::Shuffled(7)] {
        set_order(order);
        let found = compute()?;
        assert_eq!(take_mistake(), None);
        assert_learning(&found);
        assert_same(&format!("{order:?}"), &found, expected);
        let bits = |r: &Results| -> Vec<u32> {
            let all = r.iter().flat_map(|(_, values)| values);
            all.map(|v| v.to_bits()).collect()
        };
        let first = first.get_or_insert_with(|| found.clone());
        assert_eq!(bits(&found), bits(first), "{order:?} against Ascending");
        device.empty_cache();
        free_scratch();
        assert_eq!(live_allocations(), before, "buffers left over, {order:?}");
    }
    assert_eq!(foreign_launches(), 0, "networks need no kernel of dfdx's");
    Ok(())
}

/// Frees what every thread keeps: photographs are shrunk on rayon's.
#[cfg(feature = "_emu")]
fn free_scratch() {
    rebit::gpu::free_scratch();
    rayon::broadcast(|_| rebit::gpu::free_scratch());
}

fn compute() -> Result<Results> {
    let mut results = lts_steps()?;
    results.extend(ddtb_steps()?);
    Ok(results)
}

fn assert_learning(results: &Results) {
    let of = |name: &str| {
        let found = results.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.as_slice()).expect("a result")
    };
    let (frozen, factors) = (of("lts frozen"), of("ddtb factors"));
    assert!(frozen[0] == 0.0 && frozen.last() > Some(&0.1), "{frozen:?}");
    assert!(factors.iter().any(|f| *f != factors[0]), "{factors:?}");
}

#[track_caller]
fn assert_same(case: &str, found: &Results, expected: &Results) {
    let names = |r: &Results| r.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{name}, {case}");
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let allowed = TOLERANCE * a.abs().max(b.abs()).max(1.0);
            assert!(
                (a - b).abs() <= allowed,
                "{name}[{i}]: {a} here, {b} on the CPU; {case}"
            );
        }
    }
}

fn parameters<'a>(of: &'a str, net: &Net) -> impl Iterator<Item = (String, Vec<f32>)> + 'a {
    let all = net.parameters().into_iter();
    all.map(move |p| (format!("{of} {}", p.name), p.to_vec()))
}

/// Notes the loss and the frozen share of each step of an LTS run.
struct Watch {
    lts: Lts,
    losses: Vec<f32>,
    frozen: Vec<f32>,
}

impl Observer for Watch {
    fn before_step(&mut self, step: Step, net: &Net) -> Result<()> {
        self.lts.before_step(step, net)
    }

    fn after_step(&mut self, step: Step, net: &Net, loss: f32) -> Result<()> {
        self.losses.push(loss);
        self.frozen.push(self.lts.frozen_share() as f32);
        self.lts.after_step(step, net, loss)
    }
}

/// A residual network of 4-bit weights and inputs, of which more and more freezes.
fn lts_steps() -> Result<Results> {
    let n = 32;
    let data = Dataset {
        name: "three greys with noise".into(),
        images: {
            let mut rng = rng(1);
            let pixels = (0..n * 3 * 64).map(|k| k / (3 * 64) % 3);
            pixels
                .map(|l| 80 * l as u8 + rng.random_range(0..60))
                .collect()
        },
        labels: (0..n).map(|k| (k % 3) as u8).collect(),
        classes: ["dark", "grey", "light"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    };
    let net = cifar_resnet(3, 8, [4, 8, 8], 1, 3, rng(1))?;
    let rule = LtsConfig {
        bits: 4,
        ema: 0.8,
        ..LtsConfig::default()
    };
    let mut watch = Watch {
        lts: lts::quantise(&net, rule)?,
        losses: Vec::new(),
        frozen: Vec::new(),
    };
    let config = TrainConfig {
        epochs: 3,
        batch_size: 16,
        lr: 0.02,
        augment: None,
        show: false,
        ..TrainConfig::default()
    };
    let history = train_with(&net, &data, &data.subset(0..12), &config, &mut watch)?;
    let mut results = vec![
        ("lts losses".into(), watch.losses),
        ("lts frozen".into(), watch.frozen),
        ("lts accuracy".into(), vec![history.final_accuracy()]),
    ];
    results.extend(parameters("lts", &net));
    Ok(results)
}

fn photo(seed: u64) -> Photo {
    let mut rng = rng(seed);
    let rgb = (0..32 * 32 * 3).map(|i| {
        let (row, column) = (i / 3 / 32, i / 3 % 32);
        let wave = 120.0 + 70.0 * ((row as f32 + seed as f32 * column as f32) * 0.4).sin();
        (wave + rng.random_range(-20.0..20.0)) as u8
    });
    Photo {
        name: format!("photo {seed}"),
        height: 32,
        width: 32,
        rgb: rgb.collect(),
    }
}

/// An EDSR of 4 bits with dual bounds, half of its sites gated, first held at 1 and then active.
fn ddtb_steps() -> Result<Results> {
    let size = EdsrConfig {
        scale: 2,
        blocks: 1,
        channels: 8,
        ..EdsrConfig::default()
    };
    let teacher = edsr(&size, rng(3))?;
    let student = ddtb::quantised_edsr(&teacher, &size)?;
    let patches = Patches::new(&[photo(1), photo(2)], 2, 8)?;
    let test = [SrPair::new(&photo(5), 2)?];
    let config = DdtbConfig {
        gates: Gates::DynamicIntensity(0.5),
        iterations: 4,
        calibration: 2,
        warmup: 0.5,
        batch: 2,
        ..DdtbConfig::ddtb(4)
    };
    let mut run = ddtb::train(&student, &teacher, &patches, &test, &config)?;
    let records = run.quantisers.watch(&student, &[photo(1), photo(5)])?;
    let factors = records.iter().flat_map(|r| r.factors.iter().flatten());
    let bounds = run.bounds.iter().flat_map(|(_, b)| b.iter().flatten());
    let mut results = vec![
        ("ddtb losses".into(), run.loss.clone()),
        ("ddtb PSNR".into(), vec![run.score.psnr]),
        ("ddtb factors".into(), factors.copied().collect()),
        ("ddtb bounds".into(), bounds.copied().collect()),
    ];
    results.extend(parameters("ddtb", &student));
    Ok(results)
}
