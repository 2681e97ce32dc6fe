//! Building a network layer by layer.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::graph::{Extent, Node, NodeId, Op, Window};
use super::param::{Param, ParamId, Role};
use super::{Net, net::Inner};
use crate::ops::relu::Activation;
use crate::{Error, Result, Rng};

/// Settings of a convolution: kernel 3, stride 1, padding that keeps the size, no bias.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Output channels.
    pub channels: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Distance of the kernel's taps.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// How weights and bias start.
    pub init: Init,
}

/// Where the numbers of a convolution start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// Weights normal with variance `2 / fan-out` (Kaiming), bias 0.
    #[default]
    KaimingFanOut,
    /// Weights and bias uniform in `±1/sqrt(fan-in)`, PyTorch's own.
    UniformFanIn,
}

impl Conv {
    /// A 3x3 convolution that keeps height and width.
    pub fn new(channels: usize) -> Self {
        Conv {
            channels,
            kernel: 3,
            stride: 1,
            padding: 1,
            dilation: 1,
            groups: 1,
            bias: false,
            init: Init::default(),
        }
    }

    /// Another kernel size; the padding follows so that stride 1 keeps the size.
    pub fn kernel(mut self, kernel: usize) -> Self {
        self.kernel = kernel;
        self.padding = kernel / 2;
        self
    }

    /// Another stride.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Groups of channels; as many as input channels make a depthwise convolution.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// With a bias.
    pub fn with_bias(mut self) -> Self {
        self.bias = true;
        self
    }

    /// Another start.
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }
}

/// Collects layers; every method takes the node to read and returns the new node.
///
/// ```
/// use rebit::prelude::*;
/// let mut b = NetBuilder::new(1, 8, 8, rng(0));
/// let x = b.input();
/// let x = b.conv("conv", x, Conv::new(4))?;
/// let x = b.norm("bn", x, Activation::Relu)?;
/// let x = b.global_avg_pool(x)?;
/// let x = b.linear("fc", x, 10)?;
/// let net = b.build(x)?;
/// assert_eq!(net.parameter_count(), 4 * 9 + 2 * 4 + 4 * 10 + 10);
/// # Ok::<(), rebit::Error>(())
/// ```
pub struct NetBuilder {
    nodes: Vec<Node>,
    params: Vec<Param>,
    rng: Rng,
    sites: bool,
}

impl NetBuilder {
    /// A network over samples of `channels` x `height` x `width`; weights are drawn from `rng`.
    pub fn new(channels: usize, height: usize, width: usize, rng: Rng) -> Self {
        let input = Node {
            name: "input".into(),
            op: Op::Input,
            input: 0,
            extent: [height, width, channels],
        };
        NetBuilder {
            nodes: vec![input],
            params: Vec::new(),
            rng,
            sites: false,
        }
    }

    /// Whether [`site`](Self::site) makes a node; without, it returns what it was given.
    pub fn with_sites(mut self, sites: bool) -> Self {
        self.sites = sites;
        self
    }

    /// The node that stands for the batch.
    pub fn input(&self) -> NodeId {
        0
    }

    /// Channels, height, width of a node.
    pub fn extent(&self, node: NodeId) -> Result<(usize, usize, usize)> {
        self.at(node).map(|[h, w, c]| (c, h, w))
    }

    /// Convolution; weights start as [`Conv::init`] says.
    ///
    /// # Errors
    /// [`Error::Shape`] when the window does not fit or the groups do not divide the channels.
    pub fn conv(&mut self, name: &str, from: NodeId, conv: Conv) -> Result<NodeId> {
        let [h, w, c] = self.at(from)?;
        let reach = conv.dilation * (conv.kernel.max(1) - 1) + 1;
        if conv.kernel == 0
            || conv.stride == 0
            || h + 2 * conv.padding < reach
            || w + 2 * conv.padding < reach
        {
            return Err(Error::shape(
                "conv",
                format!(
                    "{name}: an input of at least {reach}x{reach} with its padding, kernel and stride above 0"
                ),
                format!("{h}x{w} with padding {}", conv.padding),
            ));
        }
        if conv.groups == 0
            || [c, conv.channels]
                .iter()
                .any(|n| !n.is_multiple_of(conv.groups))
        {
            return Err(Error::shape(
                "conv",
                format!(
                    "{name}: groups that divide {c} input and {} output channels",
                    conv.channels
                ),
                format!("{} groups", conv.groups),
            ));
        }
        let out = |n: usize| (n + 2 * conv.padding - reach) / conv.stride + 1;
        let taps = conv.kernel * conv.kernel;
        let std = (2.0 / (conv.channels / conv.groups * taps) as f32).sqrt();
        let count = conv.channels * c / conv.groups * taps;
        let limit = ((c / conv.groups * taps) as f32).sqrt().recip();
        let mut start = |count: usize, normal: f32| -> Vec<f32> {
            let mut one = |()| match conv.init {
                Init::KaimingFanOut => normal * self.rng.sample::<f32, _>(StandardNormal),
                Init::UniformFanIn => self.rng.random_range(-limit..=limit),
            };
            (0..count).map(|_| one(())).collect()
        };
        let data = start(count, std);
        let biases = match (conv.bias, conv.init) {
            (true, Init::UniformFanIn) => start(conv.channels, 0.0),
            _ => vec![0.0; conv.channels],
        };
        let dims = vec![conv.channels, c / conv.groups, conv.kernel, conv.kernel];
        let weight = self.param(format!("{name}.weight"), dims, Role::Weight, data)?;
        let bias = match conv.bias {
            true => Some(self.param(
                format!("{name}.bias"),
                vec![conv.channels],
                Role::Bias,
                biases,
            )?),
            false => None,
        };
        let window = Window {
            kernel: (conv.kernel, conv.kernel),
            stride: conv.stride,
            padding: conv.padding,
            dilation: conv.dilation,
            groups: conv.groups,
        };
        self.push(
            name,
            Op::Conv {
                weight,
                bias,
                window,
            },
            from,
            [out(h), out(w), conv.channels],
        )
    }

