//! The quantiser of one layer, with its freezing state.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard};

use super::select::freeze_up_to;
use super::{LtsConfig, Selection};
use crate::data::epoch_rng;
use crate::nn::{Mode, WeightQuantiser};
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
    /// Index among the layers: each draws its own random numbers.
    pub index: u64,
    /// Threshold of the coming step and its number.
    pub rate: Option<f32>,
    pub iteration: u64,
    /// Level changes in the last training forward.
    pub flipped: usize,
    /// Step of each weight's last level change, counted from 1; 0 for none.
    pub last_flip: Vec<u32>,
    /// Level step of the last forward.
    pub delta: f32,
    /// For the controls: weights that the method would have frozen on this very run. How many they are, and not
    /// which, is what a control takes from it.
    pub near: Vec<bool>,
    /// Index and value of the first weights that froze, at the moment they did.
    pub ledger: Vec<(usize, f32)>,
}

impl LtsLayer {
    pub fn len(&self) -> usize {
        self.state.frozen.len()
    }

    pub fn frozen(&self) -> usize {
        self.state.frozen.iter().filter(|f| **f).count()
    }

    fn train_forward(&mut self, w: &Buffer, f: FakeQuant, out: &mut Buffer) -> Result<()> {
        let before = self.state.previous.view()?.into_owned();
        let free: Vec<bool> = self.state.frozen.iter().map(|f| !f).collect();
        let by_op = self.config.freeze && self.config.selection == Selection::Nearest;
        let step = LtsStep {
            momentum: self.config.momentum,
            threshold: self.rate.filter(|_| by_op),
        };
        let counts = dev().lts_weight_forward(w, f, Some(step), &mut self.state, out)?;
        self.delta = f.step();
        self.flipped = counts.flipped;
        let now = self.iteration as u32 + 1;
        for ((last, old), new) in self
            .last_flip
            .iter_mut()
            .zip(&before)
            .zip(self.state.previous.view()?.iter())
        {
            if !old.is_nan() && old != new {
                *last = now;
            }
        }
        if let (true, false, Some(rate)) = (self.config.freeze, by_op, self.rate) {
            let limit = rate * self.delta;
            for (near, distance) in self.near.iter_mut().zip(self.state.distance.view()?.iter()) {
                *near |= *distance <= limit;
            }
            let target = self.near.iter().filter(|near| **near).count();
            let mut rng = epoch_rng(self.config.seed ^ (self.index << 32), self.iteration);
            let LtsState {
                distance, frozen, ..
            } = &mut self.state;
            freeze_up_to(
                target,
                self.config.selection,
                &distance.view()?,
                frozen,
                &mut rng,
                |_| {},
            );
        }
        let room = LEDGER - self.ledger.len();
        let new = (0..self.len()).filter(|&i| free[i] && self.state.frozen[i]);
        let new: Vec<usize> = new.take(room).collect();
        if !new.is_empty() {
            let saved = self.state.saved.view()?;
            self.ledger.extend(new.into_iter().map(|i| (i, saved[i])));
        }
        Ok(())
    }
}

/// The network's end of a layer.
pub(crate) struct Handle {
    layer: Arc<Mutex<LtsLayer>>,
    /// The layer's frozen entries as the gradient kernel wants them.
    mask: FreezeMask,
    /// As many zeros as the layer has weights.
    still: Buffer,
}

impl Handle {
    pub fn new(layer: Arc<Mutex<LtsLayer>>) -> Self {
        let len = lock(&layer).len();
        let (mask, still) = (FreezeMask::new(len), crate::nn::buffer(vec![0.0; len]));
        Handle { layer, mask, still }
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

impl WeightQuantiser for Handle {
    fn forward(&mut self, w: &Buffer, f: FakeQuant, mode: Mode, out: &mut Buffer) -> Result<()> {
        let mut layer = lock(&self.layer);
        match mode {
            Mode::Train => layer.train_forward(w, f, out),
            Mode::Eval => dev()
                .lts_weight_forward(w, f, None, &mut layer.state, out)
                .map(|_| ()),
        }
    }

    fn backward(
        &mut self,
        w: &Buffer,
        f: FakeQuant,
        dout: &Buffer,
        dw: &mut Buffer,
    ) -> Result<BoundGrad> {
        dev().lts_weight_grad(w, f, &lock(&self.layer).state, dout, dw, false)
    }

    fn after_step(&mut self, w: &mut Buffer, momentum: &mut Buffer) -> Result<()> {
        let state = &mut lock(&self.layer).state;
        dev().lts_restore(state, w)?;
        // A frozen entry's momentum is put back to 0 as its value is to what it froze at.
        std::mem::swap(&mut state.saved, &mut self.still);
        let done = dev().lts_restore(state, momentum);
        std::mem::swap(&mut state.saved, &mut self.still);
        done
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

    fn freezes(&self) -> bool {
        lock(&self.layer).config.freeze
    }
}
