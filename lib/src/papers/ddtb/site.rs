//! The quantiser of one site.

use std::sync::{Arc, Mutex, MutexGuard};

use super::gate::{Gate, GateMemo, at_least, extremes, factor};
use super::record::SiteRecord;
use super::{Bounding, DdtbConfig, Phase};
use crate::nn::{Mode, ParamId, Params, Quantise, QuantiseGrad, Quantiser, RangeKind};
use crate::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use crate::ops::pool::PoolKernel;
use crate::ops::relu::ActivationKernel;
use crate::quant::{Bounds, Range, RangeObserver};
use crate::{Error, HostAccess, Result, dev};

/// Bounds are never closer than this.
const CLOSEST: f32 = 1e-3;

/// State of a site, shared between the network that runs it and the controller that steers it.
pub(super) struct SiteState {
    pub name: String,
    /// `[lower, upper]` or `[bound]`.
    pub bounds: ParamId,
    pub config: DdtbConfig,
    pub phase: Phase,
    pub gate: Option<Gate>,
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

/// What the backward pass needs: the quantiser of each sample and the gate's memo.
#[derive(Clone, Default)]
struct Kept {
    /// One for each sample, or one for all; `None` while nothing is quantised.
    quantisers: Option<Vec<BoundQuant>>,
    gate: Option<GateMemo>,
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
            x.chunks_exact(sample)
                .try_for_each(|s| observer.observe(s))?;
            self.calibrated = Some(observer.bounds()?);
        }
        Ok(())
    }

    /// Bounds from the first training batch.
    fn start(&mut self, x: &[f32], p: &mut Params) -> Result<()> {
        let pair = match (self.config.start, self.calibrated) {
            (Range::Percentile(p), _) => percentiles(x, p)?,
            (Range::MeanMaxAbs, Some(found)) => found,
            (range, _) => range.bounds(x)?,
        };
        match self.config.bounding {
            Bounding::Dual => p.set(self.bounds, &[pair.lower, pair.upper])?,
            Bounding::Symmetric => p.set(self.bounds, &[pair.upper.max(-pair.lower)])?,
        }
        self.ready = true;
        Ok(())
    }

    /// The quantiser for given factors of the bounds.
    fn quantiser(&self, bounds: &[f32], [upper, lower]: [f32; 2]) -> Result<BoundQuant> {
        match self.config.bounding {
            Bounding::Dual => {
                let (l, u) = (lower * bounds[0], upper * bounds[1]);
                let b = Bounds::new(l, at_least(l + CLOSEST, u));
                BoundQuant::dual(b, self.config.bits).map_err(|e| self.named(e))
            }
            Bounding::Symmetric => {
                let bound = at_least(CLOSEST / 2.0, bounds[0]);
                BoundQuant::symmetric(bound, self.config.bits).map_err(|e| self.named(e))
            }
        }
    }

    fn named(&self, error: Error) -> Error {
        Error::invalid(format!("site {}", self.name), error)
    }
}

