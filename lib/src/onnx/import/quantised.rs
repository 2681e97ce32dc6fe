//! Quantisers: whole numbers of activations and of weights.

use super::{Import, Stored, Value};
use crate::Result;
use crate::onnx::read::{Constant, Op};
use crate::ops::affine_quant::AffineGrid;

impl Import<'_> {
    /// Whole numbers of an activation: the grid of its clip, its scale and its zero point.
    pub(super) fn quantise(&mut self, op: Op) -> Result<Value> {
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
        let (least, most) = if signed {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        // Levels that the clip leaves, of those of the container.
        let level = |x: f32, end: f32| {
            if x.is_finite() {
                (x / scale).round_ties_even() + zero
            } else {
                end
            }
        };
        let (from, to) = (
            level(lowest, least).max(least),
            level(highest, most).min(most),
        );
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

    /// Refuses levels that are read as others than they were written as.
    fn same_levels(&self, op: Op, input: &str) -> Result<()> {
        let mut nodes = self.source.graph.node.iter();
        let writer = nodes.find(|n| n.output.iter().any(|o| o == input));
        let Some(node) = writer else {
            return Ok(());
        };
        let source = self.source;
        let written = Op { source, node };
        let whole = |op: Op| -> Result<i64> {
            let zero = op.constant(2)?.and_then(Constant::wholes);
            Ok(zero.and_then(|z| z.first().copied()).unwrap_or(0))
        };
        match op.float(1)? == written.float(1)? && whole(op)? == whole(written)? {
            true => Ok(()),
            false => {
                Err(op.refuse("has another scale or zero point than the QuantizeLinear before it"))
            }
        }
    }

    pub(super) fn dequantise(&mut self, op: Op) -> Result<Value> {
        let input = op.input(0).unwrap_or_default();
        if let Some(value @ Value::Levels(..)) = self.values.get(input) {
            self.same_levels(op, input)?;
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
        let rows = scales.len();
        if zeros.is_some_and(|z| z.len() != rows) {
            return Err(op.refuse(format!(
                "has {rows} scales, and another number of zero points"
            )));
        }
        let fits = rows == 1 || (Some(&rows) == constant.dims.first() && op.int("axis", 1) == 0);
        if rows == 0 || !fits || !wholes.len().is_multiple_of(rows) {
            return Err(op.refuse(format!(
                "has {rows} scales for a weight of {:?}",
                constant.dims
            )));
        }
        if let Some(bad) = scales.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
            // A channel of equal weights below 0 is one unit of that very weight.
            if !bad.is_normal() {
                return Err(op.refuse(format!("has a scale of {bad}")));
            }
        }
        let row = (wholes.len() / rows).max(1);
        let from_zero = |(i, w): (usize, &i64)| w.saturating_sub(zeros.map_or(0, |z| z[i / row]));
        let wholes: Vec<i64> = wholes.iter().enumerate().map(from_zero).collect();
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
}
