//! The quantiser of one layer, with its freezing state.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::LtsConfig;
use super::criterion::{Criterion, Seen, chosen};
use crate::nn::{Mode, Operand, Quantise, QuantiseGrad, Quantiser, RangeKind, Scaled, Uniform};
use crate::ops::fake_quant::{BoundGrad, FakeQuant};
use crate::ops::lts_weight::{LtsState, LtsStep, LtsWeightKernel};
use crate::ops::masked_grad::FreezeMask;
use crate::{Buffer, HostAccess, Result, dev};

/// Weights of a layer whose value at the freeze is remembered.
const LEDGER: usize = 1000;

/// State of a layer, shared between the network that runs it and the observer that steers it.
pub(crate) struct LtsLayer {
    pub name: String,
    pub macs: usize,
    pub state: LtsState<Buffer>,
    pub config: LtsConfig,
    /// Output channels.
    pub channels: usize,
    /// Which weights freeze, where that is not the method's rule, which the op applies.
    pub criterion: Option<Box<dyn Criterion>>,
    /// Threshold of the coming step and its number.
    pub rate: Option<f32>,
    pub iteration: u64,
    /// Level changes in the last training forward.
    pub flipped: usize,
    pub noted: Noted,
}

/// What is noted of a layer's weights, for rules and reports.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// Step of each weight's last level change, counted from 1; 0 for none.
    pub last_flip: Vec<u32>,
    /// Level step of the last forward.
    pub delta: f32,
    /// Levels of the forward before the last.
    pub before: Vec<f32>,
    /// For other criteria: weights that the method would have frozen on this very run. How many they are, and not
    /// which, is what a criterion takes from it.
    pub near: Vec<bool>,
    /// Index and value of the first weights that froze, at the moment they did.
    pub ledger: Vec<(usize, f32)>,
}

impl Noted {
    pub fn new(weights: usize) -> Self {
        Noted {
            last_flip: vec![0; weights],
            delta: 1.0,
            before: vec![f32::NAN; weights],
            near: vec![false; weights],
            ledger: Vec::new(),
        }
    }
}

impl LtsLayer {
    pub fn len(&self) -> usize {
        self.state.frozen.len()
    }

    pub fn frozen(&self) -> usize {
        self.state.frozen.iter().filter(|f| **f).count()
    }

    /// What a criterion sees of the last forward.
    pub fn seen<'a>(
        &'a self,
        value: &'a [f32],
        distance: &'a [f32],
        level: &'a [f32],
        frozen: &'a [bool],
    ) -> Seen<'a> {
        Seen {
            iteration: self.iteration,
            channels: self.channels,
            value,
            distance,
            level,
            before: &self.noted.before,
            frozen,
        }
    }

    fn train_forward(&mut self, w: &Buffer, f: FakeQuant, out: &mut Buffer) -> Result<()> {
        let LtsLayer { state, noted, .. } = self;
        noted.before = state.previous.view()?.into_owned();
        let frozen_before = state.frozen.clone();
        let by_op = self.config.freeze && self.criterion.is_none();
        let step = LtsStep {
            momentum: self.config.ema,
            threshold: self.rate.filter(|_| by_op),
        };
        self.flipped = dev()
            .lts_weight_forward(w, f, Some(step), state, out)?
            .flipped;
        noted.delta = f.step();
        let now = self.iteration as u32 + 1;
        let levels = state.previous.view()?;
        let flips = noted.last_flip.iter_mut().zip(&noted.before);
        for ((last, old), new) in flips.zip(&*levels) {
            if !old.is_nan() && old != new {
                *last = now;
            }
        }
        drop(levels);
        if self.config.freeze {
            self.freeze_by_criterion()?;
        }
        let LtsLayer { state, noted, .. } = self;
        let new = (0..frozen_before.len()).filter(|&i| state.frozen[i] && !frozen_before[i]);
        let new: Vec<usize> = new.take(LEDGER - noted.ledger.len()).collect();
        if !new.is_empty() {
            let saved = state.saved.view()?;
            noted.ledger.extend(new.into_iter().map(|i| (i, saved[i])));
        }
        Ok(())
    }

    /// Freezes by the layer's own criterion, if it has one, as many weights as the method would.
    fn freeze_by_criterion(&mut self) -> Result<()> {
        let Some(mut criterion) = self.criterion.take() else {
            return Ok(());
        };
        let (value, distance, level) = (
            self.state.saved.view()?,
            self.state.distance.view()?,
            self.state.previous.view()?,
        );
        // Nothing is within a negative limit: during the warm-up the criterion only looks.
        let limit = self.rate.map_or(-1.0, |rate| rate * self.noted.delta);
        for (near, distance) in self.noted.near.iter_mut().zip(&*distance) {
            *near |= *distance <= limit;
        }
        let due = self.noted.near.iter().filter(|near| **near).count();
        let wanted = due.saturating_sub(self.frozen());
        let seen = self.seen(&value, &distance, &level, &self.state.frozen);
        let new = chosen(criterion.as_mut(), &seen, wanted);
        drop((value, distance, level));
        for i in new {
            self.state.frozen[i] = true;
        }
        self.criterion = Some(criterion);
        Ok(())
    }
}

