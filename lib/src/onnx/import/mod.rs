//! ONNX files as networks.

mod plain;
mod quantised;
mod weighted;
mod wholes;

use std::collections::HashMap;
use std::path::Path;

use prost::Message as _;

use super::proto::{Model, ValueInfo};
use super::read::{Op, REMEDY, Source};
use crate::nn::layers::{Act, Identity};
use crate::nn::{Extent, FixedGrid, Net, NetBuilder, NodeId, Slots};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;
use crate::quant::Range;
use crate::{Error, Result, rng};

/// Sides of an image where the file leaves them free.
const FREE_SIDE: usize = 32;

/// A network from an ONNX file: what [`Net::export_onnx`] writes, and plain convolutional networks of other programs, with
/// the operators Conv, BatchNormalization, Relu, Clip (0 to 6), PRelu, LeakyRelu, Tanh, Sigmoid, Add, Mul, Concat, MaxPool,
/// AveragePool, GlobalAveragePool, Gemm, Flatten, Reshape, Slice, Pad (of channels), Resize, DepthToSpace, Identity,
/// Dropout, QuantizeLinear and DequantizeLinear.
///
/// Layers are named after their weights (`layer1.0.conv1` of `layer1.0.conv1.weight`) or after their node. Sides that the
/// file leaves free are 32; a network without linear layers takes images of any size all the same.
///
/// ```
/// use rebit::onnx::import_onnx;
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let path = std::env::temp_dir().join("rebit-doc-import.onnx");
/// net.export_onnx(&path)?;
/// let back = import_onnx(&path)?;
/// let x = images(2, 3, 32, 32, &mut rng(1));
/// let error = (back.predict(&x)? - net.predict(&x)?).abs().max::<(), _>();
/// assert!(error.array() < 1e-4);
/// # std::fs::remove_file(path).ok();
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; [`Error::Data`] for one that is no ONNX file, and for an operator or a
/// setting that is not known here, with the name of its node.
pub fn import_onnx(path: impl AsRef<Path>) -> Result<Net> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    import_onnx_bytes(path, &bytes)
}

/// [`import_onnx`] from memory; `path` is its name in messages.
///
/// # Errors
/// As [`import_onnx`].
pub fn import_onnx_bytes(path: &Path, bytes: &[u8]) -> Result<Net> {
    let refuse = |why: String| Error::data(path, why, REMEDY);
    let model = Model::decode(bytes).map_err(|e| refuse(format!("is no ONNX file: {e}")))?;
    let graph = model
        .graph
        .ok_or_else(|| refuse("is no ONNX file: it has no graph".into()))?;
    let mut source = Source::new(path, graph)?;
    wholes::as_numbers(&mut source);
    let mut import = Import::new(&source)?;
    for node in &source.graph.node {
        let op = Op {
            source: &source,
            node,
        };
        import.op(op).map_err(|e| match e {
            error @ Error::Data { .. } => error,
            other => op.refuse(format!("cannot be built: {other}")),
        })?;
    }
    import.finish()
}

/// What a name of the graph stands for.
#[derive(Clone)]
enum Value {
    Node(NodeId),
    /// A node whose numbers were clipped to an interval, which a quantiser may follow.
    Clipped(NodeId, f32, f32),
    /// A node on the levels of a grid, once as whole numbers, then as numbers again.
    Levels(NodeId, AffineGrid, u32),
    /// A weight that is stored as whole numbers.
    Weight(Stored),
}

/// A constant `(whole - zero) * scale` by rows.
#[derive(Clone)]
struct Stored {
    dims: Vec<usize>,
    values: Vec<f32>,
    grids: Vec<AffineGrid>,
    bits: u32,
}

struct Import<'a> {
    source: &'a Source<'a>,
    b: NetBuilder,
    values: HashMap<String, Value>,
    /// Numbers that parameters get once the network stands.
    numbers: Vec<(String, Vec<f32>)>,
    weights: Vec<(String, Vec<AffineGrid>, u32)>,
    inputs: Vec<(String, AffineGrid, u32)>,
}

fn extent_of(info: &ValueInfo) -> Option<Extent> {
    let shape = info.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
    let side = |i: usize| -> Option<usize> {
        match shape.dim.get(i)?.value {
            Some(v) if v > 0 => usize::try_from(v).ok(),
            _ => None,
        }
    };
    match shape.dim.len() {
        2 => Some(Extent::vector(side(1)?)),
        4 => Some(Extent::new(
            side(1)?,
            side(2).unwrap_or(FREE_SIDE),
            side(3).unwrap_or(FREE_SIDE),
        )),
        _ => None,
    }
}

