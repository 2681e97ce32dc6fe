//! What a network promises.

mod gradients;
mod images;
mod networks;
mod several;

use dfdx::prelude::*;
use rand::Rng as _;

use super::*;
use crate::ops::relu::Activation;
use crate::quant::Range;
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
    net.quantise(|_| Ok(Slots::bits(2)))?;
    assert_eq!(net.parameter_count(), 272_562);
    // 3x3 convolutions of 16 channels at 32x32: 16 * 16 * 9 * 1024.
    assert_eq!(layers[1].macs, 2_359_296);
    Ok(())
}

#[test]
fn quantised_weights_take_only_the_levels_of_their_bits() -> Result<()> {
    let net = small_net()?;
    net.quantise(|_| Ok(Slots::bits(2)))?;
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
    let twice = net.quantise(|_| Ok(Slots::bits(2)));
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

#[test]
fn deeper_cifar_networks_have_the_sizes_of_the_two_shortcuts_more() -> Result<()> {
    // 464,154 and 853,018 with subsampling shortcuts, and 2,752 for two 1x1 convolutions with batch norm.
    assert_eq!(resnet32(10, rng(0)).parameter_count(), 464_154 + 2_752);
    assert_eq!(resnet56(10, rng(0)).parameter_count(), 853_018 + 2_752);
    Ok(())
}

/// Names and dimensions of torchvision's state dictionary, written out from its layout.
fn torchvision_norm(name: &str, c: usize) -> Vec<(String, Vec<usize>)> {
    let tensors = ["weight", "bias", "running_mean", "running_var"];
    let mut all: Vec<_> = tensors
        .iter()
        .map(|t| (format!("{name}.{t}"), vec![c]))
        .collect();
    all.push((format!("{name}.num_batches_tracked"), vec![]));
    all
}

fn torchvision_resnet18() -> Vec<(String, Vec<usize>)> {
    let conv = |name: String, o, i, k| (format!("{name}.weight"), vec![o, i, k, k]);
    let mut all = vec![conv("conv1".into(), 64, 3, 7)];
    all.extend(torchvision_norm("bn1", 64));
    let mut from = 64;
    for (stage, width) in [(1, 64), (2, 128), (3, 256), (4, 512)] {
        for block in 0..2 {
            let at = format!("layer{stage}.{block}");
            all.push(conv(format!("{at}.conv1"), width, from, 3));
            all.extend(torchvision_norm(&format!("{at}.bn1"), width));
            all.push(conv(format!("{at}.conv2"), width, width, 3));
            all.extend(torchvision_norm(&format!("{at}.bn2"), width));
            if from != width {
                all.push(conv(format!("{at}.downsample.0"), width, from, 1));
                all.extend(torchvision_norm(&format!("{at}.downsample.1"), width));
            }
            from = width;
        }
    }
    all.push(("fc.weight".into(), vec![1000, 512]));
    all.push(("fc.bias".into(), vec![1000]));
    all
}

fn torchvision_mobilenet_v2() -> Vec<(String, Vec<usize>)> {
    let conv = |name: String, o, i, k| (format!("{name}.weight"), vec![o, i, k, k]);
    let mut all = vec![conv("features.0.0".into(), 32, 3, 3)];
    all.extend(torchvision_norm("features.0.1", 32));
    let widths = [
        16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320,
    ];
    let mut from = 32;
    for (i, width) in widths.into_iter().enumerate() {
        let at = format!("features.{}.conv", i + 1);
        let mut part = 0;
        let mut inner = from;
        if i > 0 {
            inner = 6 * from;
            all.push(conv(format!("{at}.0.0"), inner, from, 1));
            all.extend(torchvision_norm(&format!("{at}.0.1"), inner));
            part = 1;
        }
        all.push(conv(format!("{at}.{part}.0"), inner, 1, 3));
        all.extend(torchvision_norm(&format!("{at}.{part}.1"), inner));
        all.push(conv(format!("{at}.{}", part + 1), width, inner, 1));
        all.extend(torchvision_norm(&format!("{at}.{}", part + 2), width));
        from = width;
    }
    all.push(conv("features.18.0".into(), 1280, 320, 1));
    all.extend(torchvision_norm("features.18.1", 1280));
    all.push(("classifier.1.weight".into(), vec![1000, 1280]));
    all.push(("classifier.1.bias".into(), vec![1000]));
    all
}

/// A file as a conversion from PyTorch writes it, with a running number in every element.
fn converted(names: &[(String, Vec<usize>)], path: &std::path::Path) {
    use ::safetensors::tensor::{Dtype, TensorView};
    let bytes: Vec<Vec<u8>> = names
        .iter()
        .enumerate()
        .map(|(i, (name, dims))| match name.ends_with("tracked") {
            true => 5_000i64.to_le_bytes().to_vec(),
            false => (i as f32)
                .to_le_bytes()
                .repeat(dims.iter().product::<usize>()),
        })
        .collect();
    let views = names.iter().zip(&bytes).map(|((name, dims), data)| {
        let dtype = match name.ends_with("tracked") {
            true => Dtype::I64,
            false => Dtype::F32,
        };
        let view = TensorView::new(dtype, dims.clone(), data).expect("lengths agree");
        (name.clone(), view)
    });
    let file = ::safetensors::serialize(views.collect::<Vec<_>>(), &None).expect("valid views");
    std::fs::write(path, file).expect("a writable folder");
}

#[test]
fn weights_in_torchvisions_names_load_with_every_tensor_in_its_place() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("converted.safetensors");
    for (net, names) in [
        (
            imagenet_resnet(18, 64, 1000, rng(0))?,
            torchvision_resnet18(),
        ),
        (mobilenet_v2(64, 1000, rng(0))?, torchvision_mobilenet_v2()),
    ] {
        converted(&names, &path);
        net.load(&path)?;
        let tensors = names.iter().enumerate();
        for (i, (name, dims)) in tensors.filter(|(_, (n, _))| !n.ends_with("tracked")) {
            let p = net.parameter(name)?;
            assert_eq!(&p.dims, dims, "{name}");
            assert!(p.to_vec().iter().all(|v| *v == i as f32), "{name}");
        }
        let named = names.iter().filter(|(n, _)| !n.ends_with("tracked"));
        assert_eq!(net.parameters().len(), named.count());
    }
    Ok(())
}

