//! Settings: which bounds, where they start, which gates, and how all of it is trained.

use std::path::PathBuf;

use crate::quant::Range;
use crate::{Error, Result};

/// How a site bounds its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounding {
    /// A lower and an upper bound: DDTB.
    Dual,
    /// One bound on either side of 0 and one level less: PAMS' grid.
    Symmetric,
}

/// Which sites have a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gates {
    /// None: the bounds are the same for all images.
    None,
    /// This share of the sites, those of the largest dynamic intensity. 0.3 for EDSR, 0.5 for RDN, 0.1 for SRResNet.
    DynamicIntensity(f32),
    /// This share of the sites, drawn at random: the control.
    Random(f32),
}

impl Gates {
    /// `floor(share * sites)`.
    pub fn count(self, sites: usize) -> usize {
        match self {
            Gates::None => 0,
            Gates::DynamicIntensity(share) | Gates::Random(share) => {
                // 0.3 * 10 is 2.9999 in floating point.
                (f64::from(share) * sites as f64 + 1e-6).floor() as usize
            }
        }
    }
}

/// What of a gate is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GateGradient {
    /// The last layer alone, as published: the quantisers inside the gate cut the gradient off.
    #[default]
    Detached,
    /// Every layer, by the straight-through estimator: not the authors' choice.
    StraightThrough,
}

/// Settings of a quantised run; the default is the paper's for EDSR at 2 bits, shortened.
#[derive(Clone, Debug, PartialEq)]
pub struct DdtbConfig {
    /// Bits of activations and weights in the body.
    pub bits: u32,
    /// One bound or two.
    pub bounding: Bounding,
    /// Where they start: [`Range::Percentile`] of the first training batch at that site (a symmetric bound takes the
    /// larger magnitude; 0.99 for EDSR and SRResNet, 0.95 for RDN), [`Range::MeanMaxAbs`] over the samples of the last
    /// calibration batch (PAMS), or [`Range::Constant`] (the authors' code keeps 10 for 3 and 4 bits).
    pub start: Range,
    /// Bounds of the weights, read in every pass; [`Range::MaxAbs`] gives PAMS' symmetric grid.
    pub weights: Range,
    /// Which sites are gated.
    pub gates: Gates,
    /// What of a gate is trained.
    pub gate_gradient: GateGradient,
    /// Updates.
    pub iterations: usize,
    /// Batches that are only looked at before the first update.
    pub calibration: usize,
    /// Share of the updates in which gates are held at 1.
    pub warmup: f32,
    /// Patches of an update.
    pub batch: usize,
    /// Adam's learning rate. The authors use 1e-4; short runs need more.
    pub lr: f32,
    /// Adam's learning rate for the bounds. The authors use 0.01 over 59,000 updates; short runs need about 0.1.
    pub bound_lr: f32,
    /// How often both are halved, at equal distances; 5 are the authors', every ten of 60 epochs.
    pub halvings: usize,
    /// Weight of the attention-transfer loss.
    pub attention: f32,
    /// Seed of patches, gates and random sites.
    pub seed: u64,
    /// Live progress.
    pub show: bool,
    /// Where the run's state is written about a hundred times, and continued from.
    pub checkpoint: Option<PathBuf>,
}

impl Default for DdtbConfig {
    fn default() -> Self {
        DdtbConfig {
            bits: 2,
            bounding: Bounding::Dual,
            start: Range::Percentile(0.99),
            weights: Range::Percentile(0.99),
            gates: Gates::DynamicIntensity(0.3),
            gate_gradient: GateGradient::Detached,
            iterations: 400,
            calibration: 40,
            warmup: 0.1,
            batch: 8,
            lr: 1e-3,
            bound_lr: 0.1,
            halvings: 5,
            attention: 1000.0,
            seed: 1,
            show: true,
            checkpoint: None,
        }
    }
}

impl DdtbConfig {
    /// DDTB: dual bounds, gates where the dynamic intensity is largest.
    pub fn ddtb(bits: u32) -> Self {
        DdtbConfig {
            bits,
            ..DdtbConfig::default()
        }
    }

    /// Dual bounds without gates.
    pub fn dual(bits: u32) -> Self {
        DdtbConfig {
            gates: Gates::None,
            ..Self::ddtb(bits)
        }
    }

    /// One symmetric bound from the same percentile.
    pub fn symmetric(bits: u32) -> Self {
        DdtbConfig {
            bounding: Bounding::Symmetric,
            ..Self::dual(bits)
        }
    }

    /// The bound of PAMS with the weight quantiser of DDTB, so that only the activations differ.
    pub fn pams(bits: u32) -> Self {
        DdtbConfig {
            start: Range::MeanMaxAbs,
            ..Self::symmetric(bits)
        }
    }

    /// PAMS with its own weight quantiser.
    pub fn pams_published(bits: u32) -> Self {
        DdtbConfig {
            weights: Range::MaxAbs,
            ..Self::pams(bits)
        }
    }

    /// DDTB with gates at random sites.
    pub fn random_sites(bits: u32) -> Self {
        DdtbConfig {
            gates: Gates::Random(0.3),
            ..Self::ddtb(bits)
        }
    }

    /// With another seed.
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With this many updates.
    pub fn iterations(mut self, iterations: usize) -> Self {
        self.iterations = iterations;
        self
    }

    /// Updates in which gates are held at 1.
    pub fn warmup_iterations(&self) -> usize {
        (self.warmup * self.iterations as f32).round() as usize
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String, why: &str| Err(Error::invalid(what, why));
        crate::ops::fake_quant::levels(self.bits)?;
        if self.batch == 0 || self.iterations == 0 {
            let what = format!("{} updates of {} patches", self.iterations, self.batch);
            return refuse(what, "both must be at least 1");
        }
        if self.halvings > 1_000 {
            let what = format!("{} halvings of the learning rate", self.halvings);
            return refuse(what, "leave nothing of it; the paper has 5");
        }
        for (name, rate) in [("lr", self.lr), ("bound_lr", self.bound_lr)] {
            if !(rate >= 0.0 && rate.is_finite()) {
                return refuse(format!("{name} {rate}"), "must be finite and not below 0");
            }
        }
        if !self.attention.is_finite() {
            return refuse(format!("attention {}", self.attention), "must be finite");
        }
        if !(0.0..=1.0).contains(&self.warmup) {
            let what = format!("warmup {}", self.warmup);
            return refuse(what, "is a share of the updates, from 0 to 1");
        }
        if self.bounding == Bounding::Symmetric && self.bits < 2 {
            return refuse(format!("{} bits", self.bits), "a symmetric bound needs 2");
        }
        if let Gates::DynamicIntensity(p) | Gates::Random(p) = self.gates {
            if !(0.0..=1.0).contains(&p) {
                return refuse(format!("share of gated sites {p}"), "lies between 0 and 1");
            }
            if self.bounding == Bounding::Symmetric && p > 0.0 {
                let what = "gates on symmetric bounds".to_string();
                return refuse(what, "a gate has two factors, one for each of dual bounds");
            }
        }
        self.start.check()?;
        self.weights.check()?;
        match self.start {
            Range::MeanMaxAbs if self.bounding == Bounding::Dual => {
                let what = "the mean maximum as a start of dual bounds".to_string();
                refuse(what, "gives one bound only; take a percentile")
            }
            Range::MeanMaxAbs if self.calibration == 0 => {
                let what = "the mean maximum without calibration".to_string();
                refuse(what, "is read off calibration batches: at least 1")
            }
            _ => Ok(()),
        }
    }
}
