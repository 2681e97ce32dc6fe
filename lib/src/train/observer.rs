//! What looks at a run, or steers it, from beside it.

use super::EpochRecord;
use crate::nn::Net;
use crate::{Error, Result};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps done before this one.
    pub iteration: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// Steps of an epoch.
    pub per_epoch: usize,
}

impl Step {
    /// Share of the run that lies behind.
    pub fn progress(self) -> f32 {
        self.iteration as f32 / self.total as f32
    }
}

/// Looks at every step of a run; papers put their rules here.
pub trait Observer {
    /// Before the forward pass of a step.
    ///
    /// # Errors
    /// Anything: it ends the run.
    fn before_step(&mut self, _step: Step, _net: &Net) -> Result<()> {
        Ok(())
    }

    /// After the optimiser's update.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn after_step(&mut self, _step: Step, _net: &Net, _loss: f32) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its evaluation.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn after_epoch(&mut self, _record: &EpochRecord, _net: &Net) -> Result<()> {
        Ok(())
    }

    /// State that a checkpoint must hold, made by [`to_bytes`]; empty for none.
    ///
    /// # Errors
    /// When the state cannot be read off the device.
    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Takes the state of a checkpoint back.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the state of another run.
    fn restore(&mut self, _state: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Notes the loss of every step, in a run that is resumed those before too.
#[derive(Clone, Debug, Default)]
pub struct StepLosses(pub Vec<f32>);

impl Observer for StepLosses {
    fn after_step(&mut self, _: Step, _: &Net, loss: f32) -> Result<()> {
        self.0.push(loss);
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(&self.0)
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.0 = from_bytes(state)?;
        Ok(())
    }
}

/// An observer's state as bytes: every number to the bit.
///
/// # Errors
/// [`Error::Invalid`] for a type that serde cannot write without looking ahead.
pub fn to_bytes(state: &impl serde::Serialize) -> Result<Vec<u8>> {
    postcard::to_allocvec(state).map_err(|e| Error::invalid("state", e))
}

/// What [`to_bytes`] wrote.
///
/// # Errors
/// [`Error::Invalid`] for bytes of another type.
pub fn from_bytes<S: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<S> {
    let read = postcard::from_bytes(bytes);
    read.map_err(|e| Error::invalid("checkpoint state", format!("{e}: it is of another run")))
}
