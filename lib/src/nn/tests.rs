//! What a network promises.

use dfdx::prelude::*;
use rand::Rng as _;

use super::*;
use crate::ops::relu::Activation;
use crate::{Images, Result, from_vec, read, rng};

/// Every kind of node: stem, max pool, strided residual block with shortcut, sum, pool, linear layer.
fn small_net() -> Result<Net> {
    let mut b = NetBuilder::new(2, 9, 9, rng(3));
    let x = b.input();
    let x = b.conv("stem", x, Conv::new(5).with_bias())?;
    let x = b.activation("act", x, Activation::Relu)?;
    let x = b.max_pool(x, 2, 2, 1)?;
    let y = b.conv("block.conv1", x, Conv::new(6).stride(2))?;
    let y = b.norm("block.bn1", y, Activation::Relu)?;
    let y = b.conv("block.conv2", y, Conv::new(6))?;
    let s = b.conv("block.down", x, Conv::new(6).kernel(1).stride(2))?;
    let y = b.norm_add("block.bn2", y, s, Activation::Relu)?;
    let z = b.conv("tail", y, Conv::new(6).groups(2))?;
    let z = b.add("sum", z, y, Activation::None)?;
    let z = b.global_avg_pool(z)?;
    let z = b.linear("fc", z, 3)?;
    b.build(z)
}

fn batch(seed: u64) -> Images {
    let mut rng = rng(seed);
    let data = (0..4 * 2 * 81)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    from_vec(data, (4, 2, 9, 9)).expect("4 images of 2x9x9")
}

/// A smooth scalar of the logits, so that differences are gradients.
fn loss(net: &Net, x: &Images, mode: Mode) -> Result<f64> {
    let tape = net.forward(x.leaky_trace(), mode)?;
    let logits = tape.as_vec();
    Ok(logits
        .iter()
        .enumerate()
        .map(|(i, v)| f64::from(*v).powi(2) * (1.0 + i as f64 / 7.0))
        .sum())
}

#[test]
fn gradients_of_every_parameter_and_of_the_input_are_those_of_finite_differences() -> Result<()> {
    for mode in [Mode::Train, Mode::Eval] {
        let (net, x) = (small_net()?, batch(1));
        let logits = net.forward(x.leaky_trace(), mode)?;
        let n = logits.shape().0 * logits.shape().1;
        let scale: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / 7.0).collect();
        let scale = from_vec(scale, *logits.shape())?;
        let grads = (logits.square() * scale).sum::<(), _>().backward();
        let mut checked = 0;
        let mut check = |name: &str, at: usize, ours: f32, plus: f64, minus: f64, h: f64| {
            let numeric = ((plus - minus) / (2.0 * h)) as f32;
            let close = (ours - numeric).abs() <= 2e-2 * numeric.abs().max(0.5);
            assert!(close, "{mode:?} {name}[{at}]: {ours} against {numeric}");
            checked += 1;
        };
        let h = 2.5e-4;
        for p in net.parameters().iter().filter(|p| p.is_trainable()) {
            let ours = read(&grads.get(&p.value));
            for at in [0, p.len() / 2, p.len() - 1] {
                let moved = |by: f32| -> Result<f64> {
                    let mut data = p.to_vec();
                    data[at] += by;
                    net.set_parameter(&p.name, &data)?;
                    let value = loss(&net, &x, mode)?;
                    net.set_parameter(&p.name, &p.to_vec())?;
                    Ok(value)
                };
                check(&p.name, at, ours[at], moved(h)?, moved(-h)?, f64::from(h));
            }
        }
        let ours = read(&grads.get(&x));
        for at in [0, 100, 647] {
            let moved = |by: f32| -> Result<f64> {
                let mut data = read(&x);
                data[at] += by;
                loss(&net, &from_vec(data, *x.shape())?, mode)
            };
            check("input", at, ours[at], moved(h)?, moved(-h)?, f64::from(h));
        }
        assert!(checked > 30);
    }
    Ok(())
}

#[test]
fn two_forward_passes_may_wait_for_their_backward_passes() -> Result<()> {
    let net = small_net()?;
    let alone = |seed| -> Result<Vec<f32>> {
        let x = batch(seed);
        let grads = net
            .forward(x.leaky_trace(), Mode::Eval)?
            .sum::<(), _>()
            .backward();
        Ok(read(&grads.get(&x)))
    };
    let (a, b) = (batch(1), batch(2));
    let first = net.forward(a.leaky_trace(), Mode::Eval)?;
    let second = net.forward(b.leaky_trace(), Mode::Eval)?;
    let from_first = first.sum::<(), _>().backward();
    let from_second = second.sum::<(), _>().backward();
    assert_eq!(read(&from_first.get(&a)), alone(1)?);
    assert_eq!(read(&from_second.get(&b)), alone(2)?);
    Ok(())
}

#[test]
fn training_mode_moves_running_statistics_and_inference_does_not() -> Result<()> {
    let net = small_net()?;
    let mean = || net.parameter("block.bn1.running_mean").map(|p| p.to_vec());
    let before = mean()?;
    net.predict(&batch(1))?;
    assert_eq!(mean()?, before);
    net.forward(batch(1).leaky_trace(), Mode::Train)?;
    assert_ne!(mean()?, before);
    Ok(())
}

