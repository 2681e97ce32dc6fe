//! The two losses that keep images of one class apart.

use crate::ops::host::try_host_op;
use crate::{Error, Matrix, Result, Scalar, Taped};

/// Keeps the weighted mean over no image finite, as in the authors' code.
const NOBODY: f64 = 1e-6;

/// Soft inception loss: the probability of an image's class need not be 1.
///
/// With logits `z` of `N` images, `p = softmax(z)`, `y` the label and `t` the target of an image:
///
/// ```text
/// loss = 1/N sum over images (p_y - t)^2
/// dloss/dz_j = 2/N (p_y - t) p_y ([j = y] - p_j)
/// ```
///
/// Source: arXiv:2111.09136, soft inception loss.
///
/// ```
/// use rebit::papers::intraq::soft_inception_loss;
/// use rebit::prelude::*;
/// // Two equal logits: p = 1/2.
/// let logits: Matrix = from_vec(vec![3.0, 3.0], (1, 2))?;
/// let loss = soft_inception_loss(logits.leaky_trace(), &[0], &[0.75])?;
/// assert_eq!(read(&loss), [0.0625]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] without a label and a target for each image, [`Error::Invalid`] for a label without a logit and for no
/// image.
pub fn soft_inception_loss(
    logits: Matrix<Taped>,
    labels: &[u32],
    targets: &[f32],
) -> Result<Scalar<Taped>> {
    let (n, classes) = *dfdx::prelude::HasShape::shape(&logits);
    if labels.len() != n || targets.len() != n {
        return Err(Error::shape(
            "soft_inception_loss",
            format!("{n} labels and targets, one for each image"),
            format!("{} labels and {} targets", labels.len(), targets.len()),
        ));
    }
    if n == 0 {
        return Err(Error::invalid("soft_inception_loss", "needs an image"));
    }
    if let Some(label) = labels.iter().find(|l| **l as usize >= classes) {
        let why = format!("labels lie in 0..{classes}, the number of logits of an image");
        return Err(Error::invalid(format!("label {label}"), why));
    }
    let of_images: Vec<(usize, f64)> = labels
        .iter()
        .zip(targets)
        .map(|(label, target)| (*label as usize, f64::from(*target)))
        .collect();
    let again = of_images.clone();
    let forward = move |z: &[f32], loss: &mut [f32]| {
        let rows = z.chunks_exact(classes).zip(&of_images);
        let sum: f64 = rows.map(|(z, (y, t))| (softmax(z)[*y] - t).powi(2)).sum();
        loss[0] = (sum / n as f64) as f32;
        Ok(())
    };
    let backward = move |z: &[f32], dloss: &[f32], dz: &mut [f32]| {
        let rows = z.chunks_exact(classes).zip(dz.chunks_exact_mut(classes));
        for ((z, dz), (y, t)) in rows.zip(&again) {
            let p = softmax(z);
            let slope = f64::from(dloss[0]) * 2.0 / n as f64 * (p[*y] - t) * p[*y];
            for (j, (dz, p)) in dz.iter_mut().zip(&p).enumerate() {
                let own = if j == *y { 1.0 } else { 0.0 };
                *dz = (slope * (own - p)) as f32;
            }
        }
        Ok(())
    };
    try_host_op(logits, (), forward, backward)
}

