//! What the specification promises of centres, generator, losses, steps and students.

use dfdx::prelude::{Backward, HasShape, SumTo};

use super::run::Run;
use super::student::Given;
use super::*;
use crate::data::{Dataset, FloatImages, ImageSource, Normalize};
use crate::nn::{Extent, Mode, Net, NetBuilder, NormInfo};
use crate::ops::assert_close;
use crate::papers::small_net::small_net;
use crate::ptq::StudentLevels;
use crate::quant::EmaRule;
use crate::{Error, Images, Result, from_vec, images, read, rng};

const UNIT: &Normalize = &Normalize::UNIT;

/// An image for each class, of which the network recognises all: their labels are its answers where these differ, and
/// the others' are what is left.
fn calibration(net: &Net) -> FloatImages {
    let (mut labels, mut chosen) = (Vec::new(), Vec::new());
    let pool = images(400, 3, 8, 8, &mut rng(5));
    let answers = crate::train::top1(&read(&net.predict(&pool).unwrap()), 5);
    let values = read(&pool);
    for class in 0..5u32 {
        let at = answers
            .iter()
            .position(|a| *a == class)
            .unwrap_or(class as usize);
        chosen.extend_from_slice(&values[at * 192..][..192]);
        labels.push(class);
    }
    let x: Images = from_vec(chosen, (5, 3, 8, 8)).unwrap();
    FloatImages::new("calibration", &x, labels).unwrap()
}

fn nothing() -> Dataset {
    Dataset {
        name: "none".into(),
        images: Vec::new(),
        labels: Vec::new(),
        classes: (0..5).map(|i| i.to_string()).collect(),
        channels: 3,
        height: 8,
        width: 8,
    }
}

fn shape() -> GeneratorShape {
    GeneratorShape {
        latent: 6,
        widths: [8, 4],
    }
}

fn tiny() -> FddaConfig {
    FddaConfig {
        shape: shape(),
        batch: 4,
        real: 4,
        warmup: 8,
        steps: 5,
        ranges: RangesFrom::WarmedUp(4),
        show: false,
        ..FddaConfig::small(3)
    }
}

fn run(net: &Net, calibration: &dyn ImageSource, config: &FddaConfig) -> Result<FddaRun> {
    quantise(net, calibration, (&nothing(), UNIT), config)
}

/// Centres, a new generator, the weights of its losses, and what its first step draws.
fn a_step(net: &Net) -> Result<(Centres, Net, GeneratorLosses, Drawn)> {
    let centres = Centres::of(net, &calibration(net), UNIT)?;
    let made = generator(shape(), Extent::new(3, 8, 8), 5, rng(0))?;
    let weights = GeneratorLosses::fdda();
    let with = Some((&centres, weights.distortion));
    let drawn = Drawn::new(&made, (4, 5), with, &mut rng(3))?;
    Ok((centres, made, weights, drawn))
}

fn said<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn a_centre_is_mean_and_biased_variance_of_one_image() -> Result<()> {
    let net = small_net();
    let given = calibration(&net);
    let centres = Centres::of(&net, &given, UNIT)?;
    assert_eq!((centres.classes(), centres.first_deep()), (5, 3));
    // The first norm reads the first convolution.
    let x: Images = from_vec(given.values(2).unwrap().to_vec(), (1, 3, 8, 8))?;
    let seen = read(&net.predict_nodes(&[&x], &["conv1"])?[0]);
    for (channel, pixels) in seen.chunks(64).enumerate() {
        let mean = pixels.iter().sum::<f32>() / 64.0;
        let var = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f32>() / 64.0;
        let first = &centres.of_class(2)?[0];
        assert_close(&[read(&first.mean)[channel]], &[mean], 1e-4);
        assert_close(&[read(&first.var)[channel]], &[var], 1e-4);
    }
    let names: Vec<&str> = centres.deep(2)?.iter().map(|n| n.name.as_str()).collect();
    let all = net.norms();
    assert_eq!(
        names,
        all[3..].iter().map(|n| n.name.as_str()).collect::<Vec<_>>()
    );
    let right = |class: &u32| {
        let x: Images = from_vec(given.values(*class as usize)?.to_vec(), (1, 3, 8, 8)).ok()?;
        Some(crate::train::top1(&read(&net.predict(&x).ok()?), 5) == [*class])
    };
    let expected: Vec<u32> = (0..5).filter(|c| right(c) == Some(true)).collect();
    assert_eq!(centres.recognised(), expected);
    assert!(said(centres.of_class(5)).contains("0..5"));
    Ok(())
}

