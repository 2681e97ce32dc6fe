//! Steering the layers' quantisers through a training run.

use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::criterion::Criterion;
use super::layer::{LtsLayer, lock, seen};
use super::plan::{Now, Plan, PlanMasks};
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
    /// Other schedules whose masks are recorded along the way.
    pub(super) plans: Vec<PlanMasks>,
    /// Sum over iterations of each layer's frozen share.
    pub(super) sums: Vec<f64>,
    pub(super) parameters: usize,
    /// Multiply-accumulates of one sample's forward pass, all layers.
    pub(super) macs: usize,
    pub(super) report: LtsReport,
    /// Sum over iterations of frozen weights / trainable parameters.
    pub(super) cost: f64,
}

impl Lts {
    /// A run that has not begun, on a network of so many parameters and multiply-accumulates of one sample.
    pub(super) fn new(
        config: LtsConfig,
        layers: Vec<Arc<Mutex<LtsLayer>>>,
        shadows: Vec<Shadow>,
        (parameters, macs): (usize, usize),
    ) -> Lts {
        Lts {
            config,
            sums: vec![0.0; layers.len()],
            layers,
            shadows,
            plans: Vec::new(),
            parameters,
            macs,
            report: LtsReport::default(),
            cost: 0.0,
        }
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
            let lengths = self.layers.iter().map(|l| lock(l).len());
            let masks = PlanMasks::new(threshold, warmup, lengths.collect());
            self.plans.push(masks);
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
        let criteria = self.layers.iter().map(|l| criterion(&lock(l).name));
        let criteria: Vec<_> = criteria.collect();
        let lengths: Vec<usize> = self.layers.iter().map(|l| lock(l).len()).collect();
        self.shadows.push(Shadow::new(criteria, &lengths));
        Ok(())
    }

    /// Which weights of a layer are frozen now, in the order of its weight.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that never freezes.
    pub fn mask(&self, layer: &str) -> Result<Vec<bool>> {
        let mut layers = self.layers.iter().map(|l| lock(l));
        let found = layers.find(|l| l.name == layer);
        let found = found.map(|l| l.state.frozen.clone());
        found.ok_or_else(|| Error::invalid(format!("layer {layer:?}"), "has no mask of LTS"))
    }

    /// Smoothed distances of all weights in level steps, `D/Delta`.
    pub fn distances(&self) -> Vec<f32> {
        let of = |l: &Arc<Mutex<LtsLayer>>| {
            let layer = lock(l);
            let delta = layer.delta;
            let distance = seen(&layer.state.distance);
            distance.iter().map(|d| d / delta).collect::<Vec<_>>()
        };
        self.layers.iter().flat_map(of).collect()
    }

    /// Of the first weights that froze in each layer: how many still have, bit for bit, the value they froze
    /// at, and how many were looked at.
    ///
    /// # Errors
    /// When `net` is not the network of this run.
    pub fn unmoved(&self, net: &Net) -> Result<(usize, usize)> {
        let (mut same, mut all) = (0, 0);
        for layer in &self.layers {
            let layer = lock(layer);
            let now = net.parameter(&format!("{}.weight", layer.name))?.to_vec();
            let is_same =
                |(i, v): &&(usize, f32)| now.get(*i).map(|n| n.to_bits()) == Some(v.to_bits());
            same += layer.ledger.iter().filter(is_same).count();
            all += layer.ledger.len();
        }
        Ok((same, all))
    }

    /// Share of weights frozen now.
    pub fn frozen_share(&self) -> f64 {
        let (frozen, all) = self.count();
        frozen as f64 / all.max(1) as f64
    }

    /// Savings and course so far.
    pub fn report(&self) -> LtsReport {
        let iterations = self.report.frozen_share.len().max(1) as f64;
        let updates = 100.0 * self.cost / iterations;
        let layers: Vec<LayerShare> = self
            .layers
            .iter()
            .zip(&self.sums)
            .map(|(l, sum)| {
                let l = lock(l);
                LayerShare {
                    name: l.name.clone(),
                    weights: l.len(),
                    macs: l.macs,
                    frozen: sum / iterations,
                }
            })
            .collect();
        let skipped: f64 = layers.iter().map(|l| l.macs as f64 * l.frozen).sum();
        let shadows = self.shadows();
        let exact = 50.0 * skipped / (self.macs as f64).max(1.0);
        LtsReport {
            updates_eliminated: updates,
            backward_flops_eliminated: updates / 2.0,
            backward_flops_exact: exact,
            settled: self.settled_at_epochs(),
            settled_course: self.settled_course(),
            plans: self.plans(),
            never_flipped: self.never_flipped(),
            wrong_freeze: wrong_freeze(&shadows),
            shadows,
            layers,
            ..self.report.clone()
        }
    }

