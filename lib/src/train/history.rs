//! What a training run reports, epoch by epoch.

use serde::{Deserialize, Serialize};

/// One epoch of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Learning rate at its end.
    pub lr: f32,
    /// Mean training loss.
    pub loss: f32,
    /// Training accuracy in percent, on augmented images, while the weights moved.
    pub train_accuracy: f32,
    /// Test accuracy in percent, when it was measured.
    pub test_accuracy: Option<f32>,
    /// Wall-clock of the training steps in seconds.
    pub seconds: f32,
    /// Backward passes among them.
    pub backward_seconds: f32,
    /// Weight gradients among the backward passes.
    pub weight_grad_seconds: f32,
}

/// The epochs of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Name of the run.
    pub label: String,
    /// One record an epoch.
    pub epochs: Vec<EpochRecord>,
    /// Every measurement on test images: epochs passed (a fraction within one) and accuracy in percent.
    #[serde(default)]
    pub tests: Vec<(f32, f32)>,
}

impl History {
    /// Test accuracy after the last epoch, in percent.
    pub fn final_accuracy(&self) -> f32 {
        self.epochs
            .iter()
            .rev()
            .find_map(|e| e.test_accuracy)
            .unwrap_or(f32::NAN)
    }

    /// Best test accuracy of any epoch, in percent: what the LTS code reports.
    pub fn best_accuracy(&self) -> f32 {
        self.epochs
            .iter()
            .filter_map(|e| e.test_accuracy)
            .fold(f32::NAN, f32::max)
    }

    /// Mean test accuracy of the last `n` measurements, in percent: steadier than the best.
    pub fn mean_accuracy(&self, n: usize) -> f32 {
        let last: Vec<f32> = self
            .epochs
            .iter()
            .rev()
            .filter_map(|e| e.test_accuracy)
            .take(n)
            .collect();
        last.iter().sum::<f32>() / last.len() as f32
    }

    /// Seconds spent in training steps.
    pub fn seconds(&self) -> f32 {
        self.epochs.iter().map(|e| e.seconds).sum()
    }

    /// Epochs passed and test accuracies, for a figure.
    pub fn test_curve(&self) -> (Vec<f64>, Vec<f64>) {
        self.tests
            .iter()
            .map(|(epoch, accuracy)| (f64::from(*epoch), f64::from(*accuracy)))
            .unzip()
    }

    /// Epoch numbers and training losses, for a figure.
    pub fn loss_curve(&self) -> (Vec<f64>, Vec<f64>) {
        self.epochs
            .iter()
            .map(|e| (e.epoch as f64, f64::from(e.loss)))
            .unzip()
    }
}
