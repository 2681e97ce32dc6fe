//! From a fake-quantised network to its whole numbers.

use super::graph::{Graph, Node, What};
use super::net::IntegerNet;
use super::plain::Plain;
use super::weights::{Weights, Window};
use crate::nn::layers::{Convolution, Linear};
use crate::nn::{Net, NodeInfo, Operand, Param, QuantiserInfo};
use crate::{Error, Result};

/// How the image enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageEntry {
    /// As levels of the first layer's input quantiser: every layer runs in integers.
    #[default]
    Levels,
    /// As numbers: the first layer multiplies them with the numbers that its weights' levels stand for, and its input
    /// quantiser is left out.
    Floats,
}

/// How a network is made into integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntegerConfig {
    /// How the image enters.
    pub image: ImageEntry,
}

impl Net {
    /// This network in integers: every convolution and linear layer on the levels of its quantisers.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let x = images(8, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&net, &x, &PtqConfig::bits(4).first_last(8))?;
    /// let int = q.integer()?;
    /// assert_eq!(int.layers()[3].weight_bits, 4);
    /// assert_eq!(int.predict(&x)?.shape(), &(8, 10));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`], each naming its layer: for a layer that has no integer form (a batch norm: fold it first; one of
    /// a cell), one without a quantiser before its weight or input, a quantiser without whole-number zero points or range,
    /// NaN among the weights, and a layer whose sum of products 32 bits may not hold.
    pub fn integer(&self) -> Result<IntegerNet> {
        self.integer_with(&IntegerConfig::default())
    }

    /// [`integer`](Self::integer) with settings.
    ///
    /// ```
    /// use rebit::integer::{ImageEntry, IntegerConfig};
    /// use rebit::prelude::*;
    /// let x = images(8, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&resnet20(10, rng(0)), &x, &PtqConfig::bits(8))?;
    /// let int = q.integer_with(&IntegerConfig { image: ImageEntry::Floats })?;
    /// assert_eq!(int.layers()[0].input_bits, None);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`integer`](Self::integer).
    pub fn integer_with(&self, config: &IntegerConfig) -> Result<IntegerNet> {
        let source = Source {
            nodes: self.nodes(),
            quantisers: self.quantisers(),
            params: self.parameters(),
        };
        let mut nodes = Vec::with_capacity(source.nodes.len());
        let mut first = config.image == ImageEntry::Floats;
        for info in &source.nodes {
            let mut node = source.node(info)?;
            if first && matches!(node.what, What::Weighted(_)) {
                (node.input, first) = (None, false);
                nodes.push(node);
                continue;
            }
            nodes.push(node);
        }
        let graph = Graph {
            nodes,
            output: self.output_node(),
        };
        graph.check()?;
        source.check_inputs(&graph, config)?;
        IntegerNet::of(graph)
    }
}

struct Source {
    nodes: Vec<NodeInfo>,
    quantisers: Vec<QuantiserInfo>,
    params: Vec<Param>,
}

fn refuse<T>(node: &NodeInfo, why: impl ToString) -> Result<T> {
    Err(Error::invalid(format!("layer {}", node.name), why))
}

impl Source {
    fn quantiser(&self, node: &NodeInfo, operand: Operand) -> Option<&QuantiserInfo> {
        let mut all = self.quantisers.iter();
        all.find(|q| q.node == node.node && q.operand == operand)
    }

    fn node(&self, info: &NodeInfo) -> Result<Node> {
        let input = self.quantiser(info, Operand::Input);
        let input = input.map(|q| {
            let grids = crate::nn::grids_of(q)?;
            Ok::<_, Error>((q.bits, grids[0]))
        });
        Ok(Node {
            name: info.name.clone(),
            reads: info.reads.clone(),
            what: self.what(info)?,
            input: input.transpose()?,
        })
    }

    fn what(&self, info: &NodeInfo) -> Result<What> {
        let Some(layer) = info.layer() else {
            return Ok(What::Image(info.extent));
        };
        if convolution(info).is_some() {
            return self.weights(info).map(What::Weighted);
        }
        if layer.statistics().is_some() {
            return refuse(
                info,
                "is a batch norm, which has no integer form: fold it first (Net::folded), then quantise",
            );
        }
        match Plain::of(info) {
            Some(plain) => Ok(What::Plain(plain)),
            None => refuse(info, format!("({}) has no integer form", layer.describe())),
        }
    }

    fn weights(&self, info: &NodeInfo) -> Result<Weights> {
        let Some(placed) = self.quantiser(info, Operand::Weight) else {
            return refuse(
                info,
                "has no quantiser before its weight; quantise every layer (PtqConfig::bits)",
            );
        };
        weights_of(info, placed, &self.params)
    }

    /// Every layer with weights but a first one that reads numbers must read levels.
    fn check_inputs(&self, graph: &Graph, config: &IntegerConfig) -> Result<()> {
        let weighted = graph.nodes.iter().enumerate();
        let mut weighted = weighted.filter(|(_, n)| matches!(n.what, What::Weighted(_)));
        if config.image == ImageEntry::Floats {
            weighted.next();
        }
        for (i, _) in weighted {
            if graph.grid_of(i).is_none() {
                return refuse(
                    &self.nodes[i],
                    "reads numbers that no quantiser put on levels; quantise its input (PtqConfig::inputs)",
                );
            }
        }
        Ok(())
    }
}

/// The convolution of a node, a linear layer included.
pub(crate) fn convolution(info: &NodeInfo) -> Option<&Convolution> {
    let linear = info.layer_as::<Linear>().map(Linear::as_convolution);
    info.layer_as::<Convolution>().or(linear)
}

/// The levels of a layer's weight, its grids and its bias.
pub(crate) fn weights_of(
    info: &NodeInfo,
    placed: &QuantiserInfo,
    params: &[Param],
) -> Result<Weights> {
    let grids = crate::nn::grids_of(placed)?;
    if let Some(g) = grids.iter().find(|g| g.zero.abs() > 1e15) {
        let why = format!("has a zero point of {}; widen the range to hold 0", g.zero);
        return refuse(info, why);
    }
    let (layer, conv) = (info.layer(), convolution(info));
    let Some((weight, conv)) = layer.and_then(|l| l.weight()).zip(conv) else {
        return refuse(info, "is no convolution or linear layer");
    };
    let values = params[weight].to_vec();
    if let Some(i) = values.iter().position(|v| v.is_nan()) {
        let why = format!("has NaN at entry {i} of its weight, which has no level");
        return refuse(info, why);
    }
    let settings = conv.settings();
    let row = (values.len() / grids.len().max(1)).max(1);
    let level = |(i, w): (usize, &f32)| {
        let g = grids[i / row];
        (g.level(*w) - g.lowest) as u8
    };
    let bias = layer.and_then(|l| l.bias());
    Ok(Weights {
        window: Window {
            inputs: conv.inputs(),
            outputs: settings.channels,
            kernel: settings.kernel,
            stride: settings.stride,
            padding: settings.padding,
            dilation: settings.dilation,
            groups: settings.groups,
        },
        bits: placed.bits,
        levels: values.iter().enumerate().map(level).collect(),
        grids: grids.to_vec(),
        bias: match bias {
            Some(id) => params[id].to_vec(),
            None => vec![0.0; settings.channels],
        },
    })
}
