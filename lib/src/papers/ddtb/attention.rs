//! Structured knowledge transfer: the student's spatial attention is to look like the teacher's.
//!
//! For features `F` of `(N, C, H, W)`, per sample,
//!
//! ```text
//! S[p] = mean_c F[c, p]^2        A = S / |S|_2        L = mean over N, p of (A_student - A_teacher)^2
//! ```
//!
//! Gradient, with `g = 2 (A_s - A_t) / (N H W)`: `dL/dS = (g - A_s (A_s . g)) / |S|`, `dL/dF = dL/dS * 2 F / C`.
//!
//! Source: Li et al. (PAMS), arXiv:2011.04212, the structured knowledge transfer loss as in the authors' code.

use dfdx::prelude::HasShape;

use crate::nn::{ActivationLoss, BatchExtent, Extent, try_loss_of};
use crate::ops::Recorder;
use crate::ops::layout::LayoutKernel;
use crate::{Buffer, Error, HostAccess, Images, Result, Scalar, buffer, dev, read};

/// Below this an attention map counts as empty, as in PyTorch's `normalize`.
const SMALLEST: f64 = 1e-12;

/// Loss on `(N, pixels, channels)` buffers; `d` becomes the gradient of the student's features times a factor.
fn attention_loss_grad(
    (batch, channels): (usize, usize),
    student: &[f32],
    teacher: &[f32],
    mut gradient: Option<(f32, &mut [f32])>,
) -> f32 {
    let sample = student.len() / batch;
    let pixels = sample / channels;
    let total = (batch * pixels) as f64;
    let map = |features: &[f32]| -> (Vec<f64>, f64) {
        let square = |f: &[f32]| -> f64 {
            let sum: f64 = f.iter().map(|v| f64::from(*v).powi(2)).sum();
            sum / channels as f64
        };
        let s: Vec<f64> = features.chunks_exact(channels).map(square).collect();
        let norm = s.iter().map(|v| v * v).sum::<f64>().sqrt().max(SMALLEST);
        (s.iter().map(|v| v / norm).collect(), norm)
    };
    let mut loss = 0.0;
    let samples = student
        .chunks_exact(sample)
        .zip(teacher.chunks_exact(sample));
    for (n, (student, teacher)) in samples.enumerate() {
        let ((a, norm), (t, _)) = (map(student), map(teacher));
        loss += a.iter().zip(&t).map(|(a, t)| (a - t).powi(2)).sum::<f64>();
        let Some((factor, d)) = &mut gradient else {
            continue;
        };
        let d = &mut d[n * sample..][..sample];
        let g: Vec<f64> = a
            .iter()
            .zip(&t)
            .map(|(a, t)| 2.0 * (a - t) / total)
            .collect();
        let along: f64 = a.iter().zip(&g).map(|(a, g)| a * g).sum();
        let pixels = d
            .chunks_exact_mut(channels)
            .zip(student.chunks_exact(channels));
        for ((d, f), (a, g)) in pixels.zip(a.iter().zip(&g)) {
            let ds = (g - a * along) / norm;
            // The factor goes into the gradient before it is rounded to single precision.
            let slope = f64::from(*factor) * ds * 2.0 / channels as f64;
            d.iter_mut().zip(f).for_each(|(d, f)| *d = slope as f32 * f);
        }
    }
    (loss / total) as f32
}

/// The loss between a student's activation and a teacher's features, where the student keeps them; see
/// [`try_attention_loss`].
pub struct AttentionTransfer {
    /// `(N, H, W, C)`.
    teacher: Vec<f32>,
    shape: (usize, usize, usize, usize),
}

impl AttentionTransfer {
    /// Towards these features.
    ///
    /// # Errors
    /// [`Error::Invalid`] for features without elements.
    pub fn new(teacher: &Images) -> Result<Self> {
        let shape @ (n, c, h, w) = *teacher.shape();
        if n * c * h * w == 0 {
            let what = format!("features of {shape:?}");
            return Err(Error::invalid(what, "have no attention"));
        }
        let (x, mut y) = (buffer(&read(teacher))?, buffer(&read(teacher))?);
        dev().to_channels_last(&x, c, h * w, &mut y)?;
        let teacher = y.view()?.into_owned();
        Ok(AttentionTransfer { teacher, shape })
    }