    fn count(&self) -> (usize, usize) {
        let each = self
            .layers
            .iter()
            .map(|l| lock(l))
            .map(|l| (l.frozen(), l.len()));
        each.fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    /// Share of weights whose last flip lies at or before each iteration.
    fn settled_course(&self) -> Vec<f32> {
        let iterations = self.report.frozen_share.len();
        let mut flips = vec![0usize; iterations + 1];
        let mut all = 0;
        for layer in &self.layers {
            let layer = lock(layer);
            all += layer.len();
            for last in &layer.last_flip {
                flips[(*last as usize).min(iterations)] += 1;
            }
        }
        let mut settled = flips[0];
        flips[1..]
            .iter()
            .map(|flips| {
                settled += flips;
                settled as f32 / all.max(1) as f32
            })
            .collect()
    }

    fn settled_at_epochs(&self) -> Vec<f32> {
        let course = self.settled_course();
        match course.len().checked_div(self.report.distance.len()) {
            Some(per_epoch) if per_epoch > 0 => course
                .chunks_exact(per_epoch)
                .map(|epoch| epoch[per_epoch - 1])
                .collect(),
            _ => Vec::new(),
        }
    }

    fn plans(&self) -> Vec<Plan> {
        let iterations = self.report.frozen_share.len();
        let levels: Vec<_> = self.layers.iter().map(|l| lock(l)).collect();
        let levels: Vec<_> = levels.iter().map(|l| seen(&l.state.previous)).collect();
        let levels: Vec<&[f32]> = levels.iter().map(|l| &**l).collect();
        self.plans
            .iter()
            .map(|p| p.result(&levels, iterations, self.parameters))
            .collect()
    }

    fn shadows(&self) -> Vec<ShadowRates> {
        let guards: Vec<_> = self.layers.iter().map(|l| lock(l)).collect();
        let levels: Vec<_> = guards.iter().map(|l| seen(&l.state.previous)).collect();
        let levels: Vec<&[f32]> = levels.iter().map(|l| &**l).collect();
        let iterations = self.report.frozen_share.len();
        let shadows = self.shadows.iter();
        shadows.map(|s| s.rates(&levels, iterations)).collect()
    }

    fn never_flipped(&self) -> f32 {
        let (mut never, mut all) = (0, 0);
        for layer in &self.layers {
            let layer = lock(layer);
            never += layer.last_flip.iter().filter(|last| **last == 0).count();
            all += layer.len();
        }
        never as f32 / all.max(1) as f32
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
        self.report.rate.push(rate.unwrap_or(0.0));
        for layer in &self.layers {
            let mut layer = lock(layer);
            layer.rate = rate;
            layer.iteration = step.iteration as u64;
        }
        Ok(())
    }

    fn after_step(&mut self, step: Step, _: &Net, _: f32) -> Result<()> {
        let rate = self.config.rate(step.iteration, step.total);
        let (mut frozen, mut flipped, mut all) = (0, 0, 0);
        for (i, layer) in self.layers.iter().enumerate() {
            let layer = lock(layer);
            let count = layer.frozen();
            self.sums[i] += count as f64 / layer.len() as f64;
            frozen += count;
            flipped += layer.flipped;
            all += layer.len();
            // Nothing is within a negative limit: during the warm-up the criteria only look.
            let limit = rate.map_or(-1.0, |rate| rate * layer.delta);
            let due = self.shadows.first().map_or(0, |s| s.due(i, &layer, limit));
            for shadow in &mut self.shadows {
                shadow.observe(i, &layer, due);
            }
        }
        if !self.plans.is_empty() {
            let guards: Vec<_> = self.layers.iter().map(|l| lock(l)).collect();
            let distances: Vec<_> = guards.iter().map(|l| seen(&l.state.distance)).collect();
            let levels: Vec<_> = guards.iter().map(|l| seen(&l.state.previous)).collect();
            let now = guards.iter().zip(distances.iter().zip(&levels));
            let layers: Vec<Now> = now
                .map(|(layer, (distance, level))| Now {
                    delta: layer.delta,
                    distance,
                    level,
                })
                .collect();
            self.plans.par_iter_mut().for_each(|plan| {
                plan.observe(&layers, step.iteration, step.total);
            });
        }
        self.cost += frozen as f64 / self.parameters as f64;
        self.report.frozen_share.push(frozen as f32 / all as f32);
        self.report.flip_rate.push(flipped as f32 / all as f32);
        Ok(())
    }

    fn after_epoch(&mut self, _: &EpochRecord, _: &Net) -> Result<()> {
        let histogram = self.histogram();
        self.report.distance.push(histogram);
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
