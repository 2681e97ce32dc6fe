//! A run on disk.

use super::{PersonSearchConfig, PersonSearchTrace};
use crate::Result;
use crate::nn::StateTensor;
use crate::ops::triplet::ProxyTable;
use crate::train::{Groups, Optimiser, check_same_run, read_state, write_state};

/// Version of the format.
const FORMAT: &str = "rebit person search 1";

/// What makes a run what it is.
#[derive(Clone)]
pub(super) struct Identity {
    pub settings: String,
    pub detector: String,
    pub reid: String,
    pub scenes: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct State {
    format: String,
    settings: String,
    detector: String,
    reid: String,
    scenes: String,
    step: usize,
    optimisers: Vec<Vec<StateTensor>>,
    proxies: Option<ProxyTable>,
    trace: PersonSearchTrace,
}

/// What moves in a run.
pub(super) struct Moving<'a> {
    pub optimisers: &'a mut [Groups; 2],
    pub proxies: &'a mut Option<ProxyTable>,
    pub trace: &'a mut PersonSearchTrace,
}

/// Takes the state of the run's checkpoint, if there is one; returns the steps that are done then.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for a file of another run, with the first difference.
pub(super) fn resume(
    config: &PersonSearchConfig,
    of: &Identity,
    into: Moving,
) -> Result<Option<usize>> {
    let Some(path) = &config.checkpoint else {
        return Ok(None);
    };
    let Some(found) = read_state::<State>(path)? else {
        return Ok(None);
    };
    let parts = [
        ("format", found.format.as_str(), FORMAT),
        ("settings", &found.settings, &of.settings),
        ("detector", &found.detector, &of.detector),
        ("re-ID network", &found.reid, &of.reid),
        ("set of scenes", &found.scenes, &of.scenes),
    ];
    check_same_run(path, &parts)?;
    for (optimiser, state) in into.optimisers.iter_mut().zip(&found.optimisers) {
        optimiser.restore(state)?;
    }
    *into.proxies = found.proxies;
    *into.trace = found.trace;
    Ok(Some(found.step))
}

/// Writes the state after `step` steps.
pub(super) fn save(
    config: &PersonSearchConfig,
    of: &Identity,
    moving: Moving,
    step: usize,
) -> Result<()> {
    let Some(path) = &config.checkpoint else {
        return Ok(());
    };
    let optimisers = moving.optimisers.iter().map(|o| o.state());
    let state = State {
        format: FORMAT.into(),
        settings: of.settings.clone(),
        detector: of.detector.clone(),
        reid: of.reid.clone(),
        scenes: of.scenes.clone(),
        step,
        optimisers: optimisers.collect::<Result<_>>()?,
        proxies: moving.proxies.clone(),
        trace: moving.trace.clone(),
    };
    write_state(path, &state)
}
