//! A synthesis on disk: what is finished, and the batch that is under way.

use super::synthesis::{LossTrace, Made, Rate};
use super::{Centres, IntraqConfig};
use crate::Result;
use crate::nn::StateTensor;
use crate::train::RunFile;

/// Version of the format.
const FORMAT: &str = "rebit intraq 2";

/// A batch that is under way.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Progressed {
    pub optimiser: Vec<StateTensor>,
    pub rate: Rate,
    pub trace: LossTrace,
}

/// What has been made.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct State {
    #[serde(skip)]
    file: RunFile,
    values: Vec<f32>,
    labels: Vec<u32>,
    centres: Centres,
    traces: Vec<LossTrace>,
    begun: Option<Progressed>,
}

impl State {
    /// The state of the run's checkpoint, or that of a run that has not begun.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for a file of another run, with the first difference.
    pub fn found(config: &IntraqConfig, network: &str) -> Result<Self> {
        let file = RunFile::new(config.checkpoint.clone(), FORMAT)
            .of("settings", config.settings())
            .of("network", network);
        let mut state: State = file.read()?.unwrap_or_default();
        state.file = file;
        Ok(state)
    }

    /// Images that are finished.
    pub fn finished(&self) -> usize {
        self.labels.len()
    }

    /// Batches that are finished.
    pub fn batches(&self) -> usize {
        self.traces.len()
    }

    pub fn centres(&self) -> &Centres {
        &self.centres
    }

    /// The batch that was under way.
    pub fn begun(&mut self) -> Option<Progressed> {
        self.begun.take()
    }

    pub fn keep(&mut self, begun: Progressed) {
        self.begun = Some(begun);
    }

    pub fn finish(&mut self, made: Made) -> Result<()> {
        self.centres.add(&made.features, &made.labels)?;
        self.values.extend(made.values);
        self.labels.extend(made.labels);
        self.traces.push(made.trace);
        self.begun = None;
        Ok(())
    }

    pub fn save(&self) -> Result<()> {
        self.file.write(|| Ok(self))
    }

    pub fn take(self) -> (Vec<f32>, Vec<u32>, Vec<LossTrace>) {
        (self.values, self.labels, self.traces)
    }
}