#[test]
fn calibration_sets_that_cannot_be_are_named() -> Result<()> {
    let net = small_net();
    let x = images(5, 3, 8, 8, &mut rng(3));
    let of = |labels: Vec<u32>| Centres::of(&net, &FloatImages::new("mine", &x, labels)?, UNIT);
    let missing = said(of(vec![0, 1, 2, 2, 4]));
    assert!(
        missing.contains("class 3") && missing.contains("mine"),
        "{missing}"
    );
    let outside = said(of(vec![0, 1, 2, 3, 5]));
    assert!(
        outside.contains("label 5") && outside.contains("0..5"),
        "{outside}"
    );
    let mut b = NetBuilder::new(3, 8, 8, rng(1));
    let pooled = b.global_avg_pool(b.input())?;
    let y = b.linear("fc", pooled, 5)?;
    let plain = b.build(y)?;
    let given = calibration(&net);
    assert!(said(run(&plain, &given, &tiny())).contains("batch norms"));
    let wide = FloatImages::new(
        "wide",
        &images(5, 3, 8, 4, &mut rng(1)),
        vec![0, 1, 2, 3, 4],
    )?;
    let error = said(run(&net, &wide, &tiny()));
    assert!(
        error.contains("3x8x8") && error.contains("[3, 8, 4]"),
        "{error}"
    );
    let outside = FloatImages::new("outside", &x, vec![0, 1, 2, 3, 9])?;
    assert!(said(run(&net, &outside, &tiny().gdfq())).contains("label 9"));
    let nan = FloatImages::new("nan", &(x * f32::NAN), vec![0, 1, 2, 3, 4])?;
    assert!(said(run(&net, &nan, &tiny())).contains("NaN"));
    Ok(())
}

/// Norms with these numbers in every channel.
fn constant(norms: &[NormInfo], mean: f32, var: f32) -> Vec<NormInfo> {
    let fill =
        |norm: &NormInfo, v: f32| from_vec(vec![v; norm.channels], (norm.channels,)).unwrap();
    let one = |norm: &NormInfo| NormInfo {
        mean: fill(norm, mean),
        var: fill(norm, var),
        ..norm.clone()
    };
    norms.iter().map(one).collect()
}

#[test]
fn the_statistics_loss_is_the_mean_over_norms_of_means_over_channels() -> Result<()> {
    let net = small_net();
    let x = images(3, 3, 8, 8, &mut rng(7));
    let own = batch_statistics(&net, &x)?;
    let loss = |targets: &[NormInfo]| -> Result<f32> {
        let mut pass = net.frozen().trace(&x, Mode::Eval)?;
        Ok(read(&statistics_loss(&mut pass, targets)?)[0])
    };
    // At the centre, and two and three away from it in every channel: 4 + 9.
    assert_eq!(loss(&own[3..])?, 0.0);
    let moved = |norm: &NormInfo| NormInfo {
        mean: norm.mean.clone() + 2.0,
        var: norm.var.clone() - 3.0,
        ..norm.clone()
    };
    let away: Vec<NormInfo> = own[3..].iter().map(moved).collect();
    assert_close(&[loss(&away)?], &[13.0], 1e-4);
    // By hand against targets of 0 and 1.
    let square = |v: &crate::Vector, from: f32| {
        let v = read(v);
        v.iter().map(|v| (v - from).powi(2)).sum::<f32>() / v.len() as f32
    };
    let terms = own
        .iter()
        .map(|n| square(&n.mean, 0.0) + square(&n.var, 1.0));
    let expected = terms.sum::<f32>() / 9.0;
    assert_close(&[loss(&constant(&own, 0.0, 1.0))?], &[expected], 1e-4);
    assert!(loss(&[]).is_err());
    Ok(())
}

