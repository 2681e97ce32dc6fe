//! Losses that papers are put together from, and their weighted sum.
//!
//! What `dfdx` can express it can express here too; these are compiled once, in the library, where the same expression
//! in a cell is compiled with the cell.

use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape};

use crate::nn::{Moments, NormInfo};
use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, backward_of, load, loss_of};
use crate::{Error, HostAccess, Matrix, Result, Scalar, Taped, Vector, buffer, scalar};

/// Mean of squared differences over all numbers.
///
/// ```text
/// loss = 1/M sum (x - t)^2        dloss/dx = 2 (x - t) / M
/// ```
///
/// ```
/// use rebit::prelude::*;
/// let x: Matrix = from_vec(vec![1.0, 2.0], (1, 2))?;
/// let target: Matrix = from_vec(vec![1.0, 4.0], (1, 2))?;
/// assert_eq!(read(&squared_error(x, &target)), [2.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_squared_error`] fails.
#[track_caller]
pub fn squared_error<T: Recorder>(x: Matrix<T>, target: &Matrix) -> Scalar<T> {
    or_panic(try_squared_error(x, target))
}

/// See [`squared_error`].
///
/// # Errors
/// [`Error::Shape`] for a target of another shape, [`Error::Invalid`] without a number.
pub fn try_squared_error<T: Recorder>(x: Matrix<T>, target: &Matrix) -> Result<Scalar<T>> {
    let (x, tape) = T::split_matrix(x)?;
    let (loss, backward) = record_pair(x, target, "squared_error", &squares)?;
    Ok(loss.put_tape(tape.record(backward)))
}

/// Kullback-Leibler divergence of softened answers, teacher to student: what a student is distilled with.
///
/// For logits `s` of the student, `t` of the teacher, and the temperature `T`:
///
/// ```text
/// p = softmax(t / T)        q = softmax(s / T)
/// loss = T^2 / samples  sum p (ln p - ln q)
/// dloss/ds = T (q - p) / samples
/// ```
///
/// The factor `T^2` keeps gradients of the same size for every temperature. Source: Hinton et al., "Distilling the
/// Knowledge in a Neural Network", arXiv:1503.02531, section 2.
///
/// ```
/// use rebit::prelude::*;
/// let (student, teacher) = (randn(4, 10, &mut rng(0)), randn(4, 10, &mut rng(1)));
/// assert!(read(&distillation(student, &teacher, 4.0))[0] > 0.0);
/// assert!(read(&distillation(teacher.clone(), &teacher, 4.0))[0].abs() < 1e-6);
/// ```
///
/// # Panics
/// Where [`try_distillation`] fails.
#[track_caller]
pub fn distillation<T: Recorder>(
    student: Matrix<T>,
    teacher: &Matrix,
    temperature: f32,
) -> Scalar<T> {
    or_panic(try_distillation(student, teacher, temperature))
}

/// See [`distillation`].
///
/// # Errors
/// [`Error::Shape`] for logits of other shapes, [`Error::Invalid`] without a logit and for a temperature that is not
/// positive and finite.
pub fn try_distillation<T: Recorder>(
    student: Matrix<T>,
    teacher: &Matrix,
    temperature: f32,
) -> Result<Scalar<T>> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        let what = format!("temperature {temperature}");
        return Err(Error::invalid(what, "must be above 0 and finite"));
    }
    let (student, tape) = T::split_matrix(student)?;
    let (loss, backward) = record_pair(student, teacher, "distillation", &|s, t, shape, slope| {
        divergence(s, t, shape, temperature, slope)
    })?;
    Ok(loss.put_tape(tape.record(backward)))
}

