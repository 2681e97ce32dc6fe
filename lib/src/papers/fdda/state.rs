//! A run on disk.

use super::student::{Student, StudentState};
use super::{FddaConfig, FddaTrace};
use crate::Result;
use crate::nn::StateTensor;
use crate::train::{Groups, Optimiser, check_same_run, read_state, write_state};

/// Version of the format.
const FORMAT: &str = "rebit fdda 1";

/// What makes a run what it is.
pub(super) struct Identity {
    pub settings: String,
    pub network: String,
    pub calibration: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct State {
    format: String,
    settings: String,
    network: String,
    calibration: String,
    step: usize,
    generator: Option<Vec<StateTensor>>,
    students: Vec<StudentState>,
    trace: FddaTrace,
}

/// What moves in a run.
pub(super) struct Moving<'a> {
    pub generator: Option<&'a mut Groups>,
    pub students: &'a mut [Student],
    pub trace: &'a mut FddaTrace,
}

/// Takes the state of the run's checkpoint, if there is one; returns the steps that are done then.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for a file of another run, with the first difference.
pub(super) fn resume(config: &FddaConfig, of: &Identity, into: Moving) -> Result<Option<usize>> {
    let Some(path) = &config.checkpoint else {
        return Ok(None);
    };
    let Some(found) = read_state::<State>(path)? else {
        return Ok(None);
    };
    let parts = [
        ("format", found.format.as_str(), FORMAT),
        ("settings", &found.settings, &of.settings),
        ("network", &found.network, &of.network),
        ("calibration set", &found.calibration, &of.calibration),
    ];
    check_same_run(path, &parts)?;
    if let (Some(adam), Some(state)) = (into.generator, &found.generator) {
        adam.restore(state)?;
    }
    for (student, state) in into.students.iter_mut().zip(found.students) {
        student.restore(state)?;
    }
    *into.trace = found.trace;
    Ok(Some(found.step))
}

/// Writes the state after `step` steps.
pub(super) fn save(config: &FddaConfig, of: &Identity, moving: Moving, step: usize) -> Result<()> {
    let Some(path) = &config.checkpoint else {
        return Ok(());
    };
    let students = moving.students.iter().map(Student::state);
    let state = State {
        format: FORMAT.into(),
        settings: of.settings.clone(),
        network: of.network.clone(),
        calibration: of.calibration.clone(),
        step,
        generator: moving.generator.map(|adam| adam.state()).transpose()?,
        students: students.collect::<Result<_>>()?,
        trace: moving.trace.clone(),
    };
    write_state(path, &state)
}
