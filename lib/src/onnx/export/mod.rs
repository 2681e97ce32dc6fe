//! A network as the nodes of an ONNX graph.

mod plain;
mod quantised;
mod weighted;

use std::path::Path;

use prost::Message as _;

use self::quantised::{Form, OnLevels};
use super::proto::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    ValueInfo, data, kind,
};
use crate::files;
use crate::integer::convolution;
use crate::nn::layers::{BatchNorm, Identity};
use crate::nn::{Extent, Net, NodeInfo, Operand, Param, ParamId, QuantiserInfo};
use crate::ops::affine_quant::AffineGrid;
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
        files::save(path, &bytes)
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
    on_levels: Vec<OnLevels>,
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
        all.find(|q| q.node == node && q.operand == operand)
            .cloned()
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
        let Extent {
            channels,
            height,
            width,
        } = extent;
        let name = format!("{}.{channels}x{height}x{width}", value.name);
        if !self.graph.node.iter().any(|n| n.output[0] == name) {
            let dims = [0, channels as i64, height as i64, width as i64];
            let shape = self.wholes(&format!("{name}.shape"), &dims);
            self.op("Reshape", &name, &[&value.name, &shape], Vec::new());
        }
        Value { name, flat: false }
    }

    /// The first input, on levels where a quantiser stands before it.
    fn read(&mut self, node: usize) -> Result<Value> {
        let value = self.input(node, 0, None);
        match self.quantiser(node, Operand::Input) {
            None => Ok(value),
            Some(placed) => {
                let grid = crate::nn::grids_of(&placed)?[0];
                let info = self.nodes[node].clone();
                self.levels(&info, &value, grid, Form::Numbers)
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
                return refuse(
                    &info,
                    "is a second input; networks of one image have an ONNX form here",
                );
            }
            self.values.push(Value { name, flat: false });
            return Ok(());
        };
        let value = if convolution(&info).is_some() {
            self.weighted(at, &info)?
        } else if let Some(norm) = info.layer_as::<BatchNorm>() {
            self.norm(at, &info, norm)?
        } else {
            let x = self.read(at)?;
            match self.plain(at, &info, &x)? {
                Some(value) => value,
                None => return refuse(&info, format!("({}) has no ONNX form", layer.describe())),
            }
        };
        self.values.push(value);
        Ok(())
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
