//! One pass through a network, looked into: activations by name, moments that a norm reads, gradients from any of them.

use std::sync::{Arc, Mutex};

use dfdx::prelude::{HasShape, PutTape, Tape};

use super::Mode;
use super::activation_loss::{ActivationLoss, BatchExtent};
use super::extent::Extent;
use super::graph::NodeId;
use super::info::NormInfo;
use super::net::Net;
use super::pass::Pass;
use super::wants::{Top, TopKind, Wants};
use crate::ops::batch_norm2d::NormShape;
use crate::ops::layout::LayoutKernel;
use crate::ops::moments::MomentsKernel;
use crate::ops::tape::{lend_gradient, store_images, zeros};
use crate::tensors::DevError;
use crate::{
    Buffer, Error, Grads, HostAccess, Images, Matrix, Result, Scalar, Taped, Vector, dev, from_vec,
};

/// How often an activation of one pass may be asked for, on average.
const TAPES_PER_NODE: usize = 2;

/// A pass that has been recorded. What it gives lies on a tape: a loss may use several of its activations, and a backward
/// pass of that loss runs once through the network, from all of them.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0)).frozen();
/// let x = images(2, 3, 32, 32, &mut rng(1));
/// let mut trace = net.trace(&x, Mode::Eval)?;
/// let mut loss = cross_entropy(trace.matrix("fc")?, &[3, 8]);
/// for norm in net.norms() {
///     let moments = trace.moments(&norm)?;
///     loss = loss + (moments.mean - norm.mean).square().mean() + (moments.var - norm.var).square().mean();
/// }
/// let grads = loss.backward();
/// assert_eq!(grads.get(&x).shape(), x.shape());
/// # Ok::<(), Error>(())
/// ```
pub struct Activations {
    net: Net,
    recorded: Arc<Mutex<Recorded>>,
    /// Tapes that begin with this pass: made with it, so that its backward pass comes after those of everything that
    /// uses an activation.
    tapes: Vec<Taped>,
}

/// Mean and biased variance of each channel of what a batch norm reads, over the samples and pixels of a pass.
pub struct Moments {
    /// Mean.
    pub mean: Vector<Taped>,
    /// Variance.
    pub var: Vector<Taped>,
}

struct Recorded {
    net: Net,
    /// `None` after the backward pass.
    pass: Option<Pass>,
    inputs: Vec<Images>,
    wants: Wants,
    given: Vec<(NodeId, Given)>,
}

/// What was given out of an activation, to be asked for its gradient.
enum Given {
    Images(Images),
    Matrix(Matrix),
    /// The means on the device; both as they were given.
    Moments(Buffer, Vector, Vector),
    Loss(Scalar, Box<dyn ActivationLoss>),
}

impl Net {
    /// Runs the network on `x` and records the pass, for gradients of parameters. That of `x` is there only with
    /// [`trace`](Self::trace).
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let x = images(2, 3, 32, 32, &mut rng(1));
    /// let (mut one, mut two) = (net.run(&x, Mode::Train)?, net.run(&x, Mode::Train)?);
    /// let loss = cross_entropy(one.matrix("fc")?, &[3, 8]) + cross_entropy(two.matrix("fc")?, &[8, 3]);
    /// let features = one.images("layer3.2.bn2")?;
    /// assert_eq!(features.shape(), &(2, 64, 8, 8));
    /// loss.backward();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`predict_images`](Self::predict_images).
    pub fn run(&self, x: &Images, mode: Mode) -> Result<Activations> {
        self.run_many(&[x], mode)
    }

    /// [`run`](Self::run) of a network with several inputs.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_many(&self, inputs: &[&Images], mode: Mode) -> Result<Activations> {
        let inputs = inputs.iter().map(|x| (*x).clone()).collect();
        Activations::record(self, inputs, mode, Wants::PARAMETERS)
    }

    /// [`run`](Self::run) with the gradient of `x` too.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn trace(&self, x: &Images, mode: Mode) -> Result<Activations> {
        self.trace_many(&[x], mode)
    }

    /// [`trace`](Self::trace) of a network with several inputs.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn trace_many(&self, inputs: &[&Images], mode: Mode) -> Result<Activations> {
        let inputs = inputs.iter().map(|x| (*x).clone()).collect();
        Activations::record(self, inputs, mode, Wants::ALL)
    }

    /// [`trace`](Self::trace) of images that are on a tape: the output of another network, say. Their tape goes with the
    /// first activation that is asked for, so the loss must use that one.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn trace_on(&self, x: Images<Taped>, mode: Mode) -> Result<Activations> {
        use crate::ops::Recorder;
        let (x, tape) = Taped::split_images(x)?;
        let mut trace = Activations::record(self, vec![x], mode, Wants::ALL)?;
        if let Some(first) = trace.tapes.pop() {
            trace.tapes.push(dfdx::prelude::Merge::merge(tape, first));
        }
        Ok(trace)
    }
}