/// Multiples of a scale, as the LTS code of 2022 quantises inside: that of the weights stays, that of inputs is trained.
fn scaled(bits: u32) -> Slots {
    Slots::weights(Scaled::bits(bits), Range::LtsWeight)
        .inputs(Scaled::bits(bits), Range::LtsActivation.trained())
}

/// A network quantised by [`scaled`].
fn scaled_net(bits: u32) -> Result<Net> {
    let net = small_net()?;
    net.quantise(|_| Ok(scaled(bits)))?;
    Ok(net)
}

#[test]
fn a_scaled_layer_computes_what_the_formulas_of_2022_say() -> Result<()> {
    // One 1x1 convolution of one channel: y = q_W(w) q_A(x).
    for bits in [2, 3, 4] {
        let mut b = NetBuilder::new(1, 1, 4, rng(0));
        let x = b.input();
        let y = b.conv("c", x, Conv::new(2).kernel(1))?;
        let net = b.build(y)?;
        net.set_parameter("c.weight", &[0.3, -0.5])?;
        net.quantise(|_| Ok(scaled(bits)))?;
        let x = [0.1f32, 0.4, 0.9, 2.0];
        net.calibrate(&from_vec(x.to_vec(), (1, 1, 1, 4))?)?;
        let s_w = net.parameter("c.weight_scale")?.to_vec()[0];
        // Unbiased deviation of two numbers 0.8 apart: 0.8 / sqrt(2).
        assert!((s_w - 3.0 * 0.8 / 2f32.sqrt()).abs() < 1e-5);
        let s_a = net.parameter("c.act_scale")?.to_vec()[0];
        let half = 2f32.powi(bits as i32 - 1);
        let q_w = |w: f32| (half * w / s_w).clamp(-half, half - 1.0).round_ties_even() / half;
        let top = 2.0 * half;
        let q_a = |x: f32| (top * x / s_a).clamp(0.0, top - 1.0).round_ties_even() / top;
        let expected = [0.3, -0.5].map(|w| x.map(|x| q_w(w) * q_a(x))).concat();
        let found = net.predict_images(&from_vec(x.to_vec(), (1, 1, 1, 4))?)?;
        crate::ops::assert_close(&read(&found), &expected, 1e-6);
    }
    Ok(())
}

