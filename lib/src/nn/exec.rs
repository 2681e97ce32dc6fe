//! Running a network forwards and backwards over pooled buffers.

use std::time::{Duration, Instant};

use super::Mode;
use super::graph::{NodeId, Op, conv_shape};
use super::net::Inner;
use super::param::ParamId;
use super::site::Memo;
use crate::ops::affine::AffineKernel;
use crate::ops::batch_norm2d::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use crate::ops::conv2d::{Conv2dKernel, ConvInput, ConvShape, GradTo};
use crate::ops::pool::{PoolKernel, PoolShape};
use crate::ops::relu::ActivationKernel;
use crate::{Buffer, Error, HostAccess, Result, dev};

/// Epsilon of every batch norm.
const EPS: f32 = 1e-5;
/// Share of the new batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// What a forward pass leaves for its backward pass.
pub(crate) struct Pass {
    pub batch: usize,
    pub(super) mode: Mode,
    acts: Vec<Option<Buffer>>,
    moments: Vec<Option<(Buffer, Buffer)>>,
    weights: Vec<Option<Buffer>>,
    /// Height and width of the batch's samples.
    size: (usize, usize),
    /// What a site's quantiser needs for its gradient.
    pub(super) memos: Vec<Option<Memo>>,
}

impl Pass {
    /// The network's output.
    pub fn output(&self, node: NodeId) -> &Buffer {
        self.acts[node].as_ref().expect("the output is kept")
    }

    /// Any node's activation; `None` when it was released.
    pub fn activation(&self, node: NodeId) -> Option<&Buffer> {
        self.acts[node].as_ref()
    }
}

/// Wall-clock of the parts of training steps, summed since the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    /// Forward passes.
    pub forward: Duration,
    /// Backward passes as a whole.
    pub backward: Duration,
    /// The weight gradients among them.
    pub weight_grad: Duration,
}

impl Inner {
    /// Runs the network on an `(N, H, W, C)` batch; with `keep`, everything a backward pass needs stays.
    pub fn forward(&mut self, x: &[f32], mode: Mode, keep: bool) -> Result<Pass> {
        let start = Instant::now();
        let [h, w, c] = self.nodes[0].extent;
        let sample = h * w * c;
        if sample == 0 || x.is_empty() || !x.len().is_multiple_of(sample) {
            return Err(Error::shape(
                "forward",
                format!("samples of {c}x{h}x{w}"),
                format!("{} numbers", x.len()),
            ));
        }
        let batch = x.len() / sample;
        let count = self.nodes.len();
        let mut pass = Pass {
            batch,
            mode,
            acts: (0..count).map(|_| None).collect(),
            moments: (0..count).map(|_| None).collect(),
            weights: (0..count).map(|_| None).collect(),
            size: (h, w),
            memos: (0..count).map(|_| None).collect(),
        };
        let mut input = self.pool.take(x.len())?;
        input.write(x)?;
        pass.acts[0] = Some(input);
        for node in 1..count {
            self.forward_node(node, &mut pass)?;
            if !keep {
                self.release_read(node, &mut pass);
            }
        }
        self.times.forward += start.elapsed();
        Ok(pass)
    }

    /// Backward pass from the output's gradient; parameter gradients land in `self.grads`.
    ///
    /// Returns the gradient with respect to the input when `input_grad` asks for it.
    pub fn backward(&mut self, pass: Pass, dy: Buffer, input_grad: bool) -> Result<Option<Buffer>> {
        self.backward_from(pass, [(self.output, dy)], input_grad)
    }

