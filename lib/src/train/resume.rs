//! The state of a run on disk: continue after an interruption as if nothing had happened.

use std::collections::HashMap;
use std::path::Path;

use super::{History, Optimiser, TrainConfig};
use crate::nn::{Net, read_tensors, write_tensors};
use crate::{Error, Result};

/// Writes network, optimiser, observer state and history.
pub(crate) fn save(
    path: &Path,
    net: &Net,
    optimiser: &Optimiser,
    observer: Vec<(String, Vec<f32>)>,
    config: &TrainConfig,
    history: &History,
) -> Result<()> {
    let params = net.parameters();
    let mut tensors: Vec<_> = params
        .iter()
        .map(|p| (format!("net.{}", p.name), p.dims.clone(), p.to_vec()))
        .collect();
    for (i, kind, data) in optimiser.state() {
        tensors.push((
            format!("optimiser.{kind}.{}", params[i].name),
            vec![data.len()],
            data.to_vec(),
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
            "history".to_string(),
            serde_json::to_string(history).map_err(json)?,
        ),
    ]);
    write_tensors(path, tensors, notes)
}

/// A run found on disk: its history and the observer's tensors.
pub(crate) struct Found {
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
                Some(slot) if slot.len() == data.len() => slot.copy_from_slice(&data),
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
    Ok(Some(Found { history, observer }))
}

/// What two runs must agree on to be the same run.
fn fingerprint(config: &TrainConfig) -> serde_json::Result<String> {
    let same = TrainConfig {
        checkpoint: None,
        show: false,
        label: String::new(),
        ..config.clone()
    };
    serde_json::to_string(&same)
}
