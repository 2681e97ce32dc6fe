//! Convolutions and linear layers; batch norms.

use super::quantised::Form;
use super::{Export, Value, float, int, ints, refuse};
use crate::Result;
use crate::integer::{convolution, weights_of};
use crate::nn::layers::{BatchNorm, Linear};
use crate::nn::{NodeInfo, Operand};
use crate::ops::relu::Activation;

impl Export {
    pub(super) fn weighted(&mut self, at: usize, info: &NodeInfo) -> Result<Value> {
        let flat = info.layer_as::<Linear>().is_some();
        let layer = info.layer();
        let (weight, bias) = match layer.and_then(|l| l.weight()) {
            Some(id) => (id, layer.and_then(|l| l.bias())),
            None => return refuse(info, "has no weight"),
        };
        let found = match self.quantiser(at, Operand::Weight) {
            Some(placed) => Some(weights_of(info, &placed, &self.params)?),
            None => None,
        };
        let own = match self.quantiser(at, Operand::Input) {
            Some(placed) => Some(crate::nn::grids_of(&placed)?[0]),
            None => None,
        };
        let grid = own.or_else(|| self.grid_behind(at));
        let form = match &found {
            Some(found) => self.form(found, grid),
            None => Form::Numbers,
        };
        let mut x = self.input(at, 0, Some(flat));
        // What a site put on levels is on them already, as numbers.
        let to = if form == Form::Wholes { grid } else { own };
        if let Some(grid) = to {
            x = self.levels(info, &x, grid, form)?;
        }
        let (w, b) = match &found {
            None => (self.parameter(weight), bias.map(|b| self.parameter(b))),
            Some(found) => {
                let param = self.params[weight].clone();
                let bias = bias.filter(|_| form == Form::Numbers);
                (
                    self.weight_levels(&param, found, form),
                    bias.map(|_| self.bias_levels(&info.name, found, grid)),
                )
            }
        };
        let mut inputs = vec![x.name.as_str(), &w];
        inputs.extend(b.as_deref());
        let name = match form {
            Form::Numbers => info.name.clone(),
            Form::Wholes => format!("{}.sums", info.name),
        };
        let mut y = Value {
            name: self.product(info, &name, &inputs)?,
            flat,
        };
        if let (Form::Wholes, Some(found), Some(grid)) = (form, &found, grid) {
            y.name = self.scaled(info, &y, (found, grid), bias.is_some());
        }
        Ok(y)
    }

    /// The operator of a convolution or linear layer.
    fn product(&mut self, info: &NodeInfo, name: &str, inputs: &[&str]) -> Result<String> {
        if info.layer_as::<Linear>().is_some() {
            return Ok(self.op("Gemm", name, inputs, vec![int("transB", 1)]));
        }
        let Some(conv) = convolution(info) else {
            return refuse(info, "is no convolution");
        };
        let s = conv.settings();
        let attributes = vec![
            ints("dilations", &[s.dilation; 2]),
            int("group", s.groups),
            ints("kernel_shape", &[s.kernel; 2]),
            ints("pads", &[s.padding; 4]),
            ints("strides", &[s.stride; 2]),
        ];
        Ok(self.op("Conv", name, inputs, attributes))
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
