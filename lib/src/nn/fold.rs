//! Batch norms folded into the layers before them.

use std::sync::Arc;

use super::builder::NetBuilder;
use super::graph::NodeInfo;
use super::layer::Layer;
use super::layers::{Act, Add, BatchNorm};
use super::net::Net;
use super::param::{Param, ParamId, Role};
use crate::{Error, Result, rng};

impl Net {
    /// The network without batch norms: each is folded into the convolution or linear layer that it reads. What follows a
    /// norm, its activation and the sum with a second input, stays under the norm's name, so that every node of this
    /// network is one of the folded one.
    ///
    /// For the norm `y = g (z - m) / sqrt(v + e) + b` of `z = W x + c`, by output channel:
    ///
    /// ```text
    /// W' = g / sqrt(v + e) W        c' = g / sqrt(v + e) (c - m) + b
    /// ```
    ///
    /// so that inference gives the same numbers but for rounding. The parameters are the folded network's own.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let folded = net.folded()?;
    /// assert!(folded.norms().is_empty() && folded.parameter("layer1.0.conv1.bias").is_ok());
    /// let x = images(2, 3, 32, 32, &mut rng(1));
    /// let error = (net.predict(&x)? - folded.predict(&x)?).abs().max::<(), _>();
    /// assert!(error.array() < 1e-4);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`], with the name, for a batch norm that reads neither a convolution nor a linear layer, or one
    /// whose output something else reads too; for a layer with parameters that does not offer
    /// [`Layer::with_parameters`]; and for a network that is quantised already.
    pub fn folded(&self) -> Result<Net> {
        if let Some(placed) = self.quantisers().first() {
            return Err(Error::invalid(
                format!("layer {}: its quantiser", placed.layer),
                "would see other numbers once the batch norms are folded; fold first, then quantise",
            ));
        }
        let (nodes, params, output) = (self.nodes(), self.parameters(), self.output_node());
        let norms = norms_by_source(&nodes, output)?;
        let input = nodes[0].extent;
        let b = NetBuilder::new(input.channels, input.height, input.width, rng(0));
        let mut copy = Copy { b, params };
        for node in &nodes {
            let Some(layer) = node.layer() else {
                if node.node > 0 {
                    copy.b.input_of(&node.name, node.extent)?;
                }
                continue;
            };
            let layer = match (&norms[node.node], node.layer_as::<BatchNorm>()) {
                (Some(norm), _) => copy.fold(node, layer.as_ref(), &nodes[*norm])?,
                (None, Some(norm)) => behind(node, norm),
                (None, None) => copy.moved(node, layer)?,
            };
            copy.b.shared_layer(&node.name, &node.reads, layer)?;
        }
        let folded = copy.b.build(output)?;
        Ok(match self.frozen {
            true => folded.frozen(),
            false => folded,
        })
    }
}

/// By node: the norm that is folded into it.
fn norms_by_source(nodes: &[NodeInfo], output: usize) -> Result<Vec<Option<usize>>> {
    let mut found = vec![None; nodes.len()];
    for node in nodes {
        if node.layer_as::<BatchNorm>().is_none() {
            continue;
        }
        let source = &nodes[node.reads[0]];
        let refuse = |why: String| Err(Error::invalid(format!("batch norm {}", node.name), why));
        if source.layer().and_then(|l| l.weight()).is_none() {
            return refuse(format!(
                "reads {}, which has no weight that it could be folded into",
                source.name
            ));
        }
        let readers = nodes.iter().flat_map(|n| &n.reads);
        let readers = readers.filter(|&&read| read == source.node).count();
        if readers > 1 || source.node == output {
            return refuse(format!(
                "cannot be folded into {}, whose output something else reads too",
                source.name
            ));
        }
        found[source.node] = Some(node.node);
    }
    Ok(found)
}

/// What is left of a norm.
fn behind(node: &NodeInfo, norm: &BatchNorm) -> Arc<dyn Layer> {
    match node.reads.len() {
        1 => Arc::new(Act(norm.settings().act)),
        _ => Arc::new(Add(norm.settings().act)),
    }
}

struct Copy {
    b: NetBuilder,
    /// Those of the network that is copied.
    params: Vec<Param>,
}

impl Copy {
    fn param(&mut self, param: &Param, values: Vec<f32>) -> Result<ParamId> {
        self.b.param(&param.name, &param.dims, param.role, values)
    }

    /// The layer on copies of its parameters.
    fn moved(&mut self, node: &NodeInfo, layer: &Arc<dyn Layer>) -> Result<Arc<dyn Layer>> {
        let own = layer.parameters();
        if own.is_empty() {
            return Ok(layer.clone());
        }
        let mut ids = Vec::with_capacity(own.len());
        for id in own {
            let param = self.params[id].clone();
            ids.push(self.param(&param, param.to_vec())?);
        }
        layer.with_parameters(&ids).ok_or_else(|| not_offered(node))
    }

