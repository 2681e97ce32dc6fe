//! What LTS promises, after the specification's hard checks.

use super::observer::quantise;
use super::*;
use crate::Result;
use crate::nn::Net;
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
        momentum: 0.99,
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
fn first_and_last_layer_can_stay_in_full_precision() -> Result<()> {
    let net = tiny_net(1);
    quantise(
        &net,
        LtsConfig {
            first_and_last: false,
            ..LtsConfig::default()
        },
    )?;
    let bits: Vec<Option<u32>> = net.layers().iter().map(|l| l.bits).collect();
    assert_eq!((bits[0], bits[bits.len() - 1]), (None, None));
    assert!(bits[1..bits.len() - 1].iter().all(|b| *b == Some(2)));
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
            momentum: 1.0,
            ..LtsConfig::default()
        },
    ] {
        assert!(quantise(&tiny_net(1), wrong).is_err());
    }
}
