//! What LTS promises, after the specification's hard checks.

mod criteria;

use super::quantise::quantise;
use super::*;
use crate::HostAccess;
use crate::Result;
use crate::nn::{Mode, Net};
use crate::train::tests::{shades, tiny_config, tiny_net};
use crate::train::{History, TrainConfig, train_with};

fn run(config: LtsConfig, train: TrainConfig) -> Result<(Net, Lts, History)> {
    let net = tiny_net(1);
    let mut lts = quantise(&net, config)?;
    let history = train_with(&net, &shades(96, 1), &shades(48, 2), &train, &mut lts)?;
    Ok((net, lts, history))
}

fn weights(net: &Net) -> Vec<u32> {
    net.parameters()
        .iter()
        .flat_map(|p| p.to_vec())
        .map(f32::to_bits)
        .collect()
}

#[test]
fn nothing_freezes_in_the_warm_up_and_the_share_never_falls() -> Result<()> {
    let (_, lts, _) = run(
        LtsConfig {
            warmup: 0.5,
            ..LtsConfig::default()
        },
        tiny_config(6),
    )?;
    let share = lts.report().frozen_share;
    let warm = share.len() / 2;
    assert!(share[..warm].iter().all(|s| *s == 0.0));
    assert!(share.windows(2).all(|w| w[1] >= w[0]), "{share:?}");
    assert!(share[share.len() - 1] > 0.9, "{share:?}");
    Ok(())
}

#[test]
fn frozen_weights_keep_their_bits_to_the_end() -> Result<()> {
    for selection in [Selection::Nearest, Selection::Random, Selection::Farthest] {
        let (net, lts, _) = run(
            LtsConfig {
                selection,
                ..LtsConfig::default()
            },
            tiny_config(6),
        )?;
        let (same, all) = lts.unmoved(&net)?;
        assert!(all > 500, "{selection:?} froze {all}");
        assert_eq!(same, all, "{selection:?}");
    }
    Ok(())
}

#[test]
fn the_baseline_is_the_run_whose_threshold_is_never_met() -> Result<()> {
    let (baseline, lts, _) = run(LtsConfig::baseline(), tiny_config(3))?;
    assert_eq!(lts.report().updates_eliminated, 0.0);
    let never = LtsConfig {
        threshold: Threshold::Constant(0.0),
        ema: 0.99,
        ..LtsConfig::default()
    };
    let (same, lts, _) = run(never, tiny_config(3))?;
    assert_eq!(
        lts.report().updates_eliminated,
        0.0,
        "a distance of exactly 0 does not occur here"
    );
    assert_eq!(weights(&baseline), weights(&same));
    Ok(())
}

#[test]
fn a_sine_threshold_is_never_below_the_linear_one() {
    let (linear, sine) = (
        LtsConfig::default(),
        LtsConfig {
            threshold: Threshold::Sine,
            ..LtsConfig::default()
        },
    );
    for step in 0..1000 {
        match (linear.rate(step, 1000), sine.rate(step, 1000)) {
            (None, None) => assert!(step < 200),
            (Some(l), Some(s)) => assert!(step >= 200 && s >= l && l > 0.0 && l <= 1.0),
            other => panic!("schedules disagree on the warm-up: {other:?}"),
        }
    }
    assert_eq!(linear.rate(999, 1000), Some(1.0));
}

#[test]
fn savings_are_the_means_the_paper_counts() -> Result<()> {
    let (net, lts, _) = run(LtsConfig::default(), tiny_config(6))?;
    let report = lts.report();
    let weights: usize = report.layers.iter().map(|l| l.weights).sum();
    let mean = report
        .frozen_share
        .iter()
        .map(|s| f64::from(*s))
        .sum::<f64>()
        / report.frozen_share.len() as f64;
    let expected = 100.0 * mean * weights as f64 / net.parameter_count() as f64;
    assert!(
        (report.updates_eliminated - expected).abs() < 1e-3,
        "{} {expected}",
        report.updates_eliminated
    );
    assert_eq!(
        report.backward_flops_eliminated,
        report.updates_eliminated / 2.0
    );
    Ok(())
}

