//! What a checkpoint holds of a run.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::layer::{LtsLayer, Noted, lock};
use super::observer::{Course, Lts};
use super::shadow::{Shadow, ShadowState};
use crate::ops::lts_weight::LtsState;
use crate::train::{from_bytes, to_bytes};
use crate::{Error, Result};

#[derive(Serialize, Deserialize)]
struct RunState {
    layers: Vec<LayerState>,
    shadows: Vec<ShadowState>,
    course: Course,
}

#[derive(Serialize, Deserialize)]
struct LayerState {
    state: LtsState<Vec<f32>>,
    noted: Noted,
    criterion: Vec<u8>,
}

impl LayerState {
    fn of(layer: &Mutex<LtsLayer>) -> Result<Self> {
        let layer = lock(layer);
        let criterion = layer.criterion.as_ref().map(|c| c.save());
        Ok(LayerState {
            state: layer.state.to_host()?,
            noted: layer.noted.clone(),
            criterion: criterion.transpose()?.unwrap_or_default(),
        })
    }
}

/// The run as bytes.
pub(super) fn save(run: &Lts) -> Result<Vec<u8>> {
    let layers = run.layers.iter().map(|l| LayerState::of(l));
    let shadows = run.shadows.iter().map(Shadow::save);
    to_bytes(&RunState {
        layers: layers.collect::<Result<_>>()?,
        shadows: shadows.collect::<Result<_>>()?,
        course: run.course.clone(),
    })
}

/// Brings a run to where these bytes were written.
pub(super) fn restore(run: &mut Lts, state: &[u8]) -> Result<()> {
    let found: RunState = from_bytes(state)?;
    let ours = run.layers.iter().map(|l| lock(l).len());
    if !ours.eq(found.layers.iter().map(|l| l.state.frozen.len()))
        || run.course.plans.len() != found.course.plans.len()
        || run.shadows.len() != found.shadows.len()
    {
        let why = "is that of other layers, plans or shadow masks; start afresh";
        return Err(Error::invalid("checkpoint of LTS", why));
    }
    for (layer, found) in run.layers.iter().zip(found.layers) {
        let mut layer = lock(layer);
        layer.state.write(found.state)?;
        layer.noted = found.noted;
        if let Some(criterion) = &mut layer.criterion {
            criterion.restore(&found.criterion)?;
        }
    }
    for (shadow, state) in run.shadows.iter_mut().zip(found.shadows) {
        shadow.restore(state)?;
    }
    run.course = found.course;
    Ok(())
}
