//! A network: a handle to its graph, its parameters, its quantisers and the buffers it runs in.

use std::sync::{Arc, Mutex, MutexGuard};

use super::exec::Inner;
use super::extent::Extent;
use super::graph::Graph;
use super::param::{Param, ParamId};
use super::params::Params;
use super::pass::{Pass, StepTimes};
use crate::{Error, Result};

/// A network built by [`super::NetBuilder`].
///
/// Cloning gives a second handle to the same network; [`Net::duplicate`] gives a network of its own with the same
/// parameters.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
    /// Whether this handle computes no gradients of parameters.
    pub(super) frozen: bool,
}

impl Net {
    // dfdx's handle of a GPU stays in its thread, and so does a network on it.
    #[cfg_attr(feature = "cuda", allow(clippy::arc_with_non_send_sync))]
    pub(super) fn from_inner(inner: Inner) -> Self {
        Net {
            inner: Arc::new(Mutex::new(inner)),
            frozen: false,
        }
    }

    pub(super) fn new(graph: Graph, params: Params) -> Self {
        Net::from_inner(Inner::new(Arc::new(graph), params))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a kernel leaves buffers of this pass unusable, not the parameters.
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes back the buffers of a pass that will have no backward pass, unless the network is running just now.
    pub(super) fn give_back(&self, pass: &mut Pass) {
        if let Ok(mut inner) = self.inner.try_lock() {
            pass.release(&mut inner.pool);
        }
    }

    /// A handle to the same network through which no gradient of a parameter is computed: a teacher, or a network whose
    /// input is optimised.
    pub fn frozen(&self) -> Net {
        Net {
            frozen: true,
            ..self.clone()
        }
    }

    /// A handle to the same network through which gradients of parameters are computed, also where this one is
    /// [`frozen`](Self::frozen).
    pub fn thawed(&self) -> Net {
        Net {
            frozen: false,
            ..self.clone()
        }
    }

    /// A network with the same layers, and parameters and quantisers of its own that begin as this one's.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let copy = net.duplicate()?;
    /// copy.set_parameter("fc.bias", &[1.0; 10])?;
    /// assert_ne!(net.parameter("fc.bias")?.to_vec(), [1.0; 10]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a quantiser that cannot be duplicated.
    pub fn duplicate(&self) -> Result<Net> {
        let inner = self.lock();
        let mut copy = Inner::new(inner.graph.clone(), inner.params.duplicate()?);
        let slots = inner.slots.iter().map(|s| s.duplicate());
        copy.slots = slots.collect::<Result<_>>()?;
        Ok(Net {
            frozen: self.frozen,
            ..Net::from_inner(copy)
        })
    }

    /// Whether two handles are of one network.
    pub fn is_same(&self, other: &Net) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Extent of the samples that the network was built for.
    pub fn input_extent(&self) -> Extent {
        let inner = self.lock();
        inner.graph.nodes[inner.graph.inputs[0]].extent
    }

    /// Names of the inputs, in the order in which [`run_many`](Self::run_many) takes them.
    pub fn input_names(&self) -> Vec<String> {
        let inner = self.lock();
        let nodes = inner.graph.inputs.iter();
        nodes.map(|&i| inner.graph.nodes[i].name.clone()).collect()
    }

    /// Name of the output's node.
    pub fn output_name(&self) -> String {
        let inner = self.lock();
        inner.graph.nodes[inner.graph.output].name.clone()
    }

    /// Extent of the output, for samples of the size that the network was built for.
    pub fn output_extent(&self) -> Extent {
        let inner = self.lock();
        inner.graph.nodes[inner.graph.output].extent
    }

    /// Every parameter, running statistics included, in the order of the layers.
    pub fn parameters(&self) -> Vec<Param> {
        let mut inner = self.lock();
        let all = inner.params.all();
        all.unwrap_or_else(|e| panic!("{e}")).to_vec()
    }

    /// One parameter by name.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the closest names there are.
    pub fn parameter(&self, name: &str) -> Result<Param> {
        let mut inner = self.lock();
        let id = inner.params.find(name)?;
        Ok(inner.params.all()?[id].clone())
    }

    /// Adds a parameter that a quantiser needs; layers get theirs from the builder.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that there is already.
    pub fn add_parameter(&self, param: Param) -> Result<ParamId> {
        self.lock().params.add(param)
    }

    /// Replaces the numbers of a parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs, [`Error::Invalid`] for an unknown name.
    pub fn set_parameter(&self, name: &str, data: &[f32]) -> Result<()> {
        let mut inner = self.lock();
        let id = inner.params.find(name)?;
        let param = inner.params.describe(id);
        if data.len() != param.len() {
            return Err(Error::shape(
                "set_parameter",
                format!("{name} has {} elements {:?}", param.len(), param.dims),
                data.len(),
            ));
        }
        inner.params.set(id, data)
    }

    /// Takes over every parameter of `other` that has the same name and dimensions; returns how many there were.
    pub fn copy_parameters(&self, other: &Net) -> Result<usize> {
        let theirs = other.parameters();
        let mut copied = 0;
        for ours in self.parameters() {
            let same = |p: &&Param| p.name == ours.name && p.dims == ours.dims;
            if let Some(param) = theirs.iter().find(same) {
                self.set_parameter(&ours.name, &param.to_vec())?;
                copied += 1;
            }
        }
        Ok(copied)
    }

    /// Number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        let inner = self.lock();
        let ids = 0..inner.params.len();
        let trained = ids.map(|id| inner.params.describe(id));
        trained.filter(|p| p.is_trainable()).map(Param::len).sum()
    }

    /// Wall-clock of forward and backward passes since the last call.
    pub fn take_times(&self) -> StepTimes {
        std::mem::take(&mut self.lock().times)
    }

    /// Largest number of bytes that activations and gradients took at one time.
    pub fn peak_activation_bytes(&self) -> usize {
        self.lock().pool.peak_bytes()
    }
}
