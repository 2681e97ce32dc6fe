//! What a running training shows: a bar with rate and remaining time, and curves that grow.

use super::EpochRecord;
use crate::plot::LiveFigure;
use crate::show::{Place, Progress, place};

/// Points of the loss curve of a whole run.
const POINTS: usize = 300;
/// Memory of the smoothed loss.
const SMOOTHING: f32 = 0.95;

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A bar: for one of many runs.
    Progress,
    /// A bar and, in a notebook, curves that grow.
    Curves,
}

impl From<bool> for Shown {
    /// A bar, or nothing.
    fn from(show: bool) -> Self {
        match show {
            true => Shown::Progress,
            false => Shown::Nothing,
        }
    }
}

/// Progress of a run: a bar and curves in a notebook, a bar and a line an epoch elsewhere.
pub(crate) struct TrainingView {
    label: String,
    face: Option<Face>,
}

struct Face {
    progress: Progress,
    /// In a notebook only: a terminal gets lines.
    curves: Option<LiveFigure>,
    every: usize,
    loss: Option<f32>,
}

impl TrainingView {
    /// A view of `total` steps, of which `done` lie behind.
    pub fn new(label: &str, score: &str, total: usize, done: usize, shown: Shown) -> Self {
        let face = (shown != Shown::Nothing).then(|| {
            let mut progress = Progress::new(label, Some(total as u64));
            if done > 0 {
                progress.set(done as u64);
            }
            let drawn = shown == Shown::Curves && !matches!(place(), Place::Text);
            let curves = drawn.then(|| {
                LiveFigure::new(format!("{label}: loss"))
                    .with_panel(score)
                    .x("epoch")
            });
            Face {
                progress,
                curves,
                every: total.div_ceil(POINTS),
                loss: None,
            }
        });
        TrainingView {
            label: label.into(),
            face,
        }
    }

    /// After step number `done`, at `epoch` (a fraction), with the loss of its batch.
    pub fn step(&mut self, done: usize, epoch: f32, loss: f32) {
        let Some(face) = &mut self.face else { return };
        let smooth = face
            .loss
            .map_or(loss, |s| SMOOTHING * s + (1.0 - SMOOTHING) * loss);
        face.loss = Some(smooth);
        face.progress.message(format!("loss {smooth:.3}"));
        face.progress.set(done as u64);
        if let Some(curves) = &mut face.curves
            && done.is_multiple_of(face.every)
        {
            curves.push("training, smoothed", epoch, smooth);
        }
    }

    /// After a measurement within an epoch.
    pub fn test(&mut self, epoch: f32, accuracy: f32) {
        let Some(face) = &mut self.face else { return };
        match &mut face.curves {
            Some(curves) => curves.push_to(1, "test", epoch, accuracy),
            None => {
                let loss = face.loss.unwrap_or(f32::NAN);
                println!(
                    "{}: after {epoch:.2} epochs  loss {loss:.4}  test {accuracy:.3}",
                    self.label
                );
            }
        }
    }

    /// After an epoch.
    pub fn epoch(&mut self, r: &EpochRecord) {
        let Some(face) = &mut self.face else { return };
        match (&mut face.curves, r.test_accuracy) {
            (Some(curves), Some(accuracy)) => curves.push_to(1, "test", r.epoch as f32, accuracy),
            (Some(_), None) => {}
            (None, test) => {
                let test = test.map_or("-".into(), |a| format!("{a:.2}"));
                let EpochRecord {
                    epoch,
                    loss,
                    train_accuracy,
                    lr,
                    seconds,
                    ..
                } = r;
                let train = match train_accuracy.is_nan() {
                    true => String::new(),
                    false => format!("  train {train_accuracy:.2} %"),
                };
                println!(
                    "{}: epoch {epoch:>3}  loss {loss:.4}{train}  test {test}  lr {lr:.5}  {seconds:.1} s",
                    self.label
                );
            }
        }
    }

    /// After the last epoch.
    pub fn finish(self) {
        if let Some(mut face) = self.face {
            face.progress.finish();
            if let Some(mut curves) = face.curves {
                curves.finish();
            }
        }
    }
}
