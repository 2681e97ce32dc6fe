//! The check of gradients, and what it says of every built-in layer.

use crate::nn::layers::Embedding;
use crate::nn::*;
use crate::ops::relu::Activation;
use crate::ops::upsample::Upsample;
use crate::{Result, from_vec, images, rng};

/// Every built-in layer, each with a gradient to take and one to hand on.
fn every_layer() -> Result<Net> {
    let mut b = NetBuilder::new(3, 6, 8, rng(1)).with_sites(true);
    let class = b.input_of("class", Extent::vector(1))?;
    let x = b.affine("affine", b.input(), 0.8, vec![0.1, -0.2, 0.3])?;
    let first = b.conv("conv", x, Conv::new(4).with_bias())?;
    let x = b.prelu("prelu", first)?;
    let x = b.site("site", x)?;
    let x = b.conv("grouped", x, Conv::new(4).groups(2))?;
    let x = b.norm_add("norm_add", x, first, Activation::Relu)?;
    let x = b.norm_with(
        "plain",
        &[x],
        Norm::new(Activation::None).without_affine().eps(1e-2),
    )?;
    let scale = b.embedding("scale", class, Embedding::new(3, 4))?;
    let shift = b.embedding("shift", class, Embedding::new(3, 4))?;
    let x = b.modulate("modulate", x, scale, shift)?;
    let pool = b.max_pool(x, 2, 2, 0)?;
    let mean = b.avg_pool(x, (2, 2), (2, 2))?;
    let x = b.add("sum", pool, mean, Activation::Relu6)?;
    let x = b.activation("relu", x, Activation::Relu)?;
    let x = b.upsample(x, Upsample::Bilinear)?;
    let x = b.upsample(x, Upsample::Nearest(2))?;
    let x = b.conv("strided", x, Conv::new(8).stride(2))?;
    let x = b.pixel_shuffle("shuffle", x, 2)?;
    let x = b.layer(
        "pad",
        &[x],
        layers::PadChannels {
            before: 1,
            after: 1,
        },
    )?;
    let (low, high) = (b.slice("low", x, 0..3)?, b.slice("high", x, 1..4)?);
    let gate = b.sigmoid("sigmoid", low)?;
    let high = b.tanh("tanh", high)?;
    let x = b.product("product", gate, high)?;
    let x = b.leaky_relu("leaky", x, 0.1)?;
    let x = b.avg_pool(x, (3, 4), (3, 4))?;
    let x = b.reshape(x, Extent::new(4, 3, 4))?;
    let flat = b.flatten(x)?;
    let pooled = b.global_avg_pool(x)?;
    let x = b.concat("concat", &[flat, pooled])?;
    let x = b.linear_with("hidden", x, 5, false)?;
    let x = b.linear("fc", x, 3)?;
    b.build(x)
}

#[test]
fn gradients_of_every_built_in_layer_are_those_of_finite_differences() -> Result<()> {
    let (net, x) = (every_layer()?, images(4, 3, 6, 8, &mut rng(2)));
    let classes = from_vec(vec![2.0, 0.0, 1.0, 2.0], (4, 1, 1, 1))?;
    let before: Vec<Vec<f32>> = net.parameters().iter().map(Param::to_vec).collect();
    let worst = check_gradients_many(&net, &[&x, &classes])?;
    assert!(worst.error < 0.03, "{worst}");
    // 15 trained tensors and the images, up to five entries each, in two modes.
    assert!(worst.compared > 90, "{worst:?}");
    let after: Vec<Vec<f32>> = net.parameters().iter().map(Param::to_vec).collect();
    assert_eq!(before, after, "the network is left as it was");
    Ok(())
}

#[test]
fn gradients_of_residual_networks_are_those_of_finite_differences() -> Result<()> {
    for shortcut in [Shortcut::Projection, Shortcut::PadChannels] {
        let config = CifarResnetConfig {
            size: 8,
            widths: [4, 8, 8],
            blocks: 1,
            classes: 3,
            shortcut,
            ..CifarResnetConfig::default()
        };
        let net = cifar_resnet_with(&config, rng(1))?;
        let worst = check_gradients(&net, &images(4, 3, 8, 8, &mut rng(2)))?;
        assert!(worst.error < 0.03, "{shortcut:?} {worst}");
    }
    Ok(())
}

/// `x^3` whose gradient is that of `x^2` in its sign.
struct Wrong;

impl Layer for Wrong {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        Ok(inputs[0])
    }
    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }
    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        cx.map(|x| x * x * x)
    }
    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        cx.map_grad(|x, dy| 3.3 * x * x * dy)
    }
}

#[test]
fn a_wrong_gradient_is_found_with_its_name() -> Result<()> {
    let mut b = NetBuilder::new(2, 3, 3, rng(1));
    let x = b.conv("before", b.input(), Conv::new(2))?;
    let x = b.layer("wrong", &[x], Wrong)?;
    let net = b.build(x)?;
    let worst = check_gradients(&net, &images(2, 2, 3, 3, &mut rng(2)))?;
    assert!(
        (0.05..0.2).contains(&worst.error),
        "a tenth too much: {worst}"
    );
    let text = worst.to_string();
    let named = text.contains("before.weight[") || text.contains("input[");
    assert!(named && text.contains("finite differences"), "{text}");
    Ok(())
}
