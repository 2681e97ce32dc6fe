//! Smallest and largest of many numbers.

use crate::error::{Error, Result};
use crate::ops::parallel::wide;

/// Numbers that are compared side by side: lanes of registers, whose order does not matter.
const LANES: usize = 32;

/// Smallest and largest of `values`; none of no values. A zero among them is 0, not -0.
///
/// [`Error::Invalid`] for values that are not finite.
pub(super) fn ends(values: &[f32]) -> Result<Option<(f32, f32)>> {
    let Some(&start) = values.first() else {
        return Ok(None);
    };
    let (low, high, broken) = wide(
        #[inline(always)]
        || lanes(values, start),
    );
    if broken || low == f32::NEG_INFINITY || high == f32::INFINITY {
        check_finite(values)?;
    }
    Ok(Some((low + 0.0, high + 0.0)))
}

/// Smallest, largest, and whether a NaN is among the values; comparisons leave it out.
#[inline(always)]
fn lanes(values: &[f32], start: f32) -> (f32, f32, bool) {
    let (mut low, mut high, mut broken) = ([start; LANES], [start; LANES], [0u32; LANES]);
    let (parts, rest) = values.as_chunks::<LANES>();
    let mut see = |i: usize, v: f32| {
        low[i] = if v < low[i] { v } else { low[i] };
        high[i] = if v > high[i] { v } else { high[i] };
        broken[i] |= u32::from(v.is_nan());
    };
    for part in parts {
        for (i, v) in part.iter().enumerate() {
            see(i, *v);
        }
    }
    rest.iter().for_each(|v| see(0, *v));
    (
        low.into_iter().fold(start, f32::min),
        high.into_iter().fold(start, f32::max),
        broken.into_iter().any(|b| b > 0),
    )
}

/// Refuses values that no range covers.
pub(super) fn check_finite(values: &[f32]) -> Result<()> {
    let broken = values.iter().filter(|v| !v.is_finite()).count();
    if broken == 0 {
        return Ok(());
    }
    Err(Error::invalid(
        format!(
            "{broken} of {} observed values are not finite",
            values.len()
        ),
        "no range covers them; look for a diverged layer or an unnormalised input",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_found_at_every_place() -> Result<()> {
        assert_eq!(ends(&[])?, None);
        for len in [1, 2, 31, 32, 33, 100] {
            for at in 0..len {
                let mut values: Vec<f32> = (0..len).map(|i| (i % 7) as f32 / 8.0).collect();
                values[at] = -3.0;
                assert_eq!(ends(&values)?.map(|e| e.0), Some(-3.0), "{at} of {len}");
                values[at] = 5.0;
                assert_eq!(ends(&values)?.map(|e| e.1), Some(5.0), "{at} of {len}");
                for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[at] = odd;
                    let error = ends(&values).unwrap_err().to_string();
                    assert!(
                        error.contains(&format!("1 of {len}")),
                        "{odd} at {at}: {error}"
                    );
                }
            }
        }
        let zero = ends(&[-0.0; 40])?.unwrap();
        assert!(zero.0.is_sign_positive() && zero.1.is_sign_positive());
        Ok(())
    }
}