#[test]
fn a_resumed_run_reports_what_the_whole_run_does() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("lts.safetensors");
    let train = TrainConfig {
        checkpoint: Some(path.clone()),
        ..tiny_config(4)
    };
    for config in [LtsConfig::default(), LtsConfig::baseline()] {
        let (net, lts, _) = run(config, tiny_config(4))?;
        run(config, train.clone())?;
        // A second call finds the finished run on disk and only reads it back.
        let (again, read_back, _) = run(config, train.clone())?;
        assert_eq!(weights(&again), weights(&net));
        assert_eq!(read_back.report(), lts.report());
        std::fs::remove_file(&path).expect("the checkpoint was written");
    }
    Ok(())
}

#[test]
fn shadow_masks_freeze_nothing_and_rates_are_shares() -> Result<()> {
    let (_, lts, _) = run(LtsConfig::baseline(), tiny_config(6))?;
    assert_eq!(lts.frozen_share(), 0.0);
    let rates = lts
        .report()
        .wrong_freeze
        .expect("the baseline keeps shadow masks");
    for rate in [rates.nearest, rates.random, rates.farthest] {
        assert!((0.0..=100.0).contains(&rate), "{rates:?}");
    }
    assert!(rates.nearest < rates.farthest, "{rates:?}");
    Ok(())
}

#[test]
fn first_and_last_layer_follow_their_own_policy() -> Result<()> {
    let bits = |ends| -> Result<Vec<Option<u32>>> {
        let net = tiny_net(1);
        quantise(
            &net,
            LtsConfig {
                ends,
                ..LtsConfig::default()
            },
        )?;
        Ok(net.layers().iter().map(|l| l.bits).collect())
    };
    for (ends, expected) in [
        (Ends::Quantised, Some(2)),
        (Ends::EightBit, Some(8)),
        (Ends::FullPrecision, None),
    ] {
        let bits = bits(ends)?;
        let last = bits.len() - 1;
        assert_eq!((bits[0], bits[last]), (expected, expected), "{ends:?}");
        assert!(bits[1..last].iter().all(|b| *b == Some(2)), "{ends:?}");
    }
    Ok(())
}

#[test]
fn the_quantisers_of_2022_leave_the_image_and_both_ends_free() -> Result<()> {
    let (net, lts, _) = run(LtsConfig::code_2022(), tiny_config(6))?;
    assert!(lts.report().frozen_share.last() > Some(&0.9));
    let names: Vec<String> = lts.report().layers.into_iter().map(|l| l.name).collect();
    assert!(!names.contains(&"conv1".into()) && !names.contains(&"fc".into()));
    assert!(
        net.parameter("conv1.act_scale").is_err(),
        "an image in full precision"
    );
    // Six layers inside and the last have a trained input scale, the last a trained weight scale too.
    let trained = |p: &&crate::nn::Param| p.role == crate::nn::Role::Bound;
    assert_eq!(
        net.parameters().iter().filter(trained).count(),
        names.len() + 2
    );
    Ok(())
}

#[test]
fn with_a_fixed_scale_a_frozen_weight_keeps_its_level_to_the_end() -> Result<()> {
    let config = LtsConfig {
        bits: 3,
        ..LtsConfig::code_2022()
    };
    let net = tiny_net(1);
    let mut watch = Levels(quantise(&net, config)?, Vec::new(), 0);
    train_with(
        &net,
        &shades(96, 1),
        &shades(0, 2),
        &tiny_config(6),
        &mut watch,
    )?;
    assert!(watch.2 > 500, "{} frozen weights were compared", watch.2);
    Ok(())
}

/// Fails when a weight that was frozen after some step is free or on another level after a later one.
struct Levels(Lts, Vec<Vec<Option<f32>>>, usize);

