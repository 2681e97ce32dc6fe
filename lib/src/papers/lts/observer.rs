//! Steering the layers' quantisers through a training run.

use std::sync::{Arc, Mutex, MutexGuard};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::criterion::Criterion;
use super::layer::{LtsLayer, lock, seen};
use super::plan::PlanMasks;
use super::record::{LayerShare, LtsReport};
use super::shadow::Shadow;
use super::{LtsConfig, ShadowRates, Threshold, WrongFreeze};
use crate::nn::Net;
use crate::train::{EpochRecord, Observer, Step};
use crate::{Error, Result};

/// Bins of the distance histograms.
const BINS: usize = 50;

/// Steers and records a run; pass it to [`crate::train::train_with`].
pub struct Lts {
    pub(super) config: LtsConfig,
    pub(super) layers: Vec<Arc<Mutex<LtsLayer>>>,
    /// Rules that are followed without acting; none on a run that freezes.
    pub(super) shadows: Vec<Shadow>,
    /// Trainable parameters of the network, and multiply-accumulates of one sample's forward pass.
    size: (usize, usize),
    pub(super) course: Course,
}

/// What is noted from step to step.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Course {
    /// Other schedules whose masks are recorded along the way.
    pub plans: Vec<PlanMasks>,
    /// Sum over iterations of each layer's frozen share.
    sums: Vec<f64>,
    /// Sum over iterations of frozen weights / trainable parameters.
    cost: f64,
    report: LtsReport,
}

impl Lts {
    /// A run that has not begun, on a network of so many parameters and multiply-accumulates of one sample.
    pub(super) fn new(
        config: LtsConfig,
        layers: Vec<Arc<Mutex<LtsLayer>>>,
        shadows: Vec<Shadow>,
        size: (usize, usize),
    ) -> Lts {
        let course = Course {
            sums: vec![0.0; layers.len()],
            ..Course::default()
        };
        Lts {
            config,
            layers,
            shadows,
            size,
            course,
        }
    }

    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, LtsLayer>> {
        self.layers.iter().map(|l| lock(l))
    }

    /// The settings.
    pub fn config(&self) -> &LtsConfig {
        &self.config
    }

    /// Also records, without acting on them, the masks that other schedules would draw on this very run: what
    /// they would save and how often they would be wrong is in [`LtsReport::plans`].
    ///
    /// Meant for a run that freezes nothing; on one that freezes, a frozen weight can no longer prove a plan wrong.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a warm-up outside 0 to below 1.
    pub fn also_record(&mut self, schedules: &[(Threshold, f32)]) -> Result<()> {
        for &(threshold, warmup) in schedules {
            LtsConfig {
                threshold,
                warmup,
                ..self.config
            }
            .check()?;
            let lengths = self.locked().map(|l| l.len()).collect();
            let masks = PlanMasks::new(threshold, warmup, lengths);
            self.course.plans.push(masks);
        }
        Ok(())
    }

    /// Also follows, without acting on it, a [`Criterion`] of one's own: when it would have frozen the wrong weights is
    /// in [`LtsReport::shadows`].
    ///
    /// # Errors
    /// [`Error::Invalid`] on a run that freezes: there a frozen weight can no longer prove a rule wrong.
    pub fn also_follow(
        &mut self,
        mut criterion: impl FnMut(&str) -> Box<dyn Criterion>,
    ) -> Result<()> {
        if self.config.freeze {
            let why = "follows other criteria only where nothing freezes; set `freeze: false`";
            return Err(Error::invalid("LTS", why));
        }
        let each = self.locked().map(|l| (criterion(&l.name), l.len()));
        let shadow = Shadow::new(each.collect());
        self.shadows.push(shadow);
        Ok(())
    }

    /// Which weights of a layer are frozen now, in the order of its weight.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that never freezes.
    pub fn mask(&self, layer: &str) -> Result<Vec<bool>> {
        let found = self.locked().find(|l| l.name == layer);
        let found = found.map(|l| l.state.frozen.clone());
        found.ok_or_else(|| Error::invalid(format!("layer {layer:?}"), "has no mask of LTS"))
    }

    /// Smoothed distances of all weights in level steps, `D/Delta`.
    pub fn distances(&self) -> Vec<f32> {
        let of = |layer: MutexGuard<LtsLayer>| {
            let distance = seen(&layer.state.distance);
            let in_steps = distance.iter().map(|d| d / layer.noted.delta);
            in_steps.collect::<Vec<_>>()
        };
        self.locked().flat_map(of).collect()
    }

    /// Of the first weights that froze in each layer: how many still have, bit for bit, the value they froze
    /// at, and how many were looked at.
    ///
    /// # Errors
    /// When `net` is not the network of this run.
    pub fn unmoved(&self, net: &Net) -> Result<(usize, usize)> {
        let (mut same, mut all) = (0, 0);
        for layer in self.locked() {
            let now = net.parameter(&format!("{}.weight", layer.name))?.to_vec();
            let is_same =
                |(i, v): &&(usize, f32)| now.get(*i).map(|n| n.to_bits()) == Some(v.to_bits());
            let ledger = &layer.noted.ledger;
            same += ledger.iter().filter(is_same).count();
            all += ledger.len();
        }
        Ok((same, all))
    }

    /// Share of weights frozen now.
    pub fn frozen_share(&self) -> f64 {
        let counts = self.locked().map(|l| (l.frozen(), l.len()));
        let (frozen, all) = counts.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        frozen as f64 / all.max(1) as f64
    }

