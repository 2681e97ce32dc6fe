//! What networks from images to images need: any height and width, constants, joined channels, pixel shuffle.

use dfdx::prelude::{HasShape, PutTape, Tape};

use super::Mode;
use super::exec::{Pass, act};
use super::graph::{Extent, NodeId, Op};
use super::net::{Inner, Net};
use super::site::SiteBatch;
use crate::ops::Recorder;
use crate::ops::affine::AffineKernel;
use crate::ops::channels::{ChannelsKernel, Part};
use crate::ops::layout::nchw_to_nhwc;
use crate::ops::pixel_shuffle::{PixelShuffleKernel, ShuffleShape};
use crate::ops::prelu::PreluKernel;
use crate::ops::relu::ActivationKernel;
use crate::ops::tape::{channels_last, store_images, with_gradient};
use crate::{Buffer, Error, HostAccess, Images, Result, Taped, dev, read};

impl Net {
    /// Images from images, in inference mode, without gradients; any height and width that the layers accept.
    ///
    /// ```
    /// use rebit::nn::{EdsrConfig, edsr};
    /// use rebit::prelude::*;
    /// let net = edsr(&EdsrConfig { blocks: 1, channels: 16, ..EdsrConfig::default() }, rng(0))?;
    /// let y = net.predict_images(&images(1, 3, 10, 7, &mut rng(1)))?;
    /// assert_eq!(y.shape(), &(1, 3, 20, 14));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when the channels differ or a layer does not fit the size.
    pub fn predict_images(&self, x: &Images) -> Result<Images> {
        let (n, _, h, w) = *x.shape();
        let nhwc = self.channels_last(x)?;
        let mut inner = self.lock();
        inner.fit(h, w)?;
        let pass = inner.forward(&nhwc, Mode::Eval, false)?;
        let [oh, ow, oc] = inner.nodes[inner.output].extent;
        let y = store_images(pass.output(inner.output), (n, oc, oh, ow));
        inner.recycle(pass);
        y
    }

    /// [`Net::forward`] of a network from images to images: one operation on the tape.
    ///
    /// # Errors
    /// As [`predict_images`](Self::predict_images).
    pub fn forward_images(&self, x: Images<Taped>, mode: Mode) -> Result<Images<Taped>> {
        let (x, mut tape) = Taped::split_images(x)?;
        let (n, _, h, w) = *x.shape();
        let nhwc = self.channels_last(&x)?;
        let (pass, y) = {
            let mut inner = self.lock();
            inner.fit(h, w)?;
            let pass = inner.forward(&nhwc, mode, true)?;
            let [oh, ow, oc] = inner.nodes[inner.output].extent;
            let y = store_images(pass.output(inner.output), (n, oc, oh, ow))?;
            (pass, y)
        };
        let out = y.clone();
        let net = self.clone();
        tape.add_backward_op(move |grads| {
            with_gradient(grads, &out, |grads, dy| {
                net.backward_for_tape(pass, channels_last(*out.shape(), dy)?, &x, grads)
            })
        });
        Ok(y.put_tape(tape))
    }

    fn channels_last(&self, x: &Images) -> Result<Vec<f32>> {
        let (n, c, h, w) = *x.shape();
        let channels = self.lock().nodes[0].extent[2];
        if c != channels || n * h * w == 0 {
            return Err(Error::shape(
                "images",
                format!("(N, {channels}, H, W) with at least one pixel"),
                format!("({n}, {c}, {h}, {w})"),
            ));
        }
        let mut nhwc = vec![0.0; n * c * h * w];
        nchw_to_nhwc(&read(x), c, h * w, &mut nhwc);
        Ok(nhwc)
    }
}

/// A map of `channels` as a whole, and as a part of the pixels it is joined to.
fn parts(channels: usize, all: usize, start: usize) -> (Part, Part) {
    let whole = Part {
        of: channels,
        start: 0,
    };
    (whole, Part { of: all, start })
}

impl Inner {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Result<NodeId> {
        let found = self.nodes.iter().position(|n| n.name == name);
        found.ok_or_else(|| Error::invalid(format!("layer {name:?}"), "is not in the network"))
    }

    /// Keeps a node's activation also where nothing is kept for a backward pass.
    pub fn watch(&mut self, node: NodeId) {
        self.last_reader[node] = NodeId::MAX;
    }

