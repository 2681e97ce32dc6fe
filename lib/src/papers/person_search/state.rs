//! A run on disk.

use super::PersonSearchTrace;
use super::joint::Run;
use crate::Result;
use crate::nn::StateTensor;
use crate::ops::triplet::ProxyTable;
use crate::train::Optimiser;

/// What moves in a run.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct State {
    step: usize,
    optimisers: Vec<Vec<StateTensor>>,
    proxies: Option<ProxyTable>,
    trace: PersonSearchTrace,
}

impl State {
    pub fn of(run: &Run) -> Result<State> {
        let optimisers = run.optimisers.iter().map(|o| o.state());
        Ok(State {
            step: run.done,
            optimisers: optimisers.collect::<Result<_>>()?,
            proxies: run.proxies.clone(),
            trace: run.trace.clone(),
        })
    }

    pub fn put(self, run: &mut Run) -> Result<()> {
        for (optimiser, state) in run.optimisers.iter_mut().zip(&self.optimisers) {
            optimiser.restore(state)?;
        }
        run.proxies = self.proxies;
        (run.trace, run.done) = (self.trace, self.step);
        Ok(())
    }
}
