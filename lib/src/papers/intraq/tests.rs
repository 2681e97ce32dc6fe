//! What the specification promises of losses, parts, centres, synthesis and students.

use dfdx::prelude::{Backward, HasShape, Trace};

use super::*;
use crate::data::{Dataset, ImageSource as _, Normalize};
use crate::nn::{Mode, Net, NetBuilder};
use crate::papers::small_net::small_net;
use crate::{Error, Images, Matrix, Result, from_vec, images, randn, read, rng};

fn tiny(config: IntraqConfig) -> IntraqConfig {
    IntraqConfig {
        images: 20,
        batch: 8,
        iterations: 12,
        show: false,
        ..config
    }
}

fn numeric(values: &[f32], f: impl Fn(&[f32]) -> f32) -> Vec<f32> {
    crate::ops::numeric_gradient(values, 1e-2, f)
}

#[test]
fn the_soft_inception_loss_depends_on_one_probability_and_has_its_gradient() -> Result<()> {
    let logits: Matrix = randn(3, 4, &mut rng(3));
    let (labels, targets) = ([1, 0, 3], [0.95, 1.0, 0.4]);
    let loss = |v: &[f32]| -> f32 {
        let z: Matrix = from_vec(v.to_vec(), (3, 4)).unwrap();
        100.0 * read(&soft_inception_loss(z.leaky_trace(), &labels, &targets).unwrap())[0]
    };
    let values = read(&logits);
    let out = soft_inception_loss(logits.leaky_trace(), &labels, &targets)? * 100.0;
    let found = read(&out.backward().get(&logits));
    crate::ops::assert_close(&found, &numeric(&values, loss), 0.05);
    // Mass moved between two other classes changes nothing: p_y stays.
    let equal = |a: f32, b: f32| loss(&[0.0, 1.0, a, b, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert!((equal(2.0, -1.0) - equal(-1.0, 2.0)).abs() < 1e-4);
    Ok(())
}

#[test]
fn the_distance_loss_is_flat_inside_its_margins_and_has_slopes_outside() -> Result<()> {
    let margins = Margins {
        lower: 0.1,
        upper: 0.5,
    };
    // Distances 0.04, 0.29 and 1; the last image has no centre.
    let rows = [[1.0, 0.3], [1.0, 1.0], [0.0, 1.0], [0.7, 0.1]];
    let features: Matrix = from_vec(rows.concat(), (4, 2))?;
    let centre = Some(vec![2.0, 0.0]);
    let centres = [centre.clone(), centre.clone(), centre, None];
    let loss = |v: &[f32]| -> f32 {
        let f: Matrix = from_vec(v.to_vec(), (4, 2)).unwrap();
        read(&marginal_distance_loss(f.leaky_trace(), &centres, margins).unwrap())[0]
    };
    let near = 1.0 - 1.0 / 1.09f32.sqrt();
    let expected = ((0.1 - near) + 0.5) / 3.0;
    assert!((loss(&rows.concat()) - expected).abs() < 1e-6);
    let out = marginal_distance_loss(features.leaky_trace(), &centres, margins)?;
    let found = read(&out.backward().get(&features));
    crate::ops::assert_close(&found, &numeric(&rows.concat(), loss), 2e-3);
    assert_eq!(found[2..4], [0.0, 0.0]);
    assert_eq!(found[6..8], [0.0, 0.0]);
    // Nobody has a centre.
    let nobody =
        marginal_distance_loss(features.leaky_trace(), &[None, None, None, None], margins)?;
    assert_eq!(read(&nobody), [0.0]);
    Ok(())
}

#[test]
fn wrong_shapes_and_labels_are_named() {
    let z = || -> Matrix { from_vec(vec![0.0; 4], (2, 2)).unwrap() };
    let said = |e: Result<_>| {
        e.map(|_: crate::Scalar<crate::Taped>| ())
            .unwrap_err()
            .to_string()
    };
    let short = said(soft_inception_loss(z().leaky_trace(), &[0], &[1.0, 1.0]));
    assert!(
        short.contains("2 labels") && short.contains("1 labels"),
        "{short}"
    );
    let label = said(soft_inception_loss(z().leaky_trace(), &[0, 2], &[1.0; 2]));
    assert!(
        label.contains("label 2") && label.contains("0..2"),
        "{label}"
    );
    let margins = Margins {
        lower: 0.1,
        upper: 0.5,
    };
    let centres = [Some(vec![1.0; 3]), None];
    let wide = said(marginal_distance_loss(z().leaky_trace(), &centres, margins));
    assert!(wide.contains("2 numbers") && wide.contains('3'), "{wide}");
}

#[test]
fn nan_stays_nan() -> Result<()> {
    let z: Matrix = from_vec(vec![f32::NAN, 1.0], (1, 2))?;
    assert!(read(&soft_inception_loss(z.leaky_trace(), &[0], &[1.0])?)[0].is_nan());
    let margins = Margins {
        lower: 0.1,
        upper: 0.5,
    };
    let loss = marginal_distance_loss(z.leaky_trace(), &[Some(vec![1.0, 1.0])], margins)?;
    assert!(read(&loss)[0].is_nan());
    Ok(())
}

#[test]
fn the_losses_fall_and_the_network_keeps_its_bits() -> Result<()> {
    let net = small_net();
    let before = net.state()?;
    let config = tiny(IntraqConfig {
        lr: 0.1,
        ..IntraqConfig::small()
    });
    let config = IntraqConfig {
        iterations: 60,
        ..config
    };
    let made = synthesise(&net, &config)?;
    assert_eq!((made.images.len(), made.traces.len()), (20, 3));
    for (batch, trace) in made.traces.iter().enumerate() {
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        let (first, last) = (mean(&trace.statistics[..5]), mean(&trace.statistics[55..]));
        assert!(last < 0.3 * first, "statistics {first} to {last}");
        // The first batch has no centres.
        assert_eq!(batch > 0, trace.distance.iter().any(|d| *d != 0.0));
        let parts = trace.parts.iter().filter(|p| **p).count();
        assert!((15..=45).contains(&parts), "{parts} of 60 steps saw parts");
    }
    assert_eq!(net.state()?, before);
    Ok(())
}

#[test]
fn images_are_the_same_again_and_after_an_interruption_at_any_place() -> Result<()> {
    let net = small_net();
    let whole = synthesise(&net, &tiny(IntraqConfig::default()))?;
    assert_eq!(
        synthesise(&net, &tiny(IntraqConfig::default()))?.images,
        whole.images
    );
    let folder = tempfile::tempdir().unwrap();
    let config = IntraqConfig {
        checkpoint: Some(folder.path().join("a.intraq")),
        save_every: 5,
        ..tiny(IntraqConfig::default())
    };
    // A state after 5 steps of the second batch: what a run that was killed there leaves.
    super::synthesis::stop_in_second_batch(&net, &config, 7)?;
    let resumed = synthesise(&net, &config)?;
    assert!(resumed.images == whole.images);
    assert_eq!(resumed.traces, whole.traces);
    let other = synthesise(
        &net,
        &IntraqConfig {
            seed: 1,
            ..config.clone()
        },
    );
    let error = other.unwrap_err().to_string();
    assert!(
        error.contains("seed: 0") && error.contains("seed: 1"),
        "{error}"
    );
    let error = synthesise(&cifar(3), &config).unwrap_err().to_string();
    assert!(error.contains("its network"), "{error}");
    Ok(())
}

fn cifar(seed: u64) -> Net {
    let net = crate::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 5, rng(seed)).unwrap();
    let x = images(8, 3, 8, 8, &mut rng(seed));
    net.run(&x, Mode::Train).unwrap();
    net
}

#[test]
fn networks_and_settings_that_cannot_be_are_refused() -> Result<()> {
    let mut b = NetBuilder::new(3, 4, 4, rng(1));
    let x = b.global_avg_pool(b.input())?;
    let x = b.linear("fc", x, 2)?;
    let plain = b.build(x)?;
    let error = synthesise(&plain, &tiny(IntraqConfig::default()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("batch norm") && error.contains("statistics"),
        "{error}"
    );
    let net = small_net();
    for config in [
        IntraqConfig {
            lr: f32::NAN,
            ..IntraqConfig::small()
        },
        IntraqConfig {
            images: 0,
            ..IntraqConfig::small()
        },
        IntraqConfig {
            margins: Some(Margins {
                lower: 0.5,
                upper: 0.1,
            }),
            ..IntraqConfig::small()
        },
        IntraqConfig {
            inception: Inception::Soft {
                lowest: 2.0,
                share: 0.5,
            },
            ..IntraqConfig::small()
        },
        IntraqConfig {
            features: Some("nobody".into()),
            ..tiny(IntraqConfig::small())
        },
    ] {
        assert!(
            matches!(synthesise(&net, &config), Err(Error::Invalid { .. })),
            "{config:?}"
        );
    }
    let steep = IntraqConfig {
        lr: 1e30,
        ..tiny(IntraqConfig::small())
    };
    let error = synthesise(&net, &steep).unwrap_err().to_string();
    assert!(
        error.contains("learning rate") && error.contains("step"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_student_has_few_levels_and_learns_from_its_teacher() -> Result<()> {
    let net = small_net();
    let made = synthesise(
        &net,
        &tiny(IntraqConfig {
            images: 32,
            ..IntraqConfig::small()
        }),
    )?;
    let config = StudentConfig {
        batch: 8,
        steps: 30,
        range_batches: 6,
        lr: 1e-3,
        show: false,
        ..StudentConfig::small(3)
    };
    let nothing = Dataset {
        name: "none".into(),
        images: Vec::new(),
        labels: Vec::new(),
        classes: (0..5).map(|i| i.to_string()).collect(),
        channels: 3,
        height: 8,
        width: 8,
    };
    let run = finetune(&net, &made.images, (&nothing, &Normalize::UNIT), &config)?;
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    assert!(
        mean(&run.loss[25..]) < mean(&run.loss[..5]),
        "{:?}",
        run.loss
    );
    let x: Images = images(4, 3, 8, 8, &mut rng(9));
    let site = run.net.sites()[0].name.clone();
    let seen = run.net.predict_nodes(&[&x], &[&site])?;
    let mut levels = read(&seen[0]);
    assert_eq!(seen[0].shape().0, 4);
    levels.sort_by(f32::total_cmp);
    levels.dedup();
    assert!((2..=8).contains(&levels.len()), "{} levels", levels.len());
    // Ranges were fixed before training.
    let bounds = format!("{site}.act_bounds");
    let before = run.net.parameter(&bounds)?.to_vec();
    run.net.observe_ranges(&(x * 9.0))?;
    assert_eq!(run.net.parameter(&bounds)?.to_vec(), before);
    let few = StudentConfig {
        batch: 64,
        ..config
    };
    assert!(finetune(&net, &made.images, (&nothing, &Normalize::UNIT), &few).is_err());
    Ok(())
}

#[test]
fn what_a_batch_begins_with_and_which_parts_it_sees_can_be_asked_for() -> Result<()> {
    let net = small_net();
    // A step so short that the images are still the noise.
    let config = tiny(IntraqConfig {
        lr: 1e-12,
        ..IntraqConfig::default()
    });
    let made = synthesise(&net, &config)?;
    let mut place = 0;
    for (batch, trace) in made.traces.iter().enumerate() {
        let start = config.start(&net, batch)?;
        assert_eq!(start.targets.len(), start.labels.len());
        assert!(start.targets.iter().all(|t| (0.95..=1.0).contains(t)));
        for (values, label) in read(&start.pixels).chunks(3 * 64).zip(&start.labels) {
            crate::ops::assert_close(made.images.values(place).unwrap(), values, 1e-6);
            assert_eq!(made.images.labels()[place], *label);
            place += 1;
        }
        for (step, seen) in trace.parts.iter().enumerate() {
            let parts = config.parts(&start.pixels, batch, step)?;
            assert_eq!(parts.is_some(), *seen);
            let Some(Parts { boxes, sampling }) = parts else {
                continue;
            };
            assert_eq!(
                (sampling.images.len(), sampling.out),
                (start.labels.len(), (8, 8))
            );
            for b in read(&boxes).chunks(4) {
                let (width, height) = ((b[2] - b[0]).abs(), b[3] - b[1]);
                // Half of the area at least, before sides were rounded to whole pixels.
                assert!((25.0..=64.0).contains(&(width * height)), "{b:?}");
            }
        }
    }
    assert_eq!(place, 20);
    let error = config.start(&net, 3).unwrap_err().to_string();
    assert!(
        error.contains("batch 3") && error.contains("20 images"),
        "{error}"
    );
    Ok(())
}