    /// Makes the network one over samples of `height` x `width`.
    pub fn fit(&mut self, height: usize, width: usize) -> Result<()> {
        if self.nodes[0].extent[..2] == [height, width] {
            return Ok(());
        }
        let mut extents: Vec<Extent> = vec![[height, width, self.nodes[0].extent[2]]];
        for node in &self.nodes[1..] {
            let [h, w, c] = extents[node.input];
            let channels = node.extent[2];
            let misfit = |what: &str| {
                let found = format!("{h}x{w} for {height}x{width} images");
                Err(Error::shape(
                    "image size",
                    format!("{}: {what}", node.name),
                    found,
                ))
            };
            let windowed = |kernel: usize, stride: usize, padding: usize| {
                let out = |n: usize| Some((n + 2 * padding).checked_sub(kernel)? / stride + 1);
                Some([out(h)?, out(w)?, channels])
            };
            let extent = match &node.op {
                Op::Input => continue,
                Op::Conv { window, .. } => {
                    let reach = window.dilation * (window.kernel.0 - 1) + 1;
                    windowed(reach, window.stride, window.padding)
                }
                Op::MaxPool {
                    kernel,
                    stride,
                    padding,
                } => windowed(*kernel, *stride, *padding),
                Op::GlobalAvgPool => Some([1, 1, c]),
                Op::PixelShuffle { factor } => Some([h * factor, w * factor, channels]),
                _ => Some([h, w, channels]),
            };
            let Some(extent) = extent else {
                return misfit("an input that the window fits into");
            };
            if node.reads().any(|read| extents[read][..2] != [h, w]) {
                return misfit("inputs of one size");
            }
            extents.push(extent);
        }
        for (node, extent) in self.nodes.iter_mut().zip(extents) {
            node.extent = extent;
        }
        self.pool.clear();
        Ok(())
    }

    fn shuffle_shape(&self, node: NodeId, batch: usize, factor: usize) -> ShuffleShape {
        let [height, width, _] = self.nodes[self.nodes[node].input].extent;
        ShuffleShape {
            batch,
            height,
            width,
            channels: self.nodes[node].extent[2],
            factor,
        }
    }

    fn site_batch(&self, node: NodeId, pass: &Pass) -> SiteBatch {
        let [h, w, channels] = self.nodes[node].extent;
        SiteBatch {
            batch: pass.batch,
            pixels: h * w,
            channels,
            mode: pass.mode,
        }
    }

    pub(super) fn forward_spatial(
        &mut self,
        node: NodeId,
        op: &Op,
        pass: &mut Pass,
        y: &mut Buffer,
    ) -> Result<()> {
        let from = self.nodes[node].input;
        let channels = self.nodes[node].extent[2];
        match op {
            Op::Affine { scale, offset } => {
                dev().affine(*scale, offset, act(pass, from), y)?;
            }
            Op::Concat { others } => {
                let mut start = 0;
                for read in std::iter::once(from).chain(others.iter().copied()) {
                    let c = self.nodes[read].extent[2];
                    let (whole, part) = parts(c, channels, start);
                    dev().copy_channels(c, whole, act(pass, read), part, y)?;
                    start += c;
                }
            }
            Op::Prelu { slope } => {
                dev().prelu_forward(self.values[*slope].view()?[0], act(pass, from), y)?
            }
            Op::PixelShuffle { factor } => {
                let s = self.shuffle_shape(node, pass.batch, *factor);
                dev().pixel_shuffle(s, act(pass, from), y)?;
            }
            Op::Site => {
                let at = self.site_batch(node, pass);
                pass.memos[node] = self.forward_site(node, act(pass, from), at, y)?;
            }
            other => unreachable!("{other:?} is the executor's own"),
        }
        Ok(())
    }

    pub(super) fn backward_spatial(
        &mut self,
        node: NodeId,
        op: &Op,
        pass: &mut Pass,
        dy: Buffer,
        grads: &mut [Option<Buffer>],
    ) -> Result<()> {
        let from = self.nodes[node].input;
        if let Op::Concat { others } = op {
            let channels = self.nodes[node].extent[2];
            let mut start = 0;
            for read in std::iter::once(from).chain(others.iter().copied()) {
                let c = self.nodes[read].extent[2];
                let mut dx = self.pool.take(dy.elements() / channels * c)?;
                let (whole, part) = parts(c, channels, start);
                dev().copy_channels(c, part, &dy, whole, &mut dx)?;
                self.join(grads, read, dx)?;
                start += c;
            }
            self.pool.give(dy);
            return Ok(());
        }
        let len = act(pass, from).elements();
        let (mut dx, accumulate) = self.gradient_of(from, len, grads)?;
        match op {
            Op::Affine { scale, .. } => {
                let keep = if accumulate { 1.0 } else { 0.0 };
                dev().mix(keep, &mut dx, *scale, &dy)?;
            }
            Op::Prelu { slope } => {
                let a = self.values[*slope].view()?[0];
                let da = dev().prelu_grad(a, act(pass, from), &dy, &mut dx, accumulate)?;
                self.grads[*slope].write(&[da])?;
            }
            Op::PixelShuffle { factor } => {
                let s = self.shuffle_shape(node, pass.batch, *factor);
                dev().pixel_shuffle_grad(s, &dy, &mut dx, accumulate)?;
            }
            Op::Site => match pass.memos[node].take() {
                Some(memo) => {
                    let (x, at) = (act(pass, from), self.site_batch(node, pass));
                    self.backward_site(node, x, at, &memo, &dy, &mut dx, accumulate)?;
                }
                None if accumulate => dev().accumulate(&dy, &mut dx)?,
                None => dx.copy_from(&dy)?,
            },
            other => unreachable!("{other:?} is the executor's own"),
        }
        self.pool.give(dy);
        grads[from] = Some(dx);
        Ok(())
    }
}