#[test]
fn the_distorted_loss_is_the_centralised_one_and_a_floor_on_average() -> Result<()> {
    let net = small_net().frozen();
    let x = images(4, 3, 8, 8, &mut rng(8));
    let centres = Centres::of(&net, &calibration(&net), UNIT)?;
    let centre = centres.deep(1)?;
    let loss_and_gradient = |targets: &[NormInfo]| -> Result<(f32, Vec<f32>)> {
        let mut pass = net.trace(&x, Mode::Eval)?;
        let loss = statistics_loss(&mut pass, targets)?;
        let value = read(&loss)[0];
        Ok((value, read(&loss.backward().get(&x))))
    };
    let (l_c, g_c) = loss_and_gradient(centre)?;
    let still = Distortion {
        mean: 0.0,
        var: 0.0,
    };
    assert_eq!(
        loss_and_gradient(&distorted(centre, still, &mut rng(0))?)?.0,
        l_c
    );
    let (mut values, mut along) = (Vec::new(), Vec::new());
    let mut drawn = rng(9);
    let norm2: f64 = g_c.iter().map(|g| f64::from(*g).powi(2)).sum();
    for _ in 0..400 {
        let targets = distorted(centre, Distortion::default(), &mut drawn)?;
        let (value, gradient) = loss_and_gradient(&targets)?;
        values.push(f64::from(value - l_c));
        // The gradient's share of that of L_C, and its part along a fixed other direction.
        let dot: f64 = gradient
            .iter()
            .zip(&g_c)
            .map(|(a, b)| f64::from(a * b))
            .sum();
        along.push(dot / norm2);
    }
    for (name, found, expected) in [("value", values, 1.25), ("gradient", along, 1.0)] {
        let n = found.len() as f64;
        let mean = found.iter().sum::<f64>() / n;
        let var = found.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (var / n).sqrt();
        assert!(
            (mean - expected).abs() < 3.0 * error,
            "{name}: {mean} ± {error}, expected {expected}"
        );
    }
    Ok(())
}

#[test]
fn the_gradient_of_a_noisy_target_differs_from_the_centres_by_noise_without_a_mean() -> Result<()> {
    // In one norm: d/dm MSE(m, a + xi) = d/dm MSE(m, a) - 2 xi / C, exactly.
    let net = small_net().frozen();
    let x = images(4, 3, 8, 8, &mut rng(8));
    let norm = &net.norms()[4];
    let moved = NormInfo {
        mean: norm.mean.clone() + 0.5,
        ..norm.clone()
    };
    let slope = |target: &NormInfo| -> Result<Vec<f32>> {
        let mut pass = net.trace(&x, Mode::Eval)?;
        let loss = statistics_loss(&mut pass, std::slice::from_ref(target))?;
        Ok(read(&loss.backward().get(&x)))
    };
    let mut pass = net.trace(&x, Mode::Eval)?;
    let mean = pass.moments(norm)?.mean;
    let of_mean = read(&mean.sum::<(), _>().backward().get(&x));
    let (a, b) = (slope(norm)?, slope(&moved)?);
    let difference: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    let factor = 2.0 * 0.5 / norm.channels as f32;
    let expected: Vec<f32> = of_mean.iter().map(|g| factor * g).collect();
    assert_close(&difference, &expected, 1e-4);
    Ok(())
}