/// How far the moments of what a batch norm reads are from its running statistics.
///
/// ```text
/// loss = 1/C sum (mean - running mean)^2 + 1/C sum (var - running var)^2
/// ```
///
/// Over several norms it pulls the input towards the images that the network was trained on. Source: Zhong et al.,
/// "IntraQ", arXiv:2111.09136, L_BNS.
///
/// ```
/// use rebit::prelude::*;
/// let teacher = resnet20(10, rng(0)).frozen();
/// let pixels = images(4, 3, 32, 32, &mut rng(1));
/// let mut pass = teacher.trace(&pixels, Mode::Eval)?;
/// let norms = teacher.norms();
/// let mut terms = vec![(1.0, cross_entropy(pass.matrix("fc")?, &[0, 1, 2, 3]))];
/// for norm in &norms[..3] {
///     terms.push((0.1, moments_loss(pass.moments(norm)?, norm)));
/// }
/// let grads = total(terms).backward();
/// assert_eq!(grads.get(&pixels).shape(), pixels.shape());
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_moments_loss`] fails.
#[track_caller]
pub fn moments_loss(moments: Moments, norm: &NormInfo) -> Scalar<Taped> {
    or_panic(try_moments_loss(moments, norm))
}

/// See [`moments_loss`].
///
/// # Errors
/// [`Error::Shape`] for the moments of another number of channels.
pub fn try_moments_loss(moments: Moments, norm: &NormInfo) -> Result<Scalar<Taped>> {
    let Moments { mean, var } = moments;
    let mean = vector_error(mean, &norm.mean)?;
    let var = vector_error(var, &norm.var)?;
    try_total(vec![(1.0, mean), (1.0, var)])
}

/// The weighted sum of losses.
///
/// ```
/// use rebit::prelude::*;
/// let x = randn(2, 3, &mut rng(0));
/// let (one, two) = (cross_entropy(x.leaky_trace(), &[0, 1]), cross_entropy(x.leaky_trace(), &[0, 1]));
/// let (a, b) = (read(&one)[0], read(&two)[0]);
/// let loss = total(vec![(1.0, one), (0.5, two)]);
/// assert!((read(&loss)[0] - (a + 0.5 * b)).abs() < 1e-6);
/// ```
///
/// # Panics
/// Where [`try_total`] fails.
#[track_caller]
pub fn total(terms: Vec<(f32, Scalar<Taped>)>) -> Scalar<Taped> {
    or_panic(try_total(terms))
}

/// See [`total`].
///
/// # Errors
/// [`Error::Invalid`] without a term.
pub fn try_total(terms: Vec<(f32, Scalar<Taped>)>) -> Result<Scalar<Taped>> {
    if terms.is_empty() {
        return Err(Error::invalid("total", "needs at least one loss"));
    }
    let mut sum = 0.0;
    let mut tape = Taped::default();
    let mut parts = Vec::with_capacity(terms.len());
    for (weight, term) in terms {
        let (term, of_term) = term.split_tape();
        sum += f64::from(weight) * f64::from(crate::read(&term)[0]);
        tape = tape.merge(of_term);
        parts.push((weight, term));
    }
    let sum = scalar(sum as f32);
    let backward = backward_of(&sum, move |grads, dy| {
        let dy = dy.view()?[0];
        for (weight, term) in &parts {
            grads
                .get_or_alloc_mut(term)?
                .edit(|g| g[0] += weight * dy)?;
        }
        Ok(())
    });
    Ok(sum.put_tape(tape.record(backward)))
}

/// The loss of numbers against others, whose gradient it writes.
type Pair<'a> = &'a dyn Fn(&[f32], &[f32], (usize, usize), &mut [f32]) -> f64;

fn record_pair(
    x: Matrix,
    target: &Matrix,
    op: &'static str,
    f: Pair,
) -> Result<(Scalar, BackwardOp)> {
    let shape = *x.shape();
    if shape != *target.shape() {
        return Err(Error::shape(
            op,
            format!("two of {shape:?}"),
            format!("{:?}", target.shape()),
        ));
    }
    if shape.0 * shape.1 == 0 {
        return Err(Error::invalid(op, format!("{shape:?} holds no number")));
    }
    let target = crate::read(target);
    let mut slope = vec![0.0; target.len()];
    let loss = f(&load(&x)?.view()?, &target, shape, &mut slope);
    Ok(loss_of(x, loss as f32, buffer(&slope)?))
}

fn squares(x: &[f32], target: &[f32], _: (usize, usize), slope: &mut [f32]) -> f64 {
    let count = x.len() as f64;
    let mut sum = 0.0;
    for ((x, t), slope) in x.iter().zip(target).zip(slope) {
        let d = f64::from(*x) - f64::from(*t);
        sum += d * d;
        *slope = (2.0 * d / count) as f32;
    }
    sum / count
}

fn divergence(
    s: &[f32],
    t: &[f32],
    (samples, classes): (usize, usize),
    temperature: f32,
    slope: &mut [f32],
) -> f64 {
    let soft = |row: &[f32]| -> Vec<f64> {
        let row: Vec<f64> = row
            .iter()
            .map(|z| f64::from(*z) / f64::from(temperature))
            .collect();
        // NaN must not get lost in a maximum.
        let top =
            row.iter().copied().fold(
                f64::NEG_INFINITY,
                |m, z| if z.is_nan() { z } else { m.max(z) },
            );
        let norm = row.iter().map(|z| (z - top).exp()).sum::<f64>().ln() + top;
        row.iter().map(|z| z - norm).collect()
    };
    let (n, temperature) = (samples as f64, f64::from(temperature));
    let mut sum = 0.0;
    let rows = s.chunks_exact(classes).zip(t.chunks_exact(classes));
    for ((s, t), slope) in rows.zip(slope.chunks_exact_mut(classes)) {
        for ((q, p), slope) in soft(s).iter().zip(soft(t)).zip(slope) {
            // A class that the teacher excludes costs nothing.
            if p.exp() != 0.0 {
                sum += p.exp() * (p - q);
            }
            *slope = (temperature * (q.exp() - p.exp()) / n) as f32;
        }
    }
    temperature * temperature * sum / n
}

