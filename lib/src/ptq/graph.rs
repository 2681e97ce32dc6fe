//! A network as its nodes and who reads them.

use crate::nn::layers::{Act, Convolution, Identity, Linear};
use crate::nn::{LayerInfo, Net, NodeId, NodeInfo};
use crate::ops::relu::Activation;

/// Nodes, their readers, and the layers with weights.
pub(super) struct Wiring {
    pub nodes: Vec<NodeInfo>,
    pub layers: Vec<LayerInfo>,
    readers: Vec<Vec<NodeId>>,
    output: NodeId,
}

impl Wiring {
    pub fn of(net: &Net) -> Self {
        let nodes = net.nodes();
        let mut readers = vec![Vec::new(); nodes.len()];
        for node in &nodes {
            node.reads
                .iter()
                .for_each(|&read| readers[read].push(node.node));
        }
        Wiring {
            layers: net.layers(),
            output: net.output_node(),
            nodes,
            readers,
        }
    }

    /// Name of the node that a layer reads.
    pub fn source(&self, layer: &LayerInfo) -> &str {
        &self.nodes[self.nodes[layer.node].reads[0]].name
    }

    /// The only reader of a node; none where there are several, or the network's answer is one.
    pub fn only_reader(&self, node: NodeId) -> Option<&NodeInfo> {
        match self.readers[node][..] {
            [reader] if node != self.output => Some(&self.nodes[reader]),
            _ => None,
        }
    }

    /// The activation that a layer's output goes through before anything else reads it, and the node behind it.
    pub fn activation(&self, node: NodeId) -> (Activation, NodeId) {
        let act = |reader: &NodeInfo| Some((reader.layer_as::<Act>()?.0, reader.node));
        self.only_reader(node)
            .and_then(act)
            .unwrap_or((Activation::None, node))
    }

    /// The node behind sites.
    pub fn past_sites(&self, mut node: NodeId) -> NodeId {
        while let Some(site) = self
            .only_reader(node)
            .filter(|n| n.layer_as::<Identity>().is_some())
        {
            node = site.node;
        }
        node
    }

    /// The convolution of a node, a linear layer included.
    pub fn convolution(&self, node: NodeId) -> Option<&Convolution> {
        let node = &self.nodes[node];
        let linear = node.layer_as::<Linear>().map(Linear::as_convolution);
        node.layer_as::<Convolution>().or(linear)
    }
}