#[test]
fn a_generator_has_the_authors_layers_and_normalised_pixels() -> Result<()> {
    let net = generator(
        GeneratorShape::default(),
        Extent::new(3, 32, 32),
        10,
        rng(0),
    )?;
    let linear = 100 * 128 * 64 + 128 * 64;
    let convs = 128 * 128 * 9 + 128 + 128 * 64 * 9 + 64 + 64 * 3 * 9 + 3;
    let tables = 2 * 10 * (128 + 128 + 64);
    assert_eq!(net.parameter_count(), linear + convs + tables);
    let eps: Vec<f32> = net.norms().iter().map(|n| n.eps).collect();
    assert_eq!(eps, [1e-5, 0.8, 0.8, 1e-5]);
    let small = generator(shape(), Extent::new(3, 8, 8), 5, rng(0))?;
    let x = generate(&small, &[0, 1, 2, 3, 4, 0, 1, 2], &mut rng(1))?;
    assert_eq!(x.shape(), &(8, 3, 8, 8));
    let values = read(&x);
    for channel in 0..3 {
        let of: Vec<f32> = values
            .chunks(64)
            .skip(channel)
            .step_by(3)
            .flatten()
            .copied()
            .collect();
        let mean = of.iter().sum::<f32>() / of.len() as f32;
        let var = of.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / of.len() as f32;
        assert!(
            mean.abs() < 1e-4 && (var - 1.0).abs() < 0.01,
            "{mean}, {var}"
        );
    }
    for (image, classes) in [(Extent::new(3, 10, 8), 5), (Extent::new(3, 8, 8), 0)] {
        assert!(generator(shape(), image, classes, rng(0)).is_err());
    }
    assert!(generate(&small, &[], &mut rng(1)).is_err());
    assert!(said(generate(&small, &[5], &mut rng(1))).contains("class index 5"));
    Ok(())
}

#[test]
fn conditional_norms_begin_as_plain_ones_with_their_eps_and_have_a_row_a_class() -> Result<()> {
    let net = generator(shape(), Extent::new(3, 8, 8), 5, rng(0))?;
    let (latent, labels) = (
        images(6, 6, 1, 1, &mut rng(2)),
        [0.0, 1.0, 2.0, 0.0, 1.0, 2.0],
    );
    let classes: Images = from_vec(labels.to_vec(), (6, 1, 1, 1))?;
    let node = |name: &str| -> Result<Vec<f32>> {
        net.run_many(&[&latent, &classes], Mode::Train)?
            .channels_last(name)
    };
    let (read_by, plain) = (node("conv1")?, node("norm1.modulate")?);
    // Eight channels; (x - mean) / sqrt(var + 0.8).
    for channel in 0..8 {
        let of = |values: &[f32]| -> Vec<f32> {
            values.iter().skip(channel).step_by(8).copied().collect()
        };
        let (x, y) = (of(&read_by), of(&plain));
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
        let expected: Vec<f32> = x.iter().map(|v| (v - mean) / (var + 0.8).sqrt()).collect();
        assert_close(&y, &expected, 1e-4);
    }
    // The row of one class moves its images and nobody else's.
    let mut rows = net.parameter("norm1.scale.weight")?.to_vec();
    rows[8..16].fill(3.0);
    net.set_parameter("norm1.scale.weight", &rows)?;
    let moved = node("norm1.modulate")?;
    for (i, (a, b)) in plain.chunks(128).zip(moved.chunks(128)).enumerate() {
        let expected: Vec<f32> = a
            .iter()
            .map(|v| if i % 3 == 1 { 3.0 * v } else { *v })
            .collect();
        assert_close(b, &expected, 1e-4);
    }
    Ok(())
}

#[test]
fn the_generators_loss_is_the_weighted_sum_of_its_parts() -> Result<()> {
    let net = small_net();
    let (centres, made, weights, drawn) = a_step(&net)?;
    let single = drawn.single.as_ref().unwrap();
    assert!(centres.recognised().contains(&single.class));
    let loss = generator_loss(&made, &net, &drawn, &weights)?;
    let parts = [
        0.5 * loss.class,
        0.5 * loss.single.unwrap(),
        0.2 * loss.statistics,
        0.01 * loss.centralised.unwrap(),
        0.9 * loss.distorted.unwrap(),
    ];
    assert_close(&[read(&loss.total)[0]], &[parts.iter().sum()], 1e-4);
    assert!(loss.mixed.len() == 4 * 192 && loss.distorted > loss.centralised);
    // The baseline looks at one batch alone.
    let drawn = Drawn::new(&made, (4, 5), None, &mut rng(3))?;
    let loss = generator_loss(&made, &net, &drawn, &GeneratorLosses::gdfq())?;
    let expected = loss.class + 0.1 * loss.statistics;
    assert_close(&[read(&loss.total)[0]], &[expected], 1e-4);
    assert!(loss.single.is_none() && loss.distorted.is_none());
    let other = generator(shape(), Extent::new(3, 12, 8), 5, rng(0))?;
    let error = said(generator_loss(
        &other,
        &net,
        &drawn,
        &GeneratorLosses::gdfq(),
    ));
    assert!(
        error.contains("3x8x8") && error.contains("3x12x8"),
        "{error}"
    );
    Ok(())
}

