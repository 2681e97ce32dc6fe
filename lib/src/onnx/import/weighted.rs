//! Operators with weights.

use super::{Import, Stored, Value};
use crate::Result;
use crate::nn::{Conv, NodeId, Norm};
use crate::onnx::read::{Constant, Op};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;

impl Import<'_> {
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

    pub(super) fn conv(&mut self, op: Op) -> Result<NodeId> {
        let (x, grid) = self.read(op)?;
        let weight = self.stored(op, 1)?;
        let [channels, _, kernel, width] = weight.dims[..] else {
            return Err(op.refuse(format!(
                "has a weight of the dimensions {:?}, not (out, in, height, width)",
                weight.dims
            )));
        };
        if kernel != width {
            return Err(op.refuse(format!(
                "has a window of {kernel}x{width}; here it must be square"
            )));
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

    pub(super) fn gemm(&mut self, op: Op) -> Result<NodeId> {
        let (x, grid) = self.read(op)?;
        let mut weight = self.stored(op, 1)?;
        let [rows, columns] = weight.dims[..] else {
            return Err(op.refuse(format!("has a weight of the dimensions {:?}", weight.dims)));
        };
        if op.int("transA", 0) != 0 || op.real("alpha", 1.0) != 1.0 || op.real("beta", 1.0) != 1.0 {
            return Err(op.refuse("has transA, alpha or beta; a linear layer has none"));
        }
        let outputs = match (op.int("transB", 0), weight.grids.is_empty()) {
            (0, false) => {
                return Err(
                    op.refuse("has a quantised weight by columns; rows are known (transB = 1)")
                );
            }
            (0, true) => {
                let old = std::mem::take(&mut weight.values);
                weight.values = (0..rows * columns)
                    .map(|i| old[i % rows * columns + i / rows])
                    .collect();
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

    pub(super) fn norm(&mut self, op: Op) -> Result<NodeId> {
        let x = self.node(op, 0)?;
        let name = match op.input(1).and_then(|w| w.strip_suffix(".weight")) {
            Some(stem) => self.free(stem),
            None => self.free(op.name()),
        };
        let norm = Norm::new(Activation::None).eps(op.real("epsilon", 1e-5));
        let node = self.b.norm_with(&name, &[x], norm)?;
        for (i, what) in [
            (1, "weight"),
            (2, "bias"),
            (3, "running_mean"),
            (4, "running_var"),
        ] {
            self.numbers
                .push((format!("{name}.{what}"), op.floats(i)?.to_vec()));
        }
        Ok(node)
    }
}