impl Net {
    /// [`run`](Self::run) on samples in `(N, H, W, C)` order, as [`crate::data::Epoch::fill`] gives them: no tensor of
    /// images is made.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_channels_last(&self, x: &[f32], extent: Extent, mode: Mode) -> Result<Activations> {
        let mut inner = self.lock();
        let x = inner.input(x, extent)?;
        let pass = inner.forward(vec![x], mode, true, &[])?;
        let count = inner.graph.nodes.len();
        drop(inner);
        Ok(Activations::of(
            self,
            pass,
            Vec::new(),
            Wants::PARAMETERS,
            count,
        ))
    }
}

impl Activations {
    pub(super) fn record(
        net: &Net,
        inputs: Vec<Images>,
        mode: Mode,
        wants: Wants,
    ) -> Result<Activations> {
        let mut inner = net.lock();
        let x = inputs.iter().map(|x| inner.images(x));
        let x = x.collect::<Result<Vec<_>>>()?;
        let pass = inner.forward(x, mode, true, &[])?;
        let count = inner.graph.nodes.len();
        drop(inner);
        Ok(Activations::of(net, pass, inputs, wants, count))
    }

    fn of(net: &Net, pass: Pass, inputs: Vec<Images>, wants: Wants, nodes: usize) -> Activations {
        let parameters = wants.parameters && !net.frozen;
        let recorded = Recorded {
            net: net.clone(),
            pass: Some(pass),
            inputs,
            wants: Wants {
                parameters,
                ..wants
            },
            given: Vec::new(),
        };
        #[allow(
            clippy::arc_with_non_send_sync,
            reason = "what a loss holds may stay in its thread"
        )]
        let recorded = Arc::new(Mutex::new(recorded));
        let tape = || {
            let recorded = recorded.clone();
            let mut tape = Taped::default();
            tape.add_backward_op(move |grads| backward(&recorded, grads));
            tape
        };
        let tapes = (0..TAPES_PER_NODE * nodes).map(|_| tape()).collect();
        Activations {
            net: net.clone(),
            recorded,
            tapes,
        }
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The activation of a node, on a tape.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is not in the network, after the backward pass, and when more activations are
    /// asked for than two for each node.
    pub fn images(&mut self, name: &str) -> Result<Images<Taped>> {
        let node = self.node(name)?;
        let y = with_pass(&self.recorded, |pass| activation(pass, node))?;
        self.give(node, Given::Images(y.clone()))?;
        Ok(y.put_tape(self.tape()?))
    }

    /// The activation of a node of height and width 1, such as logits, as a matrix on a tape.
    ///
    /// # Errors
    /// As [`images`](Self::images); [`Error::Shape`] for a node that still has height or width.
    pub fn matrix(&mut self, name: &str) -> Result<Matrix<Taped>> {
        let node = self.node(name)?;
        self.matrix_at(node)
    }

    fn matrix_at(&mut self, node: NodeId) -> Result<Matrix<Taped>> {
        let y = with_pass(&self.recorded, |pass| {
            let extent = pass.extents[node];
            if extent.pixels() != 1 {
                return Err(Error::shape("logits", "a node that is a vector", extent));
            }
            let values = pass.activation(node)?.view()?.into_owned();
            from_vec(values, (pass.batch, extent.channels))
        })?;
        self.give(node, Given::Matrix(y.clone()))?;
        Ok(y.put_tape(self.tape()?))
    }

    /// The network's output, if it is a vector, whatever its name.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn logits(&mut self) -> Result<Matrix<Taped>> {
        let output = self.net.lock().graph.output;
        self.matrix_at(output)
    }

    /// The network's output, whatever its name.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn output(&mut self) -> Result<Images<Taped>> {
        self.images(&self.net.output_name())
    }

    /// A loss on the activation of a node, which stays where the network keeps it.
    ///
    /// # Errors
    /// As [`images`](Self::images), and those of the loss.
    pub fn loss(
        &mut self,
        name: &str,
        mut loss: impl ActivationLoss + 'static,
    ) -> Result<Scalar<Taped>> {
        let node = self.node(name)?;
        let value = with_pass(&self.recorded, |pass| {
            loss.loss(pass.activation(node)?, at(pass, node))
        })?;
        let value: Scalar = from_vec(vec![value], ())?;
        self.give(node, Given::Loss(value.clone(), Box::new(loss)))?;
        Ok(value.put_tape(self.tape()?))
    }

    /// The activation of a node in `(N, H, W, C)` order, without a tape.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn channels_last(&self, name: &str) -> Result<Vec<f32>> {
        let node = self.node(name)?;
        with_pass(&self.recorded, |pass| {
            Ok(pass.activation(node)?.view()?.into_owned())
        })
    }

    /// Mean and biased variance of what a batch norm reads, on a tape.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn moments(&mut self, norm: &NormInfo) -> Result<Moments> {
        let reads = self.net.lock().graph.nodes[norm.node].reads[0];
        let (mean, var) = with_pass(&self.recorded, |pass| moments(pass, reads, norm.node))?;
        let channels = mean.elements();
        let m: Vector = from_vec(mean.view()?.into_owned(), (channels,))?;
        let v: Vector = from_vec(var.view()?.into_owned(), (channels,))?;
        self.give(reads, Given::Moments(mean, m.clone(), v.clone()))?;
        Ok(Moments {
            mean: m.put_tape(self.tape()?),
            var: v.put_tape(self.tape()?),
        })
    }

    /// Runs the backward pass from gradients of named nodes, without a tape: what a tape would do from a loss.
    ///
    /// # Errors
    /// [`Error::Shape`] for a gradient that is not of its node's shape; as [`images`](Self::images).
    pub fn backward(self, tops: &[(&str, &Images)], wants: Wants) -> Result<Grads> {
        let mut recorded = lock(&self.recorded);
        let pass = recorded.pass.take().ok_or_else(spent)?;
        let mut found = Vec::new();
        for (name, gradient) in tops {
            let node = self.node(name)?;
            let Extent {
                channels,
                height,
                width,
            } = pass.extents[node];
            let expected = (pass.batch, channels, height, width);
            if *gradient.shape() != expected {
                let expected = format!("{name}: a gradient of {expected:?}");
                return Err(Error::shape(
                    "backward",
                    expected,
                    format!("{:?}", gradient.shape()),
                ));
            }
            let kind = TopKind::Whole(crate::ops::tape::load_images(gradient)?.keep());
            found.push(Top { node, kind });
        }
        let wants = Wants {
            parameters: wants.parameters && !self.net.frozen,
            ..wants
        };
        let mut grads = Grads::leaky();
        let inputs = std::mem::take(&mut recorded.inputs);
        finish(&self.net, pass, found, (wants, &inputs), &mut grads)?;
        Ok(grads)
    }

    fn node(&self, name: &str) -> Result<NodeId> {
        self.net.lock().graph.find(name)
    }

    fn give(&self, node: NodeId, given: Given) -> Result<()> {
        lock(&self.recorded).given.push((node, given));
        Ok(())
    }

    fn tape(&mut self) -> Result<Taped> {
        self.tapes.pop().ok_or_else(|| {
            Error::invalid(
                "activations of one pass",
                "were asked for too often; keep what was given, or run the network again",
            )
        })
    }
}

