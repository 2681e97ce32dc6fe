//! The network as data: nodes in the order they run, which never change after the network is built.

use std::sync::Arc;

use super::extent::Extent;
use super::layer::Layer;
use super::param::ParamId;
use crate::{Error, Result};

/// Index of a node; a node only reads nodes before it.
pub type NodeId = usize;

/// One step of the network.
#[derive(Clone)]
pub(crate) struct Node {
    pub name: String,
    /// `None` for an input.
    pub layer: Option<Arc<dyn Layer>>,
    /// Nodes this one reads.
    pub reads: Vec<NodeId>,
    /// Size of a sample at the size that the network was built for.
    pub extent: Extent,
}

/// Nodes, and which of them is the output.
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub inputs: Vec<NodeId>,
    pub output: NodeId,
    /// The last node that reads each; a node that nobody reads is its own.
    pub last_reader: Vec<NodeId>,
}

impl Graph {
    pub fn new(nodes: Vec<Node>, output: NodeId) -> Graph {
        let mut last_reader: Vec<NodeId> = (0..nodes.len()).collect();
        for (id, node) in nodes.iter().enumerate() {
            node.reads.iter().for_each(|&read| last_reader[read] = id);
        }
        let inputs = (0..nodes.len()).filter(|&n| nodes[n].layer.is_none());
        Graph {
            inputs: inputs.collect(),
            nodes,
            output,
            last_reader,
        }
    }

    /// The layer of a node that is not an input.
    pub fn layer(&self, node: NodeId) -> Option<&Arc<dyn Layer>> {
        self.nodes[node].layer.as_ref()
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Result<NodeId> {
        let found = self.nodes.iter().position(|n| n.name == name);
        found.ok_or_else(|| {
            let names = self.nodes.iter().map(|n| n.name.as_str());
            Error::invalid(
                format!("layer {name:?}"),
                format!("is not in the network; {}", near(name, names)),
            )
        })
    }

    /// The extent of every node for inputs of these extents.
    pub fn extents(&self, inputs: &[Extent]) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::with_capacity(self.nodes.len());
        let mut given = inputs.iter();
        for node in &self.nodes {
            let extent = match (&node.layer, given.len()) {
                (None, 0) => node.extent,
                (None, _) => *given.next().expect("counted"),
                (Some(layer), _) => extent_of(&node.name, layer.as_ref(), &node.reads, &extents)?,
            };
            extents.push(extent);
        }
        Ok(extents)
    }
}

/// Some names that begin as this one, or some at all.
pub(crate) fn near<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let stem = name.split('.').next().unwrap_or(name);
    let like: Vec<&str> = names
        .clone()
        .filter(|n| n.starts_with(stem))
        .take(6)
        .collect();
    match like.is_empty() {
        true => format!(
            "it has: {}, ...",
            names.take(6).collect::<Vec<_>>().join(", ")
        ),
        false => format!("near it: {}", like.join(", ")),
    }
}

/// What a layer makes of the extents it reads; its errors name the node.
pub(crate) fn extent_of(
    name: &str,
    layer: &dyn Layer,
    reads: &[NodeId],
    extents: &[Extent],
) -> Result<Extent> {
    let read: Vec<Extent> = reads.iter().map(|&r| extents[r]).collect();
    layer.extent(&read).map_err(|e| e.in_layer(name))
}

/// A node, for whoever makes another network, a file or a table of a network.
///
/// ```
/// use rebit::nn::layers::{BatchNorm, Convolution};
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let nodes = net.nodes();
/// // Each node only reads nodes before it; the first is the input and has no layer.
/// assert!(nodes[0].layer().is_none() && nodes[1].reads == [0]);
/// assert_eq!(nodes[1].layer_as::<Convolution>().expect("conv1").settings().kernel, 3);
/// assert_eq!(nodes.iter().filter(|n| n.layer_as::<BatchNorm>().is_some()).count(), 21);
/// ```
#[derive(Clone)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its index.
    pub node: NodeId,
    /// The nodes it reads.
    pub reads: Vec<NodeId>,
    /// A sample, at the size that the network was built for.
    pub extent: Extent,
    pub(crate) layer: Option<Arc<dyn Layer>>,
}

impl NodeInfo {
    /// What it computes; none for an input.
    pub fn layer(&self) -> Option<&Arc<dyn Layer>> {
        self.layer.as_ref()
    }

    /// The layer, if it is of this type: one of [`super::layers`], or one of a cell.
    pub fn layer_as<L: Layer>(&self) -> Option<&L> {
        let layer: &dyn std::any::Any = self.layer.as_deref()?;
        layer.downcast_ref()
    }
}

/// A convolution or linear layer, for tables and accounting.
#[derive(Clone, Debug)]
pub struct LayerInfo {
    /// Name of the layer (its weight is `name.weight`).
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Index of its weight among the network's parameters.
    pub weight: ParamId,
    /// Index of its bias, where it has one.
    pub bias: Option<ParamId>,
    /// Number of weights.
    pub weights: usize,
    /// Multiply-accumulates of one sample's forward pass.
    pub macs: usize,
    /// Bits of its weights, when they are quantised.
    pub bits: Option<u32>,
    /// Whether it is the first or the last of them.
    pub place: Place,
}

/// Where a convolution or linear layer stands among those of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first: it reads the image.
    First,
    /// Neither first nor last.
    Inner,
    /// The last: it makes the answer.
    Last,
}
