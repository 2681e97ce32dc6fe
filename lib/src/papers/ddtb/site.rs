//! The quantiser of one site.

use std::sync::{Arc, Mutex, MutexGuard};

use super::gate::factor;
use super::record::{SiteRecord, extremes};
use super::{Bounding, DdtbConfig, Phase};
use crate::nn::{
    Extent, Mode, ParamId, Params, Quantise, QuantiseGrad, Quantiser, RangeKind, SubNet, SubPass,
    Wants,
};
use crate::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use crate::ops::fake_quant::BoundGrad;
use crate::ops::pool::PoolKernel;
use crate::quant::{Bounds, Range, RangeObserver};
use crate::{Error, HostAccess, Result, buffer, dev};

/// Bounds are never closer than this.
const CLOSEST: f32 = 1e-3;

/// State of a site, shared between the network that runs it and the controller that steers it.
#[derive(Default)]
pub(super) struct SiteState {
    pub name: String,
    /// `[lower, upper]` or `[bound]`.
    pub bounds: ParamId,
    pub config: DdtbConfig,
    pub phase: Phase,
    pub gate: Option<SubNet>,
    /// Number of gated sites, the denominator of the gate loss.
    pub gated_sites: usize,
    /// Bounds are set from the first training batch.
    pub ready: bool,
    /// Largest and smallest value of each calibration batch.
    pub seen: Vec<(f32, f32)>,
    /// The range of the last calibration batch, over its samples.
    pub calibrated: Option<Bounds>,
    /// Mean squared logit of the last training batch.
    pub gate_loss: f32,
    pub watch: Option<SiteRecord>,
    /// Factors `[upper, lower]` in place of the gate's, outside training.
    pub replaced: Option<[f32; 2]>,
}

/// What the backward pass needs of a site that quantised.
struct Kept {
    /// One for each sample, or one for all, and the factors in its bounds.
    quantisers: Vec<BoundQuant>,
    factors: Vec<[f32; 2]>,
    /// The gate's pass and its logits, of the upper and the lower bound.
    gate: Option<(SubPass, Vec<[f32; 2]>)>,
    active: bool,
}

/// The network's half of a [`SiteState`].
#[derive(Clone)]
pub(super) struct Site(pub Arc<Mutex<SiteState>>);

impl Site {
    pub fn lock(&self) -> MutexGuard<'_, SiteState> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl SiteState {
    fn calibrate(&mut self, x: &[f32], sample: usize) -> Result<()> {
        let (low, high) = extremes(x);
        self.seen.push((high, low));
        if self.config.start == Range::MeanMaxAbs {
            let mut observer = RangeObserver::new(self.config.start)?;
            let mut samples = x.chunks_exact(sample);
            samples.try_for_each(|s| observer.observe(s))?;
            self.calibrated = Some(observer.bounds()?);
        }
        Ok(())
    }

    /// Bounds from the first training batch; a dead channel's activations are all alike.
    fn start(&mut self, x: &[f32], p: &mut Params) -> Result<()> {
        let Bounds { lower, upper } = match self.calibrated {
            Some(found) => found,
            None => self.config.start.bounds_for(self.config.bits, x)?,
        };
        let upper = upper.max(lower + CLOSEST);
        self.ready = true;
        match self.config.bounding {
            Bounding::Dual => p.set(self.bounds, &[lower, upper]),
            Bounding::Symmetric => p.set(self.bounds, &[upper.max(-lower)]),
        }
    }

    /// The quantiser for given factors of the bounds.
    fn quantiser(&self, bounds: &[f32], [upper, lower]: [f32; 2]) -> Result<BoundQuant> {
        // NaN stays NaN, where `f32::max` forgets it.
        let at_least = |floor: f32, x: f32| if x < floor { floor } else { x };
        let bits = self.config.bits;
        let found = match self.config.bounding {
            Bounding::Dual => {
                let (l, u) = (lower * bounds[0], upper * bounds[1]);
                BoundQuant::dual(Bounds::new(l, at_least(l + CLOSEST, u)), bits)
            }
            Bounding::Symmetric => BoundQuant::symmetric(at_least(CLOSEST / 2.0, bounds[0]), bits),
        };
        found.map_err(|e| Error::invalid(format!("site {}", self.name), e))
    }
}

/// Runs a gate on the means of the input's channels.
fn run_gate(gate: &SubNet, cx: &mut Quantise) -> Result<(SubPass, Vec<[f32; 2]>)> {
    let (batch, x, mode) = (cx.rows(), cx.extent(), cx.mode());
    let mut means = buffer(&vec![0.0; batch * x.channels])?;
    dev().global_avg_pool_forward(batch, x.pixels(), x.channels, cx.input(), &mut means)?;
    let inputs = vec![(means, Extent::vector(x.channels))];
    let pass = gate.forward(cx.params_mut()?, inputs, mode)?;
    let logits = pass.output().view()?.as_chunks::<2>().0.to_vec();
    Ok((pass, logits))
}

