//! Several inputs, outputs, passes and handles of one network.

use dfdx::prelude::*;

use crate::nn::*;
use crate::ops::assert_close;
use crate::ops::relu::Activation;
use crate::{Grads, Images, Result, from_vec, images, read, rng};

fn batch(seed: u64) -> Images {
    images(3, 2, 6, 6, &mut rng(seed))
}

/// A trunk with two heads, `left` and `right`.
fn two_heads() -> Result<Net> {
    let mut b = NetBuilder::new(2, 6, 6, rng(1));
    let x = b.conv("trunk", b.input(), Conv::new(4).with_bias())?;
    let x = b.tanh("act", x)?;
    let x = b.global_avg_pool(x)?;
    b.linear("left", x, 3)?;
    let y = b.linear("right", x, 2)?;
    b.build(y)
}

fn gradient(net: &Net, grads: &mut Grads, name: &str) -> Result<Vec<f32>> {
    use crate::HostAccess;
    let param = net.parameter(name)?;
    Ok(grads.get_or_alloc_mut(&param.value)?.view()?.into_owned())
}

#[test]
fn a_network_takes_several_inputs_and_gives_several_outputs() -> Result<()> {
    let mut b = NetBuilder::new(2, 6, 6, rng(1));
    let other = b.input_of("other", Extent::new(3, 6, 6))?;
    let both = b.concat("both", &[b.input(), other])?;
    let x = b.conv("conv", both, Conv::new(4))?;
    let pooled = b.global_avg_pool(x)?;
    let y = b.linear("fc", pooled, 2)?;
    let net = b.build(y)?;
    assert_eq!(net.input_names(), ["input", "other"]);
    let (x, other) = (batch(2), images(3, 3, 6, 6, &mut rng(3)));
    let mut run = net.trace_many(&[&x, &other], Mode::Eval)?;
    let (both, map, logits) = (run.images("both")?, run.images("conv")?, run.matrix("fc")?);
    let plain = net.predict_nodes(&[&x, &other], &["both", "conv"])?;
    assert_eq!((both.shape(), map.shape()), (&(3, 5, 6, 6), &(3, 4, 6, 6)));
    assert_eq!(
        (read(&both), read(&map)),
        (read(&plain[0]), read(&plain[1]))
    );
    // The loss uses both outputs; each input has a gradient.
    let grads = (logits.square().sum::<(), _>() + map.square().mean::<(), _>()).backward();
    for x in [&x, &other] {
        assert!(read(&grads.get(x)).iter().any(|g| *g != 0.0));
    }
    let worst = check_gradients_many(&net, &[&x, &other])?;
    assert!(worst.error < 0.01, "{worst}");
    let few = net.run(&x, Mode::Eval).err().map(|e| e.to_string());
    assert!(few.is_some_and(|e| e.contains("2 inputs")));
    let uneven = net.run_many(&[&x, &images(2, 3, 6, 6, &mut rng(3))], Mode::Eval);
    let uneven = uneven.err().map(|e| e.to_string());
    assert!(uneven.is_some_and(|e| e.contains("3 samples in every input")));
    Ok(())
}

#[test]
fn two_passes_in_one_loss_both_count() -> Result<()> {
    let net = two_heads()?;
    let loss = |x: &Images| -> Result<_> {
        Ok(net
            .run(x, Mode::Train)?
            .matrix("right")?
            .square()
            .sum::<(), _>())
    };
    let (mut one, mut two) = (loss(&batch(1))?.backward(), loss(&batch(2))?.backward());
    let mut both = (loss(&batch(1))? + loss(&batch(2))?).backward();
    for name in ["trunk.weight", "trunk.bias", "right.weight", "right.bias"] {
        let (one, two) = (
            gradient(&net, &mut one, name)?,
            gradient(&net, &mut two, name)?,
        );
        let sum: Vec<f32> = one.iter().zip(&two).map(|(a, b)| a + b).collect();
        assert!(two.iter().any(|g| g.abs() > 1e-4), "{name}");
        assert_close(&gradient(&net, &mut both, name)?, &sum, 1e-5);
    }
    Ok(())
}

