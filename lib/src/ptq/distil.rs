//! A quantised network that is fine-tuned to give the answers of the network it was made from.

use dfdx::prelude::{Backward, HasShape};
use rand::Rng as _;

use crate::nn::{Mode, Net};
use crate::show::{Progress, check_interrupt};
use crate::train::{Adam, Optimiser, Schedule, try_distillation};
use crate::{Error, Images, Result, from_vec, read, rng};

/// How [`distil`] trains.
#[derive(Clone, Debug, PartialEq)]
pub struct DistilConfig {
    /// Steps.
    pub steps: usize,
    /// Images of a step.
    pub batch: usize,
    /// Learning rate of Adam, which falls to nothing along half a cosine.
    pub lr: f32,
    /// By which answers are softened.
    pub temperature: f32,
    /// Of the draws of images.
    pub seed: u64,
}

impl Default for DistilConfig {
    /// A minute or two for a small network.
    fn default() -> Self {
        DistilConfig {
            steps: 300,
            batch: 64,
            lr: 5e-4,
            temperature: 4.0,
            seed: 0,
        }
    }
}

impl DistilConfig {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let positive = |v: f32| v > 0.0 && v.is_finite();
        let bad = match (self.batch, positive(self.lr), positive(self.temperature)) {
            (0, ..) => "a batch of 0 images".to_string(),
            (_, false, _) => format!("learning rate {}", self.lr),
            (.., false) => format!("temperature {}", self.temperature),
            _ => return Ok(()),
        };
        Err(Error::invalid(
            format!("distil: {bad}"),
            "must be positive and finite",
        ))
    }
}

/// Trains a copy of the quantised network `q` to give the answers of `teacher` on `images`: no label is needed. Weights move,
/// straight through their quantisers; ranges stay where [`post_training`](super::post_training()) put them.
///
/// ```text
/// loss = T^2 KL(softmax(F(x) / T) || softmax(Q(x) / T))
/// ```
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ptq::{DistilConfig, distil};
/// let net = pretrained_resnet8()?;
/// let x = images(8, 3, 16, 16, &mut rng(1));
/// let (q, _) = post_training(&net, &x, &PtqConfig::bits(3))?;
/// let config = DistilConfig { steps: 10, batch: 8, ..DistilConfig::default() };
/// let tuned = distil(&q, &net, &x, &config)?;
/// let far = |q: &Net| -> Result<f32> { Ok(read(&distillation(q.predict(&x)?, &net.predict(&x)?, 4.0))[0]) };
/// assert!(far(&tuned)? < far(&q)?);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, §2.
///
/// # Errors
/// As [`DistilConfig::check`]; [`Error::Invalid`] without an image and for a loss that is not finite; [`Error::Shape`] for
/// images that do not fit; [`Error::Interrupted`].
pub fn distil(q: &Net, teacher: &Net, images: &Images, config: &DistilConfig) -> Result<Net> {
    config.check()?;
    let (n, c, h, w) = *images.shape();
    if n == 0 {
        return Err(Error::invalid("distil", "needs at least one image"));
    }
    let (values, one) = (read(images), c * h * w);
    let student = q.duplicate()?;
    let teacher = teacher.frozen();
    let mut adam = Adam::new(config.lr).over(&student)?;
    let (mut rng, schedule) = (rng(config.seed), Schedule::cosine(0.0));
    let mut bar = Progress::new("distil", Some(config.steps as u64));
    for step in 0..config.steps {
        check_interrupt()?;
        let batch = config.batch.min(n);
        let mut part = Vec::with_capacity(batch * one);
        for _ in 0..batch {
            let i = rng.random_range(0..n);
            part.extend_from_slice(&values[i * one..(i + 1) * one]);
        }
        let x = from_vec(part, (batch, c, h, w))?;
        let wanted = teacher.predict(&x)?;
        let mut pass = student.run(&x, Mode::Train)?;
        let loss = try_distillation(pass.logits()?, &wanted, config.temperature)?;
        let value = read(&loss)[0];
        if !value.is_finite() {
            return Err(Error::invalid(
                format!("distil: the loss of step {step} is {value}"),
                "lower the learning rate, or look for NaN in the images",
            ));
        }
        adam.set_factor(schedule.factor(step as f32 / config.steps as f32));
        adam.step(&mut loss.backward())?;
        bar.inc(1);
    }
    bar.finish();
    Ok(student)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::pretrained_resnet8;
    use crate::ptq::{PtqConfig, post_training};

    #[test]
    fn the_network_that_is_given_stays_and_equal_seeds_give_equal_bits() -> Result<()> {
        let net = pretrained_resnet8()?;
        let x = crate::images(6, 3, 16, 16, &mut crate::rng(1));
        let (q, _) = post_training(&net, &x, &PtqConfig::bits(4))?;
        let before = q.state()?;
        let config = DistilConfig {
            steps: 3,
            batch: 4,
            ..DistilConfig::default()
        };
        let (a, b) = (
            distil(&q, &net, &x, &config)?,
            distil(&q, &net, &x, &config)?,
        );
        assert_eq!(q.state()?, before);
        assert_eq!(a.state()?, b.state()?);
        assert_ne!(a.state()?, before);
        // Ranges are those of before.
        assert_eq!(
            a.parameter("fc.act_bounds")?.to_vec(),
            q.parameter("fc.act_bounds")?.to_vec()
        );
        Ok(())
    }

    #[test]
    fn nothing_nan_and_settings_that_cannot_be_are_refused() -> Result<()> {
        let net = pretrained_resnet8()?;
        let x = crate::images(2, 3, 16, 16, &mut crate::rng(1));
        let (q, _) = post_training(&net, &x, &PtqConfig::bits(4))?;
        let refused = |x: &Images, c: DistilConfig| {
            distil(&q, &net, x, &c).map(|_| ()).unwrap_err().to_string()
        };
        let base = DistilConfig {
            steps: 1,
            ..DistilConfig::default()
        };
        let error = refused(
            &x,
            DistilConfig {
                batch: 0,
                ..base.clone()
            },
        );
        assert!(error.contains("batch of 0"), "{error}");
        let error = refused(
            &x,
            DistilConfig {
                lr: -1.0,
                ..base.clone()
            },
        );
        assert!(error.contains("learning rate -1"), "{error}");
        let error = refused(&from_vec(vec![], (0, 3, 16, 16))?, base.clone());
        assert!(error.contains("at least one image"), "{error}");
        let error = refused(&from_vec(vec![f32::NAN; 768], (1, 3, 16, 16))?, base);
        assert!(error.contains("NaN"), "{error}");
        Ok(())
    }
}