#[test]
fn a_fixed_scale_is_saved_but_not_trained_and_a_trained_one_has_a_gradient() -> Result<()> {
    let net = scaled_net(4)?;
    let count = small_net()?.parameter_count();
    // Six layers, one trained input scale each.
    assert_eq!(net.parameter_count(), count + net.layers().len());
    let x = batch(1);
    net.calibrate(&x)?;
    let grads = net
        .forward(x.leaky_trace(), Mode::Train)?
        .square()
        .sum::<(), _>()
        .backward();
    let act = net.parameter("tail.act_scale")?;
    assert_ne!(read(&grads.get(&act.value)), [0.0]);
    assert_eq!(net.parameter("tail.weight_scale")?.role, Role::Scale);
    Ok(())
}

#[test]
fn gradients_of_scales_are_those_of_the_straight_through_quantiser() -> Result<()> {
    // y = w/s_W * x/s_A inside, rounding aside: dy/ds_A = -y/s_A, dy/ds_W = -y/s_W. At 16 bits rounding is
    // too fine to matter, and the values lie inside the ranges.
    let mut b = NetBuilder::new(1, 1, 1, rng(0));
    let x = b.input();
    let y = b.conv("c", x, Conv::new(2).kernel(1))?;
    let net = b.build(y)?;
    net.set_parameter("c.weight", &[0.3, -0.5])?;
    net.quantise(|_| {
        let trained = Slots::weights(Scaled::bits(16), Range::LtsWeight.trained());
        Ok(trained.inputs(Scaled::bits(16), Range::LtsActivation.trained()))
    })?;
    let set = |name: &str, v: f32| net.set_parameter(name, &[v]);
    net.calibrate(&from_vec(vec![0.2, 0.7], (2, 1, 1, 1))?)?;
    set("c.weight_scale", 2.0)?;
    set("c.act_scale", 4.0)?;
    let x: Images = from_vec(vec![1.0], (1, 1, 1, 1))?;
    let logits = net.forward(x.leaky_trace(), Mode::Train)?;
    let y = read(&logits);
    crate::ops::assert_close(&y, &[0.15 * 0.25, -0.25 * 0.25], 1e-3);
    let grads = logits.sum::<(), _>().backward();
    let get = |name: &str| net.parameter(name).map(|p| read(&grads.get(&p.value)));
    let sum = y[0] + y[1];
    crate::ops::assert_close(&get("c.act_scale")?, &[-sum / 4.0], 1e-4);
    crate::ops::assert_close(&get("c.weight_scale")?, &[-sum / 2.0], 1e-4);
    crate::ops::assert_close(&get("c.weight")?, &[0.125, 0.125], 1e-3);
    crate::ops::assert_close(&read(&grads.get(&x)), &[-0.1 / 4.0], 1e-3);
    Ok(())
}

#[test]
fn one_batch_sets_all_bounds_and_moves_statistics_but_no_weight() -> Result<()> {
    let net = small_net()?;
    net.quantise(|_| Ok(Slots::bits(2)))?;
    let weight = |net: &Net| net.parameter("tail.weight").map(|p| p.to_vec());
    let mean = |net: &Net| net.parameter("block.bn1.running_mean").map(|p| p.to_vec());
    let (w, m) = (weight(&net)?, mean(&net)?);
    net.calibrate(&batch(1))?;
    assert_eq!(weight(&net)?, w);
    assert_ne!(mean(&net)?, m);
    let bounds = net.parameter("fc.act_bounds")?.to_vec();
    assert_ne!(bounds, [-1.0, 1.0]);
    // A second batch finds them set.
    net.calibrate(&batch(2))?;
    assert_eq!(net.parameter("fc.act_bounds")?.to_vec(), bounds);
    Ok(())
}

#[test]
fn bounds_that_crossed_are_refused_with_the_name_of_their_layer() -> Result<()> {
    let net = small_net()?;
    net.quantise(|_| Ok(Slots::bits(2)))?;
    net.calibrate(&batch(1))?;
    for name in ["tail.act_bounds", "tail.weight_bounds"] {
        let before = net.parameter(name)?.to_vec();
        net.set_parameter(name, &[0.5, 0.25])?;
        let error = net.predict(&batch(1)).unwrap_err().to_string();
        assert!(
            error.contains("layer tail") && error.contains("upper must be above lower"),
            "{error}"
        );
        net.set_parameter(name, &before)?;
    }
    Ok(())
}