    /// Linear layer with bias on a node of height and width 1; weights and bias uniform in `±1/sqrt(in)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the node still has height or width: pool it first.
    pub fn linear(&mut self, name: &str, from: NodeId, out: usize) -> Result<NodeId> {
        let [h, w, c] = self.at(from)?;
        if (h, w) != (1, 1) {
            return Err(Error::shape(
                "linear",
                format!("{name}: an input of height and width 1 (use global_avg_pool before it)"),
                format!("{c}x{h}x{w}"),
            ));
        }
        let limit = 1.0 / (c as f32).sqrt();
        let mut uniform = |n: usize| {
            (0..n)
                .map(|_| self.rng.random_range(-limit..=limit))
                .collect::<Vec<f32>>()
        };
        let (weights, biases) = (uniform(out * c), uniform(out));
        let weight = self.param(
            format!("{name}.weight"),
            vec![out, c],
            Role::Weight,
            weights,
        )?;
        let bias = Some(self.param(format!("{name}.bias"), vec![out], Role::Bias, biases)?);
        let window = Window {
            kernel: (1, 1),
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        };
        self.push(
            name,
            Op::Conv {
                weight,
                bias,
                window,
            },
            from,
            [1, 1, out],
        )
    }

    /// Batch norm followed by `act`.
    pub fn norm(&mut self, name: &str, from: NodeId, act: Activation) -> Result<NodeId> {
        self.norm_with(name, from, None, act)
    }

    /// `act(batch_norm(from) + other)`: the end of a residual block in one pass.
    pub fn norm_add(
        &mut self,
        name: &str,
        from: NodeId,
        other: NodeId,
        act: Activation,
    ) -> Result<NodeId> {
        self.same_extent("norm_add", from, other)?;
        self.norm_with(name, from, Some(other), act)
    }

    /// `act(from + other)`.
    pub fn add(
        &mut self,
        name: &str,
        from: NodeId,
        other: NodeId,
        act: Activation,
    ) -> Result<NodeId> {
        self.same_extent("add", from, other)?;
        let extent = self.at(from)?;
        self.push(name, Op::Add { other, act }, from, extent)
    }

    /// Activation alone.
    pub fn activation(&mut self, name: &str, from: NodeId, act: Activation) -> Result<NodeId> {
        let extent = self.at(from)?;
        self.push(name, Op::Act(act), from, extent)
    }

    /// `scale * from + offset[channel]`, both constant.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one offset for each channel.
    pub fn affine(
        &mut self,
        name: &str,
        from: NodeId,
        scale: f32,
        offset: Vec<f32>,
    ) -> Result<NodeId> {
        let extent = self.at(from)?;
        if offset.len() != extent[2] {
            return Err(Error::shape(
                "affine",
                format!("{name}: {} offsets, one for each channel", extent[2]),
                offset.len(),
            ));
        }
        let offset = offset.into();
        self.push(name, Op::Affine { scale, offset }, from, extent)
    }

    /// The channels of several nodes behind each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] without nodes, [`Error::Shape`] for nodes of different height or width.
    pub fn concat(&mut self, name: &str, nodes: &[NodeId]) -> Result<NodeId> {
        let Some((&first, others)) = nodes.split_first() else {
            return Err(Error::invalid(
                format!("concat {name}"),
                "needs at least one node",
            ));
        };
        let [h, w, mut channels] = self.at(first)?;
        for &other in others {
            let [oh, ow, c] = self.at(other)?;
            if (oh, ow) != (h, w) {
                let expected = format!("{name}: nodes of {h}x{w}");
                return Err(Error::shape("concat", expected, format!("{oh}x{ow}")));
            }
            channels += c;
        }
        let others = others.into();
        self.push(name, Op::Concat { others }, first, [h, w, channels])
    }