/// Percentiles `1 - m` and `m`, at least [`CLOSEST`] apart: a dead channel's activations are all alike.
fn percentiles(x: &[f32], m: f32) -> Result<Bounds> {
    let (low, high) = extremes(x);
    if high - low < CLOSEST {
        return Ok(Bounds::new(low, low + CLOSEST));
    }
    let found = Range::Percentile(m).bounds(x)?;
    Ok(Bounds::new(
        found.lower,
        found.upper.max(found.lower + CLOSEST),
    ))
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
        let gate = site.gate.into_iter().flat_map(Gate::parameters);
        std::iter::once(site.bounds).chain(gate).collect()
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let mut site = self.lock();
        let site = &mut *site;
        let x = cx.input();
        let sample = cx.extent().len();
        if let Some(watch) = &mut site.watch {
            x.view()?.chunks_exact(sample).for_each(|s| watch.see(s));
        }
        if matches!(site.phase, Phase::Off | Phase::Calibration) {
            if site.phase == Phase::Calibration {
                site.calibrate(&x.view()?, sample)?;
            }
            cx.remember(Kept::default());
            return cx.output().copy_from(x);
        }
        let train = cx.mode() == Mode::Train;
        if !site.ready {
            if !train {
                let why = "has no bounds yet: they come from the first training batch";
                return Err(Error::invalid(format!("site {}", site.name), why));
            }
            site.start(&x.view()?, cx.params_mut()?)?;
        }
        let active = site.phase == Phase::Active;
        let gate = match site.gate {
            // Outside training a gate that is not applied has nothing to do.
            Some(gate) if active || train => {
                let (batch, extent) = (cx.rows(), cx.extent());
                let mut pooled = crate::buffer(&vec![0.0; batch * extent.channels])?;
                let pixels = extent.pixels();
                dev().global_avg_pool_forward(batch, pixels, extent.channels, x, &mut pooled)?;
                let pooled = pooled.view()?.into_owned();
                Some(gate.forward(pooled, cx.params_mut()?, train)?)
            }
            _ => None,
        };
        let bounds = cx.params().view(site.bounds)?.into_owned();
        let quantisers = match &gate {
            Some(memo) if active => {
                let own = memo.logits.iter().map(|c| c.map(factor));
                let factors: Vec<[f32; 2]> = match site.replaced {
                    Some(given) if !train => vec![given; memo.logits.len()],
                    _ => own.collect(),
                };
                if let Some(watch) = &mut site.watch {
                    watch.factors.extend(&factors);
                }
                let each = factors.iter().map(|f| site.quantiser(&bounds, *f));
                each.collect::<Result<Vec<_>>>()?
            }
            _ => vec![site.quantiser(&bounds, [1.0, 1.0])?],
        };
        if let (Some(memo), true) = (&gate, train) {
            let squares: f32 = memo.logits.iter().flatten().map(|c| c * c).sum();
            site.gate_loss = squares / (2 * memo.logits.len()) as f32;
        }
        if let Some(watch) = &mut site.watch {
            let shared = quantisers.len() == 1;
            for (n, s) in x.view()?.chunks_exact(sample).enumerate() {
                watch
                    .levels
                    .count(s, quantisers[if shared { 0 } else { n }]);
            }
        }
        dev().bound_quant_forward(x, &quantisers, cx.output())?;
        cx.remember(Kept {
            quantisers: Some(quantisers),
            gate,
            active,
        });
        Ok(())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        let site = self.lock();
        let kept = cx.memo::<Kept>()?.clone();
        let (x, dy, dx, accumulate) = cx.parts();
        let Some(quantisers) = &kept.quantisers else {
            return match accumulate {
                true => dev().accumulate(dy, dx),
                false => dx.copy_from(dy),
            };
        };
        let grads = dev().bound_quant_grad(x, quantisers, dy, dx, accumulate)?;
        let gate = kept.gate.as_ref().zip(site.gate);
        let factors = match &gate {
            Some((memo, _)) if kept.active => memo.logits.iter().map(|c| c.map(factor)).collect(),
            _ => vec![[1.0, 1.0]; grads.len()],
        };
        match site.config.bounding {
            Bounding::Dual => {
                let [mut lower, mut upper] = [0.0, 0.0];
                for (g, [fu, fl]) in grads.iter().zip(&factors) {
                    upper += fu * g.upper;
                    lower += fl * g.lower;
                }
                cx.add_param_grad(site.bounds, &[lower, upper])?;
            }
            Bounding::Symmetric => {
                cx.add_param_grad(site.bounds, &[grads[0].upper - grads[0].lower])?;
            }
        }
        if let Some((memo, gate)) = gate {
            let bounds = cx.params().view(site.bounds)?.into_owned();
            let dlogits: Vec<[f32; 2]> = if kept.active {
                // d(2 sigmoid)/dc = beta (1 - beta/2).
                let slope = |beta: f32| beta * (1.0 - beta / 2.0);
                let each = grads.iter().zip(&factors);
                each.map(|(g, [fu, fl])| {
                    [
                        bounds[1] * g.upper * slope(*fu),
                        bounds[0] * g.lower * slope(*fl),
                    ]
                })
                .collect()
            } else {
                // The mean of c^2 over samples, factors and gated sites.
                let share = (2 * memo.logits.len() * site.gated_sites.max(1)) as f32;
                memo.logits
                    .iter()
                    .map(|c| c.map(|c| 2.0 * c / share))
                    .collect()
            };
            gate.backward(memo, &dlogits, site.config.gate_gradient, cx)?;
        }
        Ok(())
    }
}
