//! Quantisers on a network, and the hand that leads them through their phases.

use std::sync::{Arc, Mutex};

use rand::seq::SliceRandom as _;

use super::gate;
use super::site::{Site, SiteState};
use super::{Bounding, DdtbConfig, Gates, SiteRecord};
use crate::data::{Patches, Photo};
use crate::nn::{BoundGrid, LayerInfo, Net, Param, Role, SiteInfo, Slots};
use crate::quant::Range;
use crate::{Error, Result, Rng, rng};

/// What the quantisers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    /// Nothing: the full-precision network.
    Off,
    /// Nothing, but the range of each batch is noted.
    Calibration,
    /// Quantise between the trained bounds; gates are computed and pulled towards 1, but not applied.
    Static,
    /// Quantise between bounds that the gates rescale for each image.
    Active,
}

/// Steers the quantisers of one network.
pub struct Ddtb {
    config: DdtbConfig,
    sites: Vec<(SiteInfo, Site)>,
    gated: Vec<usize>,
}

/// Puts a quantiser at every site of `net`, which must have been built with sites. Nothing is quantised until
/// [`Ddtb::begin`].
///
/// # Errors
/// [`Error::Invalid`] for a network without sites or with quantisers, and for settings that contradict each other.
pub fn quantise(net: &Net, config: &DdtbConfig) -> Result<Ddtb> {
    config.check()?;
    let sites = net.sites();
    if sites.is_empty() {
        return Err(Error::invalid(
            "a network without sites",
            "cannot be given activation quantisers; build it with `sites: true`",
        ));
    }
    let mut controlled = Vec::new();
    for info in sites {
        let start = match config.bounding {
            Bounding::Dual => vec![-10.0, 10.0],
            Bounding::Symmetric => vec![10.0],
        };
        let name = format!("{}.bounds", info.name);
        let bounds = Param::new(name, vec![start.len()], Role::Bound, start)?;
        let state = SiteState {
            name: info.name.clone(),
            bounds: net.add_parameter(bounds)?,
            config: config.clone(),
            ..SiteState::default()
        };
        let site = Site(Arc::new(Mutex::new(state)));
        // The site keeps its range itself.
        net.quantise_input(&info.name, site.clone(), config.start)?;
        controlled.push((info, site));
    }
    Ok(Ddtb {
        config: config.clone(),
        sites: controlled,
        gated: Vec::new(),
    })
}

/// Whether a layer's weights are quantised: the convolutions of the body, not those of head, tail and long skip.
pub(super) fn in_body(layer: &LayerInfo) -> bool {
    layer.name.starts_with("body.") && layer.name != "body.last"
}

