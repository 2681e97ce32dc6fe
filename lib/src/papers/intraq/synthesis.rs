//! Noise becomes images: the pixels follow the gradients of a frozen network.

use dfdx::prelude::{Backward, Trace};

use super::state::{Progressed, State};
use super::{
    Inception, IntraqConfig, Parts, PixelSchedule, Start, marginal_distance_loss,
    soft_inception_loss,
};
use crate::data::FloatImages;
use crate::nn::{Extent, Mode, Net, NormInfo};
use crate::ops::cross_entropy::try_cross_entropy;
use crate::ops::sample::try_sample;
use crate::show::{Progress, check_interrupt};
use crate::train::{
    Adam, Groups, Leaf, Optimiser, norms_fingerprint, top1, try_moments_loss, try_total,
};
use crate::{Error, Images, Result, from_vec, read};

/// A loss below this share of the best one is better: the relative threshold of the authors' plateau.
const BETTER: f32 = 1.0 - 1e-4;

/// Images that a network has been asked for, and how they came about.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// In the network's own pixel space, normalised as its training images were, with the class that each was made for.
    pub images: FloatImages,
    /// The losses of each batch.
    pub traces: Vec<LossTrace>,
}

/// The losses of a batch's steps.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LossTrace {
    /// The sum that was minimised.
    pub total: Vec<f32>,
    /// The statistics' part, L_BNS.
    pub statistics: Vec<f32>,
    /// The class's part.
    pub class: Vec<f32>,
    /// The marginal distance constraint's part.
    pub distance: Vec<f32>,
    /// Whether the step saw parts of the images.
    pub parts: Vec<bool>,
    /// The learning rate.
    pub lr: Vec<f32>,
}

/// Makes images from nothing but a trained network: noise that is moved until the statistics that its batch norms read are
/// those of the training images, each image belongs to its class, and images of a class differ.
///
/// ```text
/// L = 1/L sum over batch norms [ MSE(mean, running mean) + MSE(var, running var) ] + L_class + L_distance
/// ```
///
/// The network is not changed: it runs on its running statistics. The same settings give the same images, also after an
/// interruption when there is a [`checkpoint`](IntraqConfig::checkpoint).
///
/// ```
/// use rebit::papers::intraq::{IntraqConfig, synthesise};
/// use rebit::prelude::*;
/// let net = rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 10, rng(0))?;
/// let config = IntraqConfig { images: 6, batch: 4, iterations: 3, show: false, ..IntraqConfig::small() };
/// let made = synthesise(&net, &config)?;
/// assert_eq!((made.images.len(), made.traces.len()), (6, 2));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for settings that mean nothing, for a network without batch norms (the statistics' loss needs them)
/// and when a loss is no longer a number; [`Error::Shape`] for a network whose output is no vector; [`Error::Data`] for a
/// checkpoint of other settings; [`Error::Interrupted`].
pub fn synthesise(net: &Net, config: &IntraqConfig) -> Result<Synthetic> {
    config.check()?;
    let teacher = Teacher::of(net, config)?;
    let mut state = State::found(config, &norms_fingerprint(&teacher.norms))?;
    let batches = config.images.div_ceil(config.batch);
    let mut bar = config.show.then(|| {
        let steps = (batches * config.iterations) as u64;
        Progress::new("images", Some(steps))
    });
    while state.finished() < config.images {
        if let Some(made) = batch(&teacher, config, &mut state, &mut bar, config.iterations)? {
            state.finish(made)?;
            state.save()?;
        }
    }
    if let Some(bar) = &mut bar {
        bar.finish();
    }
    let Extent {
        channels,
        height,
        width,
    } = teacher.net.input_extent();
    let (values, labels, traces) = state.take();
    let images = from_vec(values, (labels.len(), channels, height, width))?;
    let images = FloatImages::new("synthetic", &images, labels)?;
    Ok(Synthetic { images, traces })
}

/// The network that judges the images, and where it is looked into.
struct Teacher {
    net: Net,
    norms: Vec<NormInfo>,
    logits: String,
    features: String,
}

