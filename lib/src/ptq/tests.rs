//! Whole recipes on small networks.

use super::*;
use crate::nn::layers::testing::net as built;
use crate::nn::{CifarResnetConfig, Conv, Net, Operand, cifar_resnet_with, pretrained_resnet20};
use crate::ops::relu::Activation;
use crate::show::Show;
use crate::{Images, Result, from_vec, images, read, rng};

/// ResNet-8 on small images, whose running statistics are those of what its norms read.
fn resnet8(sites: bool) -> Result<Net> {
    let config = CifarResnetConfig {
        size: 8,
        widths: [8, 16, 16],
        blocks: 1,
        sites,
        ..CifarResnetConfig::default()
    };
    let net = cifar_resnet_with(&config, rng(7))?;
    reestimate_norms(&net, &images(64, 3, 8, 8, &mut rng(8)), 64)?;
    Ok(net)
}

fn some(n: usize, seed: u64) -> Images {
    images(n, 3, 8, 8, &mut rng(seed))
}

fn apart(a: &Net, b: &Net, x: &Images) -> Result<f32> {
    let (a, b) = (read(&a.predict(x)?), read(&b.predict(x)?));
    let squares = |v: f32| v * v;
    let noise: f32 = a.iter().zip(&b).map(|(a, b)| squares(a - b)).sum();
    Ok((noise / a.iter().copied().map(squares).sum::<f32>()).sqrt())
}

#[test]
fn eight_bits_are_near_and_fewer_bits_further() -> Result<()> {
    let net = pretrained_resnet20()?;
    let x = images(32, 3, 32, 32, &mut rng(1));
    let mut last = 0.0;
    for bits in [8, 6, 4, 3] {
        let config = PtqConfig::bits(bits).corrected(Correction::Empirical);
        let (q, report) = post_training(&net, &x, &config)?;
        let error = apart(&net, &q, &x)?;
        assert!(error > last, "{bits} bits: {error} after {last}");
        last = error;
        assert_eq!(report.layers.len(), 22);
        assert_eq!(report.corrected, 22);
        for layer in &report.layers {
            assert_eq!(
                (layer.weight_bits, layer.input_bits),
                (Some(bits), Some(bits))
            );
            // Six decibel a bit, and some for tails that levels leave out.
            let expected = 6.02 * f64::from(bits) - 2.0;
            let found = layer.weight_sqnr.unwrap();
            assert!((found - expected).abs() < 4.5, "{}: {found} dB", layer.name);
        }
        if bits == 8 {
            assert!(error < 0.03, "{error}");
        }
    }
    Ok(())
}

#[test]
fn every_tensor_is_on_its_levels() -> Result<()> {
    let net = resnet8(false)?;
    let (q, report) = post_training(&net, &some(32, 1), &PtqConfig::bits(3).first_last(8))?;
    assert!(report.to_string().contains("layer1.0.conv1") && report.figure().is_ok());
    assert!(
        report.bundle()["text/html"]
            .as_str()
            .unwrap()
            .contains("<svg")
    );
    for layer in q.layers() {
        let bits = match layer.name.as_str() {
            "conv1" | "fc" => 8,
            _ => 3,
        };
        let of = q.quantisers().into_iter().filter(|p| p.layer == layer.name);
        for placed in of {
            assert_eq!((placed.bits, placed.ready), (bits, true), "{}", layer.name);
            for grid in placed.grids.unwrap() {
                assert_eq!(grid.quantise(0.0), 0.0);
                // Zero points that integers of so many bits hold.
                let z = -grid.zero;
                assert!(z >= grid.lowest && z <= grid.highest, "{z} of {grid:?}");
            }
        }
    }
    // Both readers of a block's input read one range.
    let range = |name: &str| {
        q.parameter(&format!("{name}.act_bounds"))
            .map(|p| p.to_vec())
    };
    assert_eq!(range("layer2.0.conv1")?, range("layer2.0.downsample.0")?);
    Ok(())
}