impl<'a> Import<'a> {
    fn new(source: &'a Source<'a>) -> Result<Self> {
        // Older files list constants among the inputs.
        let mut inputs = source.graph.input.iter().filter(|i| {
            let name = i.name.as_deref().unwrap_or_default();
            !source.constants.contains_key(name)
        });
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(source.refuse("has no input, or several; networks of one image are read"));
        };
        let name = input.name.clone().unwrap_or_default();
        let extent = extent_of(input).filter(|e| e.len() <= 1 << 28);
        let extent = extent.ok_or_else(|| {
            source.refuse(format!(
                "has an input {name:?} that is no batch of images (N, C, H, W) of known channels"
            ))
        })?;
        let b = NetBuilder::new(extent.channels, extent.height, extent.width, rng(0));
        let values = HashMap::from([(name, Value::Node(b.input()))]);
        Ok(Import {
            source,
            b,
            values,
            numbers: Vec::new(),
            weights: Vec::new(),
            inputs: Vec::new(),
        })
    }

    fn value(&self, op: Op, i: usize) -> Result<Value> {
        let name = op
            .input(i)
            .ok_or_else(|| op.refuse(format!("lacks its input {i}")))?;
        let found = self.values.get(name).cloned();
        found.ok_or_else(|| op.refuse(format!("reads {name:?}, which nothing before it computes")))
    }

    /// The `i`-th input as a node; a value on levels as the site that puts it there.
    fn node(&mut self, op: Op, i: usize) -> Result<NodeId> {
        match self.value(op, i)? {
            Value::Node(node) => Ok(node),
            Value::Clipped(node, lowest, highest) => self.clip(op, node, lowest, highest),
            Value::Levels(node, grid, bits) => {
                let name = format!("{}.site", op.input(i).unwrap_or_default());
                let site = self.b.layer(&name, &[node], Identity)?;
                self.inputs.push((name.clone(), grid, bits));
                self.values
                    .insert(op.input(i).unwrap_or_default().into(), Value::Node(site));
                Ok(site)
            }
            Value::Weight(_) => Err(op.refuse("reads a constant; here it must be an activation")),
        }
    }

    /// The first input, and the quantiser before it.
    fn read(&mut self, op: Op) -> Result<(NodeId, Option<(AffineGrid, u32)>)> {
        match self.value(op, 0)? {
            Value::Levels(node, grid, bits) => Ok((node, Some((grid, bits)))),
            _ => Ok((self.node(op, 0)?, None)),
        }
    }

    fn clip(&mut self, op: Op, node: NodeId, lowest: f32, highest: f32) -> Result<NodeId> {
        let act = match (lowest, highest) {
            (0.0, 6.0) => Activation::Relu6,
            (0.0, f32::INFINITY) => Activation::Relu,
            (f32::NEG_INFINITY, f32::INFINITY) => Activation::None,
            _ => return Err(op.refuse(format!("reads a clip to {lowest} and {highest}; known are 0 and 6, and what a quantiser follows"))),
        };
        let name = self.free(&format!("{}.clip", op.name()));
        self.b.layer(&name, &[node], Act(act))
    }

    /// A name that no node has yet.
    fn free(&self, stem: &str) -> String {
        match self.b.has(stem) {
            false => stem.into(),
            true => (2..)
                .map(|i| format!("{stem}_{i}"))
                .find(|n| !self.b.has(n))
                .unwrap_or_default(),
        }
    }

    fn give(&mut self, op: Op, value: Value) {
        for name in &op.node.output {
            self.values.insert(name.clone(), value.clone());
        }
    }

    fn op(&mut self, op: Op) -> Result<()> {
        let value = match op.kind() {
            "Constant" => return Ok(()),
            "Conv" => Value::Node(self.conv(op)?),
            "Gemm" => Value::Node(self.gemm(op)?),
            "BatchNormalization" => Value::Node(self.norm(op)?),
            "Clip" => {
                let node = self.node(op, 0)?;
                let lowest = op.float(1)?.unwrap_or(op.real("min", f32::NEG_INFINITY));
                let highest = op.float(2)?.unwrap_or(op.real("max", f32::INFINITY));
                match (lowest, highest) {
                    (0.0, 6.0) if !self.quantiser_follows(op) => {
                        Value::Node(self.layer(op, node, Act(Activation::Relu6))?)
                    }
                    _ => Value::Clipped(node, lowest, highest),
                }
            }
            "QuantizeLinear" => self.quantise(op)?,
            "DequantizeLinear" => self.dequantise(op)?,
            "Identity" | "Dropout" => {
                let node = self.node(op, 0)?;
                Value::Node(self.layer(op, node, Identity)?)
            }
            _ => Value::Node(self.plain(op)?),
        };
        self.give(op, value);
        Ok(())
    }

    fn quantiser_follows(&self, op: Op) -> bool {
        let output = op.node.output.first();
        let mut nodes = self.source.graph.node.iter();
        nodes.any(|n| n.op_type.as_deref() == Some("QuantizeLinear") && n.input.first() == output)
    }

    fn layer(&mut self, op: Op, node: NodeId, layer: impl crate::nn::Layer) -> Result<NodeId> {
        let name = self.free(op.name());
        self.b.layer(&name, &[node], layer)
    }

    fn finish(mut self) -> Result<Net> {
        let outputs: Vec<String> = self
            .source
            .graph
            .output
            .iter()
            .filter_map(|o| o.name.clone())
            .collect();
        let [output] = &outputs[..] else {
            return Err(self.source.refuse(format!(
                "has {} outputs; networks of one are read",
                outputs.len()
            )));
        };
        let node = match self.values.get(output) {
            Some(Value::Node(node)) => *node,
            Some(Value::Levels(node, grid, bits)) => {
                let (node, grid, bits) = (*node, *grid, *bits);
                let name = self.free(&format!("{output}.site"));
                self.inputs.push((name.clone(), grid, bits));
                self.b.layer(&name, &[node], Identity)?
            }
            _ => return Err(self.source.refuse(format!("computes no output {output:?}"))),
        };
        let net = self.b.build(node)?;
        for (name, values) in &self.numbers {
            let set = net.set_parameter(name, values);
            set.map_err(|e| {
                self.source
                    .refuse(format!("has other numbers for {name}: {e}"))
            })?;
        }
        for (layer, grids, bits) in self.weights {
            let quantiser = FixedGrid::new(grids, bits)?;
            let mut slot = Some(Slots::weights(quantiser, Range::MinMax));
            net.quantise(|l| {
                Ok(match l.name == layer {
                    true => slot.take().unwrap_or_default(),
                    false => Slots::none(),
                })
            })?;
        }
        for (layer, grid, bits) in self.inputs {
            net.quantise_input(&layer, FixedGrid::new(vec![grid], bits)?, Range::MinMax)?;
        }
        Ok(net)
    }
}
