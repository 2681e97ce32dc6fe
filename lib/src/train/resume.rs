//! The state of a run on disk: continue after an interruption as if nothing had happened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{History, Optimiser, from_bytes, to_bytes};
use crate::data::data_folder;
use crate::files::{folder_of, write_whole};
use crate::nn::{Net, StateTensor, StepTimes};
use crate::show::{Budget, budget};
use crate::{Error, Result};

/// What a file that does not fit asks for.
const REMEDY: &str = "Remove the file to start the run afresh";
/// Version of the format.
const MAGIC: &str = "rebit run 2";

/// Where the run `name` keeps its state at the budget `full`: `runs/NAME.run` in [`data_folder`]. `None` at the smaller
/// budgets, whose runs start afresh every time.
///
/// # Errors
/// As [`data_folder`].
pub fn state_file(name: &str) -> Result<Option<PathBuf>> {
    if budget() != Budget::Full {
        return Ok(None);
    }
    let file = format!("{name}.run");
    Ok(Some(data_folder()?.join("runs").join(file)))
}

/// Running sums of the epoch that is under way.
#[derive(Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Sums {
    pub steps: usize,
    samples: usize,
    right: Option<usize>,
    loss: f64,
    pub seconds: f64,
    pub backward: f64,
    pub weight_grad: f64,
}

impl Sums {
    pub fn add(&mut self, loss: f32, right: Option<usize>, samples: usize) {
        self.steps += 1;
        self.samples += samples;
        if let Some(right) = right {
            *self.right.get_or_insert(0) += right;
        }
        self.loss += f64::from(loss) * samples as f64;
    }

    pub fn clock(&mut self, whole: Duration, parts: StepTimes) {
        self.seconds += whole.as_secs_f64();
        self.backward += parts.backward.as_secs_f64();
        self.weight_grad += parts.weight_grad.as_secs_f64();
    }

    pub fn loss(&self) -> f32 {
        (self.loss / self.samples as f64) as f32
    }

    /// In percent; NaN for a task that counts none.
    pub fn accuracy(&self) -> f32 {
        let right = self.right.map_or(f32::NAN, |r| r as f32);
        100.0 * right / self.samples as f32
    }
}

/// How far a run has come.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Found {
    pub sums: Sums,
    pub history: History,
}

/// The file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Checkpoint {
    magic: String,
    settings: String,
    net: Vec<StateTensor>,
    optimiser: Vec<StateTensor>,
    observers: Vec<Vec<u8>>,
    run: Found,
}

/// Writes network, optimiser, observers' states and history.
pub(super) fn save(
    path: &Path,
    net: &Net,
    optimiser: &dyn Optimiser,
    observers: Vec<Vec<u8>>,
    settings: &str,
    run: &Found,
) -> Result<()> {
    let parameters = net.parameters().into_iter();
    let checkpoint = Checkpoint {
        magic: MAGIC.into(),
        settings: settings.into(),
        net: parameters
            .map(|p| (p.name.clone(), p.dims.clone(), p.to_vec()))
            .collect(),
        optimiser: optimiser.state()?,
        observers,
        run: run.clone(),
    };
    let bytes = to_bytes(&checkpoint)?;
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    write_whole(path, &bytes).map_err(|e| Error::io(path, e))
}

/// Reads a run's state back into `net` and `optimiser`, and returns the observers'; `None` when there is no file.
pub(super) fn load(
    path: &Path,
    net: &Net,
    optimiser: &mut dyn Optimiser,
    settings: &str,
) -> Result<Option<(Found, Vec<Vec<u8>>)>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let refuse = |why: String| Error::data(path, why, REMEDY);
    let found: Checkpoint =
        from_bytes(&bytes).map_err(|e| refuse(format!("is not the state of a run ({e})")))?;
    if found.magic != MAGIC {
        return Err(refuse(format!("is of another version ({})", found.magic)));
    }
    if found.settings != settings {
        return Err(refuse("belongs to a run with other settings".into()));
    }
    let params = net.parameters();
    if params.len() != found.net.len() {
        let (theirs, ours) = (found.net.len(), params.len());
        return Err(refuse(format!("holds {theirs} of {ours} parameters")));
    }
    for (name, _, data) in &found.net {
        net.set_parameter(name, data)
            .map_err(|e| refuse(e.to_string()))?;
    }
    optimiser
        .restore(&found.optimiser)
        .map_err(|e| refuse(e.to_string()))?;
    net.ranges_are_set();
    Ok(Some((found.run, found.observers)))
}
