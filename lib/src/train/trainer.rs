//! The training loop: schedule, interruption, progress, evaluation, checkpoint, resume.

use std::path::PathBuf;
use std::time::Instant;

use dfdx::prelude::Backward;

use super::resume::{self, Found, Same, Sums};
use super::view::{Shown, TrainingView};
use super::{EpochRecord, History, Loss, Observer, Optimiser, Schedule, Step, Task};
use crate::nn::Net;
use crate::show;
use crate::{Error, Result, read};

/// Runs a [`Task`].
///
/// Runs with the same settings and seed give the same numbers. An interruption ends the run after the current step with
/// [`Error::Interrupted`]; the network keeps what it has learned. With a [checkpoint](Self::checkpoint) the next call,
/// in this process or another, continues to the same bits that an uninterrupted run reaches: from the interrupted step,
/// or, after a kill, from the last state on disk. A loss that is not finite ends the run and says where.
pub struct Trainer<'a> {
    label: String,
    epochs: usize,
    optimiser: Box<dyn Optimiser + 'a>,
    observers: Vec<&'a mut dyn Observer>,
    schedule: Schedule,
    lr: f32,
    eval_every: usize,
    eval_steps: usize,
    checkpoint: Option<PathBuf>,
    checkpoint_steps: usize,
    same: Same,
    shown: Shown,
}

impl<'a> Trainer<'a> {
    /// A run of `epochs` epochs that shows its progress, evaluates after each and writes no checkpoint.
    pub fn new(epochs: usize, optimiser: impl Optimiser + 'a) -> Self {
        Trainer {
            label: "training".into(),
            epochs,
            optimiser: Box::new(optimiser),
            observers: Vec::new(),
            schedule: Schedule::Constant,
            lr: 1.0,
            eval_every: 1,
            eval_steps: 0,
            checkpoint: None,
            checkpoint_steps: 0,
            same: Same::default(),
            shown: Shown::Curves,
        }
    }

    /// Name shown beside the progress bar and in figures.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Course of all learning rates; `lr` is the one shown.
    pub fn schedule(mut self, schedule: Schedule, lr: f32) -> Self {
        (self.schedule, self.lr) = (schedule, lr);
        self
    }

    /// Something that looks at every step.
    pub fn observe(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observers.push(observer);
        self
    }

    /// Measures the score every so many epochs (and after the last), and within epochs every so many steps (0: never).
    pub fn evaluate(mut self, epochs: usize, steps: usize) -> Self {
        (self.eval_every, self.eval_steps) = (epochs, steps);
        self
    }

    /// Writes the run's state to `path` after each epoch and, unless 0, every so many steps; continues from it.
    /// `settings` is what two runs must agree on to be the same run, beside their data ([`Task::data`]).
    pub fn checkpoint(
        mut self,
        path: Option<PathBuf>,
        steps: usize,
        settings: impl Into<String>,
    ) -> Self {
        (self.checkpoint, self.checkpoint_steps) = (path, steps);
        self.same.settings = settings.into();
        self
    }

    /// How much of the run is shown: a bar or nothing by a `bool`.
    pub fn show(mut self, shown: impl Into<Shown>) -> Self {
        self.shown = shown.into();
        self
    }

    /// Trains.
    ///
    /// # Errors
    /// Settings or shapes that do not fit, files that cannot be read or written, interruption, a loss that is not
    /// finite, and whatever task and observers return.
    pub fn run(mut self, net: &Net, task: &mut dyn Task) -> Result<History> {
        let per_epoch = task.steps();
        if self.epochs == 0 || per_epoch == 0 || self.eval_every == 0 {
            let why = "epochs, steps of an epoch and epochs between scores must be at least 1";
            return Err(Error::invalid("train", why));
        }
        let total = per_epoch * self.epochs;
        if self.checkpoint.is_some() {
            self.same.data = task.data()?;
        }
        let mut run = self.found(net)?.unwrap_or_default();
        run.history.label = self.label.clone();
        let done = run.history.epochs.len() * per_epoch + run.sums.steps;
        let mut live = TrainingView::new(&self.label, &task.score_name(), total, done, self.shown);
        for epoch in run.history.epochs.len()..self.epochs {
            net.take_times();
            task.start(epoch, run.sums.steps)?;
            while run.sums.steps < per_epoch {
                let start = Instant::now();
                if let Err(stop) = show::check_interrupt() {
                    self.save(net, &run)?;
                    return Err(stop);
                }
                let step = Step {
                    iteration: epoch * per_epoch + run.sums.steps,
                    total,
                    per_epoch,
                };
                let loss = self.step(net, task, step, &mut run)?;
                run.sums.clock(start.elapsed(), net.take_times());
                let at = epoch as f32 + run.sums.steps as f32 / per_epoch as f32;
                live.step(step.iteration + 1, at, loss);
                let within = |every: usize| {
                    every > 0 && run.sums.steps < per_epoch && run.sums.steps.is_multiple_of(every)
                };
                if within(self.eval_steps)
                    && let Some(score) = task.score(net)?
                {
                    run.history.tests.push((at, score));
                    live.test(at, score);
                    net.take_times();
                }
                if within(self.checkpoint_steps) {
                    self.save(net, &run)?;
                }
            }
            let record = self.end_epoch(net, task, epoch, &mut run)?;
            live.epoch(&record);
            run.history.epochs.push(record);
            run.sums = Sums::default();
            self.save(net, &run)?;
        }
        live.finish();
        Ok(run.history)
    }