impl crate::train::Observer for Levels {
    fn before_step(&mut self, step: crate::train::Step, net: &Net) -> Result<()> {
        self.0.before_step(step, net)
    }

    fn after_step(&mut self, step: crate::train::Step, net: &Net, loss: f32) -> Result<()> {
        self.0.after_step(step, net, loss)?;
        let layers = self.0.layers.iter();
        let now: Vec<Vec<Option<f32>>> = layers
            .map(|layer| {
                let layer = super::layer::lock(layer);
                let levels = super::layer::seen(&layer.state.previous);
                let levels = layer.state.frozen.iter().zip(levels.iter());
                levels.map(|(f, q)| f.then_some(*q)).collect()
            })
            .collect();
        let before = self.1.iter().flatten();
        for (old, new) in before.zip(now.iter().flatten()) {
            if old.is_some() {
                assert_eq!(old, new, "step {}", step.iteration);
                self.2 += 1;
            }
        }
        self.1 = now;
        Ok(())
    }
}

#[test]
fn frozen_weights_have_no_gradient() -> Result<()> {
    for masked in [true, false] {
        let config = LtsConfig {
            masked,
            ..LtsConfig::default()
        };
        let (net, lts, _) = run(config, tiny_config(5))?;
        assert!(lts.frozen_share() > 0.9);
        use dfdx::prelude::Backward;
        let mut out = net.run(&crate::images(4, 3, 8, 8, &mut crate::rng(1)), Mode::Train)?;
        let loss = crate::ops::cross_entropy::cross_entropy(out.logits()?, &[0usize, 1, 2, 0]);
        let mut all = loss.backward();
        for layer in &lts.layers {
            let layer = super::layer::lock(layer);
            let weight = net.parameter(&format!("{}.weight", layer.name))?.value;
            let grads = all.get_or_alloc_mut(&weight)?.view()?;
            let grads = layer.state.frozen.iter().zip(grads.iter());
            assert!(grads.clone().count() == layer.len());
            assert!(
                grads.filter(|(f, _)| **f).all(|(_, g)| *g == 0.0),
                "{}",
                layer.name
            );
        }
    }
    Ok(())
}

#[test]
fn on_one_trajectory_sine_freezes_no_less_than_linear_and_earlier_no_less_than_later() -> Result<()>
{
    let net = tiny_net(1);
    let mut lts = quantise(&net, LtsConfig::baseline())?;
    let plans = [Threshold::Sine, Threshold::Linear].map(|t| [0.0, 0.2, 0.5].map(|w| (t, w)));
    lts.also_record(&plans.concat())?;
    let mut course = Course(lts, Vec::new());
    train_with(
        &net,
        &shades(96, 1),
        &shades(0, 2),
        &tiny_config(6),
        &mut course,
    )?;
    for saved in &course.1 {
        let (sine, linear) = saved.split_at(3);
        assert!(sine.iter().zip(linear).all(|(s, l)| s >= l), "{saved:?}");
        assert!(sine.is_sorted_by(|a, b| a >= b) && linear.is_sorted_by(|a, b| a >= b));
    }
    assert!(course.1.last().is_some_and(|s| s[3] > 0.0 && s[0] > s[3]));
    Ok(())
}

/// What each plan has saved after every step.
struct Course(Lts, Vec<Vec<f64>>);

impl crate::train::Observer for Course {
    fn before_step(&mut self, step: crate::train::Step, net: &Net) -> Result<()> {
        self.0.before_step(step, net)
    }

    fn after_step(&mut self, step: crate::train::Step, net: &Net, loss: f32) -> Result<()> {
        self.0.after_step(step, net, loss)?;
        let plans = self.0.report().plans;
        self.1
            .push(plans.iter().map(|p| p.updates_eliminated).collect());
        Ok(())
    }
}

