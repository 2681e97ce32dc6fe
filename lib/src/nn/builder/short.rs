//! The short names of layers that compute with values; those that move them stand in `spatial`.

use super::NetBuilder;
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::nn::graph::NodeId;
use crate::nn::layers::{
    Act, Add, Affine, Conv, Elementwise, Embedding, Identity, Linear, Modulate, Norm, Prelu,
    Product,
};
use crate::nn::param::Role;
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;

/// Layers by name: each method takes the node to read and returns the new one.
impl NetBuilder {
    /// Convolution; weights start as [`Conv::init`] says.
    ///
    /// # Errors
    /// [`Error::Shape`] when the window does not fit or the groups do not divide the channels.
    pub fn conv(&mut self, name: &str, from: NodeId, conv: Conv) -> Result<NodeId> {
        let extent = self.extent(from)?;
        let layer = conv.layer(self, name, extent)?;
        self.layer(name, &[from], layer)
    }

    /// Linear layer with bias on a node of height and width 1; weights and bias uniform in `±1/sqrt(in)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the node still has height or width: pool or flatten it first.
    pub fn linear(&mut self, name: &str, from: NodeId, out: usize) -> Result<NodeId> {
        self.linear_with(name, from, out, true)
    }

    /// [`linear`](Self::linear) with or without a bias.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    pub fn linear_with(
        &mut self,
        name: &str,
        from: NodeId,
        out: usize,
        bias: bool,
    ) -> Result<NodeId> {
        let extent = self.extent(from)?;
        let layer = Linear::new(self, name, extent, out, bias)?;
        self.layer(name, &[from], layer)
    }

    /// Batch norm followed by `act`; [`norm_with`](Self::norm_with) has more settings.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn norm(&mut self, name: &str, from: NodeId, act: Activation) -> Result<NodeId> {
        self.norm_with(name, &[from], Norm::new(act))
    }

    /// `act(batch_norm(from) + other)`: the end of a residual block in one pass.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn norm_add(
        &mut self,
        name: &str,
        from: NodeId,
        other: NodeId,
        act: Activation,
    ) -> Result<NodeId> {
        self.norm_with(name, &[from, other], Norm::new(act))
    }

    /// Batch norm with settings of its own; a second input is added before the activation.
    ///
    /// # Errors
    /// As [`layer`](Self::layer), and [`Norm::layer`].
    pub fn norm_with(&mut self, name: &str, inputs: &[NodeId], norm: Norm) -> Result<NodeId> {
        let from = inputs.first().copied().unwrap_or(0);
        let channels = self.extent(from)?.channels;
        let layer = norm.layer(self, name, channels)?;
        self.layer(name, inputs, layer)
    }

    /// `act(from + other)`.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn add(
        &mut self,
        name: &str,
        from: NodeId,
        other: NodeId,
        act: Activation,
    ) -> Result<NodeId> {
        self.layer(name, &[from, other], Add(act))
    }

    /// Activation alone.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn activation(&mut self, name: &str, from: NodeId, act: Activation) -> Result<NodeId> {
        self.layer(name, &[from], Act(act))
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
        let offset = offset.into();
        self.layer(name, &[from], Affine { scale, offset })
    }

    /// Rectifier whose slope below zero is trained, one for all channels, from 1/4.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn prelu(&mut self, name: &str, from: NodeId) -> Result<NodeId> {
        let slope = self.scalar(&format!("{name}.weight"), Role::Slope, 0.25)?;
        self.layer(name, &[from], Prelu { slope })
    }

    /// A place for an activation quantiser, if the builder makes them (see [`with_sites`](Self::with_sites)).
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn site(&mut self, name: &str, from: NodeId) -> Result<NodeId> {
        match self.sites {
            true => self.layer(name, &[from], Identity),
            false => Ok(from),
        }
    }

    /// `from` where it is positive, else `slope from`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a slope outside `[0, 1]`.
    pub fn leaky_relu(&mut self, name: &str, from: NodeId, slope: f32) -> Result<NodeId> {
        self.layer(name, &[from], Elementwise(Function::LeakyRelu(slope)))
    }

    /// The hyperbolic tangent.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn tanh(&mut self, name: &str, from: NodeId) -> Result<NodeId> {
        self.layer(name, &[from], Elementwise(Function::Tanh))
    }

    /// `1 / (1 + e^-from)`.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn sigmoid(&mut self, name: &str, from: NodeId) -> Result<NodeId> {
        self.layer(name, &[from], Elementwise(Function::Sigmoid))
    }

    /// `from other`, element by element.
    ///
    /// # Errors
    /// [`Error::Shape`] for nodes of different extents.
    pub fn product(&mut self, name: &str, from: NodeId, other: NodeId) -> Result<NodeId> {
        self.layer(name, &[from, other], Product)
    }

    /// Rows of a trained table, `NAME.weight`, chosen by a node of one channel that holds class indices.
    ///
    /// # Errors
    /// [`Error::Shape`] for a node of more channels, [`Error::Invalid`] for an empty table. An index that is no row ends
    /// the pass with an error.
    pub fn embedding(&mut self, name: &str, from: NodeId, table: Embedding) -> Result<NodeId> {
        let layer = table.layer(self, name)?;
        self.layer(name, &[from], layer)
    }

    /// `scale from + shift`, with one scale and one shift for each channel of each sample: conditional batch norm, behind
    /// a norm without scale and shift of its own.
    ///
    /// ```
    /// use rebit::nn::Norm;
    /// use rebit::nn::layers::Embedding;
    /// use rebit::prelude::*;
    /// let mut b = NetBuilder::new(8, 4, 4, rng(0));
    /// let class = b.input_of("class", Extent::vector(1))?;
    /// let x = b.norm_with("norm", &[b.input()], Norm::new(Activation::None).without_affine())?;
    /// let scale = b.embedding("scale", class, Embedding::new(10, 8).constant(1.0))?;
    /// let shift = b.embedding("shift", class, Embedding::new(10, 8).constant(0.0))?;
    /// let x = b.modulate("conditional", x, scale, shift)?;
    /// let net = b.build(x)?;
    /// let classes = from_vec(vec![3.0, 7.0], (2, 1, 1, 1))?;
    /// let y = net.run_many(&[&images(2, 8, 4, 4, &mut rng(1)), &classes], Mode::Train)?.output()?;
    /// assert_eq!(y.shape(), &(2, 8, 4, 4));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless scale and shift are vectors of as many channels.
    pub fn modulate(
        &mut self,
        name: &str,
        from: NodeId,
        scale: NodeId,
        shift: NodeId,
    ) -> Result<NodeId> {
        self.layer(name, &[from, scale, shift], Modulate)
    }
}
