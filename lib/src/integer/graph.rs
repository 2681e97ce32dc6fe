//! A network on integers as data: its nodes, checked.

use crate::nn::Extent;
use crate::ops::affine_quant::AffineGrid;
use crate::{Error, Result};

use super::plain::Plain;
use super::weights::Weights;

/// One step of the network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub name: String,
    /// Nodes before it.
    pub reads: Vec<usize>,
    pub what: What,
    /// Bits and grid of its first input, where a quantiser stands before it.
    pub input: Option<(u32, AffineGrid)>,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// The image.
    Image(Extent),
    /// A convolution or linear layer.
    Weighted(Weights),
    /// A layer without weights.
    Plain(Plain),
}

/// The nodes in the order they run, and which is the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub output: usize,
}

impl Graph {
    /// The extent of every node for an image of this extent.
    pub fn extents(&self, image: Extent) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let read: Vec<Extent> = node.reads.iter().map(|&r| extents[r]).collect();
            let extent = match &node.what {
                What::Image(_) => Ok(image),
                What::Weighted(w) => w.window.extent(read[0]),
                What::Plain(plain) => plain.layer().extent(&read),
            };
            extents.push(extent.map_err(|e| e.in_layer(&node.name))?);
        }
        Ok(extents)
    }

    /// The extent of the image that the network was built for.
    pub fn image(&self) -> Extent {
        match self.nodes[0].what {
            What::Image(extent) => extent,
            _ => Extent::vector(0),
        }
    }

    /// The grid that a layer with weights reads its input on: its own quantiser's, or that of the site it reads.
    pub fn grid_of(&self, node: usize) -> Option<AffineGrid> {
        let node = &self.nodes[node];
        if let Some((_, grid)) = node.input {
            return Some(grid);
        }
        let source = &self.nodes[*node.reads.first()?];
        match source.what {
            What::Plain(Plain::Identity) => source.input.map(|(_, grid)| grid),
            _ => None,
        }
    }

    /// Refuses what no network is and what integers cannot compute; each error names its layer.
    pub fn check(&self) -> Result<()> {
        let refuse =
            |node: &Node, why: &str| Err(Error::invalid(format!("layer {}", node.name), why));
        if !matches!(
            self.nodes.first(),
            Some(Node {
                what: What::Image(_),
                ..
            })
        ) || self.output >= self.nodes.len()
        {
            return Err(Error::invalid("the network", "has no image or no output"));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if node.reads.iter().any(|&r| r >= i) || (node.reads.is_empty() && i > 0) {
                return refuse(
                    node,
                    "reads no node before it; networks of one image run in integers",
                );
            }
            match &node.what {
                What::Image(_) if i > 0 => {
                    return refuse(
                        node,
                        "is a second input; networks of one image run in integers",
                    );
                }
                What::Weighted(_) if node.reads.len() != 1 => {
                    return refuse(node, "reads more than one node");
                }
                What::Weighted(w) => self
                    .check_weights(i, w)
                    .map_err(|e| e.in_layer(&node.name))?,
                What::Plain(Plain::Identity) | What::Image(_) => {}
                What::Plain(_) if node.input.is_some() => {
                    return refuse(
                        node,
                        "has a quantiser before it, but no weights: take a site",
                    );
                }
                What::Plain(_) => {}
            }
        }
        self.extents(self.image()).map(|_| ())
    }

    fn check_weights(&self, i: usize, w: &Weights) -> Result<()> {
        let products = w.window.products();
        let count = products.and_then(|p| p.checked_mul(w.window.outputs));
        let grids = w.grids.len();
        if count != Some(w.levels.len())
            || w.bias.len() != w.window.outputs
            || (grids != 1 && grids != w.window.outputs)
        {
            let expected = format!(
                "{count:?} weights, a bias and a grid for each of {} channels",
                w.window.outputs
            );
            let found = format!(
                "{} weights, {} biases, {grids} grids",
                w.levels.len(),
                w.bias.len()
            );
            return Err(Error::shape("integer layer", expected, found));
        }
        if let Some(at) = w.bias.iter().position(|b| b.is_nan()) {
            return Err(Error::invalid(
                format!("the bias of channel {at}"),
                "is NaN; look for a diverged run",
            ));
        }
        match self.grid_of(i) {
            Some(grid) => w.check(grid),
            None => Ok(()),
        }
    }
}