#[test]
fn both_batches_of_a_step_reach_the_generator() -> Result<()> {
    let net = small_net();
    let (_, made, weights, drawn) = a_step(&net)?;
    let bias = made.parameter("conv2.bias")?;
    let gradient = |drawn: &Drawn, weights: &GeneratorLosses| -> Result<Vec<f32>> {
        let loss = generator_loss(&made, &net, drawn, weights)?;
        Ok(read(&loss.total.backward().get(&bias.value)))
    };
    let both = gradient(&drawn, &weights)?;
    let mixed = Drawn {
        single: None,
        ..drawn.clone()
    };
    let first = gradient(&mixed, &weights)?;
    let nothing_else = GeneratorLosses {
        class: 0.0,
        statistics: 0.0,
        ..weights
    };
    let second = gradient(&drawn, &nothing_else)?;
    let sum: Vec<f32> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
    assert!(first.iter().any(|g| *g != 0.0) && second.iter().any(|g| *g != 0.0));
    assert_close(&both, &sum, 1e-4);
    Ok(())
}

#[test]
fn a_run_trains_generator_and_students_and_leaves_the_network_alone() -> Result<()> {
    let net = small_net();
    let before = net.state()?;
    let config = FddaConfig {
        batch: 8,
        warmup: 60,
        steps: 20,
        generator_lr: 5e-3,
        lr: 1e-3,
        students: vec![StudentLevels::bits(3), StudentLevels::bits(3).ends(8)],
        ..tiny()
    };
    let found = run(&net, &calibration(&net), &config)?;
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    let trace = &found.trace;
    assert_eq!((trace.total.len(), trace.distorted.len()), (80, 80));
    let (first, last) = (mean(&trace.total[..10]), mean(&trace.total[70..]));
    assert!(last < first, "{first} to {last}");
    // The distorted loss stays above its floor, by about the centralised one.
    let (c, d) = (mean(&trace.centralised), mean(&trace.distorted));
    assert!((d - c - 1.25).abs() < 0.2, "{c} and {d}");
    assert_eq!(found.students.len(), 2);
    for student in &found.students {
        let (first, last) = (mean(&student.loss[..5]), mean(&student.loss[15..]));
        assert!(last < first, "{first} to {last}");
    }
    assert_eq!(net.state()?, before);
    // The generator never looked at the students.
    let alone = FddaConfig {
        students: vec![StudentLevels::bits(8)],
        ..config
    };
    let again = run(&net, &calibration(&net), &alone)?;
    assert_eq!(again.trace, found.trace);
    Ok(())
}

