//! Accuracy on a data set.

use crate::data::{BatchPlan, ImageSource, Normalize};
use crate::nn::{Mode, Net};
use crate::{Error, HostAccess, Result};

/// Numbers of one inference batch: 500 images of 3x32x32.
const BATCH: usize = 500 * 3 * 32 * 32;

/// Refuses images that are not of the network's size.
pub(crate) fn check_extent(net: &Net, data: &dyn ImageSource) -> Result<()> {
    let [h, w, c] = net.lock().nodes[0].extent;
    let [dc, dh, dw] = data.extent();
    if [c, h, w] == [dc, dh, dw] {
        return Ok(());
    }
    Err(Error::shape(
        "images",
        format!("{c}x{h}x{w} for this network"),
        format!("{dc}x{dh}x{dw} in {}", data.name()),
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
        let mut inner = net.lock();
        let classes = inner.classes()?;
        let pass = inner.forward(&images, Mode::Eval, false)?;
        right += count_right(&pass.output(inner.output).view()?, classes, &labels);
        inner.recycle(pass);
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
    let best = |row: &[f32]| {
        (0..classes)
            .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap_or(0)
    };
    logits
        .chunks_exact(classes)
        .zip(labels)
        .filter(|(row, label)| best(row) == **label as usize)
        .count()
}
