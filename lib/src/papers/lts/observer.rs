//! Steering the layers' quantisers through a training run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::config::Place;
use super::layer::{Handle, LtsLayer, lock, seen};
use super::plan::{Plan, PlanMasks};
use super::record::{LayerShare, LtsReport};
use super::shadow::Shadow;
use super::{LtsConfig, Selection, Threshold};
use crate::nn::{Net, UniformWeight};
use crate::ops::lts_weight::LtsState;
use crate::train::{EpochRecord, Observer, Step};
use crate::{Error, HostAccess, Result, dev};
use rayon::prelude::*;

/// Bins of the distance histograms.
const BINS: usize = 50;

/// Gives every layer of `net` an LTS quantiser and returns what steers them.
///
/// Bounds are set from the first training batch (three standard deviations), as in the authors' code.
///
/// # Errors
/// [`Error::Invalid`] for settings out of range or a network that is quantised already.
pub fn quantise(net: &Net, config: LtsConfig) -> Result<Lts> {
    config.check()?;
    let infos = net.layers();
    let last = infos.len().saturating_sub(1);
    let mut layers = Vec::new();
    let mut failed = None;
    let mut index = 0;
    net.quantise_layers(|info| {
        let place = match index {
            0 => Place::First,
            i if i == last => Place::Last,
            _ => Place::Inner,
        };
        index += 1;
        let (spec, freezes) = config.layer(place)?;
        if !freezes {
            return Some((spec, Box::new(UniformWeight) as _));
        }
        let state = LtsState::new(&dev(), info.weights)
            .map_err(|e| failed = Some(e))
            .ok()?;
        let layer = LtsLayer {
            name: info.name.clone(),
            macs: info.macs,
            state,
            config,
            index: index as u64 - 1,
            rate: None,
            iteration: 0,
            flipped: 0,
            last_flip: vec![0; info.weights],
            delta: 1.0,
            near: match config.selection {
                Selection::Nearest => Vec::new(),
                Selection::Random | Selection::Farthest => vec![false; info.weights],
            },
            ledger: Vec::new(),
        };
        let layer = Arc::new(Mutex::new(layer));
        layers.push(layer.clone());
        Some((spec, Box::new(Handle::new(layer)) as _))
    })?;
    if let Some(e) = failed {
        return Err(e);
    }
    let shadows = match config.freeze {
        true => Vec::new(),
        false => layers.iter().map(|l| Shadow::new(lock(l).len())).collect(),
    };
    let sums = vec![0.0; layers.len()];
    let parameters = net.parameter_count();
    let macs = infos.iter().map(|l| l.macs).sum();
    Ok(Lts {
        config,
        layers,
        shadows,
        plans: Vec::new(),
        sums,
        parameters,
        macs,
        report: LtsReport::default(),
        cost: 0.0,
    })
}

/// Steers and records a run; pass it to [`crate::train::train_with`].
pub struct Lts {
    config: LtsConfig,
    pub(super) layers: Vec<Arc<Mutex<LtsLayer>>>,
    shadows: Vec<Shadow>,
    /// Other schedules whose masks are recorded along the way.
    plans: Vec<PlanMasks>,
    /// Sum over iterations of each layer's frozen share.
    sums: Vec<f64>,
    parameters: usize,
    /// Multiply-accumulates of one sample's forward pass, all layers.
    macs: usize,
    report: LtsReport,
    /// Sum over iterations of frozen weights / trainable parameters.
    cost: f64,
}

