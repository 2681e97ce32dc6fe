//! What a training run promises.

mod own;

use super::*;
use crate::data::{Augment, Dataset, Normalize};
use crate::nn::{Net, cifar_resnet};
use crate::{Error, HostAccess, Result, rng};

/// Images whose class is which third of the grey range they lie in, with noise.
pub(crate) fn shades(n: usize, seed: u64) -> Dataset {
    use rand::Rng as _;
    let mut rng = rng(seed);
    let labels: Vec<u8> = (0..n).map(|i| (i % 3) as u8).collect();
    let images = labels.iter().flat_map(|l| {
        let noise: Vec<u8> = (0..3 * 64)
            .map(|_| 80 * l + rng.random_range(0..60))
            .collect();
        noise
    });
    Dataset {
        name: "shades".into(),
        images: images.collect(),
        labels: labels.clone(),
        classes: ["dark", "grey", "light"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    }
}

pub(crate) fn tiny_net(seed: u64) -> Net {
    cifar_resnet(3, 8, [4, 8, 8], 1, 3, rng(seed)).expect("8x8 divides")
}

pub(crate) fn tiny_config(epochs: usize) -> TrainConfig {
    TrainConfig {
        epochs,
        batch_size: 16,
        lr: 0.05,
        augment: Some(Augment::PaddedCrop {
            padding: 1,
            flip: true,
        }),
        normalize: Normalize::UNIT,
        show: false,
        ..TrainConfig::default()
    }
}

fn weights(net: &Net) -> Vec<u32> {
    net.parameters()
        .iter()
        .flat_map(|p| p.to_vec())
        .map(f32::to_bits)
        .collect()
}

#[test]
fn a_small_network_learns_an_easy_task() -> Result<()> {
    let (train_set, test_set) = (shades(192, 1), shades(96, 2));
    let net = tiny_net(1);
    let history = try_train(&net, &train_set, &test_set, &tiny_config(8))?;
    assert!(history.final_accuracy() > 90.0, "{history:?}");
    assert!(history.epochs[7].loss < 0.5 * history.epochs[0].loss);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bits() -> Result<()> {
    let (train_set, test_set) = (shades(96, 1), shades(0, 2));
    let run = |seed| -> Result<Vec<u32>> {
        let net = tiny_net(1);
        try_train(
            &net,
            &train_set,
            &test_set,
            &TrainConfig {
                seed,
                ..tiny_config(2)
            },
        )?;
        Ok(weights(&net))
    };
    assert_eq!(run(1)?, run(1)?);
    assert_ne!(run(1)?, run(2)?);
    Ok(())
}

/// Stops a run after a number of steps, as an interruption would.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn before_step(&mut self, step: Step, _: &Net) -> Result<()> {
        if step.iteration == self.0 {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_stopped_run_continues_to_the_same_bits() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (train_set, test_set) = (shades(96, 1), shades(48, 2));
    let whole = tiny_net(1);
    let expected = try_train(&whole, &train_set, &test_set, &tiny_config(3))?;
    let config = TrainConfig {
        checkpoint: Some(folder.path().join("a.run")),
        ..tiny_config(3)
    };
    // Stop in the middle of the second epoch (6 steps each): the first is kept, the rest is run again.
    let stopped = train_with(
        &tiny_net(1),
        &train_set,
        &test_set,
        &config,
        &mut StopAfter(9),
    );
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let resumed = tiny_net(9);
    let history = try_train(&resumed, &train_set, &test_set, &config)?;
    assert_eq!(weights(&resumed), weights(&whole));
    let accuracies = |h: &History| {
        h.epochs
            .iter()
            .map(|e| (e.loss, e.test_accuracy))
            .collect::<Vec<_>>()
    };
    assert_eq!(accuracies(&history), accuracies(&expected));
    Ok(())
}

#[test]
fn a_checkpoint_of_another_run_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = TrainConfig {
        checkpoint: Some(folder.path().join("a.run")),
        ..tiny_config(1)
    };
    let (train_set, test_set) = (shades(48, 1), shades(0, 2));
    try_train(&tiny_net(1), &train_set, &test_set, &config)?;
    let other = TrainConfig { lr: 0.01, ..config };
    let error = try_train(&tiny_net(1), &train_set, &test_set, &other)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("its settings: \"lr\":0.05 there") && error.contains("Remove the file"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_checkpoint_of_other_images_or_a_damaged_one_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.run");
    let config = TrainConfig {
        checkpoint: Some(path.clone()),
        ..tiny_config(1)
    };
    let run = |train: (usize, u64), test: (usize, u64)| {
        let (train, test) = (shades(train.0, train.1), shades(test.0, test.1));
        try_train(&tiny_net(1), &train, &test, &config).map_err(|e| e.to_string())
    };
    let first = run((48, 1), (8, 2)).expect("a run");
    // As many images, but others; fewer; another test set.
    for (train, test) in [((48, 3), (8, 2)), ((24, 1), (8, 2)), ((48, 1), (8, 3))] {
        let error = run(train, test).expect_err("another run");
        assert!(error.contains("its data"), "{error}");
    }
    let again = run((48, 1), (8, 2)).expect("the same run");
    assert_eq!(again.loss_curve(), first.loss_curve());
    let whole = std::fs::read(&path).expect("a checkpoint");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let longer = [&whole[..], &[0; 100]].concat();
    for damaged in [&flipped[..], &longer, &whole[..whole.len() - 1], b"?"] {
        std::fs::write(&path, damaged).expect("a writable file");
        let error = run((48, 1), (8, 2)).expect_err("damaged");
        assert!(error.contains("Remove the file"), "{error}");
    }
    Ok(())
}

#[test]
fn settings_that_cannot_train_are_refused() {
    let (net, data) = (tiny_net(1), shades(16, 1));
    for wrong in [
        TrainConfig {
            epochs: 0,
            ..tiny_config(1)
        },
        TrainConfig {
            batch_size: 0,
            ..tiny_config(1)
        },
        TrainConfig {
            lr: f32::NAN,
            ..tiny_config(1)
        },
    ] {
        assert!(matches!(
            try_train(&net, &data, &data, &wrong),
            Err(Error::Invalid { .. })
        ));
    }
    assert!(try_train(&net, &shades(0, 1), &data, &tiny_config(1)).is_err());
}

#[test]
fn schedules_start_and_end_where_they_should() {
    let triangle = Schedule::Triangle { warmup: 0.2 };
    assert_eq!(
        (
            triangle.factor(0.0),
            triangle.factor(0.2),
            triangle.factor(1.0)
        ),
        (0.0, 1.0, 0.0)
    );
    let cosine = Schedule::Cosine { warmup: 0.0 };
    assert_eq!(cosine.factor(0.0), 1.0);
    assert!((cosine.factor(0.5) - 0.5).abs() < 1e-6 && cosine.factor(1.0) < 1e-6);
    let steps: Vec<f32> = [0.0, 0.25, 0.5, 0.75]
        .map(|p| Schedule::quarters().factor(p))
        .to_vec();
    assert!(
        steps.windows(2).all(|w| (w[1] / w[0] - 0.1).abs() < 1e-6),
        "{steps:?}"
    );
}

#[test]
fn the_state_within_an_epoch_continues_to_the_same_bits() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (train_set, test_set) = (shades(96, 1), shades(48, 2));
    let whole = tiny_net(1);
    let expected = try_train(&whole, &train_set, &test_set, &tiny_config(3))?;
    let config = TrainConfig {
        checkpoint: Some(folder.path().join("a.run")),
        checkpoint_steps: 2,
        ..tiny_config(3)
    };
    // Step 11 is the last of the second epoch (6 steps each); the state of step 10 is on disk.
    let mut stop = StopAfter(11);
    assert!(train_with(&tiny_net(1), &train_set, &test_set, &config, &mut stop).is_err());
    let mut seen = Steps(Vec::new());
    let resumed = tiny_net(9);
    let history = train_with(&resumed, &train_set, &test_set, &config, &mut seen)?;
    assert_eq!(history.tests.len(), 3);
    assert_eq!(seen.0, [10, 11, 12, 13, 14, 15, 16, 17]);
    assert_eq!(weights(&resumed), weights(&whole));
    let figures = |h: &History| {
        let of = |e: &EpochRecord| (e.loss, e.train_accuracy, e.test_accuracy);
        h.epochs.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(figures(&history), figures(&expected));
    Ok(())
}

/// The steps that are run.
struct Steps(Vec<usize>);

impl Observer for Steps {
    fn before_step(&mut self, step: Step, _: &Net) -> Result<()> {
        self.0.push(step.iteration);
        Ok(())
    }
}

#[test]
fn plain_rules_move_bounds_and_batch_norm_by_the_gradient_alone() -> Result<()> {
    use crate::nn::{Role, Slots};
    let net = tiny_net(1);
    net.quantise(|_| Ok(Slots::bits(4)))?;
    let config = TrainConfig {
        bound_lr: 0.5,
        bound_rule: BoundRule::Sgd,
        plain_norm: true,
        weight_decay: 0.1,
        ..tiny_config(1)
    };
    let mut optimiser = optimiser(&net, &config)?;
    for factor in [1.0, 0.1] {
        let before = net.parameters();
        // Gradients of 1 everywhere: what moves is the rule alone.
        let mut grads = crate::Grads::leaky();
        for p in &before {
            grads.get_or_alloc_mut(&p.value)?.edit(|g| g.fill(1.0))?;
        }
        optimiser.set_factor(factor);
        optimiser.step(&mut grads)?;
        for (old, new) in before.iter().zip(net.parameters()) {
            let moved = old.to_vec()[0] - new.to_vec()[0];
            let expected = match old.role {
                Role::Norm => 0.05 * factor,
                Role::Bound => 0.5 * factor,
                _ => continue,
            };
            assert!((moved - expected).abs() < 1e-6, "{}: {moved}", old.name);
        }
    }
    Ok(())
}

#[test]
fn images_of_another_size_than_the_networks_are_refused() {
    let mut wrong = shades(16, 1);
    (wrong.height, wrong.width) = (4, 16);
    let error = try_train(&tiny_net(1), &wrong, &shades(0, 1), &tiny_config(1)).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("3x8x8") && error.contains("3x4x16"),
        "{error}"
    );
}

#[test]
fn a_network_trains_on_a_folder_of_images() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (split, count) in [("train", 24), ("val", 6)] {
        for (class, across) in [("columns", true), ("rows", false)] {
            let at = folder.path().join(split).join(class);
            std::fs::create_dir_all(&at).expect("a writable folder");
            for i in 0..count {
                let image = image::RgbImage::from_fn(64 + i, 60, |x, y| {
                    let along = if across { x } else { y };
                    image::Rgb([if (along + i) / 8 % 2 == 0 { 220 } else { 30 }; 3])
                });
                image
                    .save(at.join(format!("{i}.jpg")))
                    .expect("a writable folder");
            }
        }
    }
    let part = |name: &str| crate::data::image_folder(folder.path().join(name));
    let (train_set, test_set) = (
        part("train")?.size(32).min_scale(0.2),
        part("val")?.size(32),
    );
    let config = TrainConfig {
        batch_size: 8,
        lr: 0.003,
        normalize: Normalize::IMAGENET,
        schedule: Schedule::Constant,
        ..tiny_config(10)
    };
    for net in [
        crate::nn::imagenet_resnet(18, 32, 2, rng(1))?,
        crate::nn::mobilenet_v2(32, 2, rng(1))?,
    ] {
        let history = try_train(&net, &train_set, &test_set, &config)?;
        // Two classes: half of the answers are right by chance.
        let last: f32 = history.epochs[7..].iter().map(|e| e.train_accuracy).sum();
        assert!(last / 3.0 > 75.0, "{history:?}");
    }
    Ok(())
}

#[test]
fn accuracy_is_measured_within_epochs_too_without_changing_the_run() -> Result<()> {
    let (train_set, test_set) = (shades(96, 1), shades(48, 2));
    let (plain, measured) = (tiny_net(1), tiny_net(1));
    try_train(&plain, &train_set, &test_set, &tiny_config(2))?;
    let config = TrainConfig {
        eval_steps: 2,
        ..tiny_config(2)
    };
    let history = try_train(&measured, &train_set, &test_set, &config)?;
    let (at, accuracy) = history.test_curve();
    // Six steps an epoch: after two, four and all of them.
    let expected = [2.0 / 6.0, 4.0 / 6.0, 1.0, 8.0 / 6.0, 10.0 / 6.0, 2.0];
    let close = at
        .iter()
        .zip(expected)
        .all(|(a, e): (&f64, f64)| (a - e).abs() < 1e-6);
    assert!(at.len() == 6 && close, "{at:?}");
    assert_eq!(accuracy[5] as f32, history.final_accuracy());
    assert_eq!(weights(&plain), weights(&measured));
    Ok(())
}