    /// [`Inner::backward`] of a loss that reads several nodes, from its gradient with respect to each.
    pub fn backward_from(
        &mut self,
        mut pass: Pass,
        tops: impl IntoIterator<Item = (NodeId, Buffer)>,
        input_grad: bool,
    ) -> Result<Option<Buffer>> {
        let start = Instant::now();
        self.fit(pass.size.0, pass.size.1)?;
        let mut grads: Vec<Option<Buffer>> = (0..self.nodes.len()).map(|_| None).collect();
        for (node, dy) in tops {
            self.join(&mut grads, node, dy)?;
        }
        for node in (1..self.nodes.len()).rev() {
            if let Some(dy) = grads[node].take() {
                self.backward_node(node, &mut pass, dy, &mut grads, input_grad)?;
            }
            self.release(node, &mut pass);
        }
        self.release(0, &mut pass);
        self.times.backward += start.elapsed();
        let dx = grads[0].take();
        if input_grad {
            return Ok(dx);
        }
        // Some layers compute it all the same: it is used again in the next step.
        dx.into_iter().for_each(|dx| self.pool.give(dx));
        Ok(None)
    }

    /// Returns every buffer of a pass that will have no backward.
    pub fn recycle(&mut self, mut pass: Pass) {
        (0..self.nodes.len()).for_each(|node| self.release(node, &mut pass));
    }

    fn release(&mut self, node: NodeId, pass: &mut Pass) {
        let pair = pass.moments[node].take();
        let (mean, var) = pair.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        for buffer in [pass.acts[node].take(), pass.weights[node].take(), mean, var]
            .into_iter()
            .flatten()
        {
            self.pool.give(buffer);
        }
    }

    /// Releases what `node` was the last to read.
    fn release_read(&mut self, node: NodeId, pass: &mut Pass) {
        let read: Vec<NodeId> = self.nodes[node].reads().collect();
        for input in read {
            if self.last_reader[input] == node && input != self.output {
                self.release(input, pass);
            }
        }
    }

    fn conv_shape(&self, node: NodeId, batch: usize) -> ConvShape {
        let Op::Conv { window, .. } = &self.nodes[node].op else {
            unreachable!("only convolutions are asked")
        };
        conv_shape(
            batch,
            self.nodes[self.nodes[node].input].extent,
            self.nodes[node].extent,
            window,
        )
    }

