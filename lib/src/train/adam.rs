//! Adam for a whole network, with a learning rate of their own for the bounds of quantisers.

use dfdx::tensor_ops::AdamConfig;

use crate::nn::{Net, Role};
use crate::ops::update::UpdateKernel;
use crate::{Buffer, Result, dev};

/// Adam's state for every trainable parameter of a network.
///
/// The rule is that of dfdx's [`AdamConfig`] (see [`crate::ops::update`]; beta 0.9 and 0.999, epsilon 1e-8, no weight decay).
pub struct Adam {
    /// First and second moment; `None` for running statistics.
    moments: Vec<Option<(Buffer, Buffer)>>,
    lr: f64,
    bound_lr: f64,
    step: i32,
}

impl Adam {
    /// Fresh state; `bound_lr` is the learning rate of parameters with [`Role::Bound`].
    pub fn new(net: &Net, lr: f32, bound_lr: f32) -> Self {
        let zeros = |len| crate::nn::buffer(vec![0.0; len]);
        let params = net.parameters();
        let moments = params.iter().map(|p| {
            let pair = || (zeros(p.len()), zeros(p.len()));
            p.is_trainable().then(pair)
        });
        Adam {
            moments: moments.collect(),
            lr: f64::from(lr),
            bound_lr: f64::from(bound_lr),
            step: 0,
        }
    }

    /// One update from the gradients of the last backward pass; `factor` scales both learning rates.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn update(&mut self, net: &Net, factor: f32) -> Result<()> {
        self.step += 1;
        let rule = |lr: f64| AdamConfig {
            lr: lr * f64::from(factor),
            ..AdamConfig::default()
        };
        let mut inner = net.lock();
        let inner = &mut *inner;
        for (id, moments) in self.moments.iter_mut().enumerate() {
            let Some((first, second)) = moments else {
                continue;
            };
            let lr = match inner.param(id).role {
                Role::Bound => self.bound_lr,
                _ => self.lr,
            };
            inner.stale[id] = true;
            let (w, grad) = (&mut inner.values[id], &inner.grads[id]);
            dev().adam(&rule(lr), self.step, w, first, second, grad)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::nn::{Conv, Mode, NetBuilder, QuantSpec, UniformWeight};
    use crate::ops::relu::Activation;
    use crate::{images, rng};

    #[test]
    fn bounds_move_at_their_own_rate_and_statistics_stay() -> Result<()> {
        let mut b = NetBuilder::new(3, 8, 8, rng(1));
        let x = b.input();
        let x = b.conv("conv", x, Conv::new(8))?;
        let x = b.norm("bn", x, Activation::Relu)?;
        let x = b.global_avg_pool(x)?;
        let net = b.build(x)?;
        net.quantise(|_| Some((QuantSpec { bits: 4 }, Box::new(UniformWeight))))?;
        let x = images(2, 3, 8, 8, &mut rng(1));
        net.forward(x.leaky_trace(), Mode::Train)?
            .square()
            .sum::<(), _>()
            .backward();
        let mut adam = Adam::new(&net, 1e-3, 0.1);
        let before: Vec<Vec<f32>> = net.parameters().iter().map(|p| p.to_vec()).collect();
        adam.update(&net, 0.5)?;
        for (p, before) in net.parameters().iter().zip(before) {
            let after = p.to_vec();
            let moved = after.iter().zip(&before).map(|(a, b)| (a - b).abs());
            let moved = moved.fold(0.0, f32::max);
            // Adam's first step is the learning rate itself wherever there is a gradient.
            let expected = match p.role {
                Role::Statistic => 0.0,
                Role::Bound => 0.05,
                _ => 5e-4,
            };
            assert!(
                (moved - expected).abs() <= 0.01 * expected,
                "{}: {moved}",
                p.name
            );
        }
        Ok(())
    }
}
