//! The weight quantiser of LTS: fake quantisation that freezes a weight for good once it has settled.
//!
//! State of every weight entry: the smoothed distance `D` to its level, the level `q'` of the training
//! forward before, the frozen bit and the value `saved` that the last forward used. A training forward,
//! with `Delta = 1/N` (one level step, in units of `n`), EMA momentum `m` and threshold rate `r(t)`:
//!
//! ```text
//! w_eff = frozen ? saved : w          saved = w_eff
//! n, q  = quantise(w_eff)             n before the clamp, see `fake_quant`
//! D     = (1 - m) |n - q| + m D
//! D     = Delta   where q != q'       a level change starts the wait anew
//! q'    = q
//! frozen |= D <= r(t) Delta           after the warm-up; never undone
//! y     = 2q - 1
//! ```
//!
//! The latent value freezes, not its level: the bounds go on training, and frozen entries still send them
//! gradient. To `w` itself a frozen entry sends none. Evaluation changes nothing of the state.
//!
//! Source: Zhong et al., arXiv:2211.08544, and the authors' code of 2023. One difference: there `q'`
//! starts at 0, here an entry that was never seen counts as just flipped, so every `D` starts at `Delta`.

use dfdx::prelude::Storage;

use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::fake_quant::{BoundGrad, FakeQuant};
use crate::tensors::Buffer;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod tape;
#[cfg(test)]
mod tests;

pub use tape::{lts_weight, try_lts_weight};

/// State of one layer; buffers have the length and order of the weight. `saved` and `previous` of an entry
/// mean something only after the first training forward.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct LtsState<V> {
    /// `D`, in units of `n`.
    pub distance: V,
    /// `q'`, in `0..=1`; NaN before the first training forward.
    pub previous: V,
    /// Entries that no longer move. Other rules of freezing may set bits too, between two steps.
    pub frozen: Vec<bool>,
    /// The value that the last training forward used; what a frozen entry keeps.
    pub saved: V,
}

impl<V> LtsState<V> {
    /// State of `len` entries before the first forward.
    ///
    /// # Errors
    /// [`Error::Device`] when memory cannot be had.
    pub fn new<D: LtsWeightKernel<Vec = V>>(device: &D, len: usize) -> Result<Self> {
        device.lts_state(len)
    }

    /// Share of frozen entries, 0 for an empty layer.
    pub fn frozen_share(&self) -> f32 {
        let frozen = self.frozen.iter().filter(|f| **f).count();
        frozen as f32 / self.frozen.len().max(1) as f32
    }
}

impl LtsState<Buffer> {
    /// The same on the host, for a checkpoint.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn to_host(&self) -> Result<LtsState<Vec<f32>>> {
        Ok(LtsState {
            distance: self.distance.view()?.into_owned(),
            previous: self.previous.view()?.into_owned(),
            frozen: self.frozen.clone(),
            saved: self.saved.view()?.into_owned(),
        })
    }

    /// Takes back what [`to_host`](Self::to_host) gave.
    ///
    /// # Errors
    /// [`Error::Shape`] for the state of another number of entries.
    pub fn write(&mut self, host: LtsState<Vec<f32>>) -> Result<()> {
        let (ours, theirs) = (self.frozen.len(), host.frozen.len());
        if ours != theirs {
            let expected = format!("{ours} entries");
            return Err(Error::shape("LTS state", expected, theirs));
        }
        self.distance.write(&host.distance)?;
        self.previous.write(&host.previous)?;
        self.saved.write(&host.saved)?;
        self.frozen = host.frozen;
        Ok(())
    }
}

/// Settings of one training forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LtsStep {
    /// `m`, the memory of the distance's moving average, in `[0, 1)`.
    pub momentum: f32,
    /// `r(t)` in level steps; `None` during the warm-up and for a run that never freezes.
    pub threshold: Option<f32>,
}

impl LtsStep {
    /// # Errors
    /// [`Error::Invalid`] unless `0 <= momentum < 1` and the threshold is a number of at least 0.
    pub fn check(self) -> Result<()> {
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::invalid(
                format!("LTS momentum {}", self.momentum),
                "the moving average of the distance needs 0 <= momentum < 1",
            ));
        }
        match self.threshold {
            Some(rate) if rate.is_nan() || rate < 0.0 => Err(Error::invalid(
                format!("LTS threshold {rate}"),
                "it is a number of level steps, 0 or more; use None to freeze nothing",
            )),
            _ => Ok(()),
        }
    }
}

/// What a forward saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LtsCounts {
    /// Frozen entries after this forward.
    pub frozen: usize,
    /// Those that this forward froze.
    pub newly_frozen: usize,
    /// Entries, frozen ones too, whose level changed since the training forward before.
    pub flipped: usize,
}

/// Fused kernels; the layout of a buffer does not matter.
pub trait LtsWeightKernel: Storage<f32> {
    /// State of `len` entries: nothing frozen, every distance waiting for its first level.
    ///
    /// # Errors
    /// [`Error::Device`] when memory cannot be had.
    fn lts_state(&self, len: usize) -> Result<LtsState<Self::Vec>>;

    /// Quantises the effective weight into `y`; with a `step` (training) the state moves in the same pass,
    /// without one (evaluation) it stays as it is.
    ///
    /// # Errors
    /// As [`FakeQuant::check`] and [`LtsStep::check`]; [`Error::Shape`] for buffers of different lengths.
    fn lts_weight_forward(
        &self,
        w: &Self::Vec,
        f: FakeQuant,
        step: Option<LtsStep>,
        state: &mut LtsState<Self::Vec>,
        y: &mut Self::Vec,
    ) -> Result<LtsCounts>;

    /// As [`fake_quant_grad`](crate::ops::fake_quant::FakeQuantKernel::fake_quant_grad) on the effective
    /// weight: frozen entries give their share of the bounds' gradient, but `dw = 0` there.
    ///
    /// To be called with the state as the forward left it. An entry frozen by that very forward gets no
    /// gradient any more; its effective value is the same either way.
    ///
    /// # Errors
    /// As [`lts_weight_forward`](Self::lts_weight_forward).
    fn lts_weight_grad(
        &self,
        w: &Self::Vec,
        f: FakeQuant,
        state: &LtsState<Self::Vec>,
        dy: &Self::Vec,
        dw: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<BoundGrad>;

    /// Puts the saved value back into frozen entries of `w`: momentum and weight decay move them still.
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers of different lengths.
    fn lts_restore(&self, state: &LtsState<Self::Vec>, w: &mut Self::Vec) -> Result<()>;
}
