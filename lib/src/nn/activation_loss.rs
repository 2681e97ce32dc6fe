//! Losses on an activation where the network keeps it: no tensor is made, and on a GPU nothing but the loss is copied.

use std::cell::RefCell;
use std::rc::Rc;

use dfdx::prelude::HasShape;

use super::extent::Extent;
use crate::ops::Recorder;
use crate::ops::affine::AffineKernel;
use crate::ops::cross_entropy::CrossEntropyKernel;
use crate::ops::host::try_host_op;
use crate::ops::l1_loss::L1LossKernel;
use crate::ops::layout::LayoutKernel;
use crate::ops::tape::{channels_last, zeros};
use crate::{Buffer, Error, HostAccess, Images, Result, Scalar, dev};

/// Where an activation stands: samples, and the extent of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchExtent {
    /// Samples.
    pub batch: usize,
    /// Of one sample.
    pub extent: Extent,
}

impl BatchExtent {
    /// Numbers of the activation.
    pub fn elements(self) -> usize {
        self.batch * self.extent.len()
    }
}

/// A loss on one activation `x` as a network keeps it, `(N, H, W, C)` on the device; see
/// [`Activations::loss`](super::Activations::loss).
///
/// ```
/// use rebit::nn::{ActivationLoss, BatchExtent};
/// use rebit::prelude::*;
///
/// /// `L = sum x^2 / 2`, whose gradient is `x`.
/// struct Energy;
///
/// impl ActivationLoss for Energy {
///     fn loss(&mut self, x: &Buffer, _: BatchExtent) -> Result<f32> {
///         Ok(x.view()?.iter().map(|x| x * x / 2.0).sum())
///     }
///     fn gradient(&mut self, x: &Buffer, _: BatchExtent, factor: f32) -> Result<Buffer> {
///         let scaled: Vec<f32> = x.view()?.iter().map(|x| factor * x).collect();
///         rebit::buffer(&scaled)
///     }
/// }
///
/// let net = resnet20(10, rng(0));
/// let mut out = net.run(&images(2, 3, 32, 32, &mut rng(1)), Mode::Train)?;
/// let loss = out.loss("layer3.2.bn2", Energy)? * 0.01 + cross_entropy(out.matrix("fc")?, &[3, 8]);
/// loss.backward();
/// # Ok::<(), Error>(())
/// ```
pub trait ActivationLoss {
    /// The loss.
    ///
    /// # Errors
    /// [`Error::Shape`] for an activation that does not fit.
    fn loss(&mut self, x: &Buffer, at: BatchExtent) -> Result<f32>;

    /// Its gradient times `factor`, in the order of `x`; called once, after [`loss`](Self::loss), and not at all when the
    /// tape does not ask for it.
    ///
    /// # Errors
    /// When memory cannot be had.
    fn gradient(&mut self, x: &Buffer, at: BatchExtent, factor: f32) -> Result<Buffer>;
}

/// An [`ActivationLoss`] of any images: the loss of a network's activation on a tensor of one's own, to be tried or tested.
///
/// ```
/// use rebit::nn::{MeanAbsoluteError, try_loss_of};
/// use rebit::prelude::*;
/// let x = images(2, 3, 4, 4, &mut rng(0));
/// let loss = try_loss_of(x.leaky_trace(), MeanAbsoluteError::new(vec![9.0; 96]))?;
/// assert_eq!(read(&loss.backward().get(&x)), [-1.0 / 96.0; 96]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for images without a number, and those of the loss.
pub fn try_loss_of<T: Recorder>(
    x: Images<T>,
    loss: impl ActivationLoss + 'static,
) -> Result<Scalar<T>> {
    let shape @ (batch, c, h, w) = *x.shape();
    let extent = Extent::new(c, h, w);
    let at = BatchExtent { batch, extent };
    if at.elements() == 0 {
        let expected = "images with at least one number";
        return Err(Error::shape("loss", expected, format!("{shape:?}")));
    }
    let loss = Rc::new(RefCell::new(loss));
    let again = loss.clone();
    let forward = move |x: &[f32], y: &mut [f32]| {
        let x = channels_last(shape, &crate::buffer(x)?)?;
        y[0] = loss.borrow_mut().loss(&x, at)?;
        Ok(())
    };
    let backward = move |x: &[f32], dy: &[f32], dx: &mut [f32]| {
        let x = channels_last(shape, &crate::buffer(x)?)?;
        let slope = again.borrow_mut().gradient(&x, at, dy[0])?;
        if slope.elements() != at.elements() {
            let expected = format!("a gradient of {} numbers", at.elements());
            return Err(Error::shape("loss", expected, slope.elements()));
        }
        let mut first = zeros(slope.elements())?;
        dev().to_channels_first(&slope, c, h * w, &mut first, false)?;
        dx.copy_from_slice(&first.view()?);
        Ok(())
    };
    try_host_op(x, (), forward, backward)
}

/// `mean |x - target|` over all numbers: [`try_l1_loss`](crate::ops::l1_loss::try_l1_loss) of an activation.
pub struct MeanAbsoluteError {
    target: Vec<f32>,
    slope: Option<Buffer>,
}

impl MeanAbsoluteError {
    /// Against a target in `(N, H, W, C)` order.
    pub fn new(target: Vec<f32>) -> Self {
        let slope = None;
        MeanAbsoluteError { target, slope }
    }
}

impl ActivationLoss for MeanAbsoluteError {
    fn loss(&mut self, x: &Buffer, at: BatchExtent) -> Result<f32> {
        if self.target.len() != at.elements() {
            let expected = format!("a target of {} times {}", at.batch, at.extent);
            let found = format!("{} numbers", self.target.len());
            return Err(Error::shape("mean absolute error", expected, found));
        }
        let mut slope = zeros(x.elements())?;
        let loss = dev().l1_loss(x, &self.target, &mut slope)?;
        self.slope = Some(slope);
        Ok(loss)
    }