    /// Rectifier whose slope below zero is trained, one for all channels, from 1/4.
    pub fn prelu(&mut self, name: &str, from: NodeId) -> Result<NodeId> {
        let extent = self.at(from)?;
        let start = vec![0.25];
        let slope = self.param(format!("{name}.weight"), vec![1], Role::Bias, start)?;
        self.push(name, Op::Prelu { slope }, from, extent)
    }

    /// `factor * factor` channels become a square of pixels.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the square of a positive factor divides the channels.
    pub fn pixel_shuffle(&mut self, name: &str, from: NodeId, factor: usize) -> Result<NodeId> {
        let [h, w, c] = self.at(from)?;
        let square = factor * factor;
        if square == 0 || !c.is_multiple_of(square) {
            let expected = format!("{name}: channels divisible by {factor} x {factor}");
            return Err(Error::shape(
                "pixel_shuffle",
                expected,
                format!("{c} channels"),
            ));
        }
        let extent = [factor * h, factor * w, c / square];
        self.push(name, Op::PixelShuffle { factor }, from, extent)
    }

    /// A place for an activation quantiser, if the builder makes them (see [`with_sites`](Self::with_sites)).
    pub fn site(&mut self, name: &str, from: NodeId) -> Result<NodeId> {
        let extent = self.at(from)?;
        match self.sites {
            true => self.push(name, Op::Site, from, extent),
            false => Ok(from),
        }
    }

    /// Maximum over `kernel` x `kernel` windows.
    pub fn max_pool(
        &mut self,
        from: NodeId,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<NodeId> {
        let [h, w, c] = self.at(from)?;
        if kernel == 0
            || stride == 0
            || 2 * padding > kernel
            || h + 2 * padding < kernel
            || w + 2 * padding < kernel
        {
            return Err(Error::shape(
                "max_pool",
                format!(
                    "a {kernel}x{kernel} window that fits, padding at most half of it, stride above 0"
                ),
                format!("{h}x{w}, padding {padding}, stride {stride}"),
            ));
        }
        let out = |n: usize| (n + 2 * padding - kernel) / stride + 1;
        self.push(
            "max_pool",
            Op::MaxPool {
                kernel,
                stride,
                padding,
            },
            from,
            [out(h), out(w), c],
        )
    }

    /// Mean over height and width.
    pub fn global_avg_pool(&mut self, from: NodeId) -> Result<NodeId> {
        let [_, _, c] = self.at(from)?;
        self.push("global_avg_pool", Op::GlobalAvgPool, from, [1, 1, c])
    }

    /// The network that computes `output`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when two parameters share a name.
    pub fn build(self, output: NodeId) -> Result<Net> {
        self.at(output)?;
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = self.params.iter().find(|p| !names.insert(p.name.as_str())) {
            return Err(Error::invalid(
                format!("layer name {:?}", twice.name),
                "used twice; give each layer its own",
            ));
        }
        Ok(Net::from_inner(Inner::new(self.nodes, self.params, output)))
    }

    fn norm_with(
        &mut self,
        name: &str,
        from: NodeId,
        add: Option<NodeId>,
        act: Activation,
    ) -> Result<NodeId> {
        let extent = self.at(from)?;
        let c = extent[2];
        let mut one = |suffix: &str, role, value: f32| {
            self.param(format!("{name}.{suffix}"), vec![c], role, vec![value; c])
        };
        let gamma = one("weight", Role::Norm, 1.0)?;
        let beta = one("bias", Role::Norm, 0.0)?;
        let mean = one("running_mean", Role::Statistic, 0.0)?;
        let var = one("running_var", Role::Statistic, 1.0)?;
        self.push(
            name,
            Op::Norm {
                gamma,
                beta,
                mean,
                var,
                add,
                act,
            },
            from,
            extent,
        )
    }

    fn same_extent(&self, op: &'static str, a: NodeId, b: NodeId) -> Result<()> {
        let (x, y) = (self.extent(a)?, self.extent(b)?);
        if x != y {
            return Err(Error::shape(
                op,
                format!("two nodes of one shape, {x:?}"),
                format!("{y:?}"),
            ));
        }
        Ok(())
    }

    fn at(&self, node: NodeId) -> Result<Extent> {
        let count = self.nodes.len();
        self.nodes.get(node).map(|n| n.extent).ok_or_else(|| {
            Error::invalid(
                format!("node {node}"),
                format!("the network has {count} nodes so far"),
            )
        })
    }

    fn param(
        &mut self,
        name: String,
        dims: Vec<usize>,
        role: Role,
        data: Vec<f32>,
    ) -> Result<ParamId> {
        self.params.push(Param::new(name, dims, role, data)?);
        Ok(self.params.len() - 1)
    }

    fn push(&mut self, name: &str, op: Op, input: NodeId, extent: Extent) -> Result<NodeId> {
        self.nodes.push(Node {
            name: name.into(),
            op,
            input,
            extent,
        });
        Ok(self.nodes.len() - 1)
    }
}
