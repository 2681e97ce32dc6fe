//! Loops of one's own: what optimisers own, and when.

use dfdx::prelude::*;

use super::*;
use crate::nn::{
    BackwardPass, Conv, Extent, ForwardPass, Layer, Mode, NetBuilder, ParamId, Role, Slots,
};
use crate::ops::cross_entropy::cross_entropy;
use crate::papers::lts::{self, LtsConfig, Threshold};
use crate::quant::Range;
use crate::{Images, images};

/// `x * sigmoid(beta x)`, beta trained.
struct Swish {
    beta: ParamId,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Layer for Swish {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        Ok(inputs[0])
    }
    fn parameters(&self) -> Vec<ParamId> {
        vec![self.beta]
    }
    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let beta = cx.params().one(self.beta)?;
        cx.map(|x| x * sigmoid(beta * x))
    }
    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let beta = cx.params().one(self.beta)?;
        let slope = |x: f32| sigmoid(beta * x) * (1.0 - sigmoid(beta * x));
        cx.map_grad(|x, dy| dy * (sigmoid(beta * x) + beta * x * slope(x)))?;
        let dbeta = cx.sum(|x, dy| dy * x * x * slope(x))?;
        cx.add_param_grad(self.beta, &[dbeta])
    }
}

fn swish_net() -> Result<Net> {
    let mut b = NetBuilder::new(3, 8, 8, rng(1));
    let x = b.conv("conv", b.input(), Conv::new(6).stride(2))?;
    let beta = b.scalar("swish.beta", Role::Slope, 1.0)?;
    let x = b.layer("swish", &[x], Swish { beta })?;
    let x = b.flatten(x)?;
    let x = b.linear("fc", x, 3)?;
    b.build(x)
}

fn batch(seed: u64) -> Images {
    images(12, 3, 8, 8, &mut rng(seed))
}

fn labels() -> Vec<usize> {
    (0..12).map(|i| i % 3).collect()
}

/// One step of a loop of one's own; the loss.
fn step(net: &Net, optimiser: &mut Groups, x: &Images) -> Result<f32> {
    let loss = cross_entropy(net.forward(x.leaky_trace(), Mode::Train)?, &labels());
    let value = crate::read(&loss)[0];
    optimiser.step(&mut loss.backward())?;
    Ok(value)
}

#[test]
fn a_layer_written_by_a_user_trains() -> Result<()> {
    let (net, x) = (swish_net()?, batch(2));
    let worst = crate::nn::check_gradients(&net, &x)?;
    assert!(worst.error < 0.01, "{worst}");
    let mut sgd = Sgd::new(0.2).momentum(0.9).over(&net)?;
    let first = step(&net, &mut sgd, &x)?;
    let mut last = first;
    for _ in 0..30 {
        last = step(&net, &mut sgd, &x)?;
    }
    assert!(last < 0.3 * first, "{last} after {first}");
    assert_ne!(net.parameter("swish.beta")?.to_vec(), [1.0]);
    Ok(())
}

#[test]
fn parameters_added_after_the_optimiser_was_made_are_trained() -> Result<()> {
    let (net, x) = (swish_net()?, batch(2));
    let mut adam = Adam::new(0.01).over(&net)?;
    step(&net, &mut adam, &x)?;
    net.quantise(|_| Ok(Slots::bits(4)))?;
    net.calibrate(&x)?;
    let bounds = || net.parameter("fc.act_bounds").map(|p| p.to_vec());
    let before = bounds()?;
    step(&net, &mut adam, &x)?;
    let after = bounds()?;
    assert!(
        before.iter().zip(&after).any(|(a, b)| a != b),
        "{before:?}, {after:?}"
    );
    Ok(())
}

