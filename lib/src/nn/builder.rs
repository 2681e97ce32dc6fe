//! Building a network layer by layer.

mod short;
mod spatial;

use std::collections::HashSet;
use std::sync::Arc;

use super::Net;
use super::extent::Extent;
use super::graph::{Graph, Node, NodeId, extent_of};
use super::layer::Layer;
use super::param::{Param, ParamId, Role};
use super::params::Params;
use crate::{Error, Result, Rng};

/// Collects layers; every method takes the node to read and returns the new node.
///
/// ```
/// use rebit::prelude::*;
/// let mut b = NetBuilder::new(1, 8, 8, rng(0));
/// let x = b.input();
/// let x = b.conv("conv", x, Conv::new(4))?;
/// let x = b.norm("bn", x, Activation::Relu)?;
/// let x = b.global_avg_pool(x)?;
/// let x = b.linear("fc", x, 10)?;
/// let net = b.build(x)?;
/// assert_eq!(net.parameter_count(), 4 * 9 + 2 * 4 + 4 * 10 + 10);
/// # Ok::<(), rebit::Error>(())
/// ```
pub struct NetBuilder {
    nodes: Vec<Node>,
    names: HashSet<String>,
    params: Params,
    rng: Rng,
    sites: bool,
}

impl NetBuilder {
    /// A network over samples of `channels` x `height` x `width`; weights are drawn from `rng`.
    pub fn new(channels: usize, height: usize, width: usize, rng: Rng) -> Self {
        let input = Node {
            name: "input".into(),
            layer: None,
            reads: Vec::new(),
            extent: Extent::new(channels, height, width),
        };
        NetBuilder {
            names: HashSet::from([input.name.clone()]),
            nodes: vec![input],
            params: Params::default(),
            rng,
            sites: false,
        }
    }

    /// Whether [`site`](Self::site) makes a node; without, it returns what it was given.
    pub fn with_sites(mut self, sites: bool) -> Self {
        self.sites = sites;
        self
    }

    /// The node that stands for the batch.
    pub fn input(&self) -> NodeId {
        0
    }

    /// A further input, for [`Net::run_many`], of samples of `channels` x `height` x `width`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that another node has.
    pub fn input_of(&mut self, name: &str, extent: Extent) -> Result<NodeId> {
        check_len(name, extent)?;
        self.push(name, None, Vec::new(), extent)
    }

    /// Extent of a node.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a node that does not exist.
    pub fn extent(&self, node: NodeId) -> Result<Extent> {
        let count = self.nodes.len();
        self.nodes.get(node).map(|n| n.extent).ok_or_else(|| {
            Error::invalid(
                format!("node {node}"),
                format!("the network has {count} nodes so far"),
            )
        })
    }

    /// The generator that weights are drawn from.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A parameter for a layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that another parameter has, [`Error::Shape`] unless there are as many numbers as
    /// the dimensions say.
    pub fn param(
        &mut self,
        name: &str,
        dims: &[usize],
        role: Role,
        data: Vec<f32>,
    ) -> Result<ParamId> {
        let expected = dims.iter().product::<usize>();
        if data.len() != expected {
            let expected = format!("{name}: {expected} numbers for {dims:?}");
            return Err(Error::shape("parameter", expected, data.len()));
        }
        self.params
            .add(Param::new(name, dims.to_vec(), role, data)?)
    }

    /// A parameter of one number.
    ///
    /// # Errors
    /// As [`param`](Self::param).
    pub fn scalar(&mut self, name: &str, role: Role, value: f32) -> Result<ParamId> {
        self.param(name, &[1], role, vec![value])
    }

    /// Any layer, one of a cell included, that reads `inputs`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that another node has, and what [`Layer::extent`] refuses.
    pub fn layer(&mut self, name: &str, inputs: &[NodeId], layer: impl Layer) -> Result<NodeId> {
        self.shared_layer(name, inputs, Arc::new(layer))
    }

    /// [`layer`](Self::layer) of one that another network has: what [`Layer::with_parameters`] gives.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn shared_layer(
        &mut self,
        name: &str,
        inputs: &[NodeId],
        layer: Arc<dyn Layer>,
    ) -> Result<NodeId> {
        let extents = inputs.iter().map(|&i| self.extent(i));
        let extents = extents.collect::<Result<Vec<_>>>()?;
        if extents.is_empty() {
            let why = "reads nothing; further inputs are made by input_of";
            return Err(Error::invalid(format!("layer {name}"), why));
        }
        let own: Vec<NodeId> = (0..extents.len()).collect();
        let extent = extent_of(name, layer.as_ref(), &own, &extents)?;
        check_len(name, extent)?;
        self.push(name, Some(layer), inputs.to_vec(), extent)
    }

    /// The network that computes `output`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a node that does not exist.
    pub fn build(self, output: NodeId) -> Result<Net> {
        self.extent(output)?;
        Ok(Net::new(Graph::new(self.nodes, output), self.params))
    }

    pub(super) fn params(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Whether a node has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// `stem`, or `stem` with the first number that no node has yet.
    fn free_name(&self, stem: &str) -> String {
        let numbered = (2..).map(|i| format!("{stem}_{i}"));
        let mut names = std::iter::once(stem.to_string()).chain(numbered);
        let free = names.find(|n| !self.names.contains(n));
        free.unwrap_or_default()
    }

    fn push(
        &mut self,
        name: &str,
        layer: Option<Arc<dyn Layer>>,
        reads: Vec<NodeId>,
        extent: Extent,
    ) -> Result<NodeId> {
        if !self.names.insert(name.to_string()) {
            return Err(Error::invalid(
                format!("layer name {name:?}"),
                "used twice; give each layer its own",
            ));
        }
        self.nodes.push(Node {
            name: name.into(),
            layer,
            reads,
            extent,
        });
        Ok(self.nodes.len() - 1)
    }
}

/// Refuses what no memory could hold, before anything multiplies it.
fn check_len(name: &str, extent: Extent) -> Result<()> {
    let Extent {
        channels,
        height,
        width,
    } = extent;
    let pixels = height.checked_mul(width);
    let bytes = pixels.and_then(|p| p.checked_mul(channels)?.checked_mul(size_of::<f32>()));
    // A batch of a few thousand of them may still be counted.
    match bytes {
        Some(bytes) if bytes <= isize::MAX as usize >> 16 => Ok(()),
        _ => Err(Error::invalid(
            format!("layer {name}: {extent}"),
            "is larger than any memory; look for a size that was meant otherwise",
        )),
    }
}
