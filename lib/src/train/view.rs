//! What a running training shows.

use super::EpochRecord;

/// Progress of a run: a bar and a loss curve in a notebook, a bar in a terminal, lines in a file.
pub(crate) struct TrainingView {
    label: String,
    on: bool,
}

impl TrainingView {
    pub fn new(label: &str, _total: usize, on: bool) -> Self {
        TrainingView {
            label: label.into(),
            on,
        }
    }

    pub fn step(&mut self, _done: usize, _epoch: f32, _loss: f32) {}

    pub fn epoch(&mut self, r: &EpochRecord) {
        if self.on {
            println!(
                "{}: epoch {:>3}  loss {:.4}  train {:.2} %  test {}  lr {:.5}  {:.1} s",
                self.label,
                r.epoch,
                r.loss,
                r.train_accuracy,
                r.test_accuracy.map_or("-".into(), |a| format!("{a:.2} %")),
                r.lr,
                r.seconds,
            );
        }
    }

    pub fn finish(self) {}
}