impl Lts {
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
        let exact = 50.0 * skipped / (self.macs as f64).max(1.0);
        LtsReport {
            updates_eliminated: updates,
            backward_flops_eliminated: updates / 2.0,
            backward_flops_exact: exact,
            settled: self.settled_at_epochs(),
            settled_course: self.settled_course(),
            plans: self.plans(),
            wrong_freeze: self.wrong_freeze(),
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

    fn wrong_freeze(&self) -> Option<super::WrongFreeze> {
        if self.shadows.is_empty() {
            return None;
        }
        let guards: Vec<_> = self.layers.iter().map(|l| lock(l)).collect();
        let levels: Vec<_> = guards.iter().map(|l| seen(&l.state.previous)).collect();
        Some(Shadow::rates(
            self.shadows.iter().zip(levels.iter().map(|l| &**l)),
        ))
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
            if let (Some(shadow), Some(rate)) = (self.shadows.get_mut(i), rate) {
                shadow.observe(&layer, rate);
            }
        }
        if !self.plans.is_empty() {
            let guards: Vec<_> = self.layers.iter().map(|l| lock(l)).collect();
            let layers: Vec<&LtsLayer> = guards.iter().map(|g| &**g).collect();
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

    fn save(&self) -> Vec<(String, Vec<f32>)> {
        let mut state = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let l = lock(layer);
            let bits = l
                .state
                .frozen
                .iter()
                .map(|f| f32::from(u8::from(*f)))
                .collect();
            let flips = l.last_flip.iter().map(|f| f32::from_bits(*f)).collect();
            state.push((
                format!("{i}.distance"),
                seen(&l.state.distance).into_owned(),
            ));
            state.push((
                format!("{i}.previous"),
                seen(&l.state.previous).into_owned(),
            ));
            state.push((format!("{i}.saved"), seen(&l.state.saved).into_owned()));
            state.push((format!("{i}.frozen"), bits));
            state.push((format!("{i}.last_flip"), flips));
            if !l.near.is_empty() {
                let near = l.near.iter().map(|n| f32::from(u8::from(*n))).collect();
                state.push((format!("{i}.near"), near));
            }
            if let Some(shadow) = self.shadows.get(i) {
                state.push((format!("{i}.shadow"), shadow.save()));
            }
        }
        for (i, plan) in self.plans.iter().enumerate() {
            state.push((format!("plan.{i}"), plan.save()));
        }
        let r = &self.report;
        state.push(("frozen_share".into(), r.frozen_share.clone()));
        state.push(("flip_rate".into(), r.flip_rate.clone()));
        state.push(("rate".into(), r.rate.clone()));
        state.push(("distance".into(), r.distance.concat()));
        let sums = self.sums.iter().chain([&self.cost]);
        // f64 sums travel as two f32 bit patterns each, so that a resumed run is the same run.
        state.push(("sums".into(), sums.flat_map(|s| halves(*s)).collect()));
        state
    }

    fn restore(&mut self, state: &HashMap<String, Vec<f32>>) -> Result<()> {
        let get = |key: &str, len: Option<usize>| match state.get(key) {
            Some(v) if len.is_none_or(|l| l == v.len()) => Ok(v),
            _ => Err(Error::invalid(
                format!("checkpoint entry {key:?}"),
                "is missing or of another length; start afresh",
            )),
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let mut l = lock(layer);
            let len = Some(l.len());
            l.state
                .distance
                .write(get(&format!("{i}.distance"), len)?)?;
            l.state
                .previous
                .write(get(&format!("{i}.previous"), len)?)?;
            l.state.saved.write(get(&format!("{i}.saved"), len)?)?;
            l.state.frozen = get(&format!("{i}.frozen"), len)?
                .iter()
                .map(|f| *f != 0.0)
                .collect();
            l.last_flip = get(&format!("{i}.last_flip"), len)?
                .iter()
                .map(|f| f.to_bits())
                .collect();
            if !l.near.is_empty() {
                let near = get(&format!("{i}.near"), len)?;
                l.near = near.iter().map(|n| *n != 0.0).collect();
            }
            l.delta = 1.0 / crate::ops::fake_quant::levels(self.config.bits)? as f32;
            if let Some(shadow) = self.shadows.get_mut(i)
                && !shadow.restore(get(&format!("{i}.shadow"), None)?)
            {
                return Err(Error::invalid(
                    "checkpoint shadow masks",
                    "are of another length; start afresh",
                ));
            }
        }
        for (i, plan) in self.plans.iter_mut().enumerate() {
            if !plan.restore(get(&format!("plan.{i}"), None)?) {
                return Err(Error::invalid(
                    "checkpoint plans",
                    "are of another length; start afresh",
                ));
            }
        }
        let r = &mut self.report;
        r.frozen_share = get("frozen_share", None)?.clone();
        r.flip_rate = get("flip_rate", None)?.clone();
        r.rate = get("rate", None)?.clone();
        r.distance = get("distance", None)?
            .chunks(BINS)
            .map(<[f32]>::to_vec)
            .collect();
        let sums = get("sums", Some(2 * self.sums.len() + 2))?;
        let mut whole = sums.as_chunks::<2>().0.iter().map(|pair| joined(*pair));
        self.sums
            .iter_mut()
            .zip(&mut whole)
            .for_each(|(s, v)| *s = v);
        self.cost = whole.next().unwrap_or(0.0);
        Ok(())
    }
}

pub(super) fn halves(x: f64) -> [f32; 2] {
    let bits = x.to_bits();
    [
        f32::from_bits((bits >> 32) as u32),
        f32::from_bits(bits as u32),
    ]
}

pub(super) fn joined([high, low]: [f32; 2]) -> f64 {
    f64::from_bits(u64::from(high.to_bits()) << 32 | u64::from(low.to_bits()))
}