    fn sizes(&self) -> (usize, usize) {
        (self.shape.0, self.shape.1)
    }
}

impl ActivationLoss for AttentionTransfer {
    fn loss(&mut self, x: &Buffer, at: BatchExtent) -> Result<f32> {
        let Extent {
            channels,
            height,
            width,
        } = at.extent;
        let student = (at.batch, channels, height, width);
        if student != self.shape {
            return Err(Error::shape(
                "attention_loss",
                format!("the teacher's features {:?}", self.shape),
                format!("{student:?}"),
            ));
        }
        let loss = attention_loss_grad(self.sizes(), &x.view()?, &self.teacher, None);
        Ok(loss)
    }

    fn gradient(&mut self, x: &Buffer, _: BatchExtent, factor: f32) -> Result<Buffer> {
        let mut slope = vec![0.0; x.elements()];
        let gradient = Some((factor, &mut slope[..]));
        attention_loss_grad(self.sizes(), &x.view()?, &self.teacher, gradient);
        buffer(&slope)
    }
}

/// The loss between two networks' features; the teacher gets no gradient. See the module's formula.
///
/// ```
/// use rebit::papers::ddtb::attention_loss;
/// use rebit::prelude::*;
/// let bright_left: Images = from_vec(vec![1.0, 0.0], (1, 1, 1, 2))?;
/// let bright_right: Images = from_vec(vec![0.0, 5.0], (1, 1, 1, 2))?;
/// assert_eq!(read(&attention_loss(bright_left, &bright_right)), [1.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_attention_loss`] fails.
#[track_caller]
pub fn attention_loss<T: Recorder>(student: Images<T>, teacher: &Images) -> Scalar<T> {
    try_attention_loss(student, teacher).unwrap_or_else(|e| panic!("{e}"))
}

/// See [`attention_loss`].
///
/// # Errors
/// [`Error::Shape`] for features of different shapes, [`Error::Invalid`] for a teacher's without elements.
pub fn try_attention_loss<T: Recorder>(student: Images<T>, teacher: &Images) -> Result<Scalar<T>> {
    try_loss_of(student, AttentionTransfer::new(teacher)?)
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::from_vec;
    use crate::ops::{assert_close, numeric_gradient, wave};

    #[test]
    fn scale_does_not_matter_and_place_does() {
        let map = |v: Vec<f32>| -> Images { from_vec(v, (1, 2, 1, 2)).unwrap() };
        let a = map(vec![1.0, 2.0, 3.0, 4.0]);
        let louder = map(vec![3.0, 6.0, 9.0, 12.0]);
        assert!(read(&attention_loss(a.clone(), &louder))[0] < 1e-12);
        // S = (5, 10) and (10, 5): A differs by 1/sqrt(5) in both places.
        let swapped = map(vec![2.0, 1.0, 4.0, 3.0]);
        assert_close(&read(&attention_loss(a, &swapped)), &[0.2], 1e-6);
    }

    #[test]
    fn gradient_is_that_of_finite_differences() {
        let shape = (2, 3, 2, 2);
        let values = wave(24);
        let teacher: Vec<f32> = wave(24).into_iter().rev().collect();
        let teacher: Images = from_vec(teacher, shape).unwrap();
        let loss = |v: &[f32]| {
            read(&attention_loss(
                from_vec(v.to_vec(), shape).unwrap(),
                &teacher,
            ))[0]
                * 10.0
        };
        let x: Images = from_vec(values.clone(), shape).unwrap();
        let grads = (attention_loss(x.leaky_trace(), &teacher) * 10.0).backward();
        let numeric = numeric_gradient(&values, 1e-2, loss);
        assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
    }

    #[test]
    fn shapes_that_differ_are_named() {
        let a: Images = from_vec(vec![0.0; 4], (1, 1, 2, 2)).unwrap();
        let b: Images = from_vec(vec![0.0; 4], (1, 2, 2, 1)).unwrap();
        let error = try_attention_loss(a, &b).err().unwrap().to_string();
        assert!(
            error.contains("(1, 1, 2, 2)") && error.contains("(1, 2, 2, 1)"),
            "{error}"
        );
    }
}