#[test]
fn a_plan_foresees_what_its_schedule_saves() -> Result<()> {
    // Distances hardly depend on whether frozen weights stop: the plan on the free run predicts the real one.
    let schedule = (Threshold::Linear, 0.2);
    let net = tiny_net(1);
    let mut watch = quantise(&net, LtsConfig::baseline())?;
    watch.also_record(&[schedule])?;
    let config = tiny_config(8);
    train_with(&net, &shades(96, 1), &shades(0, 2), &config, &mut watch)?;
    let plan = watch.report().plans[0];
    let (_, lts, _) = run(LtsConfig::default(), config)?;
    let real = lts.report().updates_eliminated;
    assert!(
        (plan.updates_eliminated - real).abs() < 5.0,
        "{plan:?} {real}"
    );
    // The shadow mask of the nearest rule is the same plan.
    let shadow = watch.report().wrong_freeze.expect("a run without freezing");
    assert!((plan.wrong_freeze - shadow.nearest).abs() < 1e-9);
    Ok(())
}

#[test]
fn the_frozen_share_follows_twice_the_threshold() -> Result<()> {
    // Soft: near-uniform distances. 0.12 covers the coarse steps of 36 iterations.
    let (_, lts, _) = run(LtsConfig::default(), tiny_config(20))?;
    let report = lts.report();
    let (mut worst, mut at) = (0.0f32, 0);
    for (i, (share, rate)) in report.frozen_share.iter().zip(&report.rate).enumerate() {
        let off = (share - expected_share(*rate)).abs();
        (worst, at) = if off > worst { (off, i) } else { (worst, at) };
    }
    assert!(worst < 0.12, "{worst} at iteration {at}");
    Ok(())
}

#[test]
fn controls_freeze_as_many_weights_as_the_method_at_every_iteration() -> Result<()> {
    let share = |selection| -> Result<Vec<f32>> {
        let config = LtsConfig {
            selection,
            ..LtsConfig::default()
        };
        Ok(run(config, tiny_config(20))?.1.report().frozen_share)
    };
    let method = share(Selection::Nearest)?;
    for control in [Selection::Random, Selection::Farthest] {
        // Three runs, three trajectories: their distances are alike, not equal.
        for (i, (m, c)) in method.iter().zip(share(control)?).enumerate() {
            assert!(
                (m - c).abs() < 0.06,
                "{control:?}, iteration {i}: {c} against {m}"
            );
        }
    }
    Ok(())
}

#[test]
fn settled_shares_rise_to_one() -> Result<()> {
    let (_, lts, _) = run(LtsConfig::baseline(), tiny_config(4))?;
    let report = lts.report();
    assert_eq!(report.settled_course.len(), report.frozen_share.len());
    assert!(report.settled_course.is_sorted());
    assert_eq!(report.settled_course.last(), Some(&1.0));
    assert_eq!(report.settled.len(), 4);
    assert_eq!(report.settled_after(1.0), 1.0);
    assert_eq!(report.settled_after(0.25), report.settled[0]);
    Ok(())
}

#[test]
fn backward_passes_are_timed_for_each_share() -> Result<()> {
    for pattern in [Pattern::Entries, Pattern::Channels] {
        let times = time_backward(&tiny_net(1), 4, &[0.0, 0.5, 1.0], pattern, 2)?;
        let shares: Vec<f32> = times.iter().map(|t| t.frozen).collect();
        assert_eq!(shares, [0.0, 0.5, 1.0]);
        for t in times {
            assert!(t.weight_grad > 0.0 && t.weight_grad < t.seconds, "{t:?}");
        }
    }
    Ok(())
}

#[test]
fn settings_out_of_range_are_refused() {
    for wrong in [
        LtsConfig {
            bits: 0,
            ..LtsConfig::default()
        },
        LtsConfig {
            warmup: 1.0,
            ..LtsConfig::default()
        },
        LtsConfig {
            ema: 1.0,
            ..LtsConfig::default()
        },
        LtsConfig {
            threshold: Threshold::Constant(-0.1),
            ..LtsConfig::default()
        },
    ] {
        assert!(quantise(&tiny_net(1), wrong).is_err());
    }
}