#[test]
fn what_a_loss_does_not_visit_has_no_gradient_whatever_came_before() -> Result<()> {
    let (net, x) = (two_heads()?, batch(1));
    let head = |name: &str| -> Result<Grads> {
        let y = net.run(&x, Mode::Train)?.matrix(name)?;
        Ok(y.square().sum::<(), _>().backward())
    };
    let mut left = head("left")?;
    assert!(
        gradient(&net, &mut left, "left.weight")?
            .iter()
            .any(|g| *g != 0.0)
    );
    let mut right = head("right")?;
    assert!(
        gradient(&net, &mut right, "left.weight")?
            .iter()
            .all(|g| *g == 0.0)
    );
    assert!(
        gradient(&net, &mut right, "left.bias")?
            .iter()
            .all(|g| *g == 0.0)
    );
    assert!(
        gradient(&net, &mut right, "trunk.weight")?
            .iter()
            .any(|g| *g != 0.0)
    );
    Ok(())
}

#[test]
fn a_frozen_handle_computes_gradients_of_its_input_alone() -> Result<()> {
    let (net, x) = (two_heads()?, batch(1));
    let frozen = net.frozen();
    let gradients = |net: &Net| -> Result<Grads> {
        let y = net.trace(&x, Mode::Eval)?.matrix("right")?;
        Ok(y.square().sum::<(), _>().backward())
    };
    let (mut ours, mut all) = (gradients(&frozen)?, gradients(&net)?);
    assert_eq!(read(&ours.get(&x)), read(&all.get(&x)));
    for p in net.parameters() {
        let frozen = gradient(&net, &mut ours, &p.name)?;
        assert!(frozen.iter().all(|g| *g == 0.0), "{}", p.name);
    }
    assert!(
        gradient(&net, &mut all, "right.weight")?
            .iter()
            .any(|g| *g != 0.0)
    );
    Ok(())
}

#[test]
fn a_network_that_predicted_on_large_images_trains_at_its_own_size() -> Result<()> {
    let build = || -> Result<Net> {
        let mut b = NetBuilder::new(2, 6, 6, rng(1));
        let x = b.conv("conv", b.input(), Conv::new(4))?;
        let x = b.norm("norm", x, Activation::Relu)?;
        let x = b.conv("out", x, Conv::new(2))?;
        b.build(x)
    };
    let train = |net: &Net| -> Result<Vec<f32>> {
        let y = net.run(&batch(1), Mode::Train)?.output()?;
        let mut grads = y.square().sum::<(), _>().backward();
        gradient(net, &mut grads, "conv.weight")
    };
    let (net, fresh) = (build()?, build()?);
    let large = net.predict_images(&images(1, 2, 31, 17, &mut rng(2)))?;
    assert_eq!(large.shape(), &(1, 2, 31, 17));
    assert_eq!(net.input_extent(), Extent::new(2, 6, 6));
    assert_eq!(train(&net)?, train(&fresh)?);
    // A pass that waits for its backward pass is not disturbed by another size.
    let waiting = net.run(&batch(1), Mode::Eval)?.output()?;
    net.predict_images(&images(1, 2, 20, 20, &mut rng(2)))?;
    let mut grads = waiting.square().sum::<(), _>().backward();
    assert!(
        gradient(&net, &mut grads, "conv.weight")?
            .iter()
            .any(|g| *g != 0.0)
    );
    Ok(())
}

