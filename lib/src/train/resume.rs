//! The state of a run on disk: continue after an interruption as if nothing had happened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{History, Optimiser, from_bytes, to_bytes};
use crate::data::data_folder;
use crate::files::{self, Broken};
use crate::nn::{Net, NormInfo, StateTensor, StepTimes};
use crate::show::{Budget, budget};
use crate::{Error, Result, read};

/// What a file that does not fit asks for.
const REMEDY: &str = "Remove the file to start the run afresh";
/// How a file begins that holds a state; the checksum follows.
const HEAD: &[u8] = b"rebit state 1\n";
/// Version of the format.
const MAGIC: &str = "rebit run 3";

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

/// What two runs must agree on to be the same run.
#[derive(Clone, Default)]
pub(super) struct Same {
    pub settings: String,
    pub data: String,
}

/// The file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Checkpoint {
    magic: String,
    settings: String,
    data: String,
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
    same: &Same,
    run: &Found,
) -> Result<()> {
    let checkpoint = Checkpoint {
        magic: MAGIC.into(),
        settings: same.settings.clone(),
        data: same.data.clone(),
        net: match optimiser.owns(net) {
            true => Vec::new(),
            false => net.state()?,
        },
        optimiser: optimiser.state()?,
        observers,
        run: run.clone(),
    };
    write_state(path, &checkpoint)
}

/// Writes the state of a loop of one's own; the file appears whole or not at all, and an older one stays until then.
///
/// The file holds the numbers and not their types: [`read_state`] must ask for the type that was written. (A literal `7` is an
/// `i32`: write `7usize` for what is to be read as `usize`.)
///
/// ```
/// use rebit::prelude::*;
/// let path = std::env::temp_dir().join("rebit-doc-loop.state");
/// let net = resnet20(10, rng(0));
/// let mut sgd = Sgd::new(0.1).momentum(0.9).over(&net)?;
/// write_state(&path, &(7usize, sgd.state()?))?;
///
/// // Later, in another process:
/// if let Some((step, state)) = read_state::<(usize, Vec<rebit::nn::StateTensor>)>(&path)? {
///     sgd.restore(&state)?;
///     assert_eq!(step, 7);
/// }
/// # std::fs::remove_file(&path).unwrap();
/// # assert!(read_state::<(usize, Vec<rebit::nn::StateTensor>)>(&path)?.is_none());
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, and as [`to_bytes`].
pub fn write_state(path: impl AsRef<Path>, state: &impl serde::Serialize) -> Result<()> {
    files::save(path.as_ref(), &files::sealed(HEAD, &to_bytes(state)?))
}

/// What [`write_state`] wrote; `None` when there is no file.
///
/// `S` is the type that was written, or one that borrows less; another one of the same layout is not noticed.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read, [`Error::Data`] for one of another type.
pub fn read_state<S: serde::de::DeserializeOwned>(path: impl AsRef<Path>) -> Result<Option<S>> {
    let path = path.as_ref();
    let Some(bytes) = read_bytes(path)? else {
        return Ok(None);
    };
    let refuse = |why: &str| Error::data(path, why, REMEDY);
    let state = files::unsealed(HEAD, &bytes).map_err(|broken| match broken {
        Broken::Foreign => refuse("is not the state of a run, or of an older version"),
        Broken::Damaged => refuse("is damaged: its checksum is another one"),
    })?;
    let state = from_bytes(state);
    let state = state.map_err(|e| refuse(&format!("is not the state of this run ({e})")))?;
    Ok(Some(state))
}

/// Refuses the state of another run: what two runs must agree on, each as its name, what the file says and what this run
/// says. The error names the first part, between commas, in which they differ.
///
/// ```
/// use rebit::train::check_same_run;
/// let error = check_same_run("a.state", &[("settings", "seed: 0, lr: 0.1", "seed: 1, lr: 0.1")]);
/// assert!(error.unwrap_err().to_string().contains("seed: 0 there, seed: 1 here"));
/// ```
///
/// # Errors
/// [`Error::Data`] with the difference.
pub fn check_same_run(path: impl AsRef<Path>, parts: &[(&str, &str, &str)]) -> Result<()> {
    let different = parts.iter().find(|(_, found, wanted)| found != wanted);
    let Some((what, found, wanted)) = different else {
        return Ok(());
    };
    let mut pairs = found.split(", ").zip(wanted.split(", "));
    let first = match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => format!("{a} there, {b} here"),
        None => "one is longer".into(),
    };
    let why = format!("belongs to another run by its {what}: {first}");
    Err(Error::data(path.as_ref(), why, REMEDY))
}

/// What tells one trained network from another: name and sum of the statistics of each of its batch norms.
///
/// ```
/// use rebit::prelude::*;
/// let told = |net: &Net| rebit::train::norms_fingerprint(&net.norms());
/// let net = resnet20(10, rng(0));
/// let before = told(&net);
/// net.run(&images(2, 3, 32, 32, &mut rng(1)), Mode::Train)?;
/// assert_ne!(told(&net), before);
/// # Ok::<(), Error>(())
/// ```
pub fn norms_fingerprint(norms: &[NormInfo]) -> String {
    let of = |norm: &NormInfo| {
        let sum = |v| read(v).iter().map(|x| f64::from(*x)).sum::<f64>();
        let both = sum(&norm.mean) + sum(&norm.var);
        format!("{} {:x}", norm.name, both.to_bits())
    };
    norms.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Reads a run's state back into `net` and `optimiser`, and returns the observers'; `None` when there is no file.
pub(super) fn load(
    path: &Path,
    net: &Net,
    optimiser: &mut dyn Optimiser,
    same: &Same,
) -> Result<Option<(Found, Vec<Vec<u8>>)>> {
    let Some(found) = read_state::<Checkpoint>(path)? else {
        return Ok(None);
    };
    let refuse = |why: String| Error::data(path, why, REMEDY);
    if found.magic != MAGIC {
        return Err(refuse(format!("is of another version ({})", found.magic)));
    }
    let parts = [
        ("settings", &*found.settings, &*same.settings),
        ("data", &found.data, &same.data),
    ];
    check_same_run(path, &parts)?;
    if !found.net.is_empty() {
        net.restore(&found.net).map_err(|e| refuse(e.to_string()))?;
    }
    optimiser
        .restore(&found.optimiser)
        .map_err(|e| refuse(e.to_string()))?;
    Ok(Some((found.run, found.observers)))
}
