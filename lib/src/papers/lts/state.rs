//! What a checkpoint holds of a run.

use serde::{Deserialize, Serialize};

use super::layer::{LtsLayer, lock};
use super::observer::Lts;
use super::plan::PlanMasks;
use super::record::LtsReport;
use super::shadow::{Shadow, ShadowState};
use crate::train::{from_bytes, to_bytes};
use crate::{Error, HostAccess, Result};

/// What a checkpoint holds of a run.
#[derive(Serialize, Deserialize)]
struct RunState {
    layers: Vec<LayerState>,
    shadows: Vec<ShadowState>,
    plans: Vec<PlanMasks>,
    report: LtsReport,
    sums: Vec<f64>,
    cost: f64,
}

/// What a checkpoint holds of a layer.
#[derive(Serialize, Deserialize)]
struct LayerState {
    distance: Vec<f32>,
    previous: Vec<f32>,
    saved: Vec<f32>,
    frozen: Vec<bool>,
    last_flip: Vec<u32>,
    near: Vec<bool>,
    before: Vec<f32>,
    criterion: Vec<u8>,
    ledger: Vec<(usize, f32)>,
}

impl LayerState {
    fn of(layer: &LtsLayer) -> Result<Self> {
        Ok(LayerState {
            distance: layer.state.distance.view()?.into_owned(),
            previous: layer.state.previous.view()?.into_owned(),
            saved: layer.state.saved.view()?.into_owned(),
            frozen: layer.state.frozen.clone(),
            last_flip: layer.last_flip.clone(),
            near: layer.near.clone(),
            before: layer.before.clone(),
            criterion: layer
                .criterion
                .as_ref()
                .map_or(Ok(Vec::new()), |c| c.save())?,
            ledger: layer.ledger.clone(),
        })
    }

    fn put(self, layer: &mut LtsLayer, delta: f32) -> Result<()> {
        layer.state.distance.write(&self.distance)?;
        layer.state.previous.write(&self.previous)?;
        layer.state.saved.write(&self.saved)?;
        layer.state.frozen = self.frozen;
        layer.last_flip = self.last_flip;
        layer.near = self.near;
        layer.before = self.before;
        if let Some(criterion) = &mut layer.criterion {
            criterion.restore(&self.criterion)?;
        }
        layer.ledger = self.ledger;
        layer.delta = delta;
        Ok(())
    }
}

/// The run as bytes.
pub(super) fn save(run: &Lts) -> Result<Vec<u8>> {
    let layers = run.layers.iter().map(|l| LayerState::of(&lock(l)));
    to_bytes(&RunState {
        layers: layers.collect::<Result<_>>()?,
        shadows: run
            .shadows
            .iter()
            .map(Shadow::save)
            .collect::<Result<_>>()?,
        plans: run.plans.clone(),
        report: run.report.clone(),
        sums: run.sums.clone(),
        cost: run.cost,
    })
}

/// Brings a run to where these bytes were written.
pub(super) fn restore(run: &mut Lts, state: &[u8]) -> Result<()> {
    let found: RunState = from_bytes(state)?;
    let ours: Vec<usize> = run.layers.iter().map(|l| lock(l).len()).collect();
    let theirs: Vec<usize> = found.layers.iter().map(|l| l.frozen.len()).collect();
    if ours != theirs
        || run.plans.len() != found.plans.len()
        || run.shadows.len() != found.shadows.len()
    {
        let why = "is that of other layers, plans or shadow masks; start afresh";
        return Err(Error::invalid("checkpoint of LTS", why));
    }
    let delta = 1.0 / crate::ops::fake_quant::levels(run.config.bits)? as f32;
    for (layer, state) in run.layers.iter().zip(found.layers) {
        state.put(&mut lock(layer), delta)?;
    }
    for (shadow, state) in run.shadows.iter_mut().zip(found.shadows) {
        shadow.restore(state)?;
    }
    run.plans = found.plans;
    run.report = found.report;
    run.sums = found.sums;
    run.cost = found.cost;
    Ok(())
}
