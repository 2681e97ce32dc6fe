//! The training loop.

use std::collections::HashMap;

use super::evaluate::{check_extent, count_right, try_accuracy};
use super::resume::{self, Sums};
use super::view::TrainingView;
use super::{EpochRecord, History, Optimiser, TrainConfig};
use crate::data::{BatchPlan, ImageSource};
use crate::nn::{Mode, Net};
use crate::ops::cross_entropy::CrossEntropyKernel;
use crate::show;
use crate::{HostAccess, Result, dev};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps done before this one.
    pub iteration: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// Steps of an epoch.
    pub per_epoch: usize,
}

/// Looks at every step of a run; papers put their rules here.
pub trait Observer {
    /// Before the forward pass of a step.
    fn before_step(&mut self, _step: Step, _net: &Net) -> Result<()> {
        Ok(())
    }

    /// After the optimiser's update.
    fn after_step(&mut self, _step: Step, _net: &Net, _loss: f32) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its evaluation.
    fn after_epoch(&mut self, _record: &EpochRecord, _net: &Net) -> Result<()> {
        Ok(())
    }

    /// State that a checkpoint must hold.
    fn save(&self) -> Vec<(String, Vec<f32>)> {
        Vec::new()
    }

    /// Takes the state of a checkpoint back.
    fn restore(&mut self, _state: &HashMap<String, Vec<f32>>) -> Result<()> {
        Ok(())
    }
}

/// An observer that only watches.
struct Nobody;
impl Observer for Nobody {}

/// Trains `net` on `train_set`, measuring on `test_set`.
///
/// Runs with the same settings and seed give the same numbers. An interruption ends the run after the
/// current step with [`crate::Error::Interrupted`]; the network keeps what it has learned. With
/// [`TrainConfig::checkpoint`] the next call, in this process or another, continues to the same bits that an
/// uninterrupted run reaches: from the interrupted step, or, after a kill, from the last state on disk (the end
/// of an epoch, or a multiple of [`TrainConfig::checkpoint_steps`]).
///
/// # Errors
/// Settings or shapes that do not fit, files that cannot be read or written, interruption.
pub fn try_train(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    config: &TrainConfig,
) -> Result<History> {
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
    let mut batches = BatchPlan::new(config.batch_size)
        .normalized(config.normalize)
        .shuffled(config.seed);
    if let Some(augment) = config.augment {
        batches = batches.augmented(augment);
    }
    if config.drop_last {
        batches = batches.drop_last();
    }
    check_extent(net, train_set)?;
    let per_epoch = batches.len(train_set.len());
    let total = per_epoch * config.epochs;
    let mut optimiser = Optimiser::new(net, config);
    let mut history = History {
        label: config.label.clone(),
        ..History::default()
    };
    let mut sums = Sums::default();
    if let Some(path) = &config.checkpoint
        && let Some(found) = resume::load(path, net, &mut optimiser, config)?
    {
        history = History {
            label: history.label,
            ..found.history
        };
        sums = found.sums;
        observer.restore(&found.observer)?;
    }
    let done = history.epochs.len() * per_epoch + sums.steps;
    let mut live = TrainingView::new(&config.label, total, done, config.show);
    let mut images = Vec::new();
    for epoch in history.epochs.len()..config.epochs {
        net.take_times();
        let mut batch = batches.epoch(train_set, epoch as u64);
        batch.skip_batches(sums.steps);
        loop {
            let start = std::time::Instant::now();
            let Some(labels) = batch.try_fill(&mut images)? else {
                break;
            };
            if let Err(stop) = show::check_interrupt() {
                if let Some(path) = &config.checkpoint {
                    let state = observer.save();
                    resume::save(path, net, &optimiser, state, config, &history, &sums)?;
                }
                return Err(stop);
            }
            let iteration = epoch * per_epoch + sums.steps;
            let step = Step {
                iteration,
                total,
                per_epoch,
            };
            observer.before_step(step, net)?;
            let (loss, right) = step_once(net, &images, &labels, config.label_smoothing)?;
            let factor = config.schedule.factor(iteration as f32 / total as f32);
            optimiser.update(net, factor)?;
            observer.after_step(step, net, loss)?;
            sums.add(loss, right, labels.len());
            sums.clock(start.elapsed(), net.take_times());
            let at = epoch as f32 + sums.steps as f32 / per_epoch as f32;
            live.step(iteration + 1, at, loss);
            if config.eval_steps > 0
                && sums.steps < per_epoch
                && sums.steps.is_multiple_of(config.eval_steps)
                && !test_set.is_empty()
            {
                let accuracy = try_accuracy(net, test_set, &config.normalize)?;
                history.tests.push((at, accuracy));
                live.test(at, accuracy);
                net.take_times();
            }
            if let Some(path) = &config.checkpoint
                && config.checkpoint_steps > 0
                && sums.steps < per_epoch
                && sums.steps.is_multiple_of(config.checkpoint_steps)
            {
                let state = observer.save();
                resume::save(path, net, &optimiser, state, config, &history, &sums)?;
            }
        }
        let last = epoch + 1 == config.epochs;
        let measure = !test_set.is_empty() && (last || (epoch + 1) % config.eval_every == 0);
        let record = EpochRecord {
            epoch: epoch + 1,
            lr: config.lr
                * config
                    .schedule
                    .factor(((epoch + 1) * per_epoch - 1) as f32 / total as f32),
            loss: sums.loss(),
            train_accuracy: sums.accuracy(),
            test_accuracy: if measure {
                Some(try_accuracy(net, test_set, &config.normalize)?)
            } else {
                None
            },
            seconds: sums.seconds as f32,
            backward_seconds: sums.backward as f32,
            weight_grad_seconds: sums.weight_grad as f32,
        };
        if let Some(accuracy) = record.test_accuracy {
            history.tests.push((record.epoch as f32, accuracy));
        }
        observer.after_epoch(&record, net)?;
        live.epoch(&record);
        history.epochs.push(record);
        sums = Sums::default();
        if let Some(path) = &config.checkpoint {
            let state = observer.save();
            resume::save(path, net, &optimiser, state, config, &history, &sums)?;
        }
    }
    live.finish();
    Ok(history)
}

/// Forward and backward pass; returns the loss and how many samples were right.
fn step_once(net: &Net, images: &[f32], labels: &[u32], smoothing: f32) -> Result<(f32, usize)> {
    let mut inner = net.lock();
    let classes = inner.classes()?;
    let pass = inner.forward(images, Mode::Train, true)?;
    let mut dy = inner.pool.take(labels.len() * classes)?;
    let logits = pass.output(inner.output);
    let loss = dev().cross_entropy(
        labels.len(),
        classes,
        logits,
        labels,
        smoothing,
        Some(&mut dy),
    )?;
    let right = count_right(&logits.view()?, classes, labels);
    inner.backward(pass, dy, false)?;
    Ok((loss, right))
}
