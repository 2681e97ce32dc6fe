//! A network: parameters, and the executor that runs on them.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Exec;
use crate::nn::Mode;
use crate::nn::extent::Extent;
use crate::nn::graph::{Graph, NodeId};
use crate::nn::params::Params;
use crate::nn::pass::Pass;
use crate::nn::wants::{Top, Wants};
use crate::{Buffer, Grads, Result};

/// A network: the numbers of its parameters, and what runs on them.
pub(crate) struct Inner {
    pub params: Params,
    pub exec: Exec,
}

impl Deref for Inner {
    type Target = Exec;

    fn deref(&self) -> &Exec {
        &self.exec
    }
}

impl DerefMut for Inner {
    fn deref_mut(&mut self) -> &mut Exec {
        &mut self.exec
    }
}

impl Inner {
    pub fn new(graph: Arc<Graph>, params: Params) -> Self {
        let exec = Exec::new(graph);
        Inner { params, exec }
    }

    /// [`Exec::forward`] on the network's own parameters.
    pub fn forward(
        &mut self,
        inputs: Vec<(Buffer, Extent)>,
        mode: Mode,
        keep: bool,
        watched: &[NodeId],
    ) -> Result<Pass> {
        let (exec, params) = (&mut self.exec, &mut self.params);
        exec.forward(params, inputs, mode, (keep, watched))
    }

    /// [`Exec::backward`] on the network's own parameters.
    pub fn backward(
        &mut self,
        pass: Pass,
        tops: Vec<Top>,
        wants: Wants,
        grads: &mut Grads,
    ) -> Result<Vec<Option<Buffer>>> {
        let (exec, params) = (&mut self.exec, &self.params);
        exec.backward(pass, tops, wants, (params, grads))
    }
}
