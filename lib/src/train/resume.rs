//! The state of a run on disk: continue after an interruption as if nothing had happened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{History, Optimiser, TrainConfig};
use crate::data::data_folder;
use crate::nn::StepTimes;
use crate::nn::{Net, read_tensors, write_tensors};
use crate::show::{Budget, budget};
use crate::{Error, HostAccess, Result};

/// Where the run `name` keeps its state at the budget `full`: `runs/NAME.safetensors` in
/// [`data_folder`]. `None` at the smaller budgets, whose runs start afresh every time.
///
/// # Errors
/// As [`data_folder`].
pub fn state_file(name: &str) -> Result<Option<PathBuf>> {
    if budget() != Budget::Full {
        return Ok(None);
    }
    let file = format!("{name}.safetensors");
    Ok(Some(data_folder()?.join("runs").join(file)))
}

/// Running sums of the epoch that is under way.
#[derive(Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sums {
    pub steps: usize,
    samples: usize,
    right: usize,
    /// Bits of the summed loss, which text would round.
    loss_bits: u64,
    pub seconds: f64,
    pub backward: f64,
    pub weight_grad: f64,
}

impl Sums {
    pub fn add(&mut self, loss: f32, right: usize, samples: usize) {
        self.steps += 1;
        self.samples += samples;
        self.right += right;
        let sum = f64::from_bits(self.loss_bits) + f64::from(loss) * samples as f64;
        self.loss_bits = sum.to_bits();
    }

    pub fn clock(&mut self, whole: Duration, parts: StepTimes) {
        self.seconds += whole.as_secs_f64();
        self.backward += parts.backward.as_secs_f64();
        self.weight_grad += parts.weight_grad.as_secs_f64();
    }

    pub fn loss(&self) -> f32 {
        (f64::from_bits(self.loss_bits) / self.samples as f64) as f32
    }

    pub fn accuracy(&self) -> f32 {
        100.0 * self.right as f32 / self.samples as f32
    }
}

/// Writes network, optimiser, observer state and history.
pub(crate) fn save(
    path: &Path,
    net: &Net,
    optimiser: &Optimiser,
    observer: Vec<(String, Vec<f32>)>,
    config: &TrainConfig,
    history: &History,
    sums: &Sums,
) -> Result<()> {
    let params = net.parameters();
    let mut tensors: Vec<_> = params
        .iter()
        .map(|p| (format!("net.{}", p.name), p.dims.clone(), p.to_vec()))
        .collect();
    for (i, kind, data) in optimiser.state() {
        tensors.push((
            format!("optimiser.{kind}.{}", params[i].name),
            vec![data.elements()],
            data.view()?.into_owned(),
        ));
    }
    for (name, data) in observer {
        tensors.push((format!("observer.{name}"), vec![data.len()], data));
    }
    let json = |e: serde_json::Error| Error::data(path, e, "This is a bug");
    let notes = HashMap::from([
        ("steps".to_string(), optimiser.steps().to_string()),
        ("config".to_string(), fingerprint(config).map_err(json)?),
        (
            "epoch".to_string(),
            serde_json::to_string(sums).map_err(json)?,
        ),
        (
            "history".to_string(),
            serde_json::to_string(history).map_err(json)?,
        ),
    ]);
    write_tensors(path, tensors, notes)
}

/// A run found on disk: its history, the epoch under way and the observer's tensors.
pub(crate) struct Found {
    pub sums: Sums,
    pub history: History,
    pub observer: HashMap<String, Vec<f32>>,
}

/// Reads a run's state back into `net` and `optimiser`; `None` when there is no file.
pub(crate) fn load(
    path: &Path,
    net: &Net,
    optimiser: &mut Optimiser,
    config: &TrainConfig,
) -> Result<Option<Found>> {
    if !path.exists() {
        return Ok(None);
    }
    let remedy = "Remove the file to start the run afresh";
    let (tensors, notes) = read_tensors(path)?;
    let note = |key: &str| {
        notes
            .get(key)
            .ok_or_else(|| Error::data(path, format!("has no {key:?} entry"), remedy))
    };
    let bad = |e: serde_json::Error| Error::data(path, e, remedy);
    if *note("config")? != fingerprint(config).map_err(bad)? {
        return Err(Error::data(
            path,
            "belongs to a run with other settings",
            remedy,
        ));
    }
    let history: History = serde_json::from_str(note("history")?).map_err(bad)?;
    let sums = serde_json::from_str(note("epoch")?).map_err(bad)?;
    let steps = note("steps")?
        .parse()
        .map_err(|e| Error::data(path, e, remedy))?;
    let params = net.parameters();
    let mut observer = HashMap::new();
    let mut restored = 0;
    for (name, _, data) in tensors {
        if let Some(name) = name.strip_prefix("net.") {
            net.set_parameter(name, &data)?;
            restored += 1;
        } else if let Some(name) = name.strip_prefix("observer.") {
            observer.insert(name.to_string(), data);
        } else if let Some((kind, name)) = name
            .strip_prefix("optimiser.")
            .and_then(|n| n.split_once('.'))
        {
            let slot = params
                .iter()
                .position(|p| p.name == name)
                .and_then(|i| optimiser.state_mut(i, kind));
            match slot {
                Some(slot) if slot.elements() == data.len() => slot.write(&data)?,
                _ => {
                    return Err(Error::data(
                        path,
                        format!("optimiser state of {name:?} does not fit"),
                        remedy,
                    ));
                }
            }
        }
    }
    if restored != params.len() {
        return Err(Error::data(
            path,
            format!("holds {restored} of {} parameters", params.len()),
            remedy,
        ));
    }
    optimiser.set_steps(steps);
    net.lock()
        .quant
        .iter_mut()
        .flatten()
        .for_each(|q| q.ready = true);
    Ok(Some(Found {
        sums,
        history,
        observer,
    }))
}

/// What two runs must agree on to be the same run.
fn fingerprint(config: &TrainConfig) -> serde_json::Result<String> {
    let same = TrainConfig {
        checkpoint: None,
        checkpoint_steps: 0,
        show: false,
        label: String::new(),
        ..config.clone()
    };
    serde_json::to_string(&same)
}
