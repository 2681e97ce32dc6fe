//! Networks on disk, as safetensors.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Net, Role};
use crate::files::{folder_of, write_whole};
use crate::{Error, Result};

/// What a broken weight file asks for.
const REMEDY: &str = "Fetch or train the file again";

impl Net {
    /// Writes every parameter and running statistic, with `note` pairs as metadata.
    ///
    /// The file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, notes: &[(&str, &str)]) -> Result<()> {
        let tensors = self
            .parameters()
            .into_iter()
            .map(|p| (p.name.clone(), p.dims.clone(), p.to_vec()))
            .collect();
        let notes = notes
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        write_tensors(path.as_ref(), tensors, notes)
    }

    /// Reads parameters by name; names of the file that the network lacks are refused, as are missing ones.
    ///
    /// Bounds and scales of quantisers may be missing, so that a full-precision file starts a quantised network.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the tensor that does not fit.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        self.load_bytes(path, &bytes)
    }

    /// [`Net::load`] from memory; `path` is the name in messages.
    pub(crate) fn load_bytes(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let (tensors, _) = parse_tensors(path, bytes)?;
        let found: HashMap<&str, &(String, Vec<usize>, Vec<f32>)> =
            tensors.iter().map(|t| (t.0.as_str(), t)).collect();
        let params = self.parameters();
        if let Some(extra) = tensors
            .iter()
            .find(|t| !t.0.ends_with("num_batches_tracked") && params.iter().all(|p| p.name != t.0))
        {
            return Err(Error::data(
                path,
                format!("holds {:?}, which the network lacks", extra.0),
                "Build the network it was saved from",
            ));
        }
        for p in &params {
            match found.get(p.name.as_str()) {
                Some((_, dims, data)) if *dims == p.dims => self.set_parameter(&p.name, data)?,
                Some((_, dims, _)) => {
                    let why = format!(
                        "{}: the file has {dims:?}, the network {:?}",
                        p.name, p.dims
                    );
                    return Err(Error::data(
                        path,
                        why,
                        "Build the network it was saved from",
                    ));
                }
                None if matches!(p.role, Role::Bound | Role::Scale) => {}
                None => return Err(Error::data(path, format!("lacks {:?}", p.name), REMEDY)),
            }
        }
        let mut inner = self.lock();
        let found = |id: usize| found.contains_key(params[id].name.as_str());
        for slot in inner.slots.iter_mut().flat_map(|s| s.each()) {
            slot.ready = slot.range.is_none_or(found);
        }
        Ok(())
    }
}

/// Name, dimensions, numbers.
pub type StateTensor = (String, Vec<usize>, Vec<f32>);

/// Writes tensors to a temporary name beside `path` and renames it.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: Vec<StateTensor>,
    notes: HashMap<String, String>,
) -> Result<()> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, dims, _), b)| {
        let view = TensorView::new(Dtype::F32, dims.clone(), b);
        view.map(|v| (name.clone(), v))
            .map_err(|e| Error::data(path, e, "This is a bug"))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let data = safetensors::serialize(views, &Some(notes))
        .map_err(|e| Error::data(path, e, "This is a bug"))?;
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    write_whole(path, &data).map_err(|e| Error::io(path, e))
}

/// The tensors and the metadata of a safetensors file.
fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<(Vec<StateTensor>, HashMap<String, String>)> {
    let broken = |e: safetensors::SafeTensorError| {
        Error::data(path, format!("is not a safetensors file: {e}"), REMEDY)
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let notes = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        if view.dtype() == Dtype::I64 && name.ends_with("num_batches_tracked") {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(Error::data(
                path,
                format!("{name} is {:?}, not F32", view.dtype()),
                "Convert it to f32",
            ));
        }
        let data = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        tensors.push((name, view.shape().to_vec(), data));
    }
    Ok((tensors, notes))
}