#[test]
fn learned_rounding_beats_the_nearest_and_resumes_to_the_bit() -> Result<()> {
    let (net, x) = (resnet8(false)?, some(64, 2));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rounding.state");
    let config = |checkpoint| {
        let rounding = AdaRoundConfig {
            iterations: 400,
            rows: 256,
            checkpoint,
            ..AdaRoundConfig::default()
        };
        PtqConfig {
            rounding: Some(rounding),
            ..PtqConfig::bits(2)
                .inputs(8)
                .corrected(Correction::Empirical)
        }
    };
    let nearest = PtqConfig {
        rounding: None,
        ..config(None)
    };
    let (near, _) = post_training(&net, &x, &nearest)?;
    let (learned, report) = post_training(&net, &x, &config(Some(file.clone())))?;
    let (before, after) = (apart(&net, &near, &x)?, apart(&net, &learned, &x)?);
    assert!(after < 0.85 * before, "{after} after {before}");
    assert_eq!(report.corrected, 10);
    // Levels are kept by the quantiser that stands before them.
    let placed = learned.quantisers();
    for layer in learned.layers() {
        let weight = learned.parameters()[layer.weight].to_vec();
        let grids = place::grids(&placed, &layer, Operand::Weight).unwrap();
        for (w, on) in weight.iter().zip(place::on_grids(&weight, &grids)) {
            assert!((w - on).abs() <= 1e-6 * w.abs().max(1e-3), "{w} and {on}");
        }
    }
    // A run that was stopped after three layers.
    adaround::forget_all_but(&file, 3)?;
    let (resumed, _) = post_training(&net, &x, &config(Some(file.clone())))?;
    assert_eq!(resumed.state()?, learned.state()?);
    let other = some(64, 3);
    let error = post_training(&net, &other, &config(Some(file)))
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("another run"), "{error}");
    Ok(())
}

#[test]
fn corrections_put_means_back() -> Result<()> {
    let (net, x) = (resnet8(false)?, some(64, 4));
    let shift = |correction| -> Result<f64> {
        let config = PtqConfig {
            correction,
            ..PtqConfig::minmax(3).inputs(8)
        };
        let (q, _) = post_training(&net, &x, &config)?;
        let mean = |net: &Net| -> Result<Vec<f32>> {
            let y = read(&net.predict(&x)?);
            let mean = |c: usize| y.iter().skip(c).step_by(10).sum::<f32>() / 64.0;
            Ok((0..10).map(mean).collect())
        };
        let (a, b) = (mean(&net)?, mean(&q)?);
        Ok(a.iter()
            .zip(&b)
            .map(|(a, b)| f64::from((a - b).powi(2)))
            .sum())
    };
    let plain = shift(None)?;
    assert!(shift(Some(Correction::Empirical))? < 1e-6 * plain.max(1.0));
    // Normal inputs are an assumption; the random network's are near.
    assert!(shift(Some(Correction::Analytic))? < plain);
    Ok(())
}

#[test]
fn sites_take_the_quantisers_behind_rectifiers() -> Result<()> {
    let net = resnet8(true)?;
    let config = PtqConfig {
        sites: true,
        fold: false,
        ..PtqConfig::minmax(4)
    };
    let (q, _) = post_training(&net, &some(16, 5), &config)?;
    let inputs = q
        .quantisers()
        .into_iter()
        .filter(|p| p.operand == Operand::Input);
    let names: Vec<String> = inputs.map(|p| p.layer).collect();
    assert_eq!(names.len(), net.sites().len());
    assert!(names.iter().all(|n| n.ends_with(".site")), "{names:?}");
    assert!(!q.norms().is_empty());
    let without = post_training(&resnet8(false)?, &some(4, 5), &config);
    assert!(
        without
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .contains("sites")
    );
    Ok(())
}

#[test]
fn per_tensor_ranges_need_equalisation() -> Result<()> {
    let net = built((3, 8, 8), |b, x| {
        let x = b.conv("wide", x, Conv::new(12).with_bias())?;
        let x = b.activation("relu", x, Activation::Relu)?;
        let x = b.conv("narrow", x, Conv::new(4))?;
        let x = b.global_avg_pool(x)?;
        b.linear("fc", x, 10)
    })?;
    let weight = net.parameter("wide.weight")?.to_vec();
    let uneven: Vec<f32> = weight
        .iter()
        .enumerate()
        .map(|(i, w)| w * 3f32.powi((i / 27) as i32 - 5))
        .collect();
    net.set_parameter("wide.weight", &uneven)?;
    // What the second layer reads counts the same in every channel, however small it is.
    let weight = net.parameter("narrow.weight")?.to_vec();
    let even: Vec<f32> = weight
        .iter()
        .enumerate()
        .map(|(i, w)| w / 3f32.powi((i / 9 % 12) as i32 - 5))
        .collect();
    net.set_parameter("narrow.weight", &even)?;
    let x = some(32, 6);
    let plain = PtqConfig {
        per_channel: false,
        ..PtqConfig::minmax(6)
    };
    let (even, report) = post_training(&net, &x, &PtqConfig::minmax(6).per_tensor())?;
    let (q, _) = post_training(&net, &x, &plain)?;
    assert_eq!(report.equalised, 1);
    assert!(apart(&net, &even, &x)? < 0.7 * apart(&net, &q, &x)?);
    Ok(())
}

