//! The mean features of each class over the images that are finished.

use crate::{Error, Result};

/// Sums of features by class.
///
/// ```
/// use rebit::papers::intraq::Centres;
/// let mut centres = Centres::default();
/// centres.add(&[1.0, 3.0, 3.0, 5.0], &[7, 7])?;
/// assert_eq!(centres.of(7), Some(vec![2.0, 4.0]));
/// assert_eq!(centres.of(0), None);
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Centres {
    /// By class: the sum, and of how many images.
    sums: Vec<(Vec<f64>, usize)>,
}

impl Centres {
    /// Adds the features of images, a row each.
    ///
    /// # Errors
    /// [`Error::Shape`] when the rows do not divide the numbers, or are of another length than earlier ones.
    pub fn add(&mut self, features: &[f32], labels: &[u32]) -> Result<()> {
        let width = features.len() / labels.len().max(1);
        let known = self.sums.iter().find(|(_, count)| *count > 0);
        let fits = known.is_none_or(|(sum, _)| sum.len() == width);
        if width * labels.len() != features.len() || !fits {
            let expected = match known {
                Some((sum, _)) => format!("{} rows of {} numbers", labels.len(), sum.len()),
                None => format!("{} rows", labels.len()),
            };
            let found = format!("{} numbers", features.len());
            return Err(Error::shape("centres", expected, found));
        }
        for (row, label) in features.chunks_exact(width.max(1)).zip(labels) {
            let class = *label as usize;
            if self.sums.len() <= class {
                self.sums.resize(class + 1, (Vec::new(), 0));
            }
            let (sum, count) = &mut self.sums[class];
            sum.resize(width, 0.0);
            sum.iter_mut()
                .zip(row)
                .for_each(|(s, f)| *s += f64::from(*f));
            *count += 1;
        }
        Ok(())
    }

    /// The centre of a class; none before its first image.
    pub fn of(&self, class: u32) -> Option<Vec<f32>> {
        let (sum, count) = self.sums.get(class as usize)?;
        let mean = |s: &f64| (s / *count as f64) as f32;
        (*count > 0).then(|| sum.iter().map(mean).collect())
    }
}