#[test]
fn resnet20_has_the_sizes_of_the_specification() -> Result<()> {
    let net = resnet20(10, rng(0));
    let layers = net.layers();
    assert_eq!(layers.len(), 22);
    assert_eq!(layers.iter().map(|l| l.weights).sum::<usize>(), 270_896);
    net.quantise(|_| Some((QuantSpec { bits: 2 }, Box::new(UniformWeight))))?;
    assert_eq!(net.parameter_count(), 272_562);
    // 3x3 convolutions of 16 channels at 32x32: 16 * 16 * 9 * 1024.
    assert_eq!(layers[1].macs, 2_359_296);
    Ok(())
}

#[test]
fn quantised_weights_take_only_the_levels_of_their_bits() -> Result<()> {
    let net = small_net()?;
    net.quantise(|_| Some((QuantSpec { bits: 2 }, Box::new(UniformWeight))))?;
    net.forward(batch(1).leaky_trace(), Mode::Train)?;
    let bounds = net.parameter("tail.weight_bounds")?.to_vec();
    assert!(
        bounds[0] < 0.0 && bounds[1] == -bounds[0],
        "three standard deviations: {bounds:?}"
    );
    let act = net.parameter("tail.act_bounds")?.to_vec();
    assert!(
        act[0] == 0.0,
        "the input of tail comes out of a ReLU: {act:?}"
    );
    let twice = net.quantise(|_| Some((QuantSpec { bits: 2 }, Box::new(UniformWeight))));
    assert!(twice.unwrap_err().to_string().contains("quantised already"));
    Ok(())
}

#[test]
fn a_network_survives_the_way_through_a_file() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("net.safetensors");
    let (net, x) = (small_net()?, batch(5));
    net.forward(x.leaky_trace(), Mode::Train)?;
    net.save(&path, &[("made", "here")])?;
    let other = small_net()?;
    assert_ne!(read(&net.predict(&x)?), read(&other.predict(&x)?));
    other.load(&path)?;
    assert_eq!(read(&net.predict(&x)?), read(&other.predict(&x)?));
    Ok(())
}

#[test]
fn a_file_that_does_not_fit_is_named_with_the_tensor() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("net.safetensors");
    small_net()?.save(&path, &[])?;
    let error = resnet20(10, rng(0)).load(&path).unwrap_err().to_string();
    assert!(
        error.contains("net.safetensors") && error.contains("network lacks"),
        "{error}"
    );
    std::fs::write(&path, b"not tensors").expect("a writable folder");
    let error = small_net()?.load(&path).unwrap_err().to_string();
    assert!(error.contains("is not a safetensors file"), "{error}");
    Ok(())
}

#[test]
fn wrong_shapes_are_told_with_both_shapes() -> Result<()> {
    let net = small_net()?;
    let wrong = from_vec(vec![0.0; 75], (1, 3, 5, 5))?;
    let error = net.predict(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("(N, 2, 9, 9)") && error.contains("(1, 3, 5, 5)"),
        "{error}"
    );
    let error = net.parameter("block.conv9.weight").unwrap_err().to_string();
    assert!(
        error.contains("block.conv1.weight"),
        "the message offers names that exist: {error}"
    );
    let mut b = NetBuilder::new(3, 4, 4, rng(0));
    let x = b.input();
    assert!(
        b.linear("fc", x, 10)
            .unwrap_err()
            .to_string()
            .contains("global_avg_pool")
    );
    assert!(b.conv("c", x, Conv::new(8).groups(2)).is_err());
    assert!(
        b.conv(
            "c",
            x,
            Conv {
                padding: 0,
                ..Conv::new(8).kernel(7)
            }
        )
        .is_err()
    );
    Ok(())
}

#[test]
fn buffers_are_used_again_from_step_to_step() -> Result<()> {
    let (net, x) = (small_net()?, batch(1));
    let step = || -> Result<usize> {
        let grads = net
            .forward(x.leaky_trace(), Mode::Train)?
            .sum::<(), _>()
            .backward();
        drop(grads);
        Ok(net.peak_activation_bytes())
    };
    let first = step()?;
    for _ in 0..3 {
        assert_eq!(step()?, first);
    }
    Ok(())
}

#[test]
fn imagenet_networks_have_the_sizes_of_their_references() -> Result<()> {
    let count = |net: Result<Net>| net.map(|n| n.parameter_count());
    assert_eq!(count(imagenet_resnet(18, 224, 1000, rng(0)))?, 11_689_512);
    assert_eq!(count(imagenet_resnet(50, 224, 1000, rng(0)))?, 25_557_032);
    assert_eq!(count(mobilenet_v1(224, 1000, rng(0)))?, 4_231_976);
    assert_eq!(count(mobilenet_v2(224, 1000, rng(0)))?, 3_504_872);
    assert_eq!(
        count(cifar_resnet(3, 32, [16, 32, 64], 5, 10, rng(0)))?,
        466_906
    );
    Ok(())
}

#[test]
fn imagenet_networks_run_on_small_images_too() -> Result<()> {
    for net in [
        imagenet_resnet(18, 32, 10, rng(0))?,
        mobilenet_v1(32, 10, rng(0))?,
        mobilenet_v2(32, 10, rng(0))?,
    ] {
        let logits = net.predict(&crate::images(2, 3, 32, 32, &mut rng(1)))?;
        assert_eq!(logits.shape(), &(2, 10));
        assert!(read(&logits).iter().all(|v| v.is_finite()));
    }
    assert!(imagenet_resnet(19, 32, 10, rng(0)).is_err());
    Ok(())
}
