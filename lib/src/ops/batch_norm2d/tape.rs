//! Batch normalisation on dfdx's tape, in both modes.

use dfdx::prelude::{HasShape, Merge, PutTape};

use super::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::expect_len;
use crate::ops::relu::Activation;
use crate::ops::tape::{
    BackwardOp, Recorder, add_gradient, add_images_gradient, backward_of, channels_last, load,
    load_images, scratch, store_images, zeros,
};
use crate::tensors::{Dev, Images, Vector, dev};

/// Whether an op or a network learns from a batch or is only applied to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, through which the gradient flows; running statistics and quantiser state move.
    #[default]
    Train,
    /// Running statistics, as constants; nothing moves.
    Eval,
}

/// Running statistics of one layer.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BatchNormState {
    /// Running mean per channel.
    pub mean: Vec<f32>,
    /// Running variance per channel, unbiased.
    pub var: Vec<f32>,
    /// Share of a new batch in the running statistics, as in PyTorch (0.1).
    pub momentum: f32,
    /// What keeps the root away from 0 (1e-5).
    pub eps: f32,
}

impl BatchNormState {
    /// Mean 0 and variance 1 for `channels` channels.
    pub fn new(channels: usize) -> Self {
        BatchNormState {
            mean: vec![0.0; channels],
            var: vec![1.0; channels],
            momentum: 0.1,
            eps: 1e-5,
        }
    }

    /// Moves towards the statistics of a batch of `pixels` pixels; its biased variance is made unbiased.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of channels.
    pub fn update(&mut self, mean: &[f32], var: &[f32], pixels: usize) -> Result<()> {
        expect_len("batch_norm2d", "mean", self.mean.len(), mean.len())?;
        expect_len("batch_norm2d", "var", self.var.len(), var.len())?;
        let unbiased = pixels as f32 / pixels.saturating_sub(1).max(1) as f32;
        let share = self.momentum;
        for (running, new) in self.mean.iter_mut().zip(mean) {
            *running += share * (new - *running);
        }
        for (running, new) in self.var.iter_mut().zip(var) {
            *running += share * (new * unbiased - *running);
        }
        Ok(())
    }
}

/// `gamma (x - mean) / sqrt(var + eps) + beta` per channel of `(N, C, H, W)` images; see the
/// [module](super) for the gradient in both modes. `gamma` and `beta` have length `C`.
///
/// ```
/// use rebit::ops::batch_norm2d::{BatchNormState, Mode, batch_norm2d};
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![1.0, 3.0], (1, 1, 1, 2))?;
/// let (gamma, beta) = (from_vec(vec![1.0], (1,))?, from_vec(vec![5.0], (1,))?);
/// let mut state = BatchNormState::new(1);
/// let y = batch_norm2d(x, gamma, beta, &mut state, Mode::Train);
/// assert!((read(&y)[0] - 4.0).abs() < 1e-4 && (read(&y)[1] - 6.0).abs() < 1e-4);
/// assert_eq!(state.mean, [0.2]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_batch_norm2d`] fails.
#[track_caller]
pub fn batch_norm2d<T, R, Q>(
    x: Images<T>,
    gamma: Vector<R>,
    beta: Vector<Q>,
    state: &mut BatchNormState,
    mode: Mode,
) -> Images<T>
where
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    or_panic(try_batch_norm2d(x, gamma, beta, state, mode))
}

/// See [`batch_norm2d`].
///
/// # Errors
/// [`Error::Shape`] unless gamma, beta and the statistics have one value per channel;
/// [`Error::Invalid`] without a pixel, and in training with only one, which has no variance.
pub fn try_batch_norm2d<T, R, Q>(
    x: Images<T>,
    gamma: Vector<R>,
    beta: Vector<Q>,
    state: &mut BatchNormState,
    mode: Mode,
) -> Result<Images<T>>
where
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    let (x, tape) = T::split_images(x)?;
    let (gamma, gamma_tape) = R::split_vector(gamma)?;
    let (beta, beta_tape) = Q::split_vector(beta)?;
    let (y, backward) = forward(x, gamma, beta, state, mode)?;
    let tape = tape.merge(gamma_tape).merge(beta_tape);
    Ok(y.put_tape(tape.record(backward)))
}

fn forward(
    x: Images,
    gamma: Vector,
    beta: Vector,
    state: &mut BatchNormState,
    mode: Mode,
) -> Result<(Images, BackwardOp)> {
    let shape = *x.shape();
    let (n, channels, h, w) = shape;
    let s = NormShape {
        pixels: n * h * w,
        channels,
    };
    if mode == Mode::Train && s.pixels == 1 {
        return Err(Error::invalid(
            "batch_norm2d in training mode on one pixel per channel",
            "a single value has no variance; use a larger batch or Mode::Eval",
        ));
    }
    expect_len("batch_norm2d", "state.mean", channels, state.mean.len())?;
    expect_len("batch_norm2d", "state.var", channels, state.var.len())?;
    let (gamma, gamma_tensor) = (load(&gamma)?, gamma);
    let (beta, beta_tensor) = (load(&beta)?, beta);
    let (eps, act) = (state.eps, Activation::None);
    let z = load_images(&x)?;
    let mut y = scratch(z.elements())?;
    let (mut mean, mut var) = (zeros(channels)?, zeros(channels)?);
    match mode {
        Mode::Train => {
            dev().batch_norm_train(
                s,
                NormInput {
                    z: &z,
                    gamma: &gamma,
                    beta: &beta,
                    eps,
                    residual: None,
                    act,
                },
                &mut y,
                &mut mean,
                &mut var,
            )?;
            state.update(&mean.view()?, &var.view()?, s.pixels)?;
        }
        Mode::Eval => {
            mean.write(&state.mean)?;
            var.write(&state.var)?;
            dev().batch_norm_infer(
                s,
                NormInput {
                    z: &z,
                    gamma: &gamma,
                    beta: &beta,
                    eps,
                    residual: None,
                    act,
                },
                &mean,
                &var,
                &mut y,
            )?;
        }
    }
    let y = store_images(&y, shape)?;
    let backward = backward_of(&y, move |grads, dy| {
        let mut dy = channels_last(shape, dy)?;
        let mut dz = scratch(dy.elements())?;
        let (mut dgamma, mut dbeta) = (zeros(channels)?, zeros(channels)?);
        let gradient = match mode {
            Mode::Train => <Dev as BatchNormKernel>::batch_norm_grad,
            Mode::Eval => <Dev as BatchNormKernel>::batch_norm_infer_grad,
        };
        // Without an activation the kernel does not look at `y`: any buffer of its length will do.
        let saved = NormSaved {
            z: &*z,
            y: &z,
            gamma: &gamma,
            mean: &mean,
            var: &var,
            eps,
            act,
        };
        let gradients = NormGrads {
            dy: &mut *dy,
            dz: &mut dz,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        gradient(&dev(), s, saved, gradients)?;
        add_images_gradient(grads, &x, &dz)?;
        add_gradient(grads, &gamma_tensor, &dgamma)?;
        add_gradient(grads, &beta_tensor, &dbeta)
    });
    Ok((y, backward))
}
