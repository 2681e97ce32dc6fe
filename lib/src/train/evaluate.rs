//! Accuracy on a data set.

use dfdx::prelude::HasShape;

use crate::data::{BatchPlan, ImageSource, Normalize};
use crate::nn::{Extent, Net};
use crate::{Error, Result, read};

/// Numbers of one inference batch: 500 images of 3x32x32.
const BATCH: usize = 500 * 3 * 32 * 32;

/// Refuses images that are not of the network's size.
pub(crate) fn check_extent(net: &Net, data: &dyn ImageSource) -> Result<()> {
    let expected = net.input_extent();
    let [channels, height, width] = data.extent();
    let found = Extent::new(channels, height, width);
    if found == expected {
        return Ok(());
    }
    Err(Error::shape(
        "images",
        format!("{expected} for this network"),
        format!("{found} in {}", data.name()),
    ))
}

/// Top-1 accuracy in percent, in inference mode.
///
/// # Errors
/// [`Error::Shape`] when images or classes do not fit the network; [`Error::Interrupted`].
pub fn try_accuracy(net: &Net, data: &dyn ImageSource, normalize: &Normalize) -> Result<f32> {
    if data.is_empty() {
        return Err(Error::invalid(
            format!("accuracy on {}", data.name()),
            "the data set is empty",
        ));
    }
    check_extent(net, data)?;
    let batch = BATCH / data.extent().iter().product::<usize>().max(1);
    let mut right = 0;
    let mut images = Vec::new();
    let mut epoch = BatchPlan::new(batch.max(1))
        .normalized(*normalize)
        .epoch(data, 0);
    while let Some(labels) = epoch.try_fill(&mut images)? {
        crate::show::check_interrupt()?;
        let logits = net.predict_channels_last(&images, net.input_extent())?;
        right += count_right(&read(&logits), logits.shape().1, &labels);
    }
    Ok(100.0 * right as f32 / data.len() as f32)
}

/// Top-1 accuracy in percent, in inference mode.
///
/// # Panics
/// Where [`try_accuracy`] returns an error.
pub fn accuracy(net: &Net, data: &dyn ImageSource, normalize: &Normalize) -> f32 {
    try_accuracy(net, data, normalize).unwrap_or_else(|e| panic!("{e}"))
}

/// How many rows of `logits` have their maximum at the label.
pub(crate) fn count_right(logits: &[f32], classes: usize, labels: &[u32]) -> usize {
    let answers = top1(logits, classes);
    answers.iter().zip(labels).filter(|(a, l)| a == l).count()
}

/// The class of the largest logit of each row.
///
/// ```
/// assert_eq!(rebit::train::top1(&[0.1, 0.9, 2.0, -1.0], 2), [1, 0]);
/// ```
pub fn top1(logits: &[f32], classes: usize) -> Vec<u32> {
    let best = |row: &[f32]| (0..classes).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let rows = logits.chunks_exact(classes.max(1));
    rows.map(|row| best(row).unwrap_or(0) as u32).collect()
}
