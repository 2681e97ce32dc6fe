//! What a node of a network computes: the trait that built-in layers and those of a cell implement alike.
//!
//! A layer holds its configuration and the ids of its parameters; the numbers, buffers and order of execution are the
//! network's. Buffers are `(samples, height, width, channels)`.

mod backward;
mod forward;
mod inputs;

pub use backward::BackwardPass;
pub use forward::ForwardPass;
pub(crate) use forward::forward_alone;
pub use inputs::LayerInputs;

use std::any::Any;
use std::sync::Arc;

use super::extent::Extent;
use super::param::ParamId;
use crate::Result;

/// What a layer or quantiser keeps from its forward pass for its backward pass.
pub type Memo = Box<dyn Any + Send>;

/// Running statistics of a batch norm, and what it adds to the variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Running mean.
    pub mean: ParamId,
    /// Running variance.
    pub var: ParamId,
    /// What is added to a variance before its root is taken.
    pub eps: f32,
}

/// One step of a network, with its gradient.
///
/// ```
/// use rebit::nn::{BackwardPass, Extent, ForwardPass, Layer, NetBuilder, ParamId, Role};
/// use rebit::prelude::*;
///
/// /// `x * sigmoid(beta x)`, beta trained.
/// struct Swish {
///     beta: ParamId,
/// }
///
/// fn sigmoid(x: f32) -> f32 {
///     1.0 / (1.0 + (-x).exp())
/// }
///
/// impl Layer for Swish {
///     fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
///         Ok(inputs[0])
///     }
///     fn parameters(&self) -> Vec<ParamId> {
///         vec![self.beta]
///     }
///     fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
///         let beta = cx.params().one(self.beta)?;
///         cx.map(|x| x * sigmoid(beta * x))
///     }
///     fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
///         let beta = cx.params().one(self.beta)?;
///         let slope = |x: f32| { let s = sigmoid(beta * x); s * (1.0 - s) };
///         cx.map_grad(|x, dy| dy * (sigmoid(beta * x) + beta * x * slope(x)))?;
///         let dbeta = cx.sum(|x, dy| dy * x * x * slope(x))?;
///         cx.add_param_grad(self.beta, &[dbeta])
///     }
/// }
///
/// let mut b = NetBuilder::new(3, 8, 8, rng(1));
/// let x = b.input();
/// let x = b.conv("conv1", x, Conv::new(16))?;
/// let beta = b.scalar("swish.beta", Role::Weight, 1.0)?;
/// let x = b.layer("swish", &[x], Swish { beta })?;
/// let x = b.global_avg_pool(x)?;
/// let net = b.build(x)?;
/// let worst = rebit::nn::check_gradients(&net, &images(2, 3, 8, 8, &mut rng(2)))?;
/// assert!(worst.error < 0.02, "{worst}");
/// # Ok::<(), Error>(())
/// ```
pub trait Layer: Any + Send + Sync {
    /// The output's extent for inputs of these extents: the one place that knows the layer's geometry.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for inputs that the layer does not take; the network adds the node's name.
    fn extent(&self, inputs: &[Extent]) -> Result<Extent>;

    /// Parameters that the layer reads, and gives gradients of where they are trained.
    fn parameters(&self) -> Vec<ParamId>;

    /// Fills the output.
    ///
    /// # Errors
    /// Whatever its kernels return; the network adds the node's name.
    fn forward(&self, cx: &mut ForwardPass) -> Result<()>;

    /// Turns the gradient of the output into those of inputs and parameters.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn backward(&self, cx: &mut BackwardPass) -> Result<()>;

    /// The parameter that a weight quantiser may stand before; the layer then reads [`LayerInputs::weight`].
    fn weight(&self) -> Option<ParamId> {
        None
    }

    /// The parameter that is added to each output channel, of a layer with a [weight](Self::weight).
    fn bias(&self) -> Option<ParamId> {
        None
    }

    /// The same layer on other parameters, in the order of [`parameters`](Self::parameters), for a network that is made
    /// from another one. A layer with a weight and without a bias may take a bias behind them. `None` where the layer
    /// does not offer it; one without parameters need not.
    fn with_parameters(&self, _ids: &[ParamId]) -> Option<Arc<dyn Layer>> {
        None
    }

    /// Whether the layer can apply a quantiser while it reads its first input ([`LayerInputs::fused`]).
    fn fuses(&self) -> bool {
        false
    }

    /// Whether the output is the first input itself: a quantiser of that input then writes the output.
    fn is_identity(&self) -> bool {
        false
    }

    /// Multiply-accumulates of one sample.
    fn macs(&self, _inputs: &[Extent]) -> usize {
        0
    }

    /// Running statistics, for a batch norm.
    fn statistics(&self) -> Option<Statistics> {
        None
    }

    /// What the layer is, for tables.
    fn describe(&self) -> String {
        let name = std::any::type_name::<Self>();
        name.rsplit("::").next().unwrap_or(name).to_string()
    }
}