#[test]
fn two_networks_and_two_passes_of_one_loss_are_all_moved() -> Result<()> {
    let (one, two) = (swish_net()?, swish_net()?.duplicate()?);
    let still = swish_net()?;
    let mut sgd = Sgd::new(0.1).over(&one)?.over(&two)?;
    let weight = |net: &Net| net.parameter("conv.weight").map(|p| p.to_vec());
    let before = weight(&still)?;
    let loss = |net: &Net, seed| -> Result<_> {
        let logits = net.run(&batch(seed), Mode::Train)?.logits()?;
        Ok(cross_entropy(logits, &labels()))
    };
    let total = loss(&one, 1)? + loss(&one, 2)? + loss(&two, 3)? + loss(&still, 4)?;
    sgd.step(&mut total.backward())?;
    assert_ne!(weight(&one)?, before);
    assert_ne!(weight(&two)?, before);
    assert_eq!(weight(&still)?, before, "an optimiser moves what it owns");
    // One step on the sum is what the gradients of both passes say.
    let alone = swish_net()?;
    let mut expected = before.clone();
    for seed in [1, 2] {
        let mut grads = loss(&alone, seed)?.backward();
        let param = alone.parameter("conv.weight")?;
        let gradient = grads.get_or_alloc_mut(&param.value)?.view()?.into_owned();
        expected
            .iter_mut()
            .zip(gradient)
            .for_each(|(w, g)| *w -= 0.1 * g);
    }
    crate::ops::assert_close(&weight(&one)?, &expected, 1e-5);
    Ok(())
}

#[test]
fn weights_that_lts_froze_stay_under_every_optimiser() -> Result<()> {
    type Make = fn(&Net) -> Result<Groups>;
    let optimisers: [(&str, Make); 3] = [
        ("SGD", |net| {
            Sgd::new(0.05).momentum(0.9).decay(0.1).over(net)
        }),
        ("Adam", |net| Adam::new(0.01).over(net)),
        ("groups", |net| {
            Ok(Adam::new(0.01)
                .over(net)?
                .group(Role::Bound, Sgd::new(1e-3)))
        }),
    ];
    for (name, make) in optimisers {
        let net = tiny_net(1);
        let config = LtsConfig {
            threshold: Threshold::Constant(0.3),
            warmup: 0.0,
            ema: 0.5,
            ..LtsConfig::default()
        };
        let mut lts = lts::quantise(&net, config)?;
        let mut optimiser = make(&net)?;
        let total = 12;
        for iteration in 0..total {
            let at = Step {
                iteration,
                total,
                per_epoch: total,
            };
            lts.before_step(at, &net)?;
            let loss = step(&net, &mut optimiser, &batch(iteration as u64))?;
            lts.after_step(at, &net, loss)?;
        }
        let (same, all) = lts.unmoved(&net)?;
        assert!(all > 100, "{name}: {all} froze");
        assert_eq!(same, all, "{name}");
        assert!(
            lts.frozen_share() < 1.0,
            "{name}: some must be left to move"
        );
    }
    Ok(())
}

#[test]
fn a_range_that_follows_the_data_is_no_business_of_an_optimiser() -> Result<()> {
    use crate::nn::Affine;
    let (net, x) = (swish_net()?, batch(2));
    let count = net.parameter_count();
    net.quantise(|_| {
        let weights = Slots::weights(Affine::bits(8).per_channel(), Range::MinMax.each_pass());
        Ok(weights.inputs(Affine::bits(8), Range::MinMax.ema(0.9)))
    })?;
    assert_eq!(net.parameter_count(), count, "nothing more to train");
    let mut sgd = Sgd::new(0.1).over(&net)?;
    let losses = (0..20)
        .map(|_| step(&net, &mut sgd, &x))
        .collect::<Result<Vec<_>>>()?;
    assert!(losses[19] < 0.7 * losses[0], "{losses:?}");
    Ok(())
}

#[test]
fn a_searched_range_loses_less_than_those_of_all_values_and_of_most() -> Result<()> {
    use crate::nn::Uniform;
    let lost = |range: Range| -> Result<f32> {
        let mut b = NetBuilder::new(3, 8, 8, rng(5));
        let y = b.conv("conv", b.input(), Conv::new(8))?;
        let net = b.build(y)?;
        let x = batch(4);
        let exact = crate::read(&net.predict_images(&x)?);
        net.quantise(|_| Ok(Slots::weights(Uniform::bits(2), range.each_pass())))?;
        let y = crate::read(&net.predict_images(&x)?);
        Ok(y.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum())
    };
    let searched = lost(Range::Mse)?;
    assert!(searched < lost(Range::MinMax)? && searched < lost(Range::Percentile(0.75))?);
    Ok(())
}