impl Quantiser for Site {
    fn bits(&self) -> u32 {
        self.lock().config.bits
    }

    fn range(&self) -> RangeKind {
        RangeKind::None
    }

    fn parameters(&self) -> Vec<ParamId> {
        let site = self.lock();
        let gate = site.gate.iter().flat_map(|gate| gate.parameters());
        std::iter::once(&site.bounds).chain(gate).copied().collect()
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let mut site = self.lock();
        let site = &mut *site;
        let (x, sample, train) = (cx.input(), cx.extent().len(), cx.mode() == Mode::Train);
        if let Some(watch) = &mut site.watch {
            x.view()?.chunks_exact(sample).for_each(|s| watch.see(s));
        }
        if matches!(site.phase, Phase::Off | Phase::Calibration) {
            if site.phase == Phase::Calibration {
                site.calibrate(&x.view()?, sample)?;
            }
            cx.remember(None::<Kept>);
            return cx.output().copy_from(x);
        }
        if !site.ready {
            if !train {
                let why = "has no bounds yet: they come from the first training batch";
                return Err(Error::invalid(format!("site {}", site.name), why));
            }
            site.start(&x.view()?, cx.params_mut()?)?;
        }
        let active = site.phase == Phase::Active;
        let gate = match &site.gate {
            // Outside training a gate that is not applied has nothing to do.
            Some(gate) if active || train => Some(run_gate(gate, cx)?),
            _ => None,
        };
        let factors = match (&gate, site.replaced) {
            (Some((_, logits)), Some(given)) if active && !train => vec![given; logits.len()],
            (Some((_, logits)), _) if active => logits.iter().map(|c| c.map(factor)).collect(),
            _ => vec![[1.0, 1.0]],
        };
        let bounds = cx.params().view(site.bounds)?.into_owned();
        let quantisers = factors.iter().map(|f| site.quantiser(&bounds, *f));
        let quantisers = quantisers.collect::<Result<Vec<_>>>()?;
        if let (Some((_, logits)), true) = (&gate, train) {
            let squares: f32 = logits.iter().flatten().map(|c| c * c).sum();
            site.gate_loss = squares / (2 * logits.len()) as f32;
        }
        if let Some(watch) = &mut site.watch {
            if active && gate.is_some() {
                watch.factors.extend(&factors);
            }
            let samples = x.view()?;
            for (s, q) in samples.chunks_exact(sample).zip(quantisers.iter().cycle()) {
                watch.levels.count(s, *q);
            }
        }
        dev().bound_quant_forward(x, &quantisers, cx.output())?;
        cx.remember(Some(Kept {
            quantisers,
            factors,
            gate,
            active,
        }));
        Ok(())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        let site = self.lock();
        let Some(kept) = cx.memo::<Option<Kept>>()? else {
            return cx.straight_through();
        };
        let (x, dy, dx, accumulate) = cx.parts();
        let grads = dev().bound_quant_grad(x, &kept.quantisers, dy, dx, accumulate)?;
        if site.config.bounding == Bounding::Symmetric {
            return cx.add_param_grad(site.bounds, &[grads[0].upper - grads[0].lower]);
        }
        let each = || grads.iter().zip(&kept.factors);
        let (mut lower, mut upper) = (0.0, 0.0);
        for (g, [fu, fl]) in each() {
            upper += fu * g.upper;
            lower += fl * g.lower;
        }
        cx.add_param_grad(site.bounds, &[lower, upper])?;
        let Some((pass, logits)) = &kept.gate else {
            return Ok(());
        };
        let dlogits: Vec<[f32; 2]> = if kept.active {
            let bounds = cx.params().view(site.bounds)?;
            // d(2 sigmoid)/dc = beta (1 - beta/2).
            let slope = |beta: f32| beta * (1.0 - beta / 2.0);
            let of = |g: &BoundGrad, [fu, fl]: &[f32; 2]| {
                [
                    bounds[1] * g.upper * slope(*fu),
                    bounds[0] * g.lower * slope(*fl),
                ]
            };
            each().map(|(g, f)| of(g, f)).collect()
        } else {
            // The mean of c^2 over samples, factors and gated sites.
            let share = (2 * logits.len() * site.gated_sites.max(1)) as f32;
            logits.iter().map(|c| c.map(|c| 2.0 * c / share)).collect()
        };
        let dlogits = buffer(dlogits.as_flattened())?;
        let (params, grads) = (cx.params(), cx.grads());
        pass.backward(dlogits, Wants::PARAMETERS, params, grads)?;
        Ok(())
    }
}
