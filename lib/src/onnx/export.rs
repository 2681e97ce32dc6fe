//! A network as the nodes of an ONNX graph.

use std::path::Path;

use prost::Message as _;

use super::proto::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    ValueInfo, data, kind,
};
use crate::files::{folder_of, write_whole};
use crate::integer::{Weights, convolution, weights_of};
use crate::nn::layers::{
    Act, Add, Affine, AvgPool, BatchNorm, Concat, Elementwise, Flatten, GlobalAvgPool, Identity,
    Linear, MaxPool, PadChannels, PixelShuffle, Prelu, Product, Reshape, Slice, Upsample,
};
use crate::nn::{Extent, Net, NodeInfo, Operand, Param, ParamId, QuantiserInfo};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;
use crate::ops::upsample;
use crate::{Error, Result};

/// The version of the standard's operators: the first whose quantisers know channels.
const OPSET: i64 = 13;
/// The version of the format that goes with it.
const IR_VERSION: i64 = 7;

impl Net {
    /// Writes the network as an ONNX file of opset 13, see [`crate::onnx`]: at full precision, with its quantisers as
    /// `QuantizeLinear` and `DequantizeLinear`, or both. The number of images is free, height and width too where every layer
    /// takes any. What reads it sees `(N, C, H, W)` images under the name `input`, and the answer under the name of the
    /// network's last node.
    ///
    /// ```
    /// use rebit::onnx::import_onnx;
    /// use rebit::prelude::*;
    /// let x = images(4, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&resnet20(10, rng(0)), &x, &PtqConfig::bits(4))?;
    /// let path = std::env::temp_dir().join("rebit-doc-net.onnx");
    /// q.export_onnx(&path)?;
    /// let back = import_onnx(&path)?;
    /// let error = (back.predict(&x)? - q.predict(&x)?).abs().max::<(), _>();
    /// assert!(error.array() < 0.05);
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the layer: for one that has no ONNX form (one of a cell, an embedding), for a quantiser
    /// without whole-number zero points or range, and for an input range that does not hold 0; [`Error::Io`] when the file
    /// cannot be written: an older one is then still there.
    pub fn export_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_onnx()?;
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        write_whole(path, &bytes).map_err(|e| Error::io(path, e))
    }

    /// The bytes that [`export_onnx`](Self::export_onnx) writes.
    ///
    /// # Errors
    /// As [`export_onnx`](Self::export_onnx).
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        let mut export = Export {
            nodes: self.nodes(),
            quantisers: self.quantisers(),
            params: self.parameters(),
            graph: Graph::default(),
            values: Vec::new(),
            on_levels: Vec::new(),
        };
        for node in 0..export.nodes.len() {
            export.node(node)?;
        }
        Ok(export.model(self.output_node()).encode_to_vec())
    }
}

/// What a node's value is called in the graph.
#[derive(Clone)]
struct Value {
    name: String,
    /// Whether it is a matrix, a sample a row; otherwise `(N, C, H, W)`.
    flat: bool,
}

struct Export {
    nodes: Vec<NodeInfo>,
    quantisers: Vec<QuantiserInfo>,
    params: Vec<Param>,
    graph: Graph,
    values: Vec<Value>,
    /// Values that have been put on levels: value, grid, name of the result.
    on_levels: Vec<(String, AffineGrid, String)>,
}

fn refuse<T>(node: &NodeInfo, why: impl ToString) -> Result<T> {
    Err(Error::invalid(format!("layer {}", node.name), why))
}

fn attribute(name: &str, of: i32) -> Attribute {
    Attribute {
        name: Some(name.into()),
        kind: Some(of),
        ..Attribute::default()
    }
}

fn int(name: &str, value: usize) -> Attribute {
    Attribute {
        i: Some(value as i64),
        ..attribute(name, kind::INT)
    }
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    Attribute {
        ints: values.iter().map(|v| *v as i64).collect(),
        ..attribute(name, kind::INTS)
    }
}

fn float(name: &str, value: f32) -> Attribute {
    Attribute {
        f: Some(value),
        ..attribute(name, kind::FLOAT)
    }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute {
        s: Some(value.into()),
        ..attribute(name, kind::STRING)
    }
}

