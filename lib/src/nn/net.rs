//! A network: parameters, quantisers and the buffers it runs in.

use std::sync::{Arc, Mutex, MutexGuard};

use dfdx::prelude::{HasShape, PutTape, Tape};

use super::exec::{Pass, StepTimes};
use super::graph::{LayerInfo, Node, NodeId, Op};
use super::param::{Param, ParamId};
use super::pool::BufferPool;
use super::quantise::{LayerQuant, LayerSpec, QuantSpec, TensorSpec, WeightQuantiser};
use super::site::SiteQuantiser;
use super::weight_range::DataQuant;
use crate::ops::Recorder;
use crate::ops::batch_norm2d::Mode;
use crate::ops::layout::{LayoutKernel, nchw_to_nhwc};
use crate::ops::relu::ActivationKernel;
use crate::ops::tape::with_gradient;
use crate::{Buffer, Error, Grads, HostAccess, Images, Matrix, Result, Taped, dev, from_vec, read};

/// A network built by [`super::NetBuilder`].
///
/// Cloning gives a second handle to the same network, not a copy of its parameters.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
}

pub(crate) struct Inner {
    pub nodes: Vec<Node>,
    /// Names, roles and tensors of the parameters; a tensor is brought up to date when somebody asks for it.
    params: Vec<Param>,
    pub output: NodeId,
    /// The parameters' numbers: what kernels read and the optimiser moves.
    pub values: Vec<Buffer>,
    /// Parameters whose numbers moved since their tensor was written.
    pub stale: Vec<bool>,
    pub grads: Vec<Buffer>,
    /// Quantisers by node.
    pub quant: Vec<Option<LayerQuant>>,
    /// Activation quantisers by node, at the sites of the graph.
    pub sites: Vec<Option<Box<dyn SiteQuantiser>>>,
    /// Quantisers of weights alone, by node.
    pub data_quant: Vec<Option<DataQuant>>,
    pub last_reader: Vec<NodeId>,
    pub pool: BufferPool,
    pub times: StepTimes,
}

impl Inner {
    pub fn new(nodes: Vec<Node>, params: Vec<Param>, output: NodeId) -> Self {
        let mut last_reader = vec![0; nodes.len()];
        for (id, node) in nodes.iter().enumerate() {
            node.reads().for_each(|input| last_reader[input] = id);
        }
        let quant = nodes.iter().map(|_| None).collect();
        let sites = nodes.iter().map(|_| None).collect();
        let data_quant = vec![None; nodes.len()];
        let mut inner = Inner {
            nodes,
            params: Vec::new(),
            output,
            values: Vec::new(),
            stale: Vec::new(),
            grads: Vec::new(),
            quant,
            sites,
            data_quant,
            last_reader,
            pool: BufferPool::default(),
            times: StepTimes::default(),
        };
        params.into_iter().for_each(|p| {
            inner.add_param(p);
        });
        inner
    }

    pub(crate) fn add_param(&mut self, param: Param) -> ParamId {
        self.values.push(buffer(param.to_vec()));
        self.stale.push(false);
        self.grads.push(buffer(vec![0.0; param.len()]));
        self.params.push(param);
        self.params.len() - 1
    }
}

/// A device buffer with the given contents.
pub(crate) fn buffer(data: Vec<f32>) -> Buffer {
    crate::buffer(&data).unwrap_or_else(|e| panic!("memory for a parameter: {e}"))
}

