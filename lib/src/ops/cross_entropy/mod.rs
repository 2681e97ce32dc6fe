//! Softmax cross entropy, the mean over samples, with optional label smoothing.
//!
//! For logits `z` of `K` classes, the label `k` and smoothing `s`:
//!
//! ```text
//! p_j  = exp(z_j) / sum_i exp(z_i)
//! t_j  = (1 - s) [j = k] + s/K
//! loss = mean over samples of - sum_j t_j ln p_j
//! dloss/dz_j = (p_j - t_j) / samples
//! ```
//!
//! Computed from `z - max z`, so that no exponential overflows. Smoothing as in Szegedy et al., "Rethinking
//! the Inception Architecture", arXiv:1512.00567, §7.

use dfdx::prelude::{HasShape, PutTape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, load, loss_of, zeros};
use crate::tensors::{Matrix, Scalar, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// Kernel on `(samples, classes)` buffers.
pub trait CrossEntropyKernel: Storage<f32> {
    /// The mean loss; with `dlogits`, which is overwritten, its gradient too. NaN logits give a NaN loss.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for buffers or labels of another length, [`crate::Error::Invalid`] without a
    /// sample or class, for a label outside `0..classes` and for smoothing outside `[0, 1)`.
    fn cross_entropy(
        &self,
        samples: usize,
        classes: usize,
        logits: &Self::Vec,
        labels: &[u32],
        smoothing: f32,
        dlogits: Option<&mut Self::Vec>,
    ) -> Result<f32>;
}

/// A whole number that names a class: what data sets give (`u32`), what counts (`usize`), what a literal is (`i32`).
pub trait Label: Copy + std::fmt::Display {
    /// The class, where a kernel can count as far.
    fn class(self) -> Option<u32>;
}

macro_rules! label {
    ($($number:ty)*) => {$(
        impl Label for $number {
            fn class(self) -> Option<u32> {
                u32::try_from(self).ok()
            }
        }
    )*};
}
label!(u8 u32 usize i32 i64);

/// Mean cross entropy of `(samples, classes)` logits against one label per sample; see the
/// [module](self) for formula and gradient.
///
/// ```
/// use rebit::ops::cross_entropy::cross_entropy;
/// use rebit::prelude::*;
/// let logits = from_vec(vec![0.0, 0.0], (1, 2))?;
/// assert!((read(&cross_entropy(logits, &[1]))[0] - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_cross_entropy`] fails.
#[track_caller]
pub fn cross_entropy<T: Recorder, L: Label>(logits: Matrix<T>, labels: &[L]) -> Scalar<T> {
    or_panic(try_cross_entropy(logits, labels, 0.0))
}

/// See [`cross_entropy`]; with label smoothing.
///
/// # Errors
/// As [`CrossEntropyKernel::cross_entropy`].
pub fn try_cross_entropy<T: Recorder, L: Label>(
    logits: Matrix<T>,
    labels: &[L],
    smoothing: f32,
) -> Result<Scalar<T>> {
    let classes = logits.shape().1;
    let class = |(i, label): (usize, &L)| label.class().ok_or_else(|| no_class(label, i, classes));
    let labels: Vec<u32> = labels
        .iter()
        .enumerate()
        .map(class)
        .collect::<Result<_>>()?;
    let (logits, tape) = T::split_matrix(logits)?;
    let (loss, backward) = record(logits, &labels, smoothing)?;
    Ok(loss.put_tape(tape.record(backward)))
}

fn no_class(label: &dyn std::fmt::Display, sample: usize, classes: usize) -> Error {
    Error::invalid(
        format!("label {label} of sample {sample}"),
        format!("labels lie in 0..{classes}, the number of logits of a sample"),
    )
}

fn record(logits: Matrix, labels: &[u32], smoothing: f32) -> Result<(Scalar, BackwardOp)> {
    let (samples, classes) = *logits.shape();
    let mut gradient = zeros(samples * classes)?;
    let loss = dev().cross_entropy(
        samples,
        classes,
        &*load(&logits)?,
        labels,
        smoothing,
        Some(&mut gradient),
    )?;
    Ok(loss_of(logits, loss, gradient))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
    use crate::tensors::{from_vec, read};

    #[test]
    fn literal_values_and_gradient() {
        // Probabilities 1/4 and 3/4; the labels are 1 and 0.
        let ln3 = 3f32.ln();
        let z = from_vec(vec![0.0, ln3, 0.0, ln3], (2, 2)).unwrap();
        let loss = cross_entropy(z.leaky_trace(), &[1, 0]);
        let expected = ((4.0f32 / 3.0).ln() + 4f32.ln()) / 2.0;
        assert_close(&read(&loss), &[expected], 1e-6);
        let grads = (loss * 2.0).backward();
        assert_close(&read(&grads.get(&z)), &[0.25, -0.25, -0.75, 0.75], 1e-6);
    }

    #[test]
    fn gradient_agrees_with_finite_differences_with_and_without_smoothing() {
        let values: Vec<f32> = wave(15).iter().map(|v| 2.0 * v).collect();
        let labels = [4, 0, 2];
        for smoothing in [0.0, 0.1] {
            let loss = |z: Matrix| try_cross_entropy(z, &labels, smoothing).unwrap();
            let numeric = numeric_gradient(&values, 1e-2, |z| {
                read(&loss(from_vec(z.to_vec(), (3, 5)).unwrap()))[0]
            });
            let z = from_vec(values.clone(), (3, 5)).unwrap();
            let loss = try_cross_entropy(z.leaky_trace(), &labels, smoothing).unwrap();
            assert_close(&read(&loss.backward().get(&z)), &numeric, 1e-4);
        }
    }

    #[test]
    fn smoothing_mixes_the_label_with_all_classes() {
        let z = from_vec(wave(4), (1, 4)).unwrap();
        let at = |label: usize| read(&cross_entropy(z.clone(), &[label]))[0];
        let smoothed = try_cross_entropy(z.clone(), &[2], 0.2).unwrap();
        let all = (at(0) + at(1) + at(2) + at(3)) / 4.0;
        assert_close(&read(&smoothed), &[0.8 * at(2) + 0.2 * all], 1e-6);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let z = from_vec(vec![1e30, 0.0, -1e30, 1e4, 1e4, -1e4], (2, 3)).unwrap();
        let loss = cross_entropy(z.leaky_trace(), &[0, 1]);
        assert_close(&read(&loss), &[2f32.ln() / 2.0], 1e-6);
        let dz = read(&loss.backward().get(&z));
        assert_close(&dz, &[0., 0., 0., 0.25, -0.25, 0.], 1e-6);
        let nan = from_vec(vec![f32::NAN, 0.0], (1, 2)).unwrap();
        assert!(read(&cross_entropy(nan, &[1]))[0].is_nan());
    }

    #[test]
    fn without_a_gradient_the_loss_is_the_same() {
        let z = buffer(&wave(300 * 7));
        let labels: Vec<u32> = (0..300).map(|i| i % 7).collect();
        let mut dz = buffer(&[0.0; 300 * 7]);
        let with = cpu().cross_entropy(300, 7, &z, &labels, 0.1, Some(&mut dz));
        let without = cpu().cross_entropy(300, 7, &z, &labels, 0.1, None);
        assert_eq!(with.unwrap().to_bits(), without.unwrap().to_bits());
        // A softmax does not see a shift of all logits: every row of the gradient sums to 0.
        for row in dz.chunks(7) {
            assert_close(&[row.iter().sum::<f32>()], &[0.0], 1e-7);
        }
    }

    #[test]
    fn labels_are_taken_as_data_sets_give_them() {
        let z = from_vec(wave(6), (2, 3)).unwrap();
        let of_data: Vec<u32> = vec![2, 0];
        let counted = [2usize, 0];
        assert_eq!(
            read(&cross_entropy(z.clone(), &of_data)),
            read(&cross_entropy(z, &counted))
        );
    }

    #[test]
    fn wrong_labels_are_refused_with_the_sample() {
        let z = from_vec(vec![0.0; 6], (2, 3)).unwrap();
        let error = try_cross_entropy(z.clone(), &[0, 3], 0.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "label 3 of sample 1: labels lie in 0..3, the number of logits of a sample"
        );
        let error = try_cross_entropy(z.clone(), &[0], 0.0).unwrap_err();
        assert!(error.to_string().contains("2 elements in `labels`"));
        let error = try_cross_entropy(z.clone(), &[0, usize::MAX], 0.0).unwrap_err();
        let said = format!("label {} of sample 1", usize::MAX);
        assert!(error.to_string().starts_with(&said), "{error}");
        let error = try_cross_entropy(z.clone(), &[-1, 0], 0.0).unwrap_err();
        assert!(
            error.to_string().starts_with("label -1 of sample 0"),
            "{error}"
        );
        assert!(try_cross_entropy(z, &[0, 1], 1.0).is_err());
    }
}