    /// The layer with the norm behind it in its weight and bias.
    fn fold(
        &mut self,
        node: &NodeInfo,
        layer: &dyn Layer,
        norm: &NodeInfo,
    ) -> Result<Arc<dyn Layer>> {
        let (Some(weight), Some(of), Some(statistics)) = (
            layer.weight(),
            norm.layer_as::<BatchNorm>(),
            norm.layer().and_then(|l| l.statistics()),
        ) else {
            return Err(not_offered(node));
        };
        let of_id = |id: ParamId| self.params[id].to_vec();
        let (mean, var) = (of_id(statistics.mean), of_id(statistics.var));
        let (gamma, beta) = match of.scale_shift() {
            Some((gamma, beta)) => (of_id(gamma), of_id(beta)),
            None => (vec![1.0; mean.len()], vec![0.0; mean.len()]),
        };
        let scale =
            |o: usize| f64::from(gamma[o]) / (f64::from(var[o]) + f64::from(statistics.eps)).sqrt();
        let weight = self.params[weight].clone();
        let row = (weight.len() / mean.len()).max(1);
        let weights = weight.to_vec();
        let scaled = weights.iter().enumerate();
        let scaled = scaled.map(|(i, w)| (scale(i / row) * f64::from(*w)) as f32);
        let bias = match layer.bias() {
            Some(id) => self.params[id].clone(),
            None => Param::new(
                format!("{}.bias", node.name),
                vec![mean.len()],
                Role::Bias,
                vec![0.0; mean.len()],
            )?,
        };
        let shifted = bias.to_vec().into_iter().enumerate().map(|(o, c)| {
            let centred = f64::from(c) - f64::from(mean[o]);
            (scale(o) * centred + f64::from(beta[o])) as f32
        });
        let (scaled, shifted) = (scaled.collect(), shifted.collect());
        let ids = [self.param(&weight, scaled)?, self.param(&bias, shifted)?];
        layer.with_parameters(&ids).ok_or_else(|| not_offered(node))
    }
}

fn not_offered(node: &NodeInfo) -> Error {
    Error::invalid(
        format!("layer {}", node.name),
        "cannot be had on other parameters; implement Layer::with_parameters for it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::nn::{
        Conv, MobilenetConfig, Norm, Slots, mobilenet_v2_with, pretrained_resnet20, resnet20,
    };
    use crate::ops::assert_close;
    use crate::ops::relu::Activation;
    use crate::{Images, from_vec, images, read};

    fn same(net: &Net, x: &Images) -> Result<()> {
        let (a, b) = (read(&net.predict(x)?), read(&net.folded()?.predict(x)?));
        let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0);
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-4 * largest, "{a} and {b} of {largest}");
        }
        Ok(())
    }

    #[test]
    fn literal_weights_and_biases() -> Result<()> {
        // One channel to two; g = [2, -1], b = [0.5, 3], m = [1, 0], v + e = [4, 0.25].
        let net = net((1, 1, 2), |b, x| {
            let x = b.conv("conv", x, Conv::new(2).kernel(1))?;
            b.norm_with("bn", &[x], Norm::new(Activation::Relu).eps(0.0))
        })?;
        net.set_parameter("conv.weight", &[3.0, 0.5])?;
        net.set_parameter("bn.weight", &[2.0, -1.0])?;
        net.set_parameter("bn.bias", &[0.5, 3.0])?;
        net.set_parameter("bn.running_mean", &[1.0, 0.0])?;
        net.set_parameter("bn.running_var", &[4.0, 0.25])?;
        let folded = net.folded()?;
        assert_eq!(folded.parameter("conv.weight")?.to_vec(), [3.0, -1.0]);
        assert_eq!(folded.parameter("conv.bias")?.to_vec(), [-0.5, 3.0]);
        assert_eq!(folded.parameters().len(), 2);
        let x = from_vec(vec![1.0, -2.0], (1, 1, 1, 2))?;
        assert_close(
            &read(&folded.predict_images(&x)?),
            &[2.5, 0.0, 2.0, 5.0],
            1e-6,
        );
        Ok(())
    }

    #[test]
    fn trained_and_random_networks_give_the_same_logits() -> Result<()> {
        same(&pretrained_resnet20()?, &images(8, 3, 32, 32, &mut rng(1)))?;
        let config = MobilenetConfig {
            size: 32,
            classes: 10,
            width: 0.35,
            stem_stride: 1,
            sites: true,
        };
        let net = mobilenet_v2_with(&config, rng(2))?;
        // Running statistics that are not those of the start.
        net.calibrate(&images(8, 3, 32, 32, &mut rng(3)))?;
        same(&net, &images(4, 3, 32, 32, &mut rng(4)))
    }

    #[test]
    fn biases_and_norms_without_scale_fold_too() -> Result<()> {
        let net = net((2, 4, 4), |b, x| {
            let conv = b.conv("conv", x, Conv::new(3).with_bias())?;
            let norm = Norm::new(Activation::Relu6).without_affine();
            let x = b.norm_with("bn", &[conv], norm)?;
            let x = b.prelu("prelu", x)?;
            let x = b.global_avg_pool(x)?;
            let x = b.linear("fc", x, 4)?;
            b.norm("last", x, Activation::None)
        })?;
        net.calibrate(&images(6, 2, 4, 4, &mut rng(5)))?;
        net.set_parameter("conv.bias", &[0.5, -1.0, 2.0])?;
        same(&net, &images(3, 2, 4, 4, &mut rng(6)))
    }

    #[test]
    fn what_cannot_be_folded_is_named() -> Result<()> {
        let refuse = |net: Net| net.folded().map(|_| ()).unwrap_err().to_string();
        let before = net((2, 4, 4), |b, x| {
            let x = b.norm("first", x, Activation::Relu)?;
            b.conv("conv", x, Conv::new(2))
        })?;
        let error = refuse(before);
        assert!(error.contains("batch norm first"), "{error}");
        let two = net((2, 4, 4), |b, x| {
            let conv = b.conv("conv", x, Conv::new(2))?;
            let x = b.norm("bn", conv, Activation::Relu)?;
            b.add("sum", x, conv, Activation::None)
        })?;
        let error = refuse(two);
        assert!(
            error.contains("batch norm bn")
                && error.contains("conv")
                && error.contains("reads too"),
            "{error}"
        );
        let quantised = resnet20(10, rng(0));
        quantised.quantise(|_| Ok(Slots::bits(4)))?;
        let error = refuse(quantised);
        assert!(
            error.contains("layer conv1") && error.contains("fold first"),
            "{error}"
        );
        Ok(())
    }
}