    /// Savings and course so far.
    pub fn report(&self) -> LtsReport {
        let Course {
            plans,
            sums,
            cost,
            report,
        } = &self.course;
        let (parameters, macs) = self.size;
        let steps = report.frozen_share.len();
        let share = |sum: f64| sum / steps.max(1) as f64;
        let layers = self.locked().zip(sums);
        let layers: Vec<LayerShare> = layers
            .map(|(l, sum)| LayerShare {
                name: l.name.clone(),
                weights: l.len(),
                macs: l.macs,
                frozen: share(*sum),
            })
            .collect();
        let skipped: f64 = layers.iter().map(|l| l.macs as f64 * l.frozen).sum();
        let levels = self.locked().map(|l| seen(&l.state.previous).into_owned());
        let levels: Vec<Vec<f32>> = levels.collect();
        let shadows = self.shadows.iter().map(|s| s.rates(&levels, steps));
        let shadows: Vec<ShadowRates> = shadows.collect();
        let plans = plans.iter().map(|p| p.result(&levels, steps, parameters));
        let (never_flipped, settled_course) = self.settled(steps);
        let per_epoch = steps.checked_div(report.distance.len()).unwrap_or(0);
        let epochs = settled_course.chunks_exact(per_epoch.max(1));
        LtsReport {
            updates_eliminated: share(100.0 * cost),
            backward_flops_eliminated: share(50.0 * cost),
            backward_flops_exact: 50.0 * skipped / (macs as f64).max(1.0),
            settled: match per_epoch {
                0 => Vec::new(),
                n => epochs.map(|epoch| epoch[n - 1]).collect(),
            },
            settled_course,
            plans: plans.collect(),
            never_flipped,
            wrong_freeze: wrong_freeze(&shadows),
            shadows,
            layers,
            ..report.clone()
        }
    }

    /// Share of weights whose level never changed, and of those whose last change lies at or before each iteration.
    fn settled(&self, iterations: usize) -> (f32, Vec<f32>) {
        let mut flips = vec![0usize; iterations + 1];
        for layer in self.locked() {
            for last in &layer.noted.last_flip {
                flips[(*last as usize).min(iterations)] += 1;
            }
        }
        let all = flips.iter().sum::<usize>().max(1) as f32;
        let mut settled = 0;
        let mut course: Vec<f32> = Vec::with_capacity(flips.len());
        for n in flips {
            settled += n;
            course.push(settled as f32 / all);
        }
        (course.remove(0), course)
    }

    fn histogram(&self) -> Vec<f32> {
        let mut bins = vec![0.0; BINS];
        let distances = self.distances();
        for d in &distances {
            if let Some(bin) = bins.get_mut((d * BINS as f32) as usize) {
                *bin += 1.0 / distances.len() as f32;
            }
        }
        bins
    }
}

impl Observer for Lts {
    fn before_step(&mut self, step: Step, _: &Net) -> Result<()> {
        let rate = self.config.rate(step.iteration, step.total);
        self.course.report.rate.push(rate.unwrap_or(0.0));
        for mut layer in self.locked() {
            layer.rate = rate;
            layer.iteration = step.iteration as u64;
        }
        Ok(())
    }

    fn after_step(&mut self, step: Step, _: &Net, _: f32) -> Result<()> {
        let rate = self.config.rate(step.iteration, step.total);
        let (course, shadows) = (&mut self.course, &mut self.shadows);
        let (mut frozen, mut flipped, mut all) = (0, 0, 0);
        for (i, layer) in self.layers.iter().enumerate() {
            let layer = lock(layer);
            let count = layer.frozen();
            course.sums[i] += count as f64 / layer.len() as f64;
            frozen += count;
            flipped += layer.flipped;
            all += layer.len();
            // Nothing is within a negative limit: during the warm-up the criteria only look.
            let limit = rate.map_or(-1.0, |rate| rate * layer.noted.delta);
            let due = shadows.first().map_or(0, |s| s.due(i, &layer, limit));
            for shadow in shadows.iter_mut() {
                shadow.observe(i, &layer, due);
            }
            let (distance, level) = (seen(&layer.state.distance), seen(&layer.state.previous));
            let now = (layer.noted.delta, &distance[..], &level[..]);
            let plans = course.plans.par_iter_mut();
            plans.for_each(|plan| plan.observe(i, now, (step.iteration, step.total)));
        }
        course.plans.iter_mut().for_each(PlanMasks::end_step);
        course.cost += frozen as f64 / self.size.0 as f64;
        let report = &mut course.report;
        report.frozen_share.push(frozen as f32 / all as f32);
        report.flip_rate.push(flipped as f32 / all as f32);
        Ok(())
    }

    fn after_epoch(&mut self, _: &EpochRecord, _: &Net) -> Result<()> {
        let histogram = self.histogram();
        self.course.report.distance.push(histogram);
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>> {
        super::state::save(self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        super::state::restore(self, state)
    }
}

/// The built-in rules' shares of wrong freezes, where they were followed.
fn wrong_freeze(shadows: &[ShadowRates]) -> Option<WrongFreeze> {
    match shadows {
        [nearest, random, farthest, ..] => Some(WrongFreeze {
            nearest: nearest.total(),
            random: random.total(),
            farthest: farthest.total(),
        }),
        _ => None,
    }
}