    /// One step; returns its loss.
    fn step(&mut self, net: &Net, task: &mut dyn Task, step: Step, run: &mut Found) -> Result<f32> {
        for observer in &mut self.observers {
            observer.before_step(step, net)?;
        }
        let Loss {
            value,
            samples,
            right,
            noted,
        } = task.loss(net, step)?;
        let loss = read(&value).first().copied().unwrap_or(f32::NAN);
        let factor = self.factor(step.progress(), &run.history);
        if !loss.is_finite() {
            return Err(Error::invalid(
                format!(
                    "the loss of step {} at learning rate {}",
                    step.iteration + 1,
                    self.lr * factor
                ),
                format!("is {loss}: the run diverged; lower the learning rate"),
            ));
        }
        let loss = noted.unwrap_or(loss);
        let mut grads = value.try_backward()?;
        self.optimiser.set_factor(factor);
        self.optimiser.step(&mut grads)?;
        for observer in &mut self.observers {
            observer.after_step(step, net, loss)?;
        }
        run.sums.add(loss, right, samples);
        Ok(loss)
    }

    fn end_epoch(
        &mut self,
        net: &Net,
        task: &mut dyn Task,
        epoch: usize,
        run: &mut Found,
    ) -> Result<EpochRecord> {
        let per_epoch = task.steps();
        let total = (per_epoch * self.epochs) as f32;
        let last = epoch + 1 == self.epochs;
        let measured = match last || (epoch + 1).is_multiple_of(self.eval_every) {
            true => task.score(net)?,
            false => None,
        };
        let end = ((epoch + 1) * per_epoch - 1) as f32 / total;
        let sums = &run.sums;
        let record = EpochRecord {
            epoch: epoch + 1,
            lr: self.lr * self.factor(end, &run.history),
            loss: sums.loss(),
            train_accuracy: sums.accuracy(),
            test_accuracy: measured,
            seconds: sums.seconds as f32,
            backward_seconds: sums.backward as f32,
            weight_grad_seconds: sums.weight_grad as f32,
        };
        if let Some(score) = measured {
            run.history.tests.push((record.epoch as f32, score));
        }
        for observer in &mut self.observers {
            observer.after_epoch(&record, net)?;
        }
        Ok(record)
    }

    fn factor(&self, progress: f32, history: &History) -> f32 {
        let scores: Vec<f32> = history.tests.iter().map(|(_, score)| *score).collect();
        self.schedule.factor_after(progress, &scores)
    }

    fn found(&mut self, net: &Net) -> Result<Option<Found>> {
        let Some(path) = &self.checkpoint else {
            return Ok(None);
        };
        let Some((found, states)) = resume::load(path, net, self.optimiser.as_mut(), &self.same)?
        else {
            return Ok(None);
        };
        for (observer, state) in self.observers.iter_mut().zip(&states) {
            observer.restore(state)?;
        }
        Ok(Some(found))
    }

    fn save(&self, net: &Net, run: &Found) -> Result<()> {
        let Some(path) = &self.checkpoint else {
            return Ok(());
        };
        let states = self.observers.iter().map(|o| o.save());
        let states = states.collect::<Result<Vec<_>>>()?;
        resume::save(path, net, self.optimiser.as_ref(), states, &self.same, run)
    }
}
