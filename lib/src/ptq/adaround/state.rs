//! Finished layers on disk.

use std::path::PathBuf;

use super::AdaRoundConfig;
use crate::nn::{LayerInfo, Net};
use crate::ptq::calibration::Calibration;
use crate::train::{read_state, write_state};
use crate::{Error, Result, read};

/// The file.
#[derive(serde::Serialize, serde::Deserialize)]
struct File {
    /// Settings, network, ranges and images of the run.
    of: String,
    layers: Vec<Finished>,
}

/// A layer whose rounding is known.
#[derive(serde::Serialize, serde::Deserialize)]
struct Finished {
    layer: String,
    /// Weight and bias, by name.
    values: Vec<(String, Vec<f32>)>,
}

/// A run that may have been stopped before.
pub(in crate::ptq) struct Resumed {
    path: Option<PathBuf>,
    file: File,
}

/// A sum that tells numbers apart: any other order or number gives another one.
fn mark(numbers: &[f32]) -> u64 {
    let step = |h: u64, v: &f32| (h ^ u64::from(v.to_bits())).wrapping_mul(0x0100_0000_01b3);
    numbers.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl Resumed {
    /// What a checkpoint holds, or nothing yet.
    pub fn start(config: &AdaRoundConfig, q: &Net, calibration: &Calibration) -> Result<Self> {
        let settings = AdaRoundConfig {
            checkpoint: None,
            ..config.clone()
        };
        let mut marks = Vec::new();
        for param in q.parameters() {
            marks.push(mark(&param.to_vec()));
        }
        for x in calibration.batches() {
            marks.push(mark(&read(x)));
        }
        let all = marks.iter().fold(0u64, |h, m| h.rotate_left(7) ^ m);
        let of = format!("{settings:?} of network and images {all:016x}");
        let path = config.checkpoint.clone();
        let found = match &path {
            Some(path) => read_state::<File>(path)?,
            None => None,
        };
        if let (Some(found), Some(path)) = (&found, &path)
            && found.of != of
        {
            return Err(Error::data(
                path,
                format!("belongs to another run ({}), this one is {of}", found.of),
                "Remove the file to start the run afresh",
            ));
        }
        let layers = found.map_or(Vec::new(), |f| f.layers);
        Ok(Resumed {
            path,
            file: File { of, layers },
        })
    }

    /// Puts a finished layer into the network; whether it was finished.
    pub fn take(&self, q: &Net, layer: &str) -> Result<bool> {
        let Some(kept) = self.file.layers.iter().find(|kept| kept.layer == layer) else {
            return Ok(false);
        };
        for (name, values) in &kept.values {
            q.set_parameter(name, values)?;
        }
        Ok(true)
    }

    /// Whether a layer is finished.
    pub fn holds(&self, layer: &str) -> bool {
        self.file.layers.iter().any(|kept| kept.layer == layer)
    }

    /// Keeps a layer that is finished now.
    pub fn finished(&mut self, q: &Net, layer: &LayerInfo) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if self.holds(&layer.name) {
            return Ok(());
        }
        let params = q.parameters();
        let ids = std::iter::once(layer.weight).chain(layer.bias);
        let kept = ids.map(|id| (params[id].name.clone(), params[id].to_vec()));
        self.file.layers.push(Finished {
            layer: layer.name.clone(),
            values: kept.collect(),
        });
        write_state(path, &self.file)
    }
}

/// Leaves the first layers in a checkpoint, as if the run had been stopped after them.
#[cfg(test)]
pub(in crate::ptq) fn forget_all_but(path: &std::path::Path, layers: usize) -> Result<()> {
    let mut file = read_state::<File>(path)?.expect("a checkpoint");
    assert!(file.layers.len() > layers);
    file.layers.truncate(layers);
    write_state(path, &file)
}