impl Teacher {
    fn of(net: &Net, config: &IntraqConfig) -> Result<Self> {
        let norms = net.norms();
        if norms.is_empty() {
            return Err(Error::invalid(
                "synthesis from a network without batch norms",
                "the statistics' loss compares with what batch norms remember of the training images; there is nothing else to make images from",
            ));
        }
        let out = net.output_extent();
        if out.pixels() != 1 {
            return Err(Error::shape("synthesis", "a network with logits", out));
        }
        let nodes = net.nodes();
        let features = match &config.features {
            Some(name) => name.clone(),
            None => {
                let last = net.layers().pop();
                let last = last.ok_or_else(|| {
                    Error::invalid("synthesis", "needs a network with a layer that has weights")
                })?;
                nodes[nodes[last.node].reads[0]].name.clone()
            }
        };
        Ok(Teacher {
            logits: nodes[net.output_node()].name.clone(),
            net: net.clone().frozen(),
            norms,
            features,
        })
    }

    /// The features of images, without a tape.
    fn features(&self, x: &Images) -> Result<Vec<f32>> {
        let found = self.net.predict_matrices(&[x], &[&self.features])?;
        Ok(read(&found[0]))
    }
}

/// What the images of a batch are to become.
struct Wanted {
    labels: Vec<u32>,
    targets: Vec<f32>,
    centres: Vec<Option<Vec<f32>>>,
}

/// A finished batch.
pub(super) struct Made {
    pub values: Vec<f32>,
    pub labels: Vec<u32>,
    pub features: Vec<f32>,
    pub trace: LossTrace,
}

/// Takes the next batch to the step `until`; returns it when that was its last.
fn batch(
    teacher: &Teacher,
    config: &IntraqConfig,
    state: &mut State,
    bar: &mut Option<Progress>,
    until: usize,
) -> Result<Option<Made>> {
    let index = state.batches();
    let Start {
        pixels,
        labels,
        targets,
    } = config.start(&teacher.net, index)?;
    let wanted = Wanted {
        centres: labels.iter().map(|l| state.centres().of(*l)).collect(),
        labels,
        targets,
    };
    let pixels = Leaf::images(pixels).named("pixels");
    let mut adam = Adam::new(config.lr).over(&pixels)?;
    let mut rate = Rate::new(config);
    let mut trace = LossTrace::default();
    if let Some(begun) = state.begun() {
        adam.restore(&begun.optimiser)?;
        (rate, trace) = (begun.rate, begun.trace);
    }
    for step in trace.total.len()..until {
        check_interrupt()?;
        if let Some(bar) = bar {
            bar.set((index * config.iterations + step) as u64);
        }
        rate.begin(config, step);
        let of = (teacher, config, &wanted);
        let x = pixels.as_images()?;
        let parts = config.parts(&x, index, step)?;
        one_step(of, (x, parts), &mut adam, (&mut rate, &mut trace))?;
        if (step + 1) % config.save_every.max(1) == 0 && config.checkpoint.is_some() {
            state.keep(Progressed {
                optimiser: adam.state()?,
                rate,
                trace: trace.clone(),
            });
            state.save()?;
        }
    }
    if until < config.iterations {
        return Ok(None);
    }
    let x = pixels.as_images()?;
    let labels = match config.inception {
        Inception::None => top1(
            &read(&teacher.net.predict(&x)?),
            teacher.net.output_extent().channels,
        ),
        _ => wanted.labels,
    };
    Ok(Some(Made {
        features: teacher.features(&x)?,
        values: read(&x),
        labels,
        trace,
    }))
}

