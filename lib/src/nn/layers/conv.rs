//! Convolution and linear layer.

use std::sync::Arc;
use std::time::Instant;

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::arity;
use crate::nn::builder::NetBuilder;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::{ParamId, Role};
use crate::ops::conv2d::{Conv2dKernel, ConvInput, ConvShape, GradTo};
use crate::ops::masked_grad::MaskedGradKernel;
use crate::tensors::room;
use crate::{Error, HostAccess, Result, dev};

/// Settings of a convolution: kernel 3, stride 1, padding that keeps the size, no bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The layer, with parameters `NAME.weight` and perhaps `NAME.bias`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the window does not fit or the groups do not divide the channels.
    pub fn layer(self, b: &mut NetBuilder, name: &str, input: Extent) -> Result<Convolution> {
        let inputs = input.channels;
        self.extent(inputs, input).map_err(|e| e.in_layer(name))?;
        let fan = |channels: usize| channels / self.groups * self.kernel * self.kernel;
        let dims = [
            self.channels,
            inputs / self.groups,
            self.kernel,
            self.kernel,
        ];
        let room = room("weights", &dims).map_err(|e| e.in_layer(name))?;
        let std = (2.0 / fan(self.channels) as f32).sqrt();
        let limit = (fan(inputs) as f32).sqrt().recip();
        let rng = b.rng();
        let mut start = |mut numbers: Vec<f32>, count: usize| -> Vec<f32> {
            let mut one = |()| match self.init {
                Init::KaimingFanOut => std * rng.sample::<f32, _>(StandardNormal),
                Init::UniformFanIn => rng.random_range(-limit..=limit),
            };
            numbers.extend((0..count).map(|_| one(())));
            numbers
        };
        let weights = start(room, self.channels * fan(inputs));
        let biases = match (self.bias, self.init) {
            (false, _) => Vec::new(),
            (true, Init::UniformFanIn) => start(Vec::new(), self.channels),
            (true, Init::KaimingFanOut) => vec![0.0; self.channels],
        };
        let weight = b.param(&format!("{name}.weight"), &dims, Role::Weight, weights)?;
        let bias = match self.bias {
            true => Some(b.param(
                &format!("{name}.bias"),
                &[self.channels],
                Role::Bias,
                biases,
            )?),
            false => None,
        };
        Ok(Convolution {
            conv: self,
            inputs,
            weight,
            bias,
        })
    }

    fn extent(self, inputs: usize, x: Extent) -> Result<Extent> {
        if x.channels != inputs || inputs == 0 || self.channels == 0 {
            return Err(Error::shape(
                "conv",
                format!("{inputs} input channels, at least one, and at least one output channel"),
                format!("{} input and {} output channels", x.channels, self.channels),
            ));
        }
        let divides = |n: usize| self.groups > 0 && n.is_multiple_of(self.groups);
        if !divides(inputs) || !divides(self.channels) {
            return Err(Error::shape(
                "conv",
                format!(
                    "groups that divide {inputs} input and {} output channels",
                    self.channels
                ),
                format!("{} groups", self.groups),
            ));
        }
        if self.dilation == 0 {
            return Err(Error::invalid(
                "conv dilation",
                "is 0, but must be at least 1",
            ));
        }
        let reach = self
            .kernel
            .checked_sub(1)
            .and_then(|k| k.checked_mul(self.dilation));
        let reach = reach.and_then(|r| r.checked_add(1));
        let out = |n: usize| {
            let padded = self.padding.checked_mul(2)?.checked_add(n)?;
            let free = padded.checked_sub(reach?)?;
            Some(free.checked_div(self.stride)? + 1)
        };
        let Some((height, width)) = out(x.height).zip(out(x.width)) else {
            let reach = reach.map_or("any".to_string(), |r| format!("{r}x{r}"));
            return Err(Error::shape(
                "conv",
                format!("an input of at least {reach} with its padding, kernel and stride above 0"),
                format!("{}x{} with padding {}", x.height, x.width, self.padding),
            ));
        };
        Ok(Extent::new(self.channels, height, width))
    }
}

/// A convolution with its parameters, see [`crate::ops::conv2d`].
#[derive(Clone, Debug)]
pub struct Convolution {
    conv: Conv,
    inputs: usize,
    weight: ParamId,
    bias: Option<ParamId>,
}

impl Convolution {
    /// Kernel, stride, padding, groups; `bias` says whether there is one.
    pub fn settings(&self) -> Conv {
        self.conv
    }

    /// Input channels, of all groups.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    fn on(&self, ids: &[ParamId]) -> Option<Convolution> {
        let (&weight, bias) = ids.split_first()?;
        let bias = match bias {
            [] => None,
            [bias] => Some(*bias),
            _ => return None,
        };
        let conv = Conv {
            bias: bias.is_some(),
            ..self.conv
        };
        Some(Convolution {
            conv,
            inputs: self.inputs,
            weight,
            bias,
        })
    }

    fn shape(&self, batch: usize, x: Extent) -> ConvShape {
        let Conv {
            channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            ..
        } = self.conv;
        ConvShape {
            batch,
            in_h: x.height,
            in_w: x.width,
            in_channels: x.channels,
            out_channels: channels,
            kernel: (kernel, kernel),
            stride,
            padding,
            dilation,
            groups,
        }
    }

    fn weight_grad(&self, cx: &mut BackwardPass, shape: &ConvShape) -> Result<()> {
        let start = Instant::now();
        let x = ConvInput::new(cx.input(0), cx.fused());
        let mut dw = cx.take(cx.params().value(self.weight).elements())?;
        let mut db = match self.bias {
            Some(_) => Some(cx.take(self.conv.channels)?),
            None => None,
        };
        let dy = cx.take_dy()?;
        match cx.frozen() {
            Some(mask) => {
                dev().conv2d_grad_weight_masked(shape, x, &dy, mask, &mut dw, db.as_mut())?
            }
            None => dev().conv2d_grad_weight(shape, x, &dy, &mut dw, db.as_mut())?,
        }
        cx.put_dy(dy);
        cx.give_weight_grad(self.weight, dw)?;
        if let (Some(bias), Some(db)) = (self.bias, db) {
            cx.give_param_grad(bias, db)?;
        }
        cx.count_weight_time(start);
        Ok(())
    }
}

