//! Convolutions and linear layers, with their whole numbers; batch norms.

use super::{Export, Value, float, int, ints, refuse};
use crate::Result;
use crate::integer::{Weights, convolution, weights_of};
use crate::nn::layers::{BatchNorm, Linear};
use crate::nn::{NodeInfo, Operand, Param};
use crate::onnx::proto::data;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;

/// Bits of weights from which a bias is stored in units of the sums too. With fewer, a unit is a visible part of the next
/// layer's step: at 3 bits biases rounded to it changed the answer to 0.6 % of pictures.
const WHOLE_BIAS: u32 = 7;

impl Export {
    pub(super) fn weighted(&mut self, at: usize, info: &NodeInfo) -> Result<Value> {
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
        let units: Vec<f32> = units
            .iter()
            .map(|u| if *u == 0.0 { 1.0 } else { *u })
            .collect();
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
        let sums = input.filter(|_| found.bits >= WHOLE_BIAS).map(|g| {
            let unit = |u: &f32| f64::from(*u) / f64::from(g.scale);
            let units: Vec<f64> = units.iter().map(unit).collect();
            let sum = found
                .bias
                .iter()
                .zip(&units)
                .map(|(b, u)| (f64::from(*b) / u).round_ties_even());
            (sum.collect::<Vec<f64>>(), units)
        });
        let fits = |sums: &[f64]| sums.iter().all(|s| s.abs() <= f64::from(i32::MAX));
        match sums {
            Some((sums, units)) if fits(&sums) && units.iter().all(|u| (*u as f32).is_normal()) => {
                let raw = sums
                    .iter()
                    .flat_map(|s| (*s as i32).to_le_bytes())
                    .collect();
                let length = [sums.len()];
                let whole = self.constant(&format!("{bias}.whole"), &length, data::INT32, raw);
                let units: Vec<f32> = units.iter().map(|u| *u as f32).collect();
                let scale = self.floats(&format!("{bias}.scale"), &length, &units);
                let b = self.op(
                    "DequantizeLinear",
                    &bias,
                    &[&whole, &scale],
                    vec![int("axis", 0)],
                );
                (w, Some(b))
            }
            _ => {
                let b = self.floats(&bias, &[found.bias.len()], &found.bias);
                (w, Some(b))
            }
        }
    }

    pub(super) fn norm(&mut self, at: usize, info: &NodeInfo, norm: &BatchNorm) -> Result<Value> {
        let x = self.input(at, 0, None);
        let Some(statistics) = info.layer().and_then(|l| l.statistics()) else {
            return refuse(info, "has no statistics");
        };
        let channels = info.extent.channels;
        let (scale, shift) = match norm.scale_shift() {
            Some((scale, shift)) => (self.parameter(scale), self.parameter(shift)),
            None => (
                self.floats(
                    &format!("{}.weight", info.name),
                    &[channels],
                    &vec![1.0; channels],
                ),
                self.floats(
                    &format!("{}.bias", info.name),
                    &[channels],
                    &vec![0.0; channels],
                ),
            ),
        };
        let (mean, var) = (
            self.parameter(statistics.mean),
            self.parameter(statistics.var),
        );
        let act = norm.settings().act;
        let adds = info.reads.len() > 1;
        let last = act == Activation::None && !adds;
        let name = if last {
            info.name.clone()
        } else {
            format!("{}.norm", info.name)
        };
        let mut y = self.op(
            "BatchNormalization",
            &name,
            &[&x.name, &scale, &shift, &mean, &var],
            vec![float("epsilon", norm.settings().eps)],
        );
        if adds {
            let other = self.input(at, 1, Some(x.flat));
            let last = act == Activation::None;
            let name = if last {
                info.name.clone()
            } else {
                format!("{}.sum", info.name)
            };
            y = self.op("Add", &name, &[&y, &other.name], Vec::new());
        }
        if act != Activation::None {
            y = self.act(act, &info.name, &y);
        }
        Ok(Value {
            name: y,
            flat: x.flat,
        })
    }

    pub(super) fn act(&mut self, act: Activation, name: &str, x: &str) -> String {
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
}