#[test]
fn a_duplicate_has_numbers_and_quantisers_of_its_own() -> Result<()> {
    let (net, x) = (two_heads()?, batch(1));
    net.quantise(|_| Ok(Slots::bits(4)))?;
    net.calibrate(&x)?;
    let (copy, handle) = (net.duplicate()?, net.clone());
    assert!(handle.is_same(&net) && !copy.is_same(&net));
    assert_eq!(read(&copy.predict(&x)?), read(&net.predict(&x)?));
    net.set_parameter("right.bias", &[5.0, 5.0])?;
    net.set_parameter("trunk.weight_bounds", &[-9.0, 9.0])?;
    assert_eq!(handle.parameter("right.bias")?.to_vec(), [5.0, 5.0]);
    assert_ne!(copy.parameter("right.bias")?.to_vec(), [5.0, 5.0]);
    assert_ne!(copy.parameter("trunk.weight_bounds")?.to_vec(), [-9.0, 9.0]);
    assert_ne!(read(&copy.predict(&x)?), read(&net.predict(&x)?));
    // Their gradients do not meet either.
    let y = net.run(&x, Mode::Train)?.matrix("right")?;
    let mut grads = y.square().sum::<(), _>().backward();
    assert!(
        gradient(&net, &mut grads, "right.weight")?
            .iter()
            .any(|g| *g != 0.0)
    );
    assert!(
        gradient(&copy, &mut grads, "right.weight")?
            .iter()
            .all(|g| *g == 0.0)
    );
    Ok(())
}

#[test]
fn moments_are_those_of_what_a_norm_reads_and_so_are_their_gradients() -> Result<()> {
    let mut b = NetBuilder::new(2, 6, 6, rng(1));
    let x = b.conv("conv", b.input(), Conv::new(3).with_bias())?;
    let x = b.norm("norm", x, Activation::Relu)?;
    let net = b.build(x)?.frozen();
    let (norm, x) = (net.norms().remove(0), batch(4));
    let loss = |x: &Images, mode| -> Result<Scalar> {
        let moments = net.duplicate()?.trace(x, mode)?.moments(&norm)?;
        let mean = (moments.mean - norm.mean.clone()).square().sum::<(), _>();
        Ok(mean + (moments.var - norm.var.clone()).square().sum::<(), _>())
    };
    type Scalar = crate::Scalar<crate::Taped>;
    for mode in [Mode::Train, Mode::Eval] {
        let expected = {
            let map = net.predict_nodes(&[&x], &["conv"])?.remove(0);
            read(&crate::ops::moments::moments(map))
        };
        let moments = net.duplicate()?.trace(&x, mode)?.moments(&norm)?;
        let found = [read(&moments.mean), read(&moments.var)].concat();
        assert_close(&found, &expected, 1e-5);
        let ours = read(&loss(&x, mode)?.backward().get(&x));
        let start = read(&x);
        for at in [0, 50, 215] {
            let moved = |by: f32| -> Result<f64> {
                let mut data = start.clone();
                data[at] += by;
                let x = from_vec(data, *x.shape())?;
                Ok(f64::from(read(&loss(&x, mode)?)[0]))
            };
            let numeric = ((moved(2e-2)? - moved(-2e-2)?) / 4e-2) as f32;
            assert_close(&[ours[at]], &[numeric], 1e-3);
        }
    }
    Ok(())
}

#[test]
fn the_builder_refuses_a_second_node_of_a_name() -> Result<()> {
    let mut b = NetBuilder::new(2, 6, 6, rng(1));
    let input = b.input();
    let x = b.conv("conv", input, Conv::new(4))?;
    let refused = [
        b.activation("conv", x, Activation::Relu),
        b.tanh("input", x),
        b.input_of("conv", Extent::vector(1)),
        b.layer("conv", &[x], layers::Flatten),
    ];
    for node in refused {
        let error = node.unwrap_err().to_string();
        assert!(error.contains("used twice"), "{error}");
    }
    // Layers that name themselves find a name.
    let (one, two) = (b.flatten(x)?, b.flatten(x)?);
    let y = b.concat("both", &[one, two])?;
    let net = b.build(y)?;
    assert_eq!(
        net.predict_nodes(&[&batch(1)], &["flatten", "flatten_2"])?
            .len(),
        2
    );
    Ok(())
}