#[test]
fn ranges_are_read_where_it_is_said_and_stay() -> Result<()> {
    let net = small_net();
    let given = calibration(&net);
    let range = |config: &FddaConfig| -> Result<f32> {
        let found = run(&net, &given, config)?;
        Ok(found.students[0]
            .net
            .parameter("bn1.site.act_bounds")?
            .to_vec()[1])
    };
    let zero = StudentLevels::bits(3).average(EmaRule::FromZero);
    let few = FddaConfig {
        students: vec![zero],
        ..tiny()
    };
    // An average from zero has 1 - 0.9^n of what it follows.
    let ratio = |of: &FddaConfig| -> Result<f32> {
        let first = FddaConfig {
            students: vec![StudentLevels::bits(3)],
            ..of.clone()
        };
        Ok(range(of)? / range(&first)?)
    };
    let calibrated = FddaConfig {
        ranges: RangesFrom::Calibration(9),
        steps: 0,
        ..few.clone()
    };
    // All five images in every batch: the same numbers each time.
    let all = FddaConfig {
        real: 5,
        ..calibrated.calibration_only()
    };
    let all = FddaConfig {
        ranges: RangesFrom::Calibration(9),
        ..all
    };
    assert_close(&[ratio(&all)?], &[1.0 - 0.9f32.powi(9)], 1e-3);
    // Training moves weights, not ranges.
    let still = FddaConfig {
        steps: 0,
        ..few.clone()
    };
    assert_eq!(range(&few)?, range(&still)?);
    let early = FddaConfig {
        ranges: RangesFrom::FirstSteps(4),
        ..few.clone()
    };
    assert_ne!(range(&early)?, range(&few)?);
    Ok(())
}

#[test]
fn a_run_that_was_stopped_continues_to_the_same_bits() -> Result<()> {
    let net = small_net();
    let given = calibration(&net);
    let whole = run(&net, &given, &tiny())?;
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str| FddaConfig {
        checkpoint: Some(folder.path().join(name)),
        save_every: 3,
        ..tiny()
    };
    // Stopped in the warm-up, while ranges are read, and while students train.
    for (i, until) in [4, 7, 11].into_iter().enumerate() {
        let config = config(&format!("{i}.fdda"));
        let of = |images| Given {
            images,
            normalize: UNIT,
        };
        Run::new(&net, of(&given), &config)?.go(of(&nothing()), until)?;
        let resumed = run(&net, &given, &config)?;
        assert_eq!(resumed.trace, whole.trace, "after {until} steps");
        let (a, b) = (&resumed.students[0], &whole.students[0]);
        assert_eq!(a.loss, b.loss, "after {until} steps");
        assert_eq!(a.net.state()?, b.net.state()?, "after {until} steps");
    }
    let config = config("0.fdda");
    let other = FddaConfig {
        seed: 1,
        ..config.clone()
    };
    let error = said(run(&net, &given, &other));
    assert!(
        error.contains("seed: 0") && error.contains("seed: 1"),
        "{error}"
    );
    let labels = given.labels().to_vec();
    let others = FloatImages::new("others", &images(5, 3, 8, 8, &mut rng(77)), labels)?;
    let error = said(run(&net, &others, &config));
    assert!(error.contains("its calibration set"), "{error}");
    Ok(())
}

#[test]
fn variants_do_without_what_they_do_not_need() -> Result<()> {
    let net = small_net();
    let given = calibration(&net);
    let only = run(&net, &given, &tiny().calibration_only())?;
    assert!(only.generator.is_none() && only.trace.total.is_empty());
    assert_eq!(only.students[0].loss.len(), 5);
    // Images of two classes are enough where no class needs a centre.
    let two = FloatImages::new("two", &images(4, 3, 8, 8, &mut rng(1)), vec![0, 1, 0, 1])?;
    assert!(run(&net, &two, &tiny()).is_err());
    let gdfq = run(&net, &two, &tiny().gdfq())?;
    assert!(gdfq.trace.single.is_empty() && gdfq.trace.total.len() == 13);
    let zero_shot = FddaConfig {
        real: 0,
        ..tiny().gdfq()
    };
    assert_eq!(run(&net, &two, &zero_shot)?.students[0].loss.len(), 5);
    let c = run(
        &net,
        &given,
        &tiny().losses(GeneratorLosses::centralised_only()),
    )?;
    assert!(c.trace.distorted.is_empty() && c.trace.centralised.len() == 13);
    let d = run(
        &net,
        &given,
        &tiny().losses(GeneratorLosses::distorted_only()),
    )?;
    assert!(d.trace.centralised.is_empty() && d.trace.distorted.len() == 13);
    Ok(())
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let net = small_net();
    let given = calibration(&net);
    for config in [
        FddaConfig {
            lr: f32::NAN,
            ..tiny()
        },
        FddaConfig {
            generator_lr: 0.0,
            ..tiny()
        },
        FddaConfig { batch: 1, ..tiny() },
        FddaConfig {
            cosine: 0,
            ..tiny()
        },
        FddaConfig {
            warmup: 0,
            ..tiny()
        },
        FddaConfig {
            losses: None,
            ..tiny()
        },
        FddaConfig {
            real: 0,
            ..tiny().calibration_only()
        },
        FddaConfig {
            students: vec![StudentLevels::bits(9)],
            ..tiny()
        },
    ] {
        let refused = run(&net, &given, &config);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{config:?}");
    }
}

