//! What a notebook sees.

pub use crate::data::{self, Augment, Batches, Dataset, Normalize};
pub use crate::error::{Error, Result};
pub use crate::nn::{Conv, Mode, Net, NetBuilder, QuantSpec, resnet20};
pub use crate::ops::relu::Activation;
pub use crate::show::{
    self, Budget, LiveDisplay, Progress, Show, Table, budget, check_interrupt, display, progress,
    spread,
};
pub use crate::tensors::*;
pub use crate::train::{
    History, Observer, Schedule, TrainConfig, accuracy, train, train_with, try_accuracy, try_train,
};
pub use crate::{claim, finding};
pub use dfdx::prelude::{HasShape as _, SplitTape as _, Trace as _};