impl Net {
    // dfdx's handle of a GPU stays in its thread, and so does a network on it.
    #[cfg_attr(feature = "cuda", allow(clippy::arc_with_non_send_sync))]
    pub(crate) fn from_inner(inner: Inner) -> Self {
        Net {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a kernel leaves buffers of this pass unusable, not the parameters.
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Logits of a batch, in inference mode, without gradients: `(N, C, H, W)` to `(N, classes)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the batch does not fit the network or the network does not end in a vector.
    pub fn predict(&self, x: &Images) -> Result<Matrix> {
        let (n, nhwc) = self.to_nhwc(x)?;
        let mut inner = self.lock();
        let pass = inner.forward(&nhwc, Mode::Eval, false)?;
        let logits = pass.output(inner.output).view()?.into_owned();
        inner.recycle(pass);
        let classes = inner.classes()?;
        from_vec(logits, (n, classes))
    }

    /// The network as one operation on a tape: gradients of the input and of every trainable parameter
    /// (by [`Param::value`]) are there after `backward`.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let x = images(2, 3, 32, 32, &mut rng(1));
    /// let logits = net.forward(x.leaky_trace(), Mode::Train)?;
    /// let grads = cross_entropy(logits, &[3, 8]).backward();
    /// assert_eq!(grads.get(&net.parameter("fc.bias")?.value).as_vec().len(), 10);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn forward(&self, x: Images<Taped>, mode: Mode) -> Result<Matrix<Taped>> {
        let (x, mut tape) = Taped::split_images(x)?;
        let (n, nhwc) = self.to_nhwc(&x)?;
        let (pass, logits, classes) = {
            let mut inner = self.lock();
            let classes = inner.classes()?;
            let pass = inner.forward(&nhwc, mode, true)?;
            let logits = pass.output(inner.output).view()?.into_owned();
            (pass, logits, classes)
        };
        let y: Matrix = from_vec(logits, (n, classes))?;
        let out = y.clone();
        let net = self.clone();
        tape.add_backward_op(move |grads| {
            with_gradient(grads, &out, |grads, dy| {
                let mut top = crate::ops::tape::zeros(dy.elements())?;
                top.copy_from(dy)?;
                net.backward_for_tape(pass, top, &x, grads)
            })
        });
        Ok(y.put_tape(tape))
    }

    /// Adds the gradients of the parameters and of `x` to `grads`, from that of the output in the kernels' order.
    pub(super) fn backward_for_tape(
        &self,
        pass: Pass,
        top: Buffer,
        x: &Images,
        grads: &mut Grads,
    ) -> Result<()> {
        let mut inner = self.lock();
        let (_, c, h, w) = *x.shape();
        if let Some(dx) = inner.backward(pass, top, true)? {
            let into = grads.get_or_alloc_mut(x)?;
            dev().to_channels_first(&dx, c, h * w, into, true)?;
            inner.pool.give(dx);
        }
        for (param, grad) in inner.params.iter().zip(&inner.grads) {
            if param.is_trainable() {
                dev().accumulate(grad, grads.get_or_alloc_mut(&param.value)?)?;
            }
        }
        Ok(())
    }

    fn to_nhwc(&self, x: &Images) -> Result<(usize, Vec<f32>)> {
        let (n, c, h, w) = *x.shape();
        let extent = self.lock().nodes[0].extent;
        if extent != [h, w, c] {
            let [eh, ew, ec] = extent;
            return Err(Error::shape(
                "forward",
                format!("images (N, {ec}, {eh}, {ew})"),
                format!("({n}, {c}, {h}, {w})"),
            ));
        }
        let nchw = read(x);
        let mut nhwc = vec![0.0; nchw.len()];
        nchw_to_nhwc(&nchw, c, h * w, &mut nhwc);
        Ok((n, nhwc))
    }

    /// Every parameter, running statistics included, in the order of the layers.
    pub fn parameters(&self) -> Vec<Param> {
        let mut inner = self.lock();
        inner.refresh().unwrap_or_else(|e| panic!("{e}"));
        inner.params.clone()
    }

    /// One parameter by name.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the closest names there are.
    pub fn parameter(&self, name: &str) -> Result<Param> {
        let mut inner = self.lock();
        inner.refresh()?;
        inner.find(name).map(|id| inner.params[id].clone())
    }

    /// Replaces the numbers of a parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs, [`Error::Invalid`] for an unknown name.
    pub fn set_parameter(&self, name: &str, data: &[f32]) -> Result<()> {
        let mut inner = self.lock();
        let id = inner.find(name)?;
        let (len, dims) = (inner.params[id].len(), &inner.params[id].dims);
        if data.len() != len {
            return Err(Error::shape(
                "set_parameter",
                format!("{name} has {len} elements {dims:?}"),
                data.len(),
            ));
        }
        inner.set_value(id, data)
    }

    /// Takes over every parameter of `other` that has the same name and dimensions; returns how many there were.
    pub fn copy_parameters(&self, other: &Net) -> Result<usize> {
        let theirs = other.parameters();
        let mut copied = 0;
        for ours in self.parameters() {
            let same = |p: &&Param| p.name == ours.name && p.dims == ours.dims;
            if let Some(param) = theirs.iter().find(same) {
                self.set_parameter(&ours.name, &param.to_vec())?;
                copied += 1;
            }
        }
        Ok(copied)
    }

    /// Number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.lock()
            .params
            .iter()
            .filter(|p| p.is_trainable())
            .map(Param::len)
            .sum()
    }

    /// Convolutions and linear layers in the order they run.
    pub fn layers(&self) -> Vec<LayerInfo> {
        let inner = self.lock();
        let of = |(id, node): (NodeId, &Node)| {
            let Op::Conv { weight, .. } = node.op else {
                return None;
            };
            Some(LayerInfo {
                name: node.name.clone(),
                weight,
                weights: inner.params[weight].len(),
                macs: inner.layer_macs(id),
                bits: match &inner.quant[id] {
                    Some(q) => Some(q.spec.weight.bits),
                    None => inner.data_quant[id].map(|q| q.bits),
                },
            })
        };
        inner.nodes.iter().enumerate().filter_map(of).collect()
    }

    /// Gives layers quantisers with trained bounds: `choose` is asked for each and returns its precision and
    /// weight quantiser. [`Net::quantise_layers`] offers more.
    ///
    /// # Errors
    /// As [`Net::quantise_layers`].
    pub fn quantise(
        &self,
        mut choose: impl FnMut(&LayerInfo) -> Option<(QuantSpec, Box<dyn WeightQuantiser>)>,
    ) -> Result<()> {
        self.quantise_layers(|layer| choose(layer).map(|(spec, q)| (spec.into(), q)))
    }

    /// Gives layers quantisers: `choose` is asked for each and returns its grids and weight quantiser.
    ///
    /// Bounds become parameters `NAME.weight_bounds` and `NAME.act_bounds`, scales `NAME.weight_scale` and
    /// `NAME.act_scale`; they are set from the first training batch (or [`Net::calibrate`]), layer by layer,
    /// so that later layers already see quantised inputs. Bounds that cross while they train end the run with
    /// an error that names the layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bits outside 1 to 16 or a layer that is quantised already.
    pub fn quantise_layers(
        &self,
        mut choose: impl FnMut(&LayerInfo) -> Option<(LayerSpec, Box<dyn WeightQuantiser>)>,
    ) -> Result<()> {
        let layers = self.layers();
        let mut inner = self.lock();
        for layer in &layers {
            let Some((spec, quantiser)) = choose(layer) else {
                continue;
            };
            for tensor in [Some(spec.weight), spec.input].into_iter().flatten() {
                crate::ops::fake_quant::levels(tensor.bits)?;
            }
            if layer.bits.is_some() {
                return Err(Error::invalid(
                    format!("layer {}", layer.name),
                    "is quantised already",
                ));
            }
            let mut add = |prefix: &str, tensor: TensorSpec| {
                let (suffix, role, len) = tensor.parameter();
                let data = [-1.0, 1.0][2 - len..].to_vec();
                let name = format!("{}.{prefix}_{suffix}", layer.name);
                Ok::<_, Error>(inner.add_param(Param::new(name, vec![len], role, data)?))
            };
            let weight = add("weight", spec.weight)?;
            let input = spec.input.map(|input| add("act", input)).transpose()?;
            let node = inner
                .nodes
                .iter()
                .position(|n| n.name == layer.name)
                .expect("layers name nodes");
            inner.quant[node] = Some(LayerQuant {
                spec,
                weight,
                input,
                ready: false,
                quantiser,
            });
        }
        Ok(())
    }

    /// Sets the bounds and scales of fresh quantisers from one batch, in training mode and in the order of the
    /// layers, as the LTS code does before its first epoch: running statistics move too, weights do not.
    /// Without it, the first training batch does this on its way.
    ///
    /// # Errors
    /// [`Error::Shape`] for a batch that does not fit, [`Error::Invalid`] for a layer whose weights or inputs
    /// are all alike.
    pub fn calibrate(&self, x: &Images) -> Result<()> {
        let (_, nhwc) = self.to_nhwc(x)?;
        let mut inner = self.lock();
        let pass = inner.forward(&nhwc, Mode::Train, false)?;
        inner.recycle(pass);
        Ok(())
    }

    /// Wall-clock of forward and backward passes since the last call.
    pub fn take_times(&self) -> StepTimes {
        std::mem::take(&mut self.lock().times)
    }

    /// Largest number of bytes that activations and gradients took at one time.
    pub fn peak_activation_bytes(&self) -> usize {
        self.lock().pool.peak_bytes()
    }

    /// A table of the layers: name, output, weights, multiply-accumulates.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{:<24} {:>10} {:>14}  bits\n",
            "layer", "weights", "MACs/sample"
        );
        for l in self.layers() {
            let bits = l.bits.map_or("32".into(), |b| b.to_string());
            text += &format!("{:<24} {:>10} {:>14}  {bits}\n", l.name, l.weights, l.macs);
        }
        text + &format!("{} trainable parameters\n", self.parameter_count())
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary())
    }
}

impl Inner {
    /// A parameter's description; its tensor may be out of date.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id]
    }

    /// A parameter's numbers, to be changed.
    pub fn change(&mut self, id: ParamId) -> &mut Buffer {
        self.stale[id] = true;
        &mut self.values[id]
    }

    pub fn set_value(&mut self, id: ParamId, values: &[f32]) -> Result<()> {
        self.change(id).write(values)
    }

    /// Writes the parameters' numbers into their tensors, which keep their identity on a tape.
    fn refresh(&mut self) -> Result<()> {
        for (id, stale) in self.stale.iter_mut().enumerate() {
            if std::mem::take(stale) {
                self.params[id].value.copy_from(&self.values[id].view()?);
            }
        }
        Ok(())
    }

    /// Length of the output vector.
    pub fn classes(&self) -> Result<usize> {
        match self.nodes[self.output].extent {
            [1, 1, classes] => Ok(classes),
            [h, w, c] => Err(Error::shape(
                "logits",
                "a network that ends in a vector",
                format!("{c}x{h}x{w}"),
            )),
        }
    }

    pub fn find(&self, name: &str) -> Result<ParamId> {
        self.params
            .iter()
            .position(|p| p.name == name)
            .ok_or_else(|| {
                let stem = name.split('.').next().unwrap_or(name);
                let near: Vec<&str> = self
                    .params
                    .iter()
                    .map(|p| p.name.as_str())
                    .filter(|n| n.starts_with(stem))
                    .take(6)
                    .collect();
                Error::invalid(
                    format!("parameter {name:?}"),
                    format!("is not in the network; near it: {near:?}"),
                )
            })
    }

    fn layer_macs(&self, node: NodeId) -> usize {
        let Op::Conv { window, .. } = &self.nodes[node].op else {
            return 0;
        };
        let from = self.nodes[self.nodes[node].input].extent;
        super::graph::conv_shape(1, from, self.nodes[node].extent, window).macs()
    }
}