    fn forward_node(&mut self, node: NodeId, pass: &mut Pass) -> Result<()> {
        let batch = pass.batch;
        let [h, w, c] = self.nodes[node].extent;
        let from = self.nodes[node].input;
        let mut y = self.pool.take(batch * h * w * c)?;
        match self.nodes[node].op.clone() {
            Op::Input => unreachable!("the input is node 0"),
            Op::Conv { weight, bias, .. } => {
                let shape = self.conv_shape(node, batch);
                let quantised = self.quantise_weight(node, weight, pass)?;
                let x = act(pass, from);
                let bias = bias.map(|b| &self.values[b]);
                let w = quantised.as_ref().unwrap_or(&self.values[weight]);
                dev().conv2d_forward(
                    &shape,
                    ConvInput::new(x, self.act_quant(node)?),
                    w,
                    bias,
                    &mut y,
                )?;
                pass.weights[node] = quantised;
            }
            Op::Norm {
                gamma,
                beta,
                mean,
                var,
                add,
                act: activation,
            } => {
                let shape = NormShape {
                    pixels: batch * h * w,
                    channels: c,
                };
                let (z, add) = (act(pass, from), add.map(|n| act(pass, n)));
                let (g, b) = (&self.values[gamma], &self.values[beta]);
                if pass.mode == Mode::Train {
                    let (mut m, mut v) = (self.pool.take(c)?, self.pool.take(c)?);
                    dev().batch_norm_train(
                        shape,
                        NormInput {
                            z,
                            gamma: g,
                            beta: b,
                            eps: EPS,
                            residual: add,
                            act: activation,
                        },
                        &mut y,
                        &mut m,
                        &mut v,
                    )?;
                    self.update_statistics(mean, var, shape.pixels, &m, &v)?;
                    pass.moments[node] = Some((m, v));
                } else {
                    let (m, v) = (&self.values[mean], &self.values[var]);
                    dev().batch_norm_infer(
                        shape,
                        NormInput {
                            z,
                            gamma: g,
                            beta: b,
                            eps: EPS,
                            residual: add,
                            act: activation,
                        },
                        m,
                        v,
                        &mut y,
                    )?;
                }
            }
            Op::Act(activation) => dev().activate(activation, act(pass, from), &mut y)?,
            Op::Add {
                other,
                act: activation,
            } => {
                let mut sum = self.pool.take(y.elements())?;
                dev().add(act(pass, from), act(pass, other), &mut sum)?;
                dev().activate(activation, &sum, &mut y)?;
                self.pool.give(sum);
            }
            Op::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let shape = self.pool_shape(node, batch, kernel, stride, padding);
                dev().max_pool_forward(shape, act(pass, from), &mut y)?;
            }
            Op::GlobalAvgPool => {
                let [ih, iw, _] = self.nodes[from].extent;
                dev().global_avg_pool_forward(batch, ih * iw, c, act(pass, from), &mut y)?;
            }
            op => self.forward_spatial(node, &op, pass, &mut y)?,
        }
        pass.acts[node] = Some(y);
        Ok(())
    }

    /// The gradient of a convolution's input, and of the bounds of the quantiser before it.
    fn input_grad(
        &mut self,
        node: NodeId,
        shape: &ConvShape,
        pass: &Pass,
        dy: &Buffer,
        to: GradTo<Buffer>,
    ) -> Result<()> {
        let Op::Conv { weight, .. } = self.nodes[node].op else {
            unreachable!("only convolutions are asked")
        };
        let x = ConvInput::new(act(pass, self.nodes[node].input), self.act_quant(node)?);
        let w = pass.weights[node].as_ref().unwrap_or(&self.values[weight]);
        match dev().conv2d_grad_input(shape, dy, w, x, to)? {
            Some(bounds) => self.keep_input_bounds(node, bounds),
            None => Ok(()),
        }
    }

    fn backward_node(
        &mut self,
        node: NodeId,
        pass: &mut Pass,
        mut dy: Buffer,
        grads: &mut [Option<Buffer>],
        input_grad: bool,
    ) -> Result<()> {
        let batch = pass.batch;
        let [h, w, c] = self.nodes[node].extent;
        let from = self.nodes[node].input;
        match self.nodes[node].op.clone() {
            Op::Input => unreachable!("the input is node 0"),
            Op::Conv { weight, bias, .. } => {
                let shape = self.conv_shape(node, batch);
                let quant = self.act_quant(node)?;
                let x = act(pass, from);
                let start = Instant::now();
                self.weight_grad(node, &shape, x, quant, &dy, weight, bias)?;
                self.times.weight_grad += start.elapsed();
                let wanted = from != 0 || input_grad;
                if wanted {
                    let (mut dx, accumulate) = self.gradient_of(from, x.elements(), grads)?;
                    let to = GradTo::new(&mut dx, accumulate);
                    self.input_grad(node, &shape, pass, &dy, to)?;
                    grads[from] = Some(dx);
                } else if quant.is_some() {
                    self.input_grad(node, &shape, pass, &dy, GradTo::Nowhere)?;
                }
                self.pool.give(dy);
            }
            Op::Norm {
                gamma,
                beta,
                mean,
                var,
                add,
                act: activation,
            } => {
                let shape = NormShape {
                    pixels: batch * h * w,
                    channels: c,
                };
                let (z, y) = (act(pass, from), act(pass, node));
                let mut dz = self.pool.take(z.elements())?;
                let (mut dg, mut db) = (self.pool.take(c)?, self.pool.take(c)?);
                let g = &self.values[gamma];
                match &pass.moments[node] {
                    Some((m, v)) => dev().batch_norm_grad(
                        shape,
                        NormSaved {
                            z,
                            y,
                            gamma: g,
                            mean: m,
                            var: v,
                            eps: EPS,
                            act: activation,
                        },
                        NormGrads {
                            dy: &mut dy,
                            dz: &mut dz,
                            dgamma: &mut dg,
                            dbeta: &mut db,
                        },
                    )?,
                    None => {
                        let (m, v) = (&self.values[mean], &self.values[var]);
                        dev().batch_norm_infer_grad(
                            shape,
                            NormSaved {
                                z,
                                y,
                                gamma: g,
                                mean: m,
                                var: v,
                                eps: EPS,
                                act: activation,
                            },
                            NormGrads {
                                dy: &mut dy,
                                dz: &mut dz,
                                dgamma: &mut dg,
                                dbeta: &mut db,
                            },
                        )?;
                    }
                }
                self.pool
                    .give(std::mem::replace(&mut self.grads[gamma], dg));
                self.pool.give(std::mem::replace(&mut self.grads[beta], db));
                self.join(grads, from, dz)?;
                match add {
                    Some(other) => self.join(grads, other, dy)?,
                    None => self.pool.give(dy),
                }
            }
            Op::Act(activation) => {
                let (mut dx, accumulate) = self.gradient_of(from, dy.elements(), grads)?;
                dev().activate_grad(activation, act(pass, node), &dy, &mut dx, accumulate)?;
                self.pool.give(dy);
                grads[from] = Some(dx);
            }
            Op::Add {
                other,
                act: activation,
            } => {
                for read in [from, other] {
                    let (mut dx, accumulate) = self.gradient_of(read, dy.elements(), grads)?;
                    dev().activate_grad(activation, act(pass, node), &dy, &mut dx, accumulate)?;
                    grads[read] = Some(dx);
                }
                self.pool.give(dy);
            }
            Op::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let shape = self.pool_shape(node, batch, kernel, stride, padding);
                let x = act(pass, from);
                let (mut dx, accumulate) = self.gradient_of(from, x.elements(), grads)?;
                dev().max_pool_grad(shape, x, &dy, &mut dx, accumulate)?;
                self.pool.give(dy);
                grads[from] = Some(dx);
            }
            Op::GlobalAvgPool => {
                let [ih, iw, _] = self.nodes[from].extent;
                let (mut dx, accumulate) = self.gradient_of(from, batch * ih * iw * c, grads)?;
                dev().global_avg_pool_grad(batch, ih * iw, c, &dy, &mut dx, accumulate)?;
                self.pool.give(dy);
                grads[from] = Some(dx);
            }
            op => self.backward_spatial(node, &op, pass, dy, grads)?,
        }
        Ok(())
    }

    /// The gradient of `node` so far and whether it holds anything yet.
    pub(super) fn gradient_of(
        &mut self,
        node: NodeId,
        len: usize,
        grads: &mut [Option<Buffer>],
    ) -> Result<(Buffer, bool)> {
        match grads[node].take() {
            Some(sum) => Ok((sum, true)),
            None => Ok((self.pool.take(len)?, false)),
        }
    }

    /// Adds `dx` to the gradient of `node`.
    pub(super) fn join(
        &mut self,
        grads: &mut [Option<Buffer>],
        node: NodeId,
        dx: Buffer,
    ) -> Result<()> {
        match &mut grads[node] {
            Some(sum) => {
                dev().accumulate(&dx, sum)?;
                self.pool.give(dx);
            }
            empty => *empty = Some(dx),
        }
        Ok(())
    }

    fn pool_shape(
        &self,
        node: NodeId,
        batch: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> PoolShape {
        let [in_h, in_w, channels] = self.nodes[self.nodes[node].input].extent;
        PoolShape {
            batch,
            in_h,
            in_w,
            channels,
            kernel,
            stride,
            padding,
        }
    }

    /// `running = 0.9 running + 0.1 batch`, the variance unbiased as in PyTorch.
    fn update_statistics(
        &mut self,
        mean: ParamId,
        var: ParamId,
        pixels: usize,
        m: &Buffer,
        v: &Buffer,
    ) -> Result<()> {
        let unbias = pixels as f32 / (pixels as f32 - 1.0).max(1.0);
        for (at, new, scale) in [(mean, m, 1.0), (var, v, unbias)] {
            let running = self.change(at);
            dev().mix(1.0 - MOMENTUM, running, MOMENTUM * scale, new)?;
        }
        Ok(())
    }
}

pub(super) fn act(pass: &Pass, node: NodeId) -> &Buffer {
    pass.acts[node]
        .as_ref()
        .expect("an activation lives until its last reader")
}