/// Where the levels of a layer's weights lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grid {
    Bounds(Uniform),
    Scale(Scaled),
}

impl Grid {
    fn at(self, range: &[f32], factor: f32) -> Result<FakeQuant> {
        match self {
            Grid::Bounds(grid) => grid.at(Operand::Weight, range, factor),
            Grid::Scale(grid) => grid.at(Operand::Weight, range, factor),
        }
    }

    fn gradient(self, g: BoundGrad) -> Vec<f32> {
        match self {
            Grid::Bounds(_) => vec![g.lower, g.upper],
            Grid::Scale(grid) => vec![grid.scale_grad(Operand::Weight, g.lower, g.upper)],
        }
    }
}

/// The network's end of a layer: a quantiser of weights that freezes them.
pub(crate) struct Freezing {
    layer: Arc<Mutex<LtsLayer>>,
    grid: Grid,
    /// The layer's frozen entries as the gradient kernel wants them.
    mask: FreezeMask,
    /// As many zeros as the layer has weights.
    still: Buffer,
}

impl Freezing {
    pub fn new(layer: Arc<Mutex<LtsLayer>>, grid: Grid) -> Result<Self> {
        let len = lock(&layer).len();
        Ok(Freezing {
            layer,
            grid,
            mask: FreezeMask::new(len),
            still: crate::buffer(&vec![0.0; len])?,
        })
    }
}

/// A look at a layer's numbers where no error can be returned: a device that fails here fails everywhere.
pub(crate) fn seen(buffer: &Buffer) -> Cow<'_, [f32]> {
    buffer.view().unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn lock(layer: &Mutex<LtsLayer>) -> MutexGuard<'_, LtsLayer> {
    layer
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Quantiser for Freezing {
    fn bits(&self) -> u32 {
        lock(&self.layer).config.bits
    }

    fn range(&self) -> RangeKind {
        match self.grid {
            Grid::Bounds(_) => RangeKind::Bounds,
            Grid::Scale(_) => RangeKind::Scale,
        }
    }

    fn carries_factor(&self) -> bool {
        true
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let f = self.grid.at(cx.range(), cx.factor())?;
        let mut layer = lock(&self.layer);
        match cx.mode() {
            Mode::Train => layer.train_forward(cx.input(), f, cx.output()),
            Mode::Eval => {
                let (w, state) = (cx.input(), &mut layer.state);
                dev().lts_weight_forward(w, f, None, state, cx.output())?;
                Ok(())
            }
        }
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        let f = self.grid.at(cx.range(), cx.factor())?;
        let layer = lock(&self.layer);
        let (w, dy, dw, accumulate) = cx.parts();
        let bounds = dev().lts_weight_grad(w, f, &layer.state, dy, dw, accumulate)?;
        cx.set_range_grad(&self.grid.gradient(bounds));
        Ok(())
    }

    fn frozen(&mut self) -> Option<&FreezeMask> {
        let layer = lock(&self.layer);
        if !(layer.config.freeze && layer.config.masked) {
            return None;
        }
        // The mask was made for this layer, so the lengths agree.
        self.mask.update(&layer.state.frozen).ok()?;
        Some(&self.mask)
    }

    fn after_step(&mut self, weight: &mut Buffer, averages: &mut [&mut Buffer]) -> Result<()> {
        let state = &mut lock(&self.layer).state;
        dev().lts_restore(state, weight)?;
        // The averages of a frozen entry are put back to 0 as its value is to what it froze at.
        std::mem::swap(&mut state.saved, &mut self.still);
        let mut averages = averages.iter_mut();
        let done = averages.try_for_each(|average| dev().lts_restore(state, average));
        std::mem::swap(&mut state.saved, &mut self.still);
        done
    }

    fn acts_after_step(&self) -> bool {
        lock(&self.layer).config.freeze
    }
}