#[test]
fn a_generator_that_diverges_stops_with_step_and_rate() {
    let net = small_net();
    let steep = FddaConfig {
        generator_lr: 1e30,
        ..tiny()
    };
    let error = said(run(&net, &calibration(&net), &steep));
    let named =
        error.contains("generator") && error.contains("step") && error.contains("learning rate");
    assert!(named && error.contains("diverged"), "{error}");
    let steep = FddaConfig {
        lr: 1e30,
        steps: 30,
        ..tiny()
    };
    let error = said(run(&net, &calibration(&net), &steep));
    assert!(
        error.contains("student") && error.contains("learning rate"),
        "{error}"
    );
}

#[test]
fn a_students_rate_falls_and_rises_again() {
    let config = FddaConfig::bits(4);
    let at = |step| config.student_factor(step);
    assert_close(
        &[at(0), at(10_000), at(20_000), at(40_000), at(60_000)],
        &[1.0, 0.5, 0.0, 1.0, 0.0],
        1e-5,
    );
    assert_eq!(config.range_steps(), 0..800);
    assert_eq!(FddaConfig::small(3).range_steps(), 500..600);
}

/// `shift + scale sin(0.37 k + phase)`, as in `fixture.py`.
fn wave(count: usize, phase: f64, scale: f64, shift: f64) -> Vec<f32> {
    let at = |k: usize| (shift + scale * (0.37 * k as f64 + phase).sin()) as f32;
    (0..count).map(at).collect()
}

/// The network of `fixture.py`: two convolutions with batch norm, a linear layer.
fn fixture_network() -> Result<Net> {
    use crate::nn::Conv;
    use crate::ops::relu::Activation;
    let mut b = NetBuilder::new(3, 8, 8, rng(0));
    let x = b.conv("a", b.input(), Conv::new(4))?;
    let x = b.norm("norm_a", x, Activation::Relu)?;
    let x = b.conv("b", x, Conv::new(5).stride(2))?;
    let x = b.norm("norm_b", x, Activation::Relu)?;
    let x = b.global_avg_pool(x)?;
    let x = b.linear_with("fc", x, 3, false)?;
    let net = b.build(x)?;
    for (name, phase, scale) in [("a", 0.9, 0.3), ("b", 1.1, 0.3), ("fc", 1.3, 0.8)] {
        let name = format!("{name}.weight");
        let count = net.parameter(&name)?.to_vec().len();
        net.set_parameter(&name, &wave(count, phase, scale, 0.0))?;
    }
    for (i, (name, channels)) in [("norm_a", 4), ("norm_b", 5)].into_iter().enumerate() {
        let i = i as f64;
        for (part, phase, scale, shift) in [
            ("running_mean", 3.0, 0.2, 0.0),
            ("running_var", 3.5, 0.3, 1.0),
            ("weight", 4.0, 0.3, 1.0),
            ("bias", 4.5, 0.2, 0.0),
        ] {
            let values = wave(channels, phase + i, scale, shift);
            net.set_parameter(&format!("{name}.{part}"), &values)?;
        }
    }
    Ok(net)
}