impl Ddtb {
    /// Runs `calibration` batches through the full-precision network and notes each site's ranges.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn calibrate(&mut self, net: &Net, patches: &Patches, rng: &mut Rng) -> Result<()> {
        self.set_phase(Phase::Calibration);
        for _ in 0..self.config.calibration {
            crate::show::check_interrupt()?;
            let batch = patches.draw(self.config.batch, rng);
            net.predict_images(&batch.low_images(self.config.batch)?)?;
        }
        self.set_phase(Phase::Off);
        Ok(())
    }

    /// Starts to quantise: weights from now on, activations from the next training batch, which sets their bounds;
    /// gates go to the sites that [`Gates`] says.
    ///
    /// # Errors
    /// [`Error::Invalid`] when called twice, or for gates by dynamic intensity without calibration.
    pub fn begin(&mut self, net: &Net) -> Result<()> {
        let range = self.config.weights;
        let grid = match range {
            Range::MaxAbs => BoundGrid::symmetric(self.config.bits),
            _ => BoundGrid::bits(self.config.bits),
        };
        net.quantise(|layer| match in_body(layer) {
            true => Ok(Slots::weights(grid, range.each_pass())),
            false => Ok(Slots::none()),
        })?;
        self.gated = self.choose_sites()?;
        for &index in &self.gated {
            let (info, site) = &self.sites[index];
            let rng = rng(self.config.seed ^ ((index as u64 + 1) << 32));
            let gate = gate::network(info.channels, self.config.gate_gradient, rng)?;
            let gate = net.add_network(&format!("{}.gate", info.name), &gate)?;
            let mut state = site.lock();
            state.gate = Some(gate);
            state.gated_sites = self.gated.len();
        }
        self.set_phase(Phase::Static);
        Ok(())
    }

    fn choose_sites(&self) -> Result<Vec<usize>> {
        let count = self.config.gates.count(self.sites.len());
        let mut order: Vec<usize> = (0..self.sites.len()).collect();
        match self.config.gates {
            Gates::None => return Ok(Vec::new()),
            Gates::Random(_) => order.shuffle(&mut rng(self.config.seed.wrapping_add(77))),
            Gates::DynamicIntensity(_) => {
                let intensity = self.dynamic_intensity();
                if count > 0 && intensity.iter().any(|i| i.is_nan()) {
                    return Err(Error::invalid(
                        "gates by dynamic intensity",
                        "need calibration batches first: call `calibrate`",
                    ));
                }
                order.sort_by(|&a, &b| intensity[b].total_cmp(&intensity[a]));
            }
        }
        order.truncate(count);
        order.sort_unstable();
        Ok(order)
    }

    /// Variance of the batches' largest values plus that of their smallest, for each site; NaN before calibration.
    pub fn dynamic_intensity(&self) -> Vec<f32> {
        let variance = |values: Vec<f32>| {
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n
        };
        let of = |(_, site): &(SiteInfo, Site)| {
            let seen = &site.lock().seen;
            let (high, low) = seen.iter().copied().unzip();
            variance(high) + variance(low)
        };
        self.sites.iter().map(of).collect()
    }

    /// Says that every site has its bounds: they came with the parameters.
    pub(super) fn bounds_are_set(&mut self) {
        self.sites
            .iter()
            .for_each(|(_, site)| site.lock().ready = true);
    }

    /// What the quantisers do from now on.
    pub fn set_phase(&mut self, phase: Phase) {
        self.sites
            .iter()
            .for_each(|(_, site)| site.lock().phase = phase);
    }

    /// Names of all sites in the order they run.
    pub fn site_names(&self) -> Vec<String> {
        self.sites
            .iter()
            .map(|(info, _)| info.name.clone())
            .collect()
    }

    /// Names of the gated sites.
    pub fn gated(&self) -> Vec<String> {
        self.gated
            .iter()
            .map(|&i| self.sites[i].0.name.clone())
            .collect()
    }

    /// Puts these factors `[upper, lower]`, one pair a gated site in the order of [`gated`](Self::gated), in the place of
    /// what the gates say, for every image and until `None` gives the gates their voice back. Outside training only:
    /// it shows what a network makes of its freedom, by its mean factors or those of another image.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of pairs than gated sites, or factors that are not finite and positive.
    pub fn replace_factors(&mut self, factors: Option<&[[f32; 2]]>) -> Result<()> {
        if let Some(given) = factors {
            if given.len() != self.gated.len() {
                let what = format!("{} pairs of factors", given.len());
                let why = format!("do not fit {} gated sites", self.gated.len());
                return Err(Error::invalid(what, why));
            }
            if let Some(wrong) = given
                .iter()
                .flatten()
                .find(|f| !(f.is_finite() && **f > 0.0))
            {
                return Err(Error::invalid(
                    format!("the factor {wrong}"),
                    "must be finite and positive, as 2 sigmoid(c) is",
                ));
            }
        }
        for (i, &site) in self.gated.iter().enumerate() {
            self.sites[site].1.lock().replaced = factors.map(|f| f[i]);
        }
        Ok(())
    }

    /// `[lower, upper]` of each site; a symmetric bound on either side.
    pub fn bounds(&self, net: &Net) -> Result<Vec<[f32; 2]>> {
        let of = |info: &SiteInfo| {
            let found = net.parameter(&format!("{}.bounds", info.name))?.to_vec();
            Ok(match found[..] {
                [bound] => [-bound, bound],
                _ => [found[0], found[1]],
            })
        };
        self.sites.iter().map(|(info, _)| of(info)).collect()
    }

    /// Mean squared logit of the gates in the last training batch: what is added to the loss in the static phase.
    pub fn gate_loss(&self) -> f32 {
        let sum: f32 = self
            .gated
            .iter()
            .map(|&i| self.sites[i].1.lock().gate_loss)
            .sum();
        sum / self.gated.len().max(1) as f32
    }

    /// Bits that the gates' weights take, and bits of all parameters of the network without them.
    pub fn storage_bits(&self, net: &Net) -> (usize, usize) {
        let (mut gates, mut rest) = (0, 0);
        let (layers, parameters) = (net.layers(), net.parameters());
        for p in &parameters {
            if p.name.contains(".gate.") {
                let is_weight = p.role == Role::Weight;
                gates += p.len() * if is_weight { gate::BITS as usize } else { 0 };
                continue;
            }
            let layer = layers.iter().find(|l| parameters[l.weight].name == p.name);
            let bits = layer.and_then(|l| l.bits).unwrap_or(32);
            rest += p.len() * bits as usize;
        }
        (gates, rest)
    }

    /// Runs photographs through the network, one at a time, and returns what each site saw.
    ///
    /// # Errors
    /// As [`Net::predict_images`].
    pub fn watch(&mut self, net: &Net, photos: &[Photo]) -> Result<Vec<SiteRecord>> {
        for (info, site) in &self.sites {
            site.lock().watch = Some(SiteRecord {
                name: info.name.clone(),
                ..SiteRecord::default()
            });
        }
        let run = || {
            photos
                .iter()
                .try_for_each(|p| net.predict_images(&p.to_images()).map(drop))
        };
        let done = run();
        let taken = self
            .sites
            .iter()
            .filter_map(|(_, site)| site.lock().watch.take());
        let records = taken.collect();
        done.map(|()| records)
    }
}
