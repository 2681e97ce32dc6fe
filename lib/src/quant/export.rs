//! A quantised tensor as integers: what an integer kernel or a file keeps of it.

use dfdx::prelude::{HasShape, Shape, Tensor};

use crate::error::{Error, Result};
use crate::quant::FakeQuant;
use crate::tensors::{Dev, read};

/// Levels of a tensor and how to read them: `value = scale (level / highest) + offset`.
///
/// [`values`](Self::values) gives, bit by bit, what fake quantisation computed with. An integer kernel
/// uses [`step`](Self::step), `scale / highest`, instead of the division.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Quantised {
    /// One level per element, row-major, `0..=highest`.
    pub levels: Vec<u8>,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// `N`, at most 255.
    pub highest: u8,
    /// Width of the range of values.
    pub scale: f32,
    /// Value of level 0.
    pub offset: f32,
}

impl Quantised {
    /// Distance of neighbouring values.
    pub fn step(&self) -> f32 {
        self.scale / self.highest as f32
    }

    /// The values that the levels stand for.
    pub fn values(&self) -> Vec<f32> {
        let highest = self.highest as f32;
        self.levels
            .iter()
            .map(|&level| self.scale * (level as f32 / highest) + self.offset)
            .collect()
    }
}

/// Levels of a tensor under the quantiser `f`.
///
/// # Errors
/// As [`quantise_values`].
///
/// ```
/// use rebit::prelude::*;
/// use rebit::quant::{Bounds, FakeQuant, quantise};
/// let w = from_vec(vec![-1.0, -0.3, 0.4, 2.0], (2, 2))?;
/// let q = quantise(&w, FakeQuant::weight(Bounds::new(-1.0, 1.0), 2)?)?;
/// assert_eq!(q.levels, [0, 1, 2, 3]);
/// assert_eq!(q.shape, [2, 2]);
/// # Ok::<(), Error>(())
/// ```
pub fn quantise<S: Shape, T>(x: &Tensor<S, f32, Dev, T>, f: FakeQuant) -> Result<Quantised> {
    let shape = x.shape().concrete().into_iter().collect();
    quantise_values(&read(x), shape, f)
}

/// As [`quantise`], for row-major values of a `shape`.
///
/// # Errors
/// [`Error::Shape`] where the shape has another number of elements; [`Error::Invalid`] for more than 256
/// levels, for bounds as in [`FakeQuant::check`] and for NaN, which has no level.
pub fn quantise_values(values: &[f32], shape: Vec<usize>, f: FakeQuant) -> Result<Quantised> {
    f.check()?;
    let elements: usize = shape.iter().product();
    if elements != values.len() {
        return Err(Error::shape(
            "quantise",
            format!("{elements} elements for shape {shape:?}"),
            values.len(),
        ));
    }
    let highest = u8::try_from(f.levels).map_err(|_| {
        Error::invalid(
            format!("{} levels", f.levels as u64 + 1),
            "a level is kept in one byte: at most 8 bits",
        )
    })?;
    if let Some(i) = values.iter().position(|v| v.is_nan()) {
        return Err(Error::invalid(
            format!("element {i} is NaN"),
            "it has no level; look for a diverged layer",
        ));
    }
    Ok(Quantised {
        levels: values.iter().map(|&x| f.level(x) as u8).collect(),
        shape,
        highest,
        scale: f.scale,
        offset: f.offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fake_quant::FakeQuantKernel;
    use crate::ops::{buffer, cpu, wave};
    use crate::quant::Bounds;

    #[test]
    fn integers_stand_for_exactly_the_values_the_network_saw() {
        let x = wave(1000);
        for bits in 1..=8 {
            let bounds = Bounds::new(-0.7, 0.9);
            for f in [
                FakeQuant::weight(bounds, bits).unwrap(),
                FakeQuant::activation(bounds, bits).unwrap(),
                FakeQuant::dequantising(bounds, bits).unwrap(),
            ] {
                let mut y = buffer(&vec![0.0; 1000]);
                cpu().fake_quant_forward(&buffer(&x), f, &mut y).unwrap();
                let q = quantise_values(&x, vec![10, 100], f).unwrap();
                assert_eq!(q.values(), y.to_vec());
                assert_eq!(q.levels.iter().max(), Some(&q.highest));
            }
        }
    }

    #[test]
    fn what_has_no_level_is_refused() {
        let f = |bits| FakeQuant::weight(Bounds::new(-1.0, 1.0), bits).unwrap();
        let nan = quantise_values(&[0.0, f32::NAN], vec![2], f(2)).unwrap_err();
        assert!(nan.to_string().contains("element 1 is NaN"), "{nan}");
        assert!(quantise_values(&[0.0], vec![2], f(2)).is_err());
        let wide = quantise_values(&[0.0], vec![1], f(9)).unwrap_err();
        assert!(wide.to_string().contains("512 levels"), "{wide}");
    }
}