/// The generator of `fixture.py`.
fn fixture_generator() -> Result<Net> {
    let shape = GeneratorShape {
        latent: 5,
        widths: [4, 3],
    };
    let net = generator(shape, Extent::new(3, 8, 8), 3, rng(0))?;
    let mut waves = vec![
        ("linear.weight".to_string(), 0.1, 0.4, 0.0),
        ("linear.bias".to_string(), 0.2, 0.2, 0.0),
    ];
    for i in 0..3 {
        let phase = f64::from(i);
        waves.push((format!("conv{}.weight", i + 1), 0.3 + 0.2 * phase, 0.3, 0.0));
        waves.push((format!("conv{}.bias", i + 1), 0.4 + 0.2 * phase, 0.1, 0.0));
        waves.push((format!("norm{i}.scale.weight"), 1.0 + phase, 0.3, 1.0));
        waves.push((format!("norm{i}.shift.weight"), 2.0 + phase, 0.3, 0.0));
    }
    for (name, phase, scale, shift) in waves {
        let count = net.parameter(&name)?.to_vec().len();
        net.set_parameter(&name, &wave(count, phase, scale, shift))?;
    }
    Ok(net)
}

/// What `fixture.py` prints: cross entropies of both batches, L_BNS, L_C, L_D, the sum.
const LOSSES: [f32; 6] = [3.329302, 6.587194, 53.9161, 103.578, 96.2618, 103.413];

/// And of some gradients: the first numbers, and the sum of absolute values of all.
const GRADIENTS: [(&str, &[f32], f32); 5] = [
    (
        "linear.weight",
        &[15.283765, 4.0635023, -7.706737, -18.433906],
        2205.6192,
    ),
    (
        "norm1.scale.weight",
        &[0.0734675, 4.2358458, -3.7287697, 0.9727357],
        187.5702,
    ),
    (
        "norm2.shift.weight",
        &[-2.8108866, 3.5387166, -1.1391921, -294.754],
        1907.0264,
    ),
    (
        "conv2.weight",
        &[-511.143, -449.54, -375.754, -483.528],
        42167.592,
    ),
    ("conv3.bias", &[-9.06819, 3.6273008, -10.0223], 22.717794),
];

#[test]
fn pytorch_gives_the_same_losses_and_gradients() -> Result<()> {
    let (net, made) = (fixture_network()?, fixture_generator()?);
    let x: Images = from_vec(wave(192, 6.0, 1.2, 0.0), (1, 3, 8, 8))?;
    let centre = batch_statistics(&net, &x)?;
    let moved = |(i, l): (usize, &NormInfo)| {
        let noise = |phase, scale| crate::vector(&wave(l.channels, phase + i as f64, scale, 0.0));
        NormInfo {
            mean: l.mean.clone() + noise(7.0, 0.5),
            var: l.var.clone() + noise(7.5, 1.0),
            ..l.clone()
        }
    };
    let drawn = Drawn {
        latent: from_vec(wave(20, 5.0, 1.5, 0.0), (4, 5, 1, 1))?,
        labels: vec![0, 2, 1, 2],
        single: Some(SingleClass {
            class: 1,
            latent: from_vec(wave(20, 5.7, 1.5, 0.0), (4, 5, 1, 1))?,
            distorted: centre.iter().enumerate().map(moved).collect(),
            centre,
        }),
    };
    let loss = generator_loss(&made, &net, &drawn, &GeneratorLosses::fdda())?;
    let [single, centralised, distorted] =
        [loss.single, loss.centralised, loss.distorted].map(Option::unwrap_or_default);
    let total = read(&loss.total)[0];
    let parts = [
        loss.class,
        single,
        loss.statistics,
        centralised,
        distorted,
        total,
    ];
    for (found, expected) in parts.iter().zip(LOSSES) {
        let error = (found - expected).abs();
        assert!(error < 1e-4 * expected, "{parts:?}, not {LOSSES:?}");
    }
    let grads = loss.total.backward();
    for (name, first, sum) in GRADIENTS {
        let found = read(&grads.get(&made.parameter(name)?.value));
        let scale = first.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (found, expected) in found.iter().zip(first) {
            let error = (found - expected).abs();
            assert!(error < 1e-3 * scale, "{name}: {found}, not {expected}");
        }
        let all: f32 = found.iter().map(|g| g.abs()).sum();
        assert!((all - sum).abs() < 1e-3 * sum, "{name}: {all}, not {sum}");
    }
    Ok(())
}
