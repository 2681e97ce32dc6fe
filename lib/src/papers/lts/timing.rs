//! What frozen weights save on the clock.

use rand::seq::index;

use super::quantise::quantise;
use super::{LtsConfig, layer::lock};
use crate::nn::{Mode, Net, Wants};
use crate::{Images, Result, rng, show};
use dfdx::prelude::SplitTape;

/// Which weights of a layer are frozen together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Single weights: the mask of LTS.
    Entries,
    /// Whole output channels.
    Channels,
}

/// Seconds of a backward pass with a share of the weights frozen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackwardTime {
    /// Share of each layer's weights that are frozen, drawn at random.
    pub frozen: f32,
    /// The whole backward pass.
    pub seconds: f64,
    /// The weight gradients in it.
    pub weight_grad: f64,
}

/// Times backward passes of a full-precision `net`, which it quantises to 2 bits, over `batch` random images.
///
/// Shares take turns and each keeps its quickest of `repeats` passes: what else the machine does then disturbs
/// all of them alike, and the result less than a mean.
///
/// # Errors
/// [`crate::Error::Invalid`] for a network that is quantised already; interruption.
pub fn time_backward(
    net: &Net,
    batch: usize,
    shares: &[f32],
    pattern: Pattern,
    repeats: usize,
) -> Result<Vec<BackwardTime>> {
    let lts = quantise(net, LtsConfig::default())?;
    let mut rng = rng(0);
    let e = net.input_extent();
    let x = crate::images(batch, e.channels, e.height, e.width, &mut rng);
    let unmeasured = |&frozen| BackwardTime {
        frozen,
        seconds: f64::INFINITY,
        weight_grad: f64::INFINITY,
    };
    let mut times: Vec<BackwardTime> = shares.iter().map(unmeasured).collect();
    // The first pass of a layer sets its bounds and the values that frozen entries keep.
    pass(net, &x)?;
    for _ in 0..repeats.max(1) {
        for best in &mut times {
            show::check_interrupt()?;
            for layer in &lts.layers {
                let mut layer = lock(layer);
                let group = match pattern {
                    Pattern::Entries => 1,
                    Pattern::Channels => (layer.len() / layer.channels).max(1),
                };
                let n = layer.len() / group;
                let frozen = (best.frozen.clamp(0.0, 1.0) * n as f32).round() as usize;
                layer.state.frozen.fill(false);
                for i in index::sample(&mut rng, n, frozen) {
                    layer.state.frozen[i * group..(i + 1) * group].fill(true);
                }
            }
            net.take_times();
            pass(net, &x)?;
            let t = net.take_times();
            best.seconds = best.seconds.min(t.backward.as_secs_f64());
            best.weight_grad = best.weight_grad.min(t.weight_grad.as_secs_f64());
        }
    }
    Ok(times)
}

fn pass(net: &Net, x: &Images) -> Result<()> {
    let mut trace = net.run(x, Mode::Train)?;
    let (top, _) = trace.output()?.split_tape();
    let name = net.output_name();
    trace
        .backward(&[(&name, &top)], Wants::PARAMETERS)
        .map(drop)
}