fn lock(recorded: &Mutex<Recorded>) -> std::sync::MutexGuard<'_, Recorded> {
    recorded.lock().unwrap_or_else(|e| e.into_inner())
}

fn spent() -> Error {
    Error::invalid(
        "this pass",
        "has been through its backward pass already; run the network again",
    )
}

fn with_pass<V>(recorded: &Mutex<Recorded>, f: impl FnOnce(&Pass) -> Result<V>) -> Result<V> {
    f(lock(recorded).pass.as_ref().ok_or_else(spent)?)
}

fn at(pass: &Pass, node: NodeId) -> BatchExtent {
    BatchExtent {
        batch: pass.batch,
        extent: pass.extents[node],
    }
}

/// A node's activation as a tensor.
pub(super) fn activation(pass: &Pass, node: NodeId) -> Result<Images> {
    let Extent {
        channels,
        height,
        width,
    } = pass.extents[node];
    store_images(
        pass.activation(node)?,
        (pass.batch, channels, height, width),
    )
}

/// Mean and biased variance by channel: kept by a norm that trains, otherwise computed from what it reads.
fn moments(pass: &Pass, reads: NodeId, norm: NodeId) -> Result<(Buffer, Buffer)> {
    let channels = pass.extents[reads].channels;
    let (mut mean, mut var) = (zeros(channels)?, zeros(channels)?);
    if let [kept_mean, kept_var] = &pass.nodes[norm].kept[..] {
        mean.copy_from(kept_mean)?;
        var.copy_from(kept_var)?;
    } else {
        let x = pass.activation(reads)?;
        let shape = NormShape {
            pixels: x.elements() / channels,
            channels,
        };
        dev().moments(shape, x, &mut mean, &mut var)?;
    }
    Ok((mean, var))
}