/// One step of the pixels.
fn one_step(
    (teacher, config, wanted): (&Teacher, &IntraqConfig, &Wanted),
    (x, parts): (Images, Option<Parts>),
    adam: &mut Groups,
    (rate, trace): (&mut Rate, &mut LossTrace),
) -> Result<()> {
    let in_parts = parts.is_some();
    let mut pass = match parts {
        Some(Parts { boxes, sampling }) => {
            let seen = try_sample(x.leaky_trace(), boxes, sampling)?;
            teacher.net.trace_on(seen, Mode::Eval)?
        }
        None => teacher.net.trace(&x, Mode::Eval)?,
    };
    let share = 1.0 / teacher.norms.len() as f32;
    let mut terms = Vec::with_capacity(teacher.norms.len() + 2);
    for norm in &teacher.norms {
        terms.push((share, try_moments_loss(pass.moments(norm)?, norm)?));
    }
    let value = |terms: &[(f32, crate::Scalar<crate::Taped>)]| -> f32 {
        terms.iter().map(|(w, term)| w * read(term)[0]).sum()
    };
    let statistics = value(&terms);
    let class = match config.inception {
        Inception::None => None,
        Inception::Hard => Some(try_cross_entropy(
            pass.matrix(&teacher.logits)?,
            &wanted.labels,
            0.0,
        )?),
        Inception::Soft { .. } => Some(soft_inception_loss(
            pass.matrix(&teacher.logits)?,
            &wanted.labels,
            &wanted.targets,
        )?),
    };
    let of_class = class.as_ref().map_or(0.0, |loss| read(loss)[0]);
    terms.extend(class.map(|loss| (1.0, loss)));
    let mut of_distance = 0.0;
    if let Some(margins) = config.margins
        && wanted.centres.iter().any(Option::is_some)
    {
        let features = pass.matrix(&teacher.features)?;
        let loss = marginal_distance_loss(features, &wanted.centres, margins)?;
        of_distance = read(&loss)[0];
        terms.push((1.0, loss));
    }
    let loss = try_total(terms)?;
    let total = read(&loss)[0];
    if !total.is_finite() {
        return Err(Error::invalid(
            format!(
                "the loss of step {} at learning rate {}",
                trace.total.len() + 1,
                rate.lr
            ),
            format!("is {total}: the pixels diverged; lower the learning rate"),
        ));
    }
    let mut grads = loss.backward();
    adam.set_factor(rate.lr / config.lr);
    adam.step(&mut grads)?;
    trace.total.push(total);
    trace.statistics.push(statistics);
    trace.class.push(of_class);
    trace.distance.push(of_distance);
    trace.parts.push(in_parts);
    trace.lr.push(rate.lr);
    rate.end(config, total);
    Ok(())
}

/// The learning rate on its way down.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Rate {
    pub lr: f32,
    best: f32,
    since: usize,
}

impl Rate {
    pub fn new(config: &IntraqConfig) -> Self {
        Rate {
            lr: config.lr,
            best: f32::INFINITY,
            since: 0,
        }
    }

    fn begin(&mut self, config: &IntraqConfig, step: usize) {
        if let PixelSchedule::Cosine { lowest } = config.schedule {
            let share = step as f32 / config.iterations as f32;
            let falling = 0.5 * (1.0 + (std::f32::consts::PI * share).cos());
            self.lr = lowest + (config.lr - lowest) * falling;
        }
    }

    pub fn end(&mut self, config: &IntraqConfig, loss: f32) {
        let PixelSchedule::Plateau {
            factor,
            patience,
            lowest,
        } = config.schedule
        else {
            return;
        };
        match loss < self.best * BETTER {
            true => (self.best, self.since) = (loss, 0),
            false => self.since += 1,
        }
        if self.since > patience {
            (self.lr, self.since) = ((self.lr * factor).max(lowest), 0);
        }
    }
}

/// Ends in the second batch after so many of its steps, as a run that is killed does.
#[cfg(test)]
pub(super) fn stop_in_second_batch(net: &Net, config: &IntraqConfig, steps: usize) -> Result<()> {
    let teacher = Teacher::of(net, config)?;
    let mut state = State::found(config, &norms_fingerprint(&teacher.norms))?;
    for until in [config.iterations, steps] {
        if let Some(made) = batch(&teacher, config, &mut state, &mut None, until)? {
            state.finish(made)?;
            state.save()?;
        }
    }
    Ok(())
}
