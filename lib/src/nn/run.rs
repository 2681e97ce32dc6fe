//! Running a network on tensors: as one operation on a tape, or without gradients.

use dfdx::prelude::HasShape;

use super::Mode;
use super::activations::activation;
use super::exec::Inner;
use super::extent::Extent;
use super::graph::{Graph, NodeId};
use super::net::Net;
use crate::{Buffer, Error, HostAccess, Images, Matrix, Result, Taped, from_vec, read};

impl Net {
    /// Logits of a batch, in inference mode, without gradients: `(N, C, H, W)` to `(N, classes)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the batch does not fit the network or the network does not end in a vector.
    pub fn predict(&self, x: &Images) -> Result<Matrix> {
        self.check_size(x)?;
        vector(self.output_extent())?;
        let mut inner = self.lock();
        let input = inner.images(x)?;
        inner.logits(input)
    }

    /// [`predict`](Self::predict) of samples in `(N, H, W, C)` order, as [`crate::data::Epoch::fill`] gives them.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_channels_last(&self, x: &[f32], extent: Extent) -> Result<Matrix> {
        vector(self.output_extent())?;
        let mut inner = self.lock();
        let input = inner.input(x, extent)?;
        inner.logits(input)
    }

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
        let mut outputs = self.predict_nodes(&[x], &[])?;
        outputs
            .pop()
            .ok_or_else(|| Error::invalid("predict_images", "the network has no output"))
    }

    /// Activations of named nodes, in inference mode, without gradients; without names, that of the output.
    ///
    /// # Errors
    /// As [`predict_images`](Self::predict_images); [`Error::Invalid`] for a name that is not in the network.
    pub fn predict_nodes(&self, inputs: &[&Images], names: &[&str]) -> Result<Vec<Images>> {
        let mut inner = self.lock();
        let nodes = find(&inner.graph, names)?;
        let x = inputs.iter().map(|x| inner.images(x));
        let x = x.collect::<Result<Vec<_>>>()?;
        let mut pass = inner.forward(x, Mode::Eval, false, &nodes)?;
        let values = nodes.iter().map(|&n| activation(&pass, n)).collect();
        pass.release(&mut inner.pool);
        values
    }

    /// [`predict_nodes`](Self::predict_nodes) as matrices, a sample a row: logits and features of a network with several
    /// inputs or outputs.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let x = images(2, 3, 32, 32, &mut rng(1));
    /// let found = net.predict_matrices(&[&x], &["global_avg_pool", "fc"])?;
    /// assert_eq!((*found[0].shape(), *found[1].shape()), ((2, 64), (2, 10)));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`predict_nodes`](Self::predict_nodes); [`Error::Shape`] for a node that still has height or width.
    pub fn predict_matrices(&self, inputs: &[&Images], names: &[&str]) -> Result<Vec<Matrix>> {
        let found = self.predict_nodes(inputs, names)?.into_iter();
        let matrix = |y: Images| {
            let (n, c, h, w) = *y.shape();
            vector(Extent::new(c, h, w))?;
            from_vec(read(&y), (n, c))
        };
        found.map(matrix).collect()
    }

    /// The network as one operation on a tape: gradients of the input and of every trainable parameter
    /// (by [`super::Param::value`]) are there after `backward`.
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
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn forward(&self, x: Images<Taped>, mode: Mode) -> Result<Matrix<Taped>> {
        self.check_size(&x)?;
        vector(self.output_extent())?;
        self.trace_on(x, mode)?.logits()
    }

    /// [`Net::forward`] of a network from images to images: one operation on the tape.
    ///
    /// # Errors
    /// As [`predict_images`](Self::predict_images).
    pub fn forward_images(&self, x: Images<Taped>, mode: Mode) -> Result<Images<Taped>> {
        self.trace_on(x, mode)?.output()
    }

    /// Sets the ranges of fresh quantisers from one batch, in training mode and in the order of the layers, as the LTS
    /// code does before its first epoch: running statistics move too, weights do not. Without it, the first training
    /// batch does this on its way.
    ///
    /// # Errors
    /// [`Error::Shape`] for a batch that does not fit, [`Error::Invalid`] for a layer whose weights or inputs
    /// are all alike.
    pub fn calibrate(&self, x: &Images) -> Result<()> {
        let mut inner = self.lock();
        let input = inner.images(x)?;
        let mut pass = inner.forward(vec![input], Mode::Train, false, &[])?;
        pass.release(&mut inner.pool);
        Ok(())
    }

    /// Refuses images of another size than the network was built for.
    pub(crate) fn check_size<T>(&self, x: &Images<T>) -> Result<()> {
        let (n, c, h, w) = *x.shape();
        let Extent {
            channels,
            height,
            width,
        } = self.input_extent();
        if (channels, height, width) == (c, h, w) {
            return Ok(());
        }
        Err(Error::shape(
            "forward",
            format!("images (N, {channels}, {height}, {width})"),
            format!("({n}, {c}, {h}, {w})"),
        ))
    }
}

impl Inner {
    fn logits(&mut self, input: (Buffer, Extent)) -> Result<Matrix> {
        let output = self.graph.output;
        let mut pass = self.forward(vec![input], Mode::Eval, false, &[])?;
        let logits = pass.activation(output)?.view()?.into_owned();
        let shape = (pass.batch, pass.extents[output].channels);
        pass.release(&mut self.pool);
        from_vec(logits, shape)
    }
}

fn vector(extent: Extent) -> Result<()> {
    match extent.pixels() {
        1 => Ok(()),
        _ => Err(Error::shape("logits", "a node that is a vector", extent)),
    }
}

/// Nodes by name; without names, the output.
pub(super) fn find(graph: &Graph, names: &[&str]) -> Result<Vec<NodeId>> {
    if names.is_empty() {
        return Ok(vec![graph.output]);
    }
    names.iter().map(|name| graph.find(name)).collect()
}