#[test]
fn dead_and_constant_channels_are_exact() -> Result<()> {
    let net = built((3, 8, 8), |b, x| {
        let x = b.conv("conv", x, Conv::new(4).kernel(1).with_bias())?;
        let x = b.activation("relu", x, Activation::Relu)?;
        let x = b.global_avg_pool(x)?;
        b.linear("fc", x, 10)
    })?;
    let weights = [
        0.0, 0.0, 0.0, 0.37, 0.37, 0.37, -1.3, -1.3, -1.3, 0.1, -0.2, 0.3,
    ];
    net.set_parameter("conv.weight", &weights)?;
    // A channel that nothing gets through.
    net.set_parameter("conv.bias", &[-1.0, 0.0, 0.0, -99.0])?;
    for bits in 1..=8 {
        let (q, report) = post_training(&net, &some(8, 9), &PtqConfig::bits(bits))?;
        let layer = &q.layers()[0];
        let grids = place::grids(&q.quantisers(), layer, Operand::Weight).unwrap();
        let on = place::on_grids(&weights, &grids);
        for (w, on) in weights.iter().zip(&on).take(9) {
            assert!(
                (w - on).abs() <= 1e-7 * w.abs(),
                "{bits} bits: {w} became {on}"
            );
        }
        assert!(report.layers[0].output_sqnr > 0.0);
        assert!(
            read(&q.predict(&some(2, 10))?)
                .iter()
                .all(|v| v.is_finite())
        );
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        // A tensor of a GPU stays with its thread.
        let of = || -> Result<_> {
            let config = PtqConfig::bits(4).corrected(Correction::Empirical);
            let (q, report) = post_training(&resnet8(false)?, &some(70, 6), &config)?;
            Ok((q.state()?, report))
        };
        pool.build().unwrap().install(of)
    };
    let one = run(1)?;
    assert_eq!(one.1.images, 70);
    for threads in [2, 3] {
        assert_eq!(run(threads)?, one, "{threads} threads");
    }
    Ok(())
}

#[test]
fn what_cannot_be_quantised_is_refused() -> Result<()> {
    let net = resnet8(false)?;
    let x = some(4, 1);
    let refuse = |x: &Images, config: &PtqConfig| {
        post_training(&net, x, config)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let good = PtqConfig::bits(4);
    let none = from_vec(Vec::new(), (0, 3, 8, 8))?;
    assert!(refuse(&none, &good).contains("no image"));
    let size = refuse(&images(1, 3, 9, 8, &mut rng(0)), &good);
    assert!(
        size.contains("(N, 3, 8, 8)") && size.contains("(1, 3, 9, 8)"),
        "{size}"
    );
    let mut numbers = read(&x);
    numbers[3 * 64 + 5] = f32::NAN;
    let nan = refuse(&from_vec(numbers, (4, 3, 8, 8))?, &good);
    assert!(nan.contains("image 1") && nan.contains("NaN"), "{nan}");
    for bits in [0, 9] {
        assert!(refuse(&x, &PtqConfig::bits(bits)).contains("1 to 8"));
        assert!(refuse(&x, &good.clone().first_last(bits)).contains("1 to 8"));
        assert!(refuse(&x, &good.clone().layer("fc", LayerBits::all(bits))).contains("1 to 8"));
    }
    let name = refuse(&x, &good.clone().layer("layer9", LayerBits::FLOAT));
    assert!(name.contains("layer9") && name.contains("conv1"), "{name}");
    let unfolded = PtqConfig {
        fold: false,
        ..good.clone().corrected(Correction::Analytic)
    };
    assert!(refuse(&x, &unfolded).contains("reestimate_norms"));
    let steps = PtqConfig {
        rounding: Some(AdaRoundConfig {
            beta: (2.0, 20.0),
            ..AdaRoundConfig::default()
        }),
        ..good.clone()
    };
    assert!(refuse(&x, &steps).contains("beta from 2 to 20"));
    let broken = net.duplicate()?;
    broken.set_parameter("layer1.0.conv1.weight", &vec![f32::NAN; 8 * 8 * 9])?;
    let error = post_training(&broken, &x, &good)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("not finite"), "{error}");
    let (q, _) = post_training(&net, &x, &good)?;
    let twice = post_training(&q, &x, &good)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(twice.contains("quantised already"), "{twice}");
    Ok(())
}

#[test]
fn mixed_bits_come_out_of_an_allocation() -> Result<()> {
    let (net, x) = (resnet8(false)?, some(32, 3));
    let found = allocate_bits(&sensitivity(&net, &x)?, BitBudget::Uniform(4))?;
    let config = PtqConfig::bits(8).allocated(&found).with_sensitivity();
    let (q, report) = post_training(&net, &x, &config)?;
    for ((layer, report), (name, bits)) in q.layers().iter().zip(&report.layers).zip(&found.bits) {
        assert_eq!(
            (&layer.name, layer.bits, report.input_bits),
            (name, Some(*bits), Some(8))
        );
        assert!(report.sensitivity.unwrap() > 0.0);
    }
    assert!(report.to_string().contains("alone"));
    Ok(())
}