impl Export {
    /// Adds an operator that writes one value, and returns that value's name.
    fn op(
        &mut self,
        op: &str,
        output: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        self.graph.node.push(Node {
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![output.into()],
            name: Some(output.into()),
            op_type: Some(op.into()),
            attribute: attributes,
            domain: None,
        });
        output.into()
    }

    /// Adds a constant, once.
    fn constant(&mut self, name: &str, dims: &[usize], data_type: i32, raw: Vec<u8>) -> String {
        let known = self.graph.initializer.iter();
        if !known.clone().any(|t| t.name.as_deref() == Some(name)) {
            self.graph.initializer.push(Tensor {
                dims: dims.iter().map(|d| *d as i64).collect(),
                data_type: Some(data_type),
                name: Some(name.into()),
                raw_data: Some(raw),
                ..Tensor::default()
            });
        }
        name.into()
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, dims, data::FLOAT, raw)
    }

    fn wholes(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, &[values.len()], data::INT64, raw)
    }

    fn parameter(&mut self, id: ParamId) -> String {
        let param = self.params[id].clone();
        self.floats(&param.name, &param.dims, &param.to_vec())
    }

    fn quantiser(&self, node: usize, operand: Operand) -> Option<QuantiserInfo> {
        let mut all = self.quantisers.iter();
        all.find(|q| q.node == node && q.operand == operand).cloned()
    }

    /// The `i`-th input of a node as a map, or as a matrix where `flat`.
    fn input(&mut self, node: usize, i: usize, flat: Option<bool>) -> Value {
        let read = self.nodes[node].reads[i];
        let value = self.values[read].clone();
        match flat {
            Some(true) if !value.flat => {
                let name = format!("{}.flat", value.name);
                let made = self.graph.node.iter().any(|n| n.output[0] == name);
                if !made {
                    self.op("Flatten", &name, &[&value.name], vec![int("axis", 1)]);
                }
                Value { name, flat: true }
            }
            Some(false) if value.flat => self.map(&value, self.nodes[read].extent),
            _ => value,
        }
    }

    /// A matrix as maps of an extent.
    fn map(&mut self, value: &Value, extent: Extent) -> Value {
        let Extent { channels, height, width } = extent;
        let name = format!("{}.{channels}x{height}x{width}", value.name);
        if !self.graph.node.iter().any(|n| n.output[0] == name) {
            let dims = [0, channels as i64, height as i64, width as i64];
            let shape = self.wholes(&format!("{name}.shape"), &dims);
            self.op("Reshape", &name, &[&value.name, &shape], Vec::new());
        }
        Value { name, flat: false }
    }

    /// A value on the levels of a grid.
    fn levels(&mut self, node: &NodeInfo, value: &Value, grid: AffineGrid) -> Result<Value> {
        let same = |(of, g, _): &&(String, AffineGrid, String)| *of == value.name && *g == grid;
        if let Some((.., name)) = self.on_levels.iter().find(same) {
            return Ok(Value { name: name.clone(), flat: value.flat });
        }
        // 0 is the level `zero - lowest` steps above the lowest one.
        let zero = -(grid.zero + grid.lowest);
        if !(0.0..=255.0).contains(&zero) {
            return refuse(
                node,
                format!(
                    "reads its input on a range without 0 (zero point {zero}), which has no ONNX form; widen it to hold 0 \
                     (Bounds::with_zero)"
                ),
            );
        }
        let name = format!("{}.levels{}", value.name, self.on_levels.len());
        let at = |q: f32| (q + grid.zero) / grid.scale;
        let lowest = self.floats(&format!("{name}.lowest"), &[], &[at(grid.lowest)]);
        let highest = self.floats(&format!("{name}.highest"), &[], &[at(grid.highest)]);
        let scale = self.floats(&format!("{name}.scale"), &[], &[1.0 / grid.scale]);
        let zero = self.constant(&format!("{name}.zero"), &[], data::UINT8, vec![zero as u8]);
        let clipped = self.op(
            "Clip",
            &format!("{name}.clip"),
            &[&value.name, &lowest, &highest],
            Vec::new(),
        );
        let whole = self.op(
            "QuantizeLinear",
            &format!("{name}.quantised"),
            &[&clipped, &scale, &zero],
            Vec::new(),
        );
        let name = self.op("DequantizeLinear", &name, &[&whole, &scale, &zero], Vec::new());
        self.on_levels.push((value.name.clone(), grid, name.clone()));
        Ok(Value { name, flat: value.flat })
    }

    /// The first input, on levels where a quantiser stands before it.
    fn read(&mut self, node: usize, flat: Option<bool>) -> Result<(Value, Option<AffineGrid>)> {
        let value = self.input(node, 0, flat);
        match self.quantiser(node, Operand::Input) {
            None => Ok((value, self.grid_behind(node))),
            Some(placed) => {
                let grid = crate::nn::grids_of(&placed)?[0];
                let info = self.nodes[node].clone();
                Ok((self.levels(&info, &value, grid)?, Some(grid)))
            }
        }
    }

    /// The grid of the site that a node reads.
    fn grid_behind(&self, node: usize) -> Option<AffineGrid> {
        let read = *self.nodes[node].reads.first()?;
        self.nodes[read].layer_as::<Identity>()?;
        let placed = self.quantiser(read, Operand::Input)?;
        placed.grids?.first().copied()
    }

    fn node(&mut self, at: usize) -> Result<()> {
        let info = self.nodes[at].clone();
        let name = info.name.clone();
        let Some(layer) = info.layer().cloned() else {
            if at > 0 {
                return refuse(&info, "is a second input; networks of one image have an ONNX form here");
            }
            self.values.push(Value { name, flat: false });
            return Ok(());
        };
        let value = if convolution(&info).is_some() {
            self.weighted(at, &info)?
        } else if let Some(norm) = info.layer_as::<BatchNorm>() {
            self.norm(at, &info, norm)?
        } else {
            let (x, _) = self.read(at, None)?;
            match self.plain(at, &info, &x)? {
                Some(value) => value,
                None => return refuse(&info, format!("({}) has no ONNX form", layer.describe())),
            }
        };
        self.values.push(value);
        Ok(())
    }

    fn weighted(&mut self, at: usize, info: &NodeInfo) -> Result<Value> {
        let flat = info.layer_as::<Linear>().is_some();
        let (x, grid) = self.read(at, Some(flat))?;
        let Some(conv) = convolution(info).cloned() else {
            return refuse(info, "is no convolution");
        };
        let layer = info.layer();
        let (weight, bias) = match layer.and_then(|l| l.weight()) {
            Some(id) => (id, layer.and_then(|l| l.bias())),
            None => return refuse(info, "has no weight"),
        };
        let (w, b) = match self.quantiser(at, Operand::Weight) {
            Some(placed) => {
                let found = weights_of(info, &placed, &self.params)?;
                let param = self.params[weight].clone();
                self.whole_weights(&info.name, &param, &found, grid, bias.is_some())
            }
            None => (self.parameter(weight), bias.map(|b| self.parameter(b))),
        };
        let mut inputs = vec![x.name.as_str(), &w];
        inputs.extend(b.as_deref());
        let s = conv.settings();
        let name = match flat {
            true => self.op("Gemm", &info.name, &inputs, vec![int("transB", 1)]),
            false => {
                let attributes = vec![
                    ints("dilations", &[s.dilation; 2]),
                    int("group", s.groups),
                    ints("kernel_shape", &[s.kernel; 2]),
                    ints("pads", &[s.padding; 4]),
                    ints("strides", &[s.stride; 2]),
                ];
                self.op("Conv", &info.name, &inputs, attributes)
            }
        };
        Ok(Value { name, flat })
    }

    /// A weight as whole numbers with a scale for each row, and its bias in the units of the sums.
    fn whole_weights(
        &mut self,
        layer: &str,
        param: &Param,
        found: &Weights,
        input: Option<AffineGrid>,
        biased: bool,
    ) -> (String, Option<String>) {
        let rows = found.rows();
        let values = || rows.iter().flat_map(|r| &r.values).copied();
        let name = format!("{}.whole", param.name);
        let whole = match values().all(|v| i8::try_from(v).is_ok()) {
            true => {
                let raw = values().map(|v| v as i8 as u8).collect();
                self.constant(&name, &param.dims, data::INT8, raw)
            }
            false => {
                let raw = values().flat_map(|v| (v as i32).to_le_bytes()).collect();
                self.constant(&name, &param.dims, data::INT32, raw)
            }
        };
        let units: Vec<f32> = rows.iter().map(|r| r.unit as f32).collect();
        // A row of zeros has any unit.
        let units: Vec<f32> = units.iter().map(|u| if *u == 0.0 { 1.0 } else { *u }).collect();
        let scale = self.floats(&format!("{}.scale", param.name), &[units.len()], &units);
        let w = self.op(
            "DequantizeLinear",
            &param.name,
            &[&whole, &scale],
            vec![int("axis", 0)],
        );
        if !biased {
            return (w, None);
        }
        let bias = format!("{layer}.bias");
        let sums = input.map(|g| {
            let unit = |u: &f32| f64::from(*u) / f64::from(g.scale);
            let units: Vec<f64> = units.iter().map(unit).collect();
            let sum = found.bias.iter().zip(&units).map(|(b, u)| (f64::from(*b) / u).round_ties_even());
            (sum.collect::<Vec<f64>>(), units)
        });
        let fits = |sums: &[f64]| sums.iter().all(|s| s.abs() <= f64::from(i32::MAX));
        match sums {
            Some((sums, units)) if fits(&sums) && units.iter().all(|u| (*u as f32).is_normal()) => {
                let raw = sums.iter().flat_map(|s| (*s as i32).to_le_bytes()).collect();
                let length = [sums.len()];
                let whole = self.constant(&format!("{bias}.whole"), &length, data::INT32, raw);
                let units: Vec<f32> = units.iter().map(|u| *u as f32).collect();
                let scale = self.floats(&format!("{bias}.scale"), &length, &units);
                let b = self.op("DequantizeLinear", &bias, &[&whole, &scale], vec![int("axis", 0)]);
                (w, Some(b))
            }
            _ => {
                let b = self.floats(&bias, &[found.bias.len()], &found.bias);
                (w, Some(b))
            }
        }
    }

    fn norm(&mut self, at: usize, info: &NodeInfo, norm: &BatchNorm) -> Result<Value> {
        let x = self.input(at, 0, None);
        let Some(statistics) = info.layer().and_then(|l| l.statistics()) else {
            return refuse(info, "has no statistics");
        };
        let channels = info.extent.channels;
        let (scale, shift) = match norm.scale_shift() {
            Some((scale, shift)) => (self.parameter(scale), self.parameter(shift)),
            None => (
                self.floats(&format!("{}.weight", info.name), &[channels], &vec![1.0; channels]),
                self.floats(&format!("{}.bias", info.name), &[channels], &vec![0.0; channels]),
            ),
        };
        let (mean, var) = (self.parameter(statistics.mean), self.parameter(statistics.var));
        let act = norm.settings().act;
        let adds = info.reads.len() > 1;
        let last = act == Activation::None && !adds;
        let name = if last { info.name.clone() } else { format!("{}.norm", info.name) };
        let mut y = self.op(
            "BatchNormalization",
            &name,
            &[&x.name, &scale, &shift, &mean, &var],
            vec![float("epsilon", norm.settings().eps)],
        );
        if adds {
            let other = self.input(at, 1, Some(x.flat));
            let last = act == Activation::None;
            let name = if last { info.name.clone() } else { format!("{}.sum", info.name) };
            y = self.op("Add", &name, &[&y, &other.name], Vec::new());
        }
        if act != Activation::None {
            y = self.act(act, &info.name, &y);
        }
        Ok(Value { name: y, flat: x.flat })
    }

    fn act(&mut self, act: Activation, name: &str, x: &str) -> String {
        match act {
            Activation::None => self.op("Identity", name, &[x], Vec::new()),
            Activation::Relu => self.op("Relu", name, &[x], Vec::new()),
            Activation::Relu6 => {
                let lowest = self.floats("relu6.lowest", &[], &[0.0]);
                let highest = self.floats("relu6.highest", &[], &[6.0]);
                self.op("Clip", name, &[x, &lowest, &highest], Vec::new())
            }
        }
    }

    /// A layer without weights of its own; none for one that has no ONNX form.
    fn plain(&mut self, at: usize, info: &NodeInfo, x: &Value) -> Result<Option<Value>> {
        let name = info.name.as_str();
        let mut flat = x.flat;
        let xs = x.name.as_str();
        let done = if let Some(l) = info.layer_as::<Act>() {
            self.act(l.0, name, xs)
        } else if let Some(l) = info.layer_as::<Add>() {
            let other = self.input(at, 1, Some(flat));
            match l.0 {
                Activation::None => self.op("Add", name, &[xs, &other.name], Vec::new()),
                act => {
                    let sum = self.op("Add", &format!("{name}.sum"), &[xs, &other.name], Vec::new());
                    self.act(act, name, &sum)
                }
            }
        } else if info.layer_as::<Product>().is_some() {
            let other = self.input(at, 1, Some(flat));
            self.op("Mul", name, &[xs, &other.name], Vec::new())
        } else if info.layer_as::<Identity>().is_some() {
            self.op("Identity", name, &[xs], Vec::new())
        } else if let Some(l) = info.layer_as::<Elementwise>() {
            match l.0 {
                Function::LeakyRelu(slope) => {
                    self.op("LeakyRelu", name, &[xs], vec![float("alpha", slope)])
                }
                Function::Tanh => self.op("Tanh", name, &[xs], Vec::new()),
                Function::Sigmoid => self.op("Sigmoid", name, &[xs], Vec::new()),
            }
        } else if let Some(l) = info.layer_as::<Prelu>() {
            let slope = self.parameter(l.slope);
            self.op("PRelu", name, &[xs, &slope], Vec::new())
        } else if let Some(l) = info.layer_as::<Affine>() {
            let scale = self.floats(&format!("{name}.scale"), &[], &[l.scale]);
            let dims = [1, l.offset.len(), 1, 1];
            let dims = if flat { &dims[..2] } else { &dims[..] };
            let offset = self.floats(&format!("{name}.offset"), dims, &l.offset);
            let scaled = self.op("Mul", &format!("{name}.scaled"), &[xs, &scale], Vec::new());
            self.op("Add", name, &[&scaled, &offset], Vec::new())
        } else if info.layer_as::<Flatten>().is_some() {
            let already = std::mem::replace(&mut flat, true);
            match already {
                true => self.op("Identity", name, &[xs], Vec::new()),
                false => self.op("Flatten", name, &[xs], vec![int("axis", 1)]),
            }
        } else if let Some(l) = info.layer_as::<Reshape>() {
            flat = false;
            let dims = [0, l.to.channels as i64, l.to.height as i64, l.to.width as i64];
            let shape = self.wholes(&format!("{name}.shape"), &dims);
            self.op("Reshape", name, &[xs, &shape], Vec::new())
        } else {
            let map = match x.flat {
                true => self.map(x, self.nodes[info.reads[0]].extent),
                false => x.clone(),
            };
            flat = false;
            match self.spatial(at, info, &map.name)? {
                Some(done) => done,
                None => return Ok(None),
            }
        };
        Ok(Some(Value { name: done, flat }))
    }

    /// A layer that moves, pools or joins the pixels of maps.
    fn spatial(&mut self, at: usize, info: &NodeInfo, x: &str) -> Result<Option<String>> {
        let name = info.name.as_str();
        Ok(Some(if info.layer_as::<GlobalAvgPool>().is_some() {
            self.op("GlobalAveragePool", name, &[x], Vec::new())
        } else if let Some(l) = info.layer_as::<AvgPool>() {
            let attributes = vec![
                ints("kernel_shape", &[l.kernel.0, l.kernel.1]),
                ints("strides", &[l.stride.0, l.stride.1]),
            ];
            self.op("AveragePool", name, &[x], attributes)
        } else if let Some(l) = info.layer_as::<MaxPool>() {
            let attributes = vec![
                ints("kernel_shape", &[l.kernel; 2]),
                ints("pads", &[l.padding; 4]),
                ints("strides", &[l.stride; 2]),
            ];
            self.op("MaxPool", name, &[x], attributes)
        } else if info.layer_as::<Concat>().is_some() {
            let mut names = vec![x.to_string()];
            for i in 1..info.reads.len() {
                names.push(self.input(at, i, Some(false)).name);
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.op("Concat", name, &names, vec![int("axis", 1)])
        } else if let Some(l) = info.layer_as::<PadChannels>() {
            let pads = [0, l.before as i64, 0, 0, 0, l.after as i64, 0, 0];
            let pads = self.wholes(&format!("{name}.pads"), &pads);
            self.op("Pad", name, &[x, &pads], vec![text("mode", "constant")])
        } else if let Some(l) = info.layer_as::<Slice>() {
            let starts = self.wholes(&format!("{name}.starts"), &[l.range.start as i64]);
            let ends = self.wholes(&format!("{name}.ends"), &[l.range.end as i64]);
            let axes = self.wholes("channel_axis", &[1]);
            self.op("Slice", name, &[x, &starts, &ends, &axes], Vec::new())
        } else if let Some(l) = info.layer_as::<PixelShuffle>() {
            let attributes = vec![int("blocksize", l.factor), text("mode", "CRD")];
            self.op("DepthToSpace", name, &[x], attributes)
        } else if let Some(l) = info.layer_as::<Upsample>() {
            let factor = l.0.factor() as f32;
            let scales = self.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, factor, factor]);
            let (mode, places) = match l.0 {
                upsample::Upsample::Nearest(_) => ("nearest", "asymmetric"),
                upsample::Upsample::Bilinear => ("linear", "half_pixel"),
                upsample::Upsample::BilinearAligned => ("linear", "align_corners"),
            };
            let attributes = vec![
                text("coordinate_transformation_mode", places),
                text("mode", mode),
                text("nearest_mode", "floor"),
            ];
            self.op("Resize", name, &[x, "", &scales], attributes)
        } else {
            return Ok(None);
        }))
    }

    fn model(mut self, output: usize) -> Model {
        // A matrix ties the network to the size that it was built for.
        let sized = self.values.iter().any(|v| v.flat);
        let sides = |extent: Extent, first: bool| {
            let side = |n: usize, param: &str| match (sized, first) {
                (true, _) => fixed(n),
                (false, true) => free(param),
                (false, false) => free(&format!("answer_{param}")),
            };
            vec![
                free("N"),
                fixed(extent.channels),
                side(extent.height, "height"),
                side(extent.width, "width"),
            ]
        };
        let image = &self.nodes[0];
        self.graph.input = vec![info(&image.name, sides(image.extent, true))];
        let (node, value) = (&self.nodes[output], &self.values[output]);
        let dims = match value.flat {
            true => vec![free("N"), fixed(node.extent.channels)],
            false => sides(node.extent, false),
        };
        self.graph.output = vec![info(&value.name, dims)];
        self.graph.name = Some("rebit".into());
        Model {
            ir_version: Some(IR_VERSION),
            producer_name: Some("rebit".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            graph: Some(self.graph),
            opset_import: vec![OperatorSet {
                domain: Some(String::new()),
                version: Some(OPSET),
            }],
            metadata_props: Vec::<Entry>::new(),
        }
    }
}

fn fixed(n: usize) -> Dimension {
    Dimension {
        value: Some(n as i64),
        param: None,
    }
}

fn free(name: &str) -> Dimension {
    Dimension {
        value: None,
        param: Some(name.into()),
    }
}

fn info(name: &str, dim: Vec<Dimension>) -> ValueInfo {
    ValueInfo {
        name: Some(name.into()),
        kind: Some(Type {
            tensor: Some(TensorType {
                element: Some(data::FLOAT),
                shape: Some(Shape { dim }),
            }),
        }),
    }
}
