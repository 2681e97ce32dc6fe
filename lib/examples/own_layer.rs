//! What a layer of one's own costs: training steps of a network with an identity written here, beside those without it.
//!
//! ```text
//! cargo run --release -p rebit --example own_layer -- [PAIRS]
//! ```

use std::time::Instant;

use rebit::nn::{BackwardPass, ForwardPass, Layer, ParamId};
use rebit::prelude::*;

/// `y = x`, as a cell would write it: through the buffers' own copies.
struct Identity;

impl Layer for Identity {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        Ok(inputs[0])
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let x = cx.input(0);
        cx.output().copy_from(x)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let dy = cx.take_dy()?;
        cx.give_dx(0, dy)
    }
}

fn network(with: bool) -> Result<Net> {
    let mut b = NetBuilder::new(3, 32, 32, rng(1));
    let mut x = b.input();
    for i in 0..6 {
        x = b.conv(&format!("conv{i}"), x, Conv::new(16))?;
        x = b.norm(&format!("bn{i}"), x, Activation::Relu)?;
        if with && i == 2 {
            x = b.layer("own", &[x], Identity)?;
        }
    }
    x = b.global_avg_pool(x)?;
    x = b.linear("fc", x, 10)?;
    b.build(x)
}

fn main() -> Result<()> {
    let pairs: usize = std::env::args()
        .nth(1)
        .map_or(Ok(30), |n| n.parse())
        .expect("PAIRS is a number");
    let x = images(128, 3, 32, 32, &mut rng(2));
    let labels: Vec<u32> = (0..128).map(|i| i % 10).collect();
    let nets = [network(false)?, network(true)?];
    let mut optimisers = Vec::new();
    for net in &nets {
        optimisers.push(Sgd::new(0.01).momentum(0.9).over(net)?);
    }
    let mut seconds = [Vec::new(), Vec::new()];
    for pair in 0..pairs + 3 {
        for i in [0, 1] {
            let start = Instant::now();
            let loss = cross_entropy(nets[i].run(&x, Mode::Train)?.logits()?, &labels);
            optimisers[i].step(&mut loss.backward())?;
            // The first steps fill the pools.
            if pair >= 3 {
                seconds[i].push(start.elapsed().as_secs_f64());
            }
        }
    }
    let [without, with] = seconds.map(|mut s| {
        s.sort_by(f64::total_cmp);
        s[s.len() / 2]
    });
    println!(
        "a step {:.2} ms, with a layer of one's own {:.2} ms: {:.3} x (medians of {pairs} pairs)",
        1e3 * without,
        1e3 * with,
        with / without
    );
    Ok(())
}
