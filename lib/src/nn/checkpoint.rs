//! Networks on disk, as safetensors.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Net, Param, Role};
use crate::files;
use crate::{Error, Result};

/// What a broken weight file asks for.
const REMEDY: &str = "Fetch or train the file again";

impl Net {
    /// Every parameter and running statistic, for a checkpoint, without the ranges of quantisers that nothing has been
    /// read off yet.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let (net, other) = (resnet20(10, rng(0)), resnet20(10, rng(1)));
    /// other.restore(&net.state()?)?;
    /// assert_eq!(other.state()?, net.state()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] when the numbers cannot be read off the device.
    pub fn state(&self) -> Result<Vec<StateTensor>> {
        let inner = self.lock();
        let waiting = |id: usize| {
            let mut slots = inner.slots.iter().flat_map(|s| s.both());
            slots.any(|slot| !slot.ready && slot.read_off().any(|own| own == id))
        };
        let ids = (0..inner.params.len()).filter(|&id| !waiting(id));
        let tensor = |id: usize| {
            let p = inner.params.describe(id);
            Ok((
                p.name.clone(),
                p.dims.clone(),
                inner.params.view(id)?.into_owned(),
            ))
        };
        ids.map(tensor).collect()
    }

    /// Takes back what [`state`](Self::state) gave. A quantiser whose range is not in it reads its range off the next
    /// training batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tensor that the network lacks, has in other dimensions, or needs; the network is then as
    /// before.
    pub fn restore(&self, state: &[StateTensor]) -> Result<()> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let ranges: Vec<usize> = inner
            .slots
            .iter()
            .flat_map(|s| s.both())
            .flat_map(|s| s.read_off())
            .collect();
        let mut ids = Vec::with_capacity(state.len());
        for (name, dims, data) in state {
            let id = inner.params.find(name)?;
            let p = inner.params.describe(id);
            if p.dims != *dims || p.len() != data.len() {
                let why = format!(
                    "is {:?} here, {dims:?} with {} numbers in the state",
                    p.dims,
                    data.len()
                );
                return Err(Error::invalid(format!("parameter {name:?}"), why));
            }
            ids.push(id);
        }
        let found: HashSet<usize> = ids.iter().copied().collect();
        let missing =
            (0..inner.params.len()).find(|id| !found.contains(id) && !ranges.contains(id));
        if let Some(id) = missing {
            let name = &inner.params.describe(id).name;
            return Err(Error::invalid(
                format!("parameter {name:?}"),
                "is not in the state",
            ));
        }
        for (id, (_, _, data)) in ids.into_iter().zip(state) {
            inner.params.set(id, data)?;
        }
        for slot in inner.slots.iter_mut().flat_map(|s| s.each()) {
            slot.ready = slot.range.is_none_or(|id| found.contains(&id));
        }
        Ok(())
    }

    /// Writes the [state](Self::state), with `note` pairs as metadata.
    ///
    /// The file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, notes: &[(&str, &str)]) -> Result<()> {
        let tensors = self.state()?;
        let notes = notes
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        write_tensors(path.as_ref(), tensors, notes)
    }

    /// Reads parameters by name; names of the file that the network lacks are refused, as are missing ones. Nothing
    /// changes unless all of the file fits.
    ///
    /// Bounds and scales of quantisers may be missing, so that a full-precision file starts a quantised network.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the tensor that does not fit.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        self.load_renamed(path, str::to_string)
    }

    /// [`load`](Self::load) of a file whose tensors have other names: `rename` turns each into the network's. Dimensions
    /// are those of PyTorch (`(out, in/groups, kh, kw)`, `(out, in)`), so its weights load as they are.
    ///
    /// A PyTorch checkpoint becomes such a file by
    /// `safetensors.torch.save_file(torch.load("net.pth", map_location="cpu")["state_dict"], "net.safetensors")`, with
    /// `pip install torch safetensors`; the running count `num_batches_tracked` is passed over.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// # let file = std::env::temp_dir().join("rebit-doc-renamed.safetensors");
    /// # resnet20(10, rng(1)).save(&file, &[])?;
    /// let net = resnet20(10, rng(0));
    /// // Trained in parallel ("module."), with a last layer called "linear".
    /// net.load_renamed(&file, |name| name.replace("module.", "").replace("linear.", "fc."))?;
    /// # std::fs::remove_file(file).ok();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// If every answer of a network that has been loaded is at chance, its images are most likely on another scale than
    /// those it was trained on: give [`crate::data::Normalize`] the means and deviations of its training (the recipe of
    /// the weights names them, often those of the data set and not [`crate::data::Normalize::IMAGENET`]).
    ///
    /// # Errors
    /// As [`load`](Self::load); [`Error::Data`] for two tensors of one new name.
    pub fn load_renamed(
        &self,
        path: impl AsRef<Path>,
        rename: impl Fn(&str) -> String,
    ) -> Result<()> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let (mut tensors, _) = parse_tensors(path, &bytes)?;
        for (name, _, _) in &mut tensors {
            *name = rename(name);
        }
        self.take_tensors(path, tensors)
    }

    /// [`Net::load`] from memory, such as a file that `include_bytes!` put into the program; `path` is its name in
    /// messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_bytes(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let (tensors, _) = parse_tensors(path, bytes)?;
        self.take_tensors(path, tensors)
    }

    fn take_tensors(&self, path: &Path, tensors: Vec<StateTensor>) -> Result<()> {
        let mut found: HashMap<&str, &StateTensor> = HashMap::new();
        for tensor in &tensors {
            if found.insert(&tensor.0, tensor).is_some() {
                let why = format!("two of its tensors are called {:?} here", tensor.0);
                return Err(Error::data(path, why, "Rename them to different names"));
            }
        }
        let params = self.parameters();
        fit(path, &params, &found)?;
        for p in &params {
            if let Some((_, _, data)) = found.get(p.name.as_str()) {
                self.set_parameter(&p.name, data)?;
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

/// Says what of a file does not fit, if anything.
fn fit(path: &Path, params: &[Param], found: &HashMap<&str, &StateTensor>) -> Result<()> {
    let of = |name: &str| params.iter().find(|p| p.name == name);
    let mut extra: Vec<&str> = found.keys().copied().filter(|n| of(n).is_none()).collect();
    extra.sort_unstable();
    let optional = |p: &&Param| !matches!(p.role, Role::Bound | Role::Scale);
    let missing = params.iter().filter(optional).map(|p| p.name.as_str());
    let missing: Vec<&str> = missing.filter(|n| !found.contains_key(n)).collect();
    let other = found.values().filter_map(|(name, dims, _)| {
        let p = of(name).filter(|p| p.dims != *dims)?;
        Some(format!(
            "{name}: the file has {dims:?}, the network {:?}",
            p.dims
        ))
    });
    let mut other: Vec<String> = other.collect();
    other.sort_unstable();
    if extra.is_empty() && missing.is_empty() && other.is_empty() {
        return Ok(());
    }
    let first = |names: &[&str]| match names {
        [] => String::new(),
        [one] => format!("{one:?}"),
        [one, rest @ ..] => format!("{one:?} and {} more", rest.len()),
    };
    let mut why = Vec::new();
    if !extra.is_empty() {
        why.push(format!(
            "it holds {}, which the network lacks",
            first(&extra)
        ));
    }
    if !missing.is_empty() {
        why.push(format!("it lacks {}", first(&missing)));
    }
    if let Some(example) = other.first() {
        why.push(example.clone());
    }
    let fits = found.len() - extra.len() - other.len();
    let why = format!(
        "is of another network ({fits} of the {} parameters fit): {}",
        params.len(),
        why.join("; ")
    );
    let remedy = "Build the network it was saved from, or give its names with Net::load_renamed";
    Err(Error::data(path, why, remedy))
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
    files::save(path, &data)
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
        if name.ends_with("num_batches_tracked") {
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