/// The backward pass of everything that was given out of a pass: run by the first of its tapes, nothing by the others.
fn backward(recorded: &Mutex<Recorded>, grads: &mut Grads) -> Result<(), DevError> {
    let mut recorded = lock(recorded);
    let recorded = &mut *recorded;
    let Some(pass) = recorded.pass.take() else {
        return Ok(());
    };
    let run = || -> Result<()> {
        let mut tops = Vec::new();
        for (node, given) in recorded.given.drain(..) {
            if let Some(kind) = gradient_of(given, &recorded.net, (&pass, node), grads)? {
                tops.push(Top { node, kind });
            }
        }
        let to = (recorded.wants, &recorded.inputs[..]);
        finish(&recorded.net, pass, tops, to, grads)
    };
    run().map_err(crate::ops::tape::tape_error)
}

/// The gradient that a tape found for something given; `None` where the loss did not use it.
fn gradient_of(
    given: Given,
    net: &Net,
    (pass, node): (&Pass, NodeId),
    grads: &mut Grads,
) -> Result<Option<TopKind>> {
    let unused = |g: &Buffer| -> Result<bool> {
        Ok(cfg!(not(feature = "cuda")) && g.view()?.iter().all(|g| *g == 0.0))
    };
    match given {
        Given::Images(y) => lend_gradient(grads, &y, |dy| {
            if unused(dy)? {
                return Ok(None);
            }
            let (_, c, h, w) = *y.shape();
            let mut top = net.lock().pool.take(dy.elements())?;
            dev().to_channels_last(dy, c, h * w, &mut top)?;
            Ok(Some(TopKind::Whole(top)))
        }),
        Given::Matrix(y) => lend_gradient(grads, &y, |dy| {
            if unused(dy)? {
                return Ok(None);
            }
            let mut top = net.lock().pool.take(dy.elements())?;
            top.copy_from(dy)?;
            Ok(Some(TopKind::Whole(top)))
        }),
        Given::Moments(mean, m, v) => {
            let copy = |d: &Buffer| {
                let mut copy = zeros(d.elements())?;
                copy.copy_from(d)?;
                Ok((copy, unused(d)?))
            };
            let (dmean, no_mean) = lend_gradient(grads, &m, copy)?;
            let (dvar, no_var) = lend_gradient(grads, &v, copy)?;
            if no_mean && no_var {
                return Ok(None);
            }
            Ok(Some(TopKind::Moments { mean, dmean, dvar }))
        }
        Given::Loss(value, mut loss) => {
            let factor = lend_gradient(grads, &value, |d| Ok(d.view()?[0]))?;
            if factor == 0.0 {
                return Ok(None);
            }
            let slope = loss.gradient(pass.activation(node)?, at(pass, node), factor)?;
            if slope.elements() != at(pass, node).elements() {
                let expected = format!("a gradient of {} numbers", at(pass, node).elements());
                return Err(Error::shape("loss", expected, slope.elements()));
            }
            Ok(Some(TopKind::Whole(slope)))
        }
    }
}

/// Runs the backward pass and adds the gradients of the inputs.
fn finish(
    net: &Net,
    pass: Pass,
    tops: Vec<Top>,
    (wants, inputs): (Wants, &[Images]),
    grads: &mut Grads,
) -> Result<()> {
    let mut inner = net.lock();
    let found = inner.backward(pass, tops, wants, grads)?;
    for (x, dx) in inputs.iter().zip(found) {
        if let Some(dx) = dx {
            let (_, c, h, w) = *x.shape();
            let into = grads.get_or_alloc_mut(x)?;
            dev().to_channels_first(&dx, c, h * w, into, true)?;
            inner.pool.give(dx);
        }
    }
    Ok(())
}

impl Drop for Recorded {
    /// A pass without a backward pass gives its buffers back.
    fn drop(&mut self) {
        if let Some(mut pass) = self.pass.take() {
            self.net.give_back(&mut pass);
        }
    }
}