fn softmax(z: &[f32]) -> Vec<f64> {
    // NaN stays NaN: `max` of a NaN logit forgets it, its own exponential does not.
    let highest = z.iter().fold(f32::NEG_INFINITY, |m, z| m.max(*z));
    let e: Vec<f64> = z.iter().map(|z| f64::from(z - highest).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

/// Marginal distance constraint: features are neither at the centre of their class nor far from it.
///
/// With `d = 1 - cos(f, C)` the distance of an image's features `f` to the centre `C` of its class, and `a = 1` where the
/// class has a centre, else 0:
///
/// ```text
/// loss = sum a (max(lower - d, 0) + max(d - upper, 0)) / (sum a + 1e-6)
/// dd/df = cos(f, C) f / |f|^2 - C / (|f| |C|)
/// ```
///
/// Centres get no gradient. Source: arXiv:2111.09136, marginal distance constraint.
///
/// ```
/// use rebit::papers::intraq::{Margins, marginal_distance_loss};
/// use rebit::prelude::*;
/// let margins = Margins { lower: 0.25, upper: 0.8 };
/// let features: Matrix = from_vec(vec![2.0, 0.0, 0.0, 1.0], (2, 2))?;
/// // The first lies at its centre, 0.25 too near; the second at a right angle, 0.2 too far.
/// let centres = [Some(vec![1.0, 0.0]), Some(vec![1.0, 0.0])];
/// let loss = marginal_distance_loss(features.leaky_trace(), &centres, margins)?;
/// assert!((read(&loss)[0] - 0.225).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there is a centre (or none) for each image, of as many numbers as its features.
pub fn marginal_distance_loss(
    features: Matrix<Taped>,
    centres: &[Option<Vec<f32>>],
    margins: super::Margins,
) -> Result<Scalar<Taped>> {
    let (n, width) = *dfdx::prelude::HasShape::shape(&features);
    let lengths = centres.iter().flatten().map(Vec::len);
    if centres.len() != n || lengths.clone().any(|l| l != width) {
        return Err(Error::shape(
            "marginal_distance_loss",
            format!("{n} centres of {width} numbers, one for each row of features"),
            format!(
                "{} centres of {:?} numbers",
                centres.len(),
                lengths.max().unwrap_or(width)
            ),
        ));
    }
    let centres: Vec<Option<Vec<f32>>> = centres.to_vec();
    let again = centres.clone();
    let present = centres.iter().flatten().count() as f64 + NOBODY;
    let forward = move |f: &[f32], loss: &mut [f32]| {
        let rows = f.chunks_exact(width.max(1)).zip(&centres);
        let sum: f64 = rows
            .filter_map(|(f, c)| Some(excess(Angle::between(f, c.as_ref()?).distance(), margins).0))
            .sum();
        loss[0] = (sum / present) as f32;
        Ok(())
    };
    let backward = move |f: &[f32], dloss: &[f32], df: &mut [f32]| {
        let rows = f
            .chunks_exact(width.max(1))
            .zip(df.chunks_exact_mut(width.max(1)));
        for ((f, df), centre) in rows.zip(&again) {
            let Some(centre) = centre else { continue };
            let angle = Angle::between(f, centre);
            let slope = f64::from(dloss[0]) / present * excess(angle.distance(), margins).1;
            for ((df, f), c) in df.iter_mut().zip(f).zip(centre) {
                let along = angle.cosine * f64::from(*f) / angle.length.powi(2);
                let across = f64::from(*c) / (angle.length * angle.of_centre);
                *df = (slope * (along - across)) as f32;
            }
        }
        Ok(())
    };
    try_host_op(features, (), forward, backward)
}

/// How far a distance is outside the margins, and the slope of that.
fn excess(d: f64, margins: super::Margins) -> (f64, f64) {
    let (lower, upper) = (f64::from(margins.lower), f64::from(margins.upper));
    match d {
        d if d < lower => (lower - d, -1.0),
        d if d > upper => (d - upper, 1.0),
        d if d.is_nan() => (d, d),
        _ => (0.0, 0.0),
    }
}

/// Two vectors: their lengths and the cosine of the angle between them.
struct Angle {
    cosine: f64,
    length: f64,
    of_centre: f64,
}

impl Angle {
    fn between(f: &[f32], centre: &[f32]) -> Self {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
            products.sum()
        };
        // Features that are all zero have no direction; a tiny length keeps their distance at 1.
        let length = |v: &[f32]| dot(v, v).sqrt().max(1e-12);
        let lengths = (length(f), length(centre));
        Angle {
            cosine: dot(f, centre) / (lengths.0 * lengths.1),
            length: lengths.0,
            of_centre: lengths.1,
        }
    }

    fn distance(&self) -> f64 {
        1.0 - self.cosine
    }
}
