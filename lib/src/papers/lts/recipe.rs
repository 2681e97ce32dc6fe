//! The settings of the authors' own runs.

use super::{Ends, LtsConfig};
use crate::data::Normalize;
use crate::train::{BoundRule, Schedule, TrainConfig};

/// Settings of a run at the paper's size: what the budget `full` uses.
///
/// | | code of 2023 | code of 2022 |
/// |---|---|---|
/// | CIFAR, ResNet-20 | [`Recipe::cifar`] | [`Recipe::cifar_2022`] |
/// | ImageNet | [`Recipe::imagenet`] | [`Recipe::imagenet_2022`] |
///
/// Every recipe trains 2-bit networks with the linear threshold; the memory of the distance suits the length
/// of the run (100 of 156,000 iterations for CIFAR, 10,000 of 500,000 for ImageNet).
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Training.
    pub train: TrainConfig,
    /// Freezing.
    pub lts: LtsConfig,
}

impl Recipe {
    /// 400 epochs at batch 128, SGD 0.1 divided by ten at 100, 200 and 300, Adam 1e-4 for bounds, 80 epochs of
    /// warm-up, distance memory 0.99.
    pub fn cifar() -> Self {
        Recipe {
            train: TrainConfig {
                label: "LTS".into(),
                epochs: 400,
                ..TrainConfig::default()
            },
            lts: LtsConfig {
                ema: 0.99,
                ..LtsConfig::default()
            },
        }
    }

    /// 100 epochs at batch 256, SGD 0.1 divided by ten at 30, 60 and 90, 20 epochs of warm-up, distance memory
    /// 0.9999.
    pub fn imagenet() -> Self {
        Recipe {
            train: TrainConfig {
                epochs: 100,
                batch_size: 256,
                schedule: Schedule::Steps {
                    factor: 0.1,
                    at: vec![0.3, 0.6, 0.9],
                },
                normalize: Normalize::IMAGENET,
                ..Recipe::cifar().train
            },
            lts: LtsConfig {
                ema: 0.9999,
                ..LtsConfig::default()
            },
        }
    }

    /// As [`Recipe::cifar`] at batch 256 without the last, smaller batch, fixed weight scales, SGD 1e-2 for input
    /// scales, batch norm without momentum and weight decay, no memory of the distance.
    pub fn cifar_2022() -> Self {
        Recipe {
            train: TrainConfig {
                batch_size: 256,
                drop_last: true,
                bound_lr: 1e-2,
                bound_rule: BoundRule::Sgd,
                plain_norm: true,
                ..Recipe::cifar().train
            },
            lts: LtsConfig {
                ema: 0.0,
                ..LtsConfig::code_2022()
            },
        }
    }

    /// 100 epochs, SGD 1e-2 divided by five at 20, 40, 60 and 80, weight decay 5e-4, 16 epochs of warm-up, first
    /// and last layer in full precision. The authors take 256 images on each of four devices, 1,024 a step.
    pub fn imagenet_2022() -> Self {
        Recipe {
            train: TrainConfig {
                batch_size: 1024,
                lr: 1e-2,
                weight_decay: 5e-4,
                schedule: Schedule::Steps {
                    factor: 0.2,
                    at: vec![0.2, 0.4, 0.6, 0.8],
                },
                bound_lr: 1e-2,
                bound_rule: BoundRule::Sgd,
                plain_norm: true,
                ..Recipe::imagenet().train
            },
            lts: LtsConfig {
                ema: 0.9999,
                warmup: 0.16,
                ends: Ends::FullPrecision,
                ..LtsConfig::code_2022()
            },
        }
    }
}