    fn gradient(&mut self, _: &Buffer, _: BatchExtent, factor: f32) -> Result<Buffer> {
        scaled(self.slope.take(), factor)
    }
}

/// [`try_cross_entropy`](crate::ops::cross_entropy::try_cross_entropy) of logits.
pub struct CrossEntropy {
    labels: Vec<u32>,
    smoothing: f32,
    slope: Option<Buffer>,
}

impl CrossEntropy {
    /// With one label for each sample and label smoothing in `[0, 1)`.
    pub fn new(labels: Vec<u32>, smoothing: f32) -> Self {
        let slope = None;
        CrossEntropy {
            labels,
            smoothing,
            slope,
        }
    }
}

impl ActivationLoss for CrossEntropy {
    fn loss(&mut self, x: &Buffer, at: BatchExtent) -> Result<f32> {
        if at.extent.pixels() != 1 {
            return Err(Error::shape("logits", "a node that is a vector", at.extent));
        }
        let mut slope = zeros(x.elements())?;
        let loss = dev().cross_entropy(
            at.batch,
            at.extent.channels,
            x,
            &self.labels,
            self.smoothing,
            Some(&mut slope),
        )?;
        self.slope = Some(slope);
        Ok(loss)
    }

    fn gradient(&mut self, _: &Buffer, _: BatchExtent, factor: f32) -> Result<Buffer> {
        scaled(self.slope.take(), factor)
    }
}

fn scaled(slope: Option<Buffer>, factor: f32) -> Result<Buffer> {
    let slope =
        slope.ok_or_else(|| Error::invalid("a loss", "was asked for its gradient first"))?;
    if factor == 1.0 {
        return Ok(slope);
    }
    // Not `edit`, which on a GPU is a way over the host.
    let mut scaled = zeros(slope.elements())?;
    dev().mix(0.0, &mut scaled, factor, &slope)?;
    Ok(scaled)
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::Backward;

    use super::*;
    use crate::nn::{EdsrConfig, Mode, Net, edsr};
    use crate::ops::cross_entropy::try_cross_entropy;
    use crate::ops::l1_loss::try_l1_loss;
    use crate::{Images, Scalar, Taped, images, read, rng};

    /// The gradients of all parameters.
    fn gradients(net: &Net, loss: Scalar<Taped>) -> Vec<Vec<u32>> {
        let mut grads = loss.backward();
        let mut adam = crate::train::Adam::new(0.01).over(net).unwrap();
        crate::train::Optimiser::step(&mut adam, &mut grads).unwrap();
        let bits = |p: &crate::nn::Param| p.to_vec().iter().map(|v| v.to_bits()).collect();
        net.parameters().iter().map(bits).collect()
    }

    #[test]
    fn the_mean_absolute_error_trains_as_on_tensors_to_the_bit() -> Result<()> {
        let config = EdsrConfig {
            blocks: 1,
            channels: 8,
            ..EdsrConfig::default()
        };
        let x = images(2, 3, 6, 6, &mut rng(1));
        let target: Images = images(2, 3, 12, 12, &mut rng(2));
        let (one, two) = (edsr(&config, rng(3))?, edsr(&config, rng(3))?);
        let tensors = try_l1_loss(one.run(&x, Mode::Train)?.output()?, &target)?;
        let last = crate::ops::tape::load_images(&target)?.view()?.into_owned();
        let mut out = two.run(&x, Mode::Train)?;
        let name = two.output_name();
        let buffers = out.loss(&name, MeanAbsoluteError::new(last))?;
        let (a, b) = (read(&tensors)[0], read(&buffers)[0]);
        assert!((a - b).abs() <= 1e-6 * a, "{a} {b}");
        assert_eq!(
            gradients(&one, tensors * 0.5),
            gradients(&two, buffers * 0.5)
        );
        Ok(())
    }

    #[test]
    fn cross_entropy_trains_as_on_tensors_to_the_bit() -> Result<()> {
        let make = || crate::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 5, rng(1));
        let (one, two) = (make()?, make()?);
        let x = images(3, 3, 8, 8, &mut rng(2));
        let labels = vec![4, 0, 2];
        let logits = one.run(&x, Mode::Train)?.logits()?;
        let tensors = try_cross_entropy(logits, &labels, 0.1)?;
        let mut out = two.run(&x, Mode::Train)?;
        let buffers = out.loss("fc", CrossEntropy::new(labels, 0.1))?;
        assert_eq!(read(&tensors), read(&buffers));
        assert_eq!(gradients(&one, tensors), gradients(&two, buffers));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_named() -> Result<()> {
        let net = crate::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 5, rng(1))?;
        let mut out = net.run(&images(3, 3, 8, 8, &mut rng(2)), Mode::Train)?;
        let said = |e: Option<Error>| e.map(|e| e.to_string()).unwrap_or_default();
        let short = said(out.loss("fc", MeanAbsoluteError::new(vec![0.0; 4])).err());
        assert!(
            short.contains("3 times") && short.contains("4 numbers"),
            "{short}"
        );
        let whole = said(out.loss("bn1", CrossEntropy::new(vec![0; 3], 0.0)).err());
        assert!(whole.contains("vector"), "{whole}");
        let nobody = said(out.loss("nobody", MeanAbsoluteError::new(vec![])).err());
        assert!(nobody.contains("nobody"), "{nobody}");
        Ok(())
    }
}