impl Layer for Convolution {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("conv", inputs)?;
        self.conv.extent(self.inputs, *x)
    }

    fn parameters(&self) -> Vec<ParamId> {
        std::iter::once(self.weight).chain(self.bias).collect()
    }

    fn weight(&self) -> Option<ParamId> {
        Some(self.weight)
    }

    fn bias(&self) -> Option<ParamId> {
        self.bias
    }

    fn with_parameters(&self, ids: &[ParamId]) -> Option<Arc<dyn Layer>> {
        Some(Arc::new(self.on(ids)?))
    }

    fn fuses(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[Extent]) -> usize {
        inputs.first().map_or(0, |x| self.shape(1, *x).macs())
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        let x = ConvInput::new(cx.input(0), cx.fused());
        let (params, weight, y) = cx.parts();
        let w = weight.unwrap_or_else(|| params.value(self.weight));
        let bias = self.bias.map(|b| params.value(b));
        dev().conv2d_forward(&shape, x, w, bias, y)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        if cx.wants_params() {
            self.weight_grad(cx, &shape)?;
        }
        let x = ConvInput::new(cx.input(0), cx.fused());
        let params = cx.params();
        let w = cx.weight().unwrap_or_else(|| params.value(self.weight));
        let bounds = match cx.take_dx(0)? {
            Some((mut dx, accumulate)) => {
                let to = GradTo::new(&mut dx, accumulate);
                let bounds = dev().conv2d_grad_input(&shape, cx.dy()?, w, x, to)?;
                cx.put_dx(0, dx);
                bounds
            }
            // The gradients of a quantiser's bounds come out of the pass over the input.
            None if x.quant.is_some() && cx.wants_params() => {
                dev().conv2d_grad_input(&shape, cx.dy()?, w, x, GradTo::Nowhere)?
            }
            None => None,
        };
        if let Some(bounds) = bounds {
            cx.give_fused_grad(bounds);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let Conv {
            kernel,
            stride,
            groups,
            ..
        } = self.conv;
        let mut text = format!("conv {kernel}x{kernel}");
        if stride > 1 {
            text += &format!(", stride {stride}");
        }
        if groups > 1 {
            text += &format!(", {groups} groups");
        }
        text
    }
}

/// A linear layer: `y = W x + b` on inputs of height and width 1.
#[derive(Clone, Debug)]
pub struct Linear(Convolution);

impl Linear {
    /// The same as a 1x1 convolution.
    pub fn as_convolution(&self) -> &Convolution {
        &self.0
    }

    /// The layer, with parameters `NAME.weight` of `(outputs, inputs)` and perhaps `NAME.bias`, uniform in
    /// `±1/sqrt(inputs)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the input still has height or width.
    pub fn new(
        b: &mut NetBuilder,
        name: &str,
        input: Extent,
        outputs: usize,
        bias: bool,
    ) -> Result<Linear> {
        let inputs = input.channels;
        let conv = Conv {
            padding: 0,
            bias,
            ..Conv::new(outputs).kernel(1)
        };
        check_vector(input).map_err(|e| e.in_layer(name))?;
        conv.extent(inputs, input).map_err(|e| e.in_layer(name))?;
        let limit = 1.0 / (inputs as f32).sqrt();
        let rng = b.rng();
        let dims = [outputs, inputs];
        let mut weights = room("weights", &dims).map_err(|e| e.in_layer(name))?;
        weights.extend((0..outputs * inputs).map(|_| rng.random_range(-limit..=limit)));
        let count = if bias { outputs } else { 0 };
        let biases = (0..count)
            .map(|_| rng.random_range(-limit..=limit))
            .collect();
        let weight = b.param(&format!("{name}.weight"), &dims, Role::Weight, weights)?;
        let bias = match bias {
            true => Some(b.param(&format!("{name}.bias"), &[outputs], Role::Bias, biases)?),
            false => None,
        };
        Ok(Linear(Convolution {
            conv,
            inputs,
            weight,
            bias,
        }))
    }
}

fn check_vector(x: Extent) -> Result<()> {
    if (x.height, x.width) == (1, 1) {
        return Ok(());
    }
    Err(Error::shape(
        "linear",
        "an input of height and width 1 (use global_avg_pool or flatten before it)",
        x,
    ))
}

impl Layer for Linear {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("linear", inputs)?;
        check_vector(*x)?;
        self.0.extent(inputs)
    }

    fn parameters(&self) -> Vec<ParamId> {
        self.0.parameters()
    }

    fn weight(&self) -> Option<ParamId> {
        self.0.weight()
    }

    fn bias(&self) -> Option<ParamId> {
        self.0.bias
    }

    fn with_parameters(&self, ids: &[ParamId]) -> Option<Arc<dyn Layer>> {
        Some(Arc::new(Linear(self.0.on(ids)?)))
    }

    fn fuses(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[Extent]) -> usize {
        self.0.macs(inputs)
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        self.0.forward(cx)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        self.0.backward(cx)
    }

    fn describe(&self) -> String {
        "linear".into()
    }
}