fn vector_error(x: Vector<Taped>, target: &Vector) -> Result<Scalar<Taped>> {
    let (x, tape) = Taped::split_vector(x)?;
    let (n, expected) = (x.shape().0, target.shape().0);
    if n != expected {
        return Err(Error::shape(
            "moments_loss",
            format!("{expected} channels"),
            n,
        ));
    }
    let mut slope = vec![0.0; n];
    let values = load(&x)?;
    let loss = squares(&values.view()?, &crate::read(target), (1, n), &mut slope);
    let (loss, backward) = loss_of(x, loss as f32, buffer(&slope)?);
    Ok(loss.put_tape(tape.record(backward)))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::{from_vec, read, vector};

    #[test]
    fn literal_values() -> Result<()> {
        let x: Matrix = from_vec(vec![1.0, 2.0, 0.0, 0.0], (2, 2))?;
        let t: Matrix = from_vec(vec![1.0, 4.0, 0.0, -2.0], (2, 2))?;
        assert_close(&read(&squared_error(x, &t)), &[2.0], 1e-6);
        // Student 1/2, 1/2; teacher 1/4, 3/4: KL = 1/4 ln(1/2) + 3/4 ln(3/2).
        let s: Matrix = from_vec(vec![0.0, 0.0], (1, 2))?;
        let t: Matrix = from_vec(vec![0.0, 3f32.ln()], (1, 2))?;
        let expected = 0.25 * 0.5f32.ln() + 0.75 * 1.5f32.ln();
        assert_close(&read(&distillation(s.clone(), &t, 1.0)), &[expected], 1e-6);
        // At temperature 2 the same probabilities come from logits twice as large, and count four times.
        let t: Matrix = from_vec(vec![0.0, 2.0 * 3f32.ln()], (1, 2))?;
        assert_close(&read(&distillation(s, &t, 2.0)), &[4.0 * expected], 1e-6);
        Ok(())
    }

    #[test]
    fn gradients_agree_with_finite_differences() -> Result<()> {
        let values: Vec<f32> = wave(12).iter().map(|v| 2.0 * v).collect();
        let target: Matrix = from_vec(wave(24)[12..].to_vec(), (3, 4))?;
        type Loss<'a> = &'a dyn Fn(Matrix<Taped>) -> Scalar<Taped>;
        let losses: [Loss; 3] = [
            &|x| squared_error(x, &target),
            &|x| distillation(x, &target, 3.0),
            &|x| total(vec![(0.5, squared_error(x, &target))]),
        ];
        for loss in losses {
            let at = |x: &[f32]| from_vec(x.to_vec(), (3, 4)).map(|x: Matrix| x.leaky_trace());
            let numeric = numeric_gradient(&values, 1e-2, |x| read(&loss(at(x).unwrap()))[0]);
            let x: Matrix = from_vec(values.clone(), (3, 4))?;
            let grads = loss(x.leaky_trace()).backward();
            assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
        }
        Ok(())
    }

    #[test]
    fn a_sum_reaches_every_term_with_its_weight() -> Result<()> {
        let (a, b) = (vector(&[1.0, 3.0]), vector(&[2.0]));
        let one = vector_error(a.leaky_trace(), &vector(&[0.0, 0.0]))?;
        let two = vector_error(b.leaky_trace(), &vector(&[0.0]))?;
        let loss = total(vec![(2.0, one), (-1.0, two)]);
        assert_eq!(read(&loss), [2.0 * 5.0 - 4.0]);
        let grads = loss.backward();
        assert_close(&read(&grads.get(&a)), &[2.0, 6.0], 1e-6);
        assert_close(&read(&grads.get(&b)), &[-4.0], 1e-6);
        Ok(())
    }

    #[test]
    fn nan_stays_nan_and_an_excluded_class_costs_nothing() -> Result<()> {
        let sound: Matrix = from_vec(vec![0.0, 1.0], (1, 2))?;
        let nan: Matrix = from_vec(vec![f32::NAN, 1.0], (1, 2))?;
        for (x, t) in [(&nan, &sound), (&sound, &nan)] {
            assert!(read(&distillation(x.clone(), t, 1.0))[0].is_nan());
            assert!(read(&squared_error(x.clone(), t))[0].is_nan());
        }
        let sure: Matrix = from_vec(vec![f32::NEG_INFINITY, 0.0], (1, 2))?;
        let loss = read(&distillation(sound, &sure, 1.0))[0];
        assert_close(&[loss], &[(1.0 + (-1f32).exp()).ln()], 1e-6);
        Ok(())
    }
}
