//! The low-bit copies: what they are trained on, and their steps.

use dfdx::prelude::Backward;

use super::FddaConfig;
use super::centres::check_labels;
use crate::data::{Augment, FloatImages, ImageSource, Normalize, epoch_order, images_from_nhwc};
use crate::nn::{Mode, Net, StateTensor};
use crate::ptq::{StudentRun, student, student_loss};
use crate::train::{Groups, Optimiser, Sgd, try_accuracy};
use crate::{Error, Images, Matrix, Result, Rng, read};

/// The images that were given, and their pixels' constants.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub images: &'a dyn ImageSource,
    pub normalize: &'a Normalize,
}

impl Given<'_> {
    /// Batch `number` of passes over the images, each in an order of its own: no image comes twice before all came once.
    pub fn batch(
        &self,
        (number, size): (usize, usize),
        seed: u64,
        augment: Option<(&Augment, &mut Rng)>,
    ) -> Result<Batch> {
        let count = self.images.len();
        if count == 0 {
            return Err(Error::invalid(
                format!("calibration images in {}", self.images.name()),
                "there is none",
            ));
        }
        let mut order = (0, epoch_order(count, seed, 0));
        let mut indices = Vec::with_capacity(size);
        for place in number * size..(number + 1) * size {
            let pass = place / count;
            if order.0 != pass {
                order = (pass, epoch_order(count, seed, pass as u64));
            }
            indices.push(order.1[place % count]);
        }
        let each: usize = self.images.extent().iter().product();
        let mut values = vec![0.0; size * each];
        let labels = self
            .images
            .fill(&indices, augment, self.normalize, &mut values)?;
        Ok(Batch { values, labels })
    }
}

/// Images in `(N, H, W, C)` order and their classes.
#[derive(Default)]
pub(super) struct Batch {
    pub values: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Batch {
    /// Generated images, changed at random.
    pub fn generated(
        x: &Images,
        labels: &[u32],
        augment: Option<(&Augment, &mut Rng)>,
    ) -> Result<Self> {
        let source = FloatImages::new("generated", x, labels.to_vec())?;
        let indices: Vec<usize> = (0..labels.len()).collect();
        let mut values = vec![0.0; read(x).len()];
        let labels = source.fill(&indices, augment, &Normalize::UNIT, &mut values)?;
        Ok(Batch { values, labels })
    }

    /// These, and others behind them.
    pub fn and(mut self, other: Batch) -> Self {
        self.values.extend(other.values);
        self.labels.extend(other.labels);
        self
    }

    /// As a tensor.
    pub fn images(&self, net: &Net) -> Result<Images> {
        let e = net.input_extent();
        let shape = [self.labels.len(), e.height, e.width, e.channels];
        images_from_nhwc(&self.values, shape)
    }
}

/// A low-bit copy under way.
pub(super) struct Student {
    pub net: Net,
    sgd: Groups,
    loss: Vec<f32>,
    scores: Vec<f32>,
}

/// What is kept of it on disk.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct StudentState {
    optimiser: Vec<StateTensor>,
    loss: Vec<f32>,
    scores: Vec<f32>,
}

impl Student {
    /// One for each of the levels asked for.
    pub fn all(net: &Net, config: &FddaConfig) -> Result<Vec<Self>> {
        let one = |levels| {
            let net = student(net, levels)?;
            let sgd = Sgd::new(config.lr).nesterov(0.9).decay(1e-4);
            Ok(Student {
                sgd: sgd.over(&net)?,
                net,
                loss: Vec::new(),
                scores: Vec::new(),
            })
        };
        config.students.iter().copied().map(one).collect()
    }

    pub fn state(&self) -> Result<StudentState> {
        Ok(StudentState {
            optimiser: self.sgd.state()?,
            loss: self.loss.clone(),
            scores: self.scores.clone(),
        })
    }

    pub fn restore(&mut self, state: StudentState) -> Result<()> {
        self.sgd.restore(&state.optimiser)?;
        (self.loss, self.scores) = (state.loss, state.scores);
        Ok(())
    }

    pub fn measure(&mut self, test: Given) -> Result<()> {
        if !test.images.is_empty() {
            let score = try_accuracy(&self.net, test.images, test.normalize)?;
            self.scores.push(score);
        }
        Ok(())
    }

    /// One step on images of which the teacher gave the logits.
    pub fn step(
        &mut self,
        (batch, wanted): (&Batch, &Matrix),
        (config, step): (&FddaConfig, usize),
    ) -> Result<()> {
        let extent = self.net.input_extent();
        let mut pass = self
            .net
            .run_channels_last(&batch.values, extent, Mode::Eval)?;
        let weights = (config.alpha, config.temperature);
        let loss = student_loss(&mut pass, wanted, &batch.labels, weights)?;
        let factor = config.student_factor(step);
        let number = read(&loss)[0];
        finite("a student's loss", number, step, config.lr * factor)?;
        let mut grads = loss.backward();
        self.sgd.set_factor(factor);
        self.sgd.step(&mut grads)?;
        self.loss.push(number);
        Ok(())
    }

    pub fn finish(self) -> StudentRun {
        StudentRun::of(self.net, &self.scores, self.loss)
    }
}

/// Refuses a loss that is no number, with step and rate.
pub(super) fn finite(what: &str, loss: f32, step: usize, lr: f32) -> Result<()> {
    match loss.is_finite() {
        true => Ok(()),
        false => Err(Error::invalid(
            format!("{what} of step {} at learning rate {lr}", step + 1),
            format!("is {loss}: the run diverged; lower the learning rate"),
        )),
    }
}

/// Refuses calibration images that are of other classes than the network's.
pub(super) fn check_given(given: Given, classes: usize) -> Result<()> {
    let each: usize = given.images.extent().iter().product();
    let mut values = vec![0.0; each];
    for i in 0..given.images.len() {
        let labels = given
            .images
            .fill(&[i], None, given.normalize, &mut values)?;
        check_labels(&labels, classes, given.images.name())?;
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::invalid(
                format!("image {i} of {}", given.images.name()),
                format!("holds {bad}"),
            ));
        }
    }
    Ok(())
}
