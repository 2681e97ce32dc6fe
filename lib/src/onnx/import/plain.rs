//! Operators without weights.

use super::Import;
use crate::Result;
use crate::nn::layers::{Add, Affine, AvgPool, Elementwise, PadChannels, Product};
use crate::nn::{Extent, NodeId};
use crate::onnx::read::Op;
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;
use crate::ops::upsample;

impl Import<'_> {
    pub(super) fn plain(&mut self, op: Op) -> Result<NodeId> {
        if matches!(op.kind(), "Add" | "Mul") {
            return self.two(op);
        }
        let known = [
            "Relu",
            "PRelu",
            "LeakyRelu",
            "Tanh",
            "Sigmoid",
            "GlobalAveragePool",
            "AveragePool",
            "MaxPool",
            "Flatten",
            "Reshape",
            "Concat",
            "Pad",
            "Slice",
            "DepthToSpace",
            "Resize",
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
                let pool = AvgPool {
                    kernel: (height, width),
                    stride,
                };
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
                let known =
                    op.text("mode", "constant") == "constant" && op.float(2)?.unwrap_or(0.0) == 0.0;
                match *pads {
                    [0, before, 0, 0, 0, after, 0, 0] if known && before >= 0 && after >= 0 => {
                        let pad = PadChannels {
                            before: before as usize,
                            after: after as usize,
                        };
                        self.b.layer(&name, &[x], pad)
                    }
                    _ => Err(op.refuse(format!(
                        "pads {pads:?}; zeros around the channels are known"
                    ))),
                }
            }
            "Slice" => {
                let (starts, ends) = (op.wholes(1)?, op.wholes(2)?);
                let channels = self.b.extent(x)?.channels;
                let steps = if op.input(4).is_some() {
                    op.wholes(4)?
                } else {
                    &[1]
                };
                let end = |v: i64| usize::try_from(v).map(|v| v.min(channels));
                match (starts, ends, op.wholes(3)?, steps) {
                    ([start], [last], [1], [1]) if *start >= 0 && *last >= 0 => {
                        let (start, last) = (end(*start).unwrap_or(0), end(*last).unwrap_or(0));
                        self.b.slice(&name, x, start..last)
                    }
                    _ => Err(op.refuse("takes something else than neighbouring channels")),
                }
            }
            "DepthToSpace" => match (
                op.text("mode", "DCR"),
                usize::try_from(op.int("blocksize", 0)),
            ) {
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
            [1.0, 1.0, down, right] if down == right && down.fract() == 0.0 && down >= 1.0 => {
                down as usize
            }
            _ => {
                return Err(op.refuse(format!(
                    "scales by {scales:?}; whole factors of both sides are known"
                )));
            }
        };
        let how = match (op.text("mode", "nearest"), places, factor) {
            ("nearest", "asymmetric", _)
                if op.text("nearest_mode", "round_prefer_floor") == "floor" =>
            {
                upsample::Upsample::Nearest(factor)
            }
            ("linear", "half_pixel" | "pytorch_half_pixel", 2) => upsample::Upsample::Bilinear,
            ("linear", "align_corners", 2) => upsample::Upsample::BilinearAligned,
            (mode, places, _) => {
                return Err(op.refuse(format!("enlarges {factor} times by {mode}, {places}")));
            }
        };
        self.b.layer(name, &[x], crate::nn::layers::Upsample(how))
    }

    /// A sum or product of two nodes, or of a node and a constant.
    fn two(&mut self, op: Op) -> Result<NodeId> {
        let is_constant = |i: usize| {
            op.input(i)
                .is_some_and(|n| self.source.constants.contains_key(n))
        };
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
            (false, [scale]) => Affine {
                scale: *scale,
                offset: vec![0.0; channels].into(),
            },
            (true, [offset]) => Affine {
                scale: 1.0,
                offset: vec![*offset; channels].into(),
            },
            (true, offsets) if offsets.len() == channels => Affine {
                scale: 1.0,
                offset: offsets.into(),
            },
            _ => {
                return Err(op.refuse(
                    "has a constant that is neither one number nor, to be added, one a channel",
                ));
            }
        };
        self.b.layer(&name, &[node], affine)
    }
}
