//! ONNX files as networks.

use std::collections::HashMap;
use std::path::Path;

use prost::Message as _;

use super::proto::{Model, ValueInfo};
use super::read::{Constant, Op, REMEDY, Source};
use crate::nn::layers::{Act, Add, Affine, AvgPool, Elementwise, Identity, PadChannels, Product};
use crate::nn::{Conv, Extent, FixedGrid, Net, NetBuilder, NodeId, Norm, Slots};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;
use crate::ops::upsample;
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
    let graph = model.graph.ok_or_else(|| refuse("is no ONNX file: it has no graph".into()))?;
    let source = Source::new(path, graph)?;
    let mut import = Import::new(&source)?;
    for node in &source.graph.node {
        let op = Op { source: &source, node };
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

/// A constant `(whole - 0) * scale` by rows.
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
            source.refuse(format!("has an input {name:?} that is no batch of images (N, C, H, W) of known channels"))
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
        let name = op.input(i).ok_or_else(|| op.refuse(format!("lacks its input {i}")))?;
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
                self.values.insert(op.input(i).unwrap_or_default().into(), Value::Node(site));
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
            true => (2..).map(|i| format!("{stem}_{i}")).find(|n| !self.b.has(n)).unwrap_or_default(),
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

    /// The stem of a layer's name: that of its weight where it ends as weights do.
    fn stem(&self, op: Op) -> String {
        let of_weight = op.input(1).and_then(|w| w.strip_suffix(".weight"));
        self.free(of_weight.unwrap_or(op.name()))
    }

    /// A weight or bias: numbers, or whole numbers by rows.
    fn stored(&self, op: Op, i: usize) -> Result<Stored> {
        if let Some(Value::Weight(stored)) = op.input(i).and_then(|n| self.values.get(n)) {
            return Ok(stored.clone());
        }
        let found = op.constant(i)?;
        let values = found.and_then(Constant::floats);
        let (Some(constant), Some(values)) = (found, values) else {
            return Err(op.refuse(format!("lacks numbers as its input {i}")));
        };
        Ok(Stored {
            dims: constant.dims.clone(),
            values: values.to_vec(),
            grids: Vec::new(),
            bits: 8,
        })
    }

    fn bias(&self, op: Op, channels: usize) -> Result<Option<Vec<f32>>> {
        if op.input(2).is_none() {
            return Ok(None);
        }
        let bias = self.stored(op, 2)?.values;
        match bias.len() == channels {
            true => Ok(Some(bias)),
            false => Err(op.refuse(format!("has {} biases for {channels} channels", bias.len()))),
        }
    }

    fn conv(&mut self, op: Op) -> Result<NodeId> {
        let (x, grid) = self.read(op)?;
        let weight = self.stored(op, 1)?;
        let [channels, _, kernel, width] = weight.dims[..] else {
            return Err(op.refuse(format!("has a weight of the dimensions {:?}, not (out, in, height, width)", weight.dims)));
        };
        if kernel != width {
            return Err(op.refuse(format!("has a window of {kernel}x{width}; here it must be square")));
        }
        if !matches!(op.text("auto_pad", "NOTSET"), "NOTSET" | "VALID") {
            return Err(op.refuse("chooses its padding itself (auto_pad); export it with pads"));
        }
        let bias = self.bias(op, channels)?;
        let conv = Conv {
            channels,
            kernel,
            stride: op.alike("strides", 1)?,
            padding: op.alike("pads", 0)?,
            dilation: op.alike("dilations", 1)?,
            groups: usize::try_from(op.int("group", 1)).unwrap_or(0),
            bias: bias.is_some(),
            ..Conv::new(channels)
        };
        let name = self.stem(op);
        let node = self.b.conv(&name, x, conv)?;
        self.settle(op, &name, weight, bias, grid)?;
        Ok(node)
    }

    fn gemm(&mut self, op: Op) -> Result<NodeId> {
        let (x, grid) = self.read(op)?;
        let mut weight = self.stored(op, 1)?;
        let [rows, columns] = weight.dims[..] else {
            return Err(op.refuse(format!("has a weight of the dimensions {:?}", weight.dims)));
        };
        if op.int("transA", 0) != 0 || op.real("alpha", 1.0) != 1.0 || op.real("beta", 1.0) != 1.0 {
            return Err(op.refuse("has transA, alpha or beta; a linear layer has none"));
        }
        let outputs = match (op.int("transB", 0), weight.grids.is_empty()) {
            (0, false) => return Err(op.refuse("has a quantised weight by columns; rows are known (transB = 1)")),
            (0, true) => {
                let old = std::mem::take(&mut weight.values);
                weight.values = (0..rows * columns).map(|i| old[i % rows * columns + i / rows]).collect();
                columns
            }
            _ => rows,
        };
        let bias = self.bias(op, outputs)?;
        let name = self.stem(op);
        let flat = self.vector(x)?;
        let node = self.b.linear_with(&name, flat, outputs, bias.is_some())?;
        self.settle(op, &name, weight, bias, grid)?;
        Ok(node)
    }

    /// A node as a vector.
    fn vector(&mut self, node: NodeId) -> Result<NodeId> {
        match self.b.extent(node)?.pixels() {
            1 => Ok(node),
            _ => self.b.flatten(node),
        }
    }

    /// Keeps what a layer's parameters and quantisers will be.
    fn settle(
        &mut self,
        op: Op,
        name: &str,
        weight: Stored,
        bias: Option<Vec<f32>>,
        input: Option<(AffineGrid, u32)>,
    ) -> Result<()> {
        if weight.grids.len() > 1 && weight.grids.len() != weight.dims[0] {
            return Err(op.refuse("has other scales than output channels"));
        }
        self.numbers.push((format!("{name}.weight"), weight.values));
        if let Some(bias) = bias {
            self.numbers.push((format!("{name}.bias"), bias));
        }
        if !weight.grids.is_empty() {
            self.weights.push((name.into(), weight.grids, weight.bits));
        }
        if let Some((grid, bits)) = input {
            self.inputs.push((name.into(), grid, bits));
        }
        Ok(())
    }

    fn norm(&mut self, op: Op) -> Result<NodeId> {
        let x = self.node(op, 0)?;
        let name = match op.input(1).and_then(|w| w.strip_suffix(".weight")) {
            Some(stem) => self.free(stem),
            None => self.free(op.name()),
        };
        let norm = Norm::new(Activation::None).eps(op.real("epsilon", 1e-5));
        let node = self.b.norm_with(&name, &[x], norm)?;
        for (i, what) in [(1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var")] {
            self.numbers.push((format!("{name}.{what}"), op.floats(i)?.to_vec()));
        }
        Ok(node)
    }

    /// Whole numbers of an activation: the grid of its clip, its scale and its zero point.
    fn quantise(&mut self, op: Op) -> Result<Value> {
        let (node, lowest, highest) = match self.value(op, 0)? {
            Value::Clipped(node, lowest, highest) => (node, lowest, highest),
            _ => (self.node(op, 0)?, f32::NEG_INFINITY, f32::INFINITY),
        };
        let scale = op.float(1)?.filter(|s| s.is_normal() && *s > 0.0);
        let scale = scale.ok_or_else(|| op.refuse("needs one positive scale"))?;
        let zero = match op.constant(2)?.and_then(Constant::wholes) {
            Some([zero]) => *zero as f32,
            Some(_) => return Err(op.refuse("has several zero points")),
            None => 0.0,
        };
        let signed = op.constant(2)?.is_some_and(|z| z.signed_bytes);
        let (least, most) = if signed { (-128.0, 127.0) } else { (0.0, 255.0) };
        // Levels that the clip leaves, of those of the container.
        let level = |x: f32, end: f32| if x.is_finite() { (x / scale).round_ties_even() + zero } else { end };
        let (from, to) = (level(lowest, least).max(least), level(highest, most).min(most));
        let count = to - from + 1.0;
        let bits = count.log2().ceil().clamp(1.0, 8.0) as u32;
        let half = 2f32.powi(bits as i32 - 1);
        let grid = AffineGrid {
            scale: 1.0 / scale,
            zero: from - zero + half,
            lowest: -half,
            highest: to - from - half,
        };
        Ok(Value::Levels(node, grid, bits))
    }

    fn dequantise(&mut self, op: Op) -> Result<Value> {
        let input = op.input(0).unwrap_or_default();
        if let Some(value @ Value::Levels(..)) = self.values.get(input) {
            return Ok(value.clone());
        }
        let Some(constant) = self.source.constants.get(input) else {
            return Err(op.refuse("reads neither a constant nor what QuantizeLinear wrote"));
        };
        let Some(wholes) = constant.wholes() else {
            return Err(op.refuse("reads a constant that is not whole"));
        };
        let scales = op.floats(1)?;
        let zeros = op.constant(2)?.and_then(Constant::wholes);
        if zeros.is_some_and(|z| z.iter().any(|z| *z != 0)) {
            return Err(op.refuse("has a weight with a zero point; here it must be 0"));
        }
        let rows = scales.len();
        let fits = rows == 1 || (Some(&rows) == constant.dims.first() && op.int("axis", 1) == 0);
        if rows == 0 || !fits || !wholes.len().is_multiple_of(rows) {
            return Err(op.refuse(format!("has {rows} scales for a weight of {:?}", constant.dims)));
        }
        if let Some(bad) = scales.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
            // A channel of equal weights below 0 is one unit of that very weight.
            if !bad.is_normal() {
                return Err(op.refuse(format!("has a scale of {bad}")));
            }
        }
        let row = (wholes.len() / rows).max(1);
        let value = |(i, w): (usize, &i64)| *w as f32 * scales[i / row];
        let values: Vec<f32> = wholes.iter().enumerate().map(value).collect();
        let parts = wholes.chunks_exact(row);
        let span = |part: &[i64]| {
            let (lowest, highest) = (part.iter().min(), part.iter().max());
            (*lowest.unwrap_or(&0), *highest.unwrap_or(&0))
        };
        let spans: Vec<(i64, i64)> = parts.map(span).collect();
        let widest = spans.iter().map(|(l, h)| h - l).max().unwrap_or(0);
        // Biases have more bits, and no grid.
        let bits = (1..=8).find(|k| widest < 1 << k);
        let grids = match bits {
            Some(bits) if scales.iter().all(|s| *s > 0.0) => {
                let half = 1i64 << (bits - 1);
                let grid = |((lowest, highest), scale): (&(i64, i64), &f32)| {
                    // The whole numbers around 0 where they are enough.
                    let zero = match *lowest >= -half && *highest < half {
                        true => 0,
                        false => lowest + half,
                    };
                    AffineGrid {
                        scale: 1.0 / scale,
                        zero: zero as f32,
                        lowest: -half as f32,
                        highest: (half - 1) as f32,
                    }
                };
                spans.iter().zip(scales).map(grid).collect()
            }
            _ => Vec::new(),
        };
        Ok(Value::Weight(Stored {
            dims: constant.dims.clone(),
            values,
            grids,
            bits: bits.unwrap_or(8),
        }))
    }

    /// Operators without weights.
    fn plain(&mut self, op: Op) -> Result<NodeId> {
        if matches!(op.kind(), "Add" | "Mul") {
            return self.two(op);
        }
        let known = [
            "Relu", "PRelu", "LeakyRelu", "Tanh", "Sigmoid", "GlobalAveragePool", "AveragePool", "MaxPool", "Flatten",
            "Reshape", "Concat", "Pad", "Slice", "DepthToSpace", "Resize",
        ];
        if !known.contains(&op.kind()) {
            return Err(op.refuse("is an operator that is not known here"));
        }
        let x = self.node(op, 0)?;
        let name = self.free(op.name());
        match op.kind() {
            "Relu" => self.b.activation(&name, x, Activation::Relu),
            "PRelu" => {
                let [slope] = op.floats(1)? else {
                    return Err(op.refuse("has a slope for each channel; one for all is known"));
                };
                self.numbers.push((format!("{name}.weight"), vec![*slope]));
                self.b.prelu(&name, x)
            }
            "LeakyRelu" => self.b.leaky_relu(&name, x, op.real("alpha", 0.01)),
            "Tanh" => self.b.layer(&name, &[x], Elementwise(Function::Tanh)),
            "Sigmoid" => self.b.layer(&name, &[x], Elementwise(Function::Sigmoid)),
            "GlobalAveragePool" => self.b.layer(&name, &[x], crate::nn::layers::GlobalAvgPool),
            "AveragePool" => {
                if op.alike("pads", 0)? != 0 || op.int("ceil_mode", 0) != 0 {
                    return Err(op.refuse("has padding or ceil_mode; windows without are known"));
                }
                let [height, width] = op.lengths("kernel_shape")?[..] else {
                    return Err(op.refuse("has no window of two sides"));
                };
                let stride = match op.lengths("strides")?[..] {
                    [] => (1, 1),
                    [down, right] => (down, right),
                    _ => return Err(op.refuse("has no strides of two sides")),
                };
                let pool = AvgPool { kernel: (height, width), stride };
                self.b.layer(&name, &[x], pool)
            }
            "MaxPool" => {
                if op.int("ceil_mode", 0) != 0 || op.alike("dilations", 1)? != 1 {
                    return Err(op.refuse("has ceil_mode or dilations; windows without are known"));
                }
                let pool = crate::nn::layers::MaxPool {
                    kernel: op.alike("kernel_shape", 0)?,
                    stride: op.alike("strides", 1)?,
                    padding: op.alike("pads", 0)?,
                };
                self.b.layer(&name, &[x], pool)
            }
            "Flatten" => match op.int("axis", 1) {
                1 => self.b.layer(&name, &[x], crate::nn::layers::Flatten),
                axis => Err(op.refuse(format!("flattens from axis {axis}; 1 is known"))),
            },
            "Reshape" => self.reshape(op, &name, x),
            "Concat" => {
                if op.int("axis", 1) != 1 {
                    return Err(op.refuse("joins another axis than the channels"));
                }
                let nodes = (0..op.node.input.len()).map(|i| self.node(op, i));
                let nodes = nodes.collect::<Result<Vec<_>>>()?;
                self.b.concat(&name, &nodes)
            }
            "Pad" => {
                let pads = op.wholes(1)?;
                let known = op.text("mode", "constant") == "constant" && op.float(2)?.unwrap_or(0.0) == 0.0;
                match *pads {
                    [0, before, 0, 0, 0, after, 0, 0] if known && before >= 0 && after >= 0 => {
                        let pad = PadChannels { before: before as usize, after: after as usize };
                        self.b.layer(&name, &[x], pad)
                    }
                    _ => Err(op.refuse(format!("pads {pads:?}; zeros around the channels are known"))),
                }
            }
            "Slice" => {
                let (starts, ends) = (op.wholes(1)?, op.wholes(2)?);
                let channels = self.b.extent(x)?.channels;
                let steps = if op.input(4).is_some() { op.wholes(4)? } else { &[1] };
                let end = |v: i64| usize::try_from(v).map(|v| v.min(channels));
                match (starts, ends, op.wholes(3)?, steps) {
                    ([start], [last], [1], [1]) if *start >= 0 && *last >= 0 => {
                        let (start, last) = (end(*start).unwrap_or(0), end(*last).unwrap_or(0));
                        self.b.slice(&name, x, start..last)
                    }
                    _ => Err(op.refuse("takes something else than neighbouring channels")),
                }
            }
            "DepthToSpace" => match (op.text("mode", "DCR"), usize::try_from(op.int("blocksize", 0))) {
                ("CRD", Ok(factor)) => self.b.pixel_shuffle(&name, x, factor),
                (mode, _) => Err(op.refuse(format!("has the mode {mode}; CRD is known"))),
            },
            _ => self.resize(op, &name, x),
        }
    }

    fn reshape(&mut self, op: Op, name: &str, x: NodeId) -> Result<NodeId> {
        let shape = op.wholes(1)?;
        let from = self.b.extent(x)?;
        match *shape {
            [0 | -1, -1] => self.b.layer(name, &[x], crate::nn::layers::Flatten),
            [0 | -1, n] if usize::try_from(n) == Ok(from.len()) => {
                self.b.layer(name, &[x], crate::nn::layers::Flatten)
            }
            [0 | -1, c, h, w] if c > 0 && h > 0 && w > 0 => {
                let to = Extent::new(c as usize, h as usize, w as usize);
                self.b.layer(name, &[x], crate::nn::layers::Reshape { to })
            }
            _ => Err(op.refuse(format!("makes {shape:?} of {from}"))),
        }
    }

    fn resize(&mut self, op: Op, name: &str, x: NodeId) -> Result<NodeId> {
        let scales = op.floats(2)?;
        let places = op.text("coordinate_transformation_mode", "half_pixel");
        let factor = match *scales {
            [1.0, 1.0, down, right] if down == right && down.fract() == 0.0 && down >= 1.0 => down as usize,
            _ => return Err(op.refuse(format!("scales by {scales:?}; whole factors of both sides are known"))),
        };
        let how = match (op.text("mode", "nearest"), places, factor) {
            ("nearest", "asymmetric", _) if op.text("nearest_mode", "round_prefer_floor") == "floor" => {
                upsample::Upsample::Nearest(factor)
            }
            ("linear", "half_pixel" | "pytorch_half_pixel", 2) => upsample::Upsample::Bilinear,
            ("linear", "align_corners", 2) => upsample::Upsample::BilinearAligned,
            (mode, places, _) => return Err(op.refuse(format!("enlarges {factor} times by {mode}, {places}"))),
        };
        self.b.layer(name, &[x], crate::nn::layers::Upsample(how))
    }

    /// A sum or product of two nodes, or of a node and a constant.
    fn two(&mut self, op: Op) -> Result<NodeId> {
        let is_constant = |i: usize| op.input(i).is_some_and(|n| self.source.constants.contains_key(n));
        let name = self.free(op.name());
        let sum = op.kind() == "Add";
        let (node, constant) = match (is_constant(0), is_constant(1)) {
            (false, false) => {
                let (a, b) = (self.node(op, 0)?, self.node(op, 1)?);
                return match sum {
                    true => self.b.layer(&name, &[a, b], Add(Activation::None)),
                    false => self.b.layer(&name, &[a, b], Product),
                };
            }
            (false, true) => (self.node(op, 0)?, op.floats(1)?),
            (true, false) => (self.node(op, 1)?, op.floats(0)?),
            (true, true) => return Err(op.refuse("reads constants alone")),
        };
        let channels = self.b.extent(node)?.channels;
        let affine = match (sum, constant) {
            (false, [scale]) => Affine { scale: *scale, offset: vec![0.0; channels].into() },
            (true, [offset]) => Affine { scale: 1.0, offset: vec![*offset; channels].into() },
            (true, offsets) if offsets.len() == channels => Affine { scale: 1.0, offset: offsets.into() },
            _ => return Err(op.refuse("has a constant that is neither one number nor, to be added, one a channel")),
        };
        self.b.layer(&name, &[node], affine)
    }

    fn finish(mut self) -> Result<Net> {
        let outputs: Vec<String> = self.source.graph.output.iter().filter_map(|o| o.name.clone()).collect();
        let [output] = &outputs[..] else {
            return Err(self.source.refuse(format!("has {} outputs; networks of one are read", outputs.len())));
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
            set.map_err(|e| self.source.refuse(format!("has other numbers for {name}: {e}")))?;
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
