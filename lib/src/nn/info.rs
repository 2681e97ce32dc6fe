//! What a network is made of, for tables, accounting and losses.

use super::graph::{Graph, LayerInfo, NodeId, NodeInfo, Place};
use super::net::Net;
use crate::nn::extent::Extent;
use crate::{Result, Vector, from_vec};

/// A batch norm, with its running statistics at the time it was asked for.
#[derive(Clone, Debug)]
pub struct NormInfo {
    /// Name of the layer.
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Channels.
    pub channels: usize,
    /// Running mean.
    pub mean: Vector,
    /// Running variance.
    pub var: Vector,
    /// What is added to a variance before its root is taken.
    pub eps: f32,
}

/// A place where an activation can be quantised that no convolution reads first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteInfo {
    /// Name of the layer.
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Channels.
    pub channels: usize,
}

/// Extents that a node reads, at the size that the network was built for.
fn read(graph: &Graph, node: NodeId) -> Vec<Extent> {
    let reads = graph.nodes[node].reads.iter();
    reads.map(|&r| graph.nodes[r].extent).collect()
}

impl Net {
    /// Every node, in the order they run: what the network computes, as data.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let inner = self.lock();
        let nodes = inner.graph.nodes.iter().enumerate();
        nodes
            .map(|(node, n)| NodeInfo {
                name: n.name.clone(),
                node,
                reads: n.reads.clone(),
                extent: n.extent,
                layer: n.layer.clone(),
            })
            .collect()
    }

    /// The node of the output.
    pub fn output_node(&self) -> NodeId {
        self.lock().graph.output
    }

    /// Convolutions and linear layers in the order they run.
    pub fn layers(&self) -> Vec<LayerInfo> {
        let inner = self.lock();
        let mut found = Vec::new();
        for (node, n) in inner.graph.nodes.iter().enumerate() {
            let Some(layer) = &n.layer else { continue };
            let Some(weight) = layer.weight() else {
                continue;
            };
            let slot = inner.slots[node].weight.as_ref();
            found.push(LayerInfo {
                name: n.name.clone(),
                node,
                weight,
                bias: layer.bias(),
                weights: inner.params.describe(weight).len(),
                macs: layer.macs(&read(&inner.graph, node)),
                bits: slot.map(|s| s.quantiser.bits()),
                place: Place::Inner,
            });
        }
        if let Some(last) = found.last_mut() {
            last.place = Place::Last;
        }
        if let Some(first) = found.first_mut() {
            first.place = Place::First;
        }
        found
    }

    /// Batch norms in the order they run, with their running statistics.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let names: Vec<String> = resnet20(10, rng(0)).norms().into_iter().map(|n| n.name).collect();
    /// assert_eq!(names[7..10], ["layer2.0.bn1", "layer2.0.downsample.1", "layer2.0.bn2"]);
    /// ```
    pub fn norms(&self) -> Vec<NormInfo> {
        let inner = self.lock();
        let nodes = inner.graph.nodes.iter().enumerate();
        let of = |(node, n): (NodeId, &super::graph::Node)| -> Option<Result<NormInfo>> {
            let s = n.layer.as_ref()?.statistics()?;
            let vector = |id| -> Result<Vector> {
                let values = inner.params.view(id)?.into_owned();
                let length = values.len();
                from_vec(values, (length,))
            };
            let info = || {
                Ok(NormInfo {
                    name: n.name.clone(),
                    node,
                    channels: n.extent.channels,
                    mean: vector(s.mean)?,
                    var: vector(s.var)?,
                    eps: s.eps,
                })
            };
            Some(info())
        };
        let found: Result<Vec<NormInfo>> = nodes.filter_map(of).collect();
        found.unwrap_or_else(|e| panic!("{e}"))
    }

    /// The network's sites in the order they run ([`super::NetBuilder::site`]).
    pub fn sites(&self) -> Vec<SiteInfo> {
        let inner = self.lock();
        let nodes = inner.graph.nodes.iter().enumerate();
        let sites = nodes.filter(|(_, n)| n.layer.as_ref().is_some_and(|l| l.is_identity()));
        sites
            .map(|(node, n)| SiteInfo {
                name: n.name.clone(),
                node,
                channels: n.extent.channels,
            })
            .collect()
    }

    /// A table of the layers: name, output, weights, multiply-accumulates.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{:<24} {:>10} {:>14}  bits\n",
            "layer", "weights", "MACs/sample"
        );
        for l in self.layers() {
            let bits = l.bits.map_or("32".into(), |b| b.to_string());
            text += &format!("{:<24} {:>10} {:>14}  {bits}\n", l.name, l.weights, l.macs);
        }
        text + &format!("{} trainable parameters\n", self.parameter_count())
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary())
    }
}
