//! Features on a plane, neighbours beside neighbours.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::rows;
use crate::error::{Error, Result};
use crate::tensors::{Matrix, Rng, from_vec};

/// Settings of [`tsne`].
#[derive(Clone, Debug, PartialEq)]
pub struct TsneConfig {
    /// About how many neighbours each row has; 5 to 50, and less than a third of the rows.
    pub perplexity: f32,
    /// Steps of gradient descent.
    pub steps: usize,
    /// How coarsely far rows are taken together, above 0; larger is quicker and less exact.
    pub theta: f32,
}

impl Default for TsneConfig {
    /// Perplexity 30, 1000 steps, theta 1/2.
    fn default() -> Self {
        TsneConfig {
            perplexity: 30.0,
            steps: 1000,
            theta: 0.5,
        }
    }
}

/// A map of rows on a plane, `(rows, 2)`, in which near rows lie near each other: t-SNE by Euclidean distance.
///
/// Distances between groups, and the sizes of groups, say nothing. The start is drawn from `rng`.
///
/// Source: van der Maaten, "Accelerating t-SNE using Tree-Based Algorithms", JMLR 15, 2014; computed by the crate
/// `bhtsne`.
///
/// ```
/// use rebit::metrics::{TsneConfig, tsne};
/// use rebit::prelude::*;
/// let features = randn(40, 8, &mut rng(0));
/// let config = TsneConfig { perplexity: 5.0, steps: 50, ..TsneConfig::default() };
/// assert_eq!(*tsne(&features, &config, &mut rng(1))?.shape(), (40, 2));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for numbers that are not finite, fewer than 4 rows, and settings outside their ranges.
pub fn tsne(features: &Matrix, config: &TsneConfig, rng: &mut Rng) -> Result<Matrix> {
    let (values, n, d) = rows("tsne", features)?;
    let TsneConfig {
        perplexity,
        steps,
        theta,
    } = *config;
    // The library takes three times as many neighbours, without the row itself.
    if !(perplexity >= 1.0 && 3.0 * perplexity < n as f32) {
        return Err(Error::invalid(
            format!("perplexity {perplexity} of {n} rows"),
            "must be at least 1 and less than a third of the rows",
        ));
    }
    if steps == 0 || !(theta > 0.0 && theta.is_finite()) {
        return Err(Error::invalid(
            format!("t-SNE with {steps} steps and theta {theta}"),
            "both must be above 0",
        ));
    }
    let start: Vec<f32> = (0..2 * n)
        .map(|_| 1e-4 * rng.sample::<f32, _>(StandardNormal))
        .collect();
    let samples: Vec<&[f32]> = values.chunks_exact(d).collect();
    let mut map = bhtsne::tSNE::<f32, &[f32], 2>::new(&samples);
    map.perplexity(perplexity)
        .epochs(steps)
        .initial_embedding(start)
        .barnes_hut(theta, |a, b| {
            let squares = a.iter().zip(b.iter()).map(|(a, b)| (a - b) * (a - b));
            squares.sum::<f32>().sqrt()
        });
    from_vec(map.embedding(), (n, 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::silhouette;
    use crate::tensors::{randn, read, rng};

    #[test]
    fn groups_that_lie_apart_stay_apart() {
        let mut values = read(&randn(90, 10, &mut rng(1)));
        let labels: Vec<u32> = (0..90).map(|k| k % 3).collect();
        for (row, &label) in values.chunks_exact_mut(10).zip(&labels) {
            row[label as usize] += 12.0;
        }
        let features: Matrix = from_vec(values, (90, 10)).unwrap();
        let config = TsneConfig {
            perplexity: 10.0,
            steps: 400,
            ..TsneConfig::default()
        };
        let map = tsne(&features, &config, &mut rng(2)).unwrap();
        let found = silhouette(&map, &labels).unwrap();
        assert!(found > 0.6, "{found}");
    }

    #[test]
    fn settings_and_features_that_give_no_map_are_refused() {
        let x = randn(20, 3, &mut rng(0));
        let with = |perplexity: f32, steps: usize, theta: f32| TsneConfig {
            perplexity,
            steps,
            theta,
        };
        for config in [
            with(0.0, 10, 0.5),
            with(f32::NAN, 10, 0.5),
            with(7.0, 10, 0.5),
            with(5.0, 0, 0.5),
            with(5.0, 10, 0.0),
            with(5.0, 10, f32::INFINITY),
        ] {
            assert!(tsne(&x, &config, &mut rng(0)).is_err(), "{config:?}");
        }
        let default = TsneConfig::default();
        let error = tsne(&x, &default, &mut rng(0)).unwrap_err().to_string();
        assert!(error.contains("perplexity 30 of 20 rows"), "{error}");
        let empty: Matrix = from_vec(vec![], (0, 3)).unwrap();
        assert!(tsne(&empty, &default, &mut rng(0)).is_err());
        // As many rows as the perplexity asks for at least.
        assert!(tsne(&randn(4, 3, &mut rng(0)), &with(1.0, 5, 0.5), &mut rng(0)).is_ok());
        assert!(tsne(&randn(16, 3, &mut rng(0)), &with(5.0, 5, 0.5), &mut rng(0)).is_ok());
    }
}
