//! Training a classifier on labelled images.

use super::evaluate::{check_extent, count_right, try_accuracy};
use super::{
    Adam, BoundRule, Groups, History, Loss, Observer, Sgd, Shown, Step, Task, TrainConfig, Trainer,
};
use crate::data::{BatchPlan, Epoch, ImageSource, Normalize, images_fingerprint};
use crate::nn::{CrossEntropy, Mode, Net, Role};
use crate::{Error, Result};

/// Cross entropy on a training set, top-1 accuracy on a test set.
struct Classify<'a> {
    plan: BatchPlan,
    train: &'a dyn ImageSource,
    test: &'a dyn ImageSource,
    normalize: Normalize,
    smoothing: f32,
    epoch: Option<Epoch<'a>>,
    images: Vec<f32>,
}

impl Task for Classify<'_> {
    fn steps(&self) -> usize {
        self.plan.len(self.train.len())
    }

    fn start(&mut self, epoch: usize, step: usize) -> Result<()> {
        let mut batches = self.plan.epoch(self.train, epoch as u64);
        batches.skip_batches(step);
        self.epoch = Some(batches);
        Ok(())
    }

    fn loss(&mut self, net: &Net, _: Step) -> Result<Loss> {
        let epoch = self.epoch.as_mut();
        let filled = epoch.map(|e| e.try_fill(&mut self.images)).transpose()?;
        let Some(labels) = filled.flatten() else {
            return Err(Error::invalid(
                "train",
                "an epoch has fewer batches than said",
            ));
        };
        let mut out = net.run_channels_last(&self.images, net.input_extent(), Mode::Train)?;
        let name = net.output_name();
        let logits = out.channels_last(&name)?;
        let right = count_right(&logits, net.output_extent().channels, &labels);
        let samples = labels.len();
        Ok(Loss {
            value: out.loss(&name, CrossEntropy::new(labels, self.smoothing))?,
            samples,
            right: Some(right),
            noted: None,
        })
    }

    fn score(&mut self, net: &Net) -> Result<Option<f32>> {
        match self.test.is_empty() {
            true => Ok(None),
            false => try_accuracy(net, self.test, &self.normalize).map(Some),
        }
    }

    fn score_name(&self) -> String {
        "accuracy on test images, %".into()
    }

    fn data(&self) -> Result<String> {
        let train = images_fingerprint(self.train, &self.normalize)?;
        let test = images_fingerprint(self.test, &self.normalize)?;
        Ok(format!("train {train}, test {test}"))
    }
}

/// The optimiser of these settings: SGD, with rules of their own for the ranges of quantisers and perhaps batch norm.
///
/// # Errors
/// When memory cannot be had.
pub fn optimiser(net: &Net, config: &TrainConfig) -> Result<Groups> {
    let sgd = match config.nesterov {
        true => Sgd::new(config.lr).nesterov(config.momentum),
        false => Sgd::new(config.lr).momentum(config.momentum),
    };
    let groups = sgd.decay(config.weight_decay).over(net)?;
    let groups = match config.bound_rule {
        BoundRule::Adam => groups.group(Role::Bound, Adam::new(config.bound_lr)),
        BoundRule::Sgd => groups.group(Role::Bound, Sgd::new(config.bound_lr)),
    };
    Ok(match config.plain_norm {
        true => groups.group(Role::Norm, Sgd::new(config.lr)),
        false => groups,
    })
}

/// Trains `net` on `train_set`, measuring on `test_set`: a [`Trainer`] with the settings of `config`.
///
/// # Errors
/// As [`Trainer::run`].
pub fn try_train(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    config: &TrainConfig,
) -> Result<History> {
    struct Nobody;
    impl Observer for Nobody {}
    train_with(net, train_set, test_set, config, &mut Nobody)
}

/// Trains `net` on `train_set`, measuring on `test_set`.
///
/// # Panics
/// Where [`try_train`] returns an error.
pub fn train(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    config: &TrainConfig,
) -> History {
    try_train(net, train_set, test_set, config).unwrap_or_else(|e| panic!("{e}"))
}

/// [`try_train`] with an observer.
///
/// # Errors
/// As [`try_train`], and whatever the observer returns.
pub fn train_with(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    config: &TrainConfig,
    observer: &mut dyn Observer,
) -> Result<History> {
    config.check(train_set.len())?;
    check_extent(net, train_set)?;
    let mut plan = BatchPlan::new(config.batch_size)
        .normalized(config.normalize)
        .shuffled(config.seed);
    if let Some(augment) = config.augment {
        plan = plan.augmented(augment);
    }
    if config.drop_last {
        plan = plan.drop_last();
    }
    let mut task = Classify {
        plan,
        train: train_set,
        test: test_set,
        normalize: config.normalize,
        smoothing: config.label_smoothing,
        epoch: None,
        images: Vec::new(),
    };
    Trainer::new(config.epochs, optimiser(net, config)?)
        .label(&config.label)
        .schedule(config.schedule.clone(), config.lr)
        .observe(observer)
        .evaluate(config.eval_every, config.eval_steps)
        .checkpoint(
            config.checkpoint.clone(),
            config.checkpoint_steps,
            config.fingerprint()?,
        )
        .show(match config.show {
            true => Shown::Curves,
            false => Shown::Nothing,
        })
        .run(net, &mut task)
}
