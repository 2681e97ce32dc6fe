//! Criteria of one's own, in training and as shadows.

use super::*;
use crate::train::{from_bytes, to_bytes};

/// [`Selection::Farthest`] as a user would write it; counts its calls.
#[derive(Default)]
struct Far(u32);

impl Criterion for Far {
    fn name(&self) -> String {
        "far".into()
    }
    fn choose(&mut self, seen: &Seen, wanted: usize) -> Vec<usize> {
        self.0 += 1;
        seen.lowest(wanted, |i| -seen.distance[i])
    }
    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(&self.0)
    }
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.0 = from_bytes(state)?;
        Ok(())
    }
}

/// Whole output channels, those of the smallest mean distance first.
struct Channels;

impl Criterion for Channels {
    fn name(&self) -> String {
        "channels".into()
    }
    fn choose(&mut self, seen: &Seen, wanted: usize) -> Vec<usize> {
        let size = seen.len() / seen.channels;
        let mean = |c: &usize| seen.distance[c * size..(c + 1) * size].iter().sum::<f32>();
        let mut free: Vec<usize> = (0..seen.channels)
            .filter(|c| !seen.frozen[c * size])
            .collect();
        free.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
        let due = free.into_iter().take(wanted / size);
        due.flat_map(|c| c * size..(c + 1) * size).collect()
    }
}

fn run_by<C: Criterion>(
    config: LtsConfig,
    train: TrainConfig,
    make: impl Fn() -> C,
) -> Result<(Net, Lts)> {
    let net = tiny_net(1);
    let mut lts = quantise_by(&net, config, |_| Box::new(make()))?;
    train_with(&net, &shades(96, 1), &shades(48, 2), &train, &mut lts)?;
    Ok((net, lts))
}

#[test]
fn a_rule_of_ones_own_trains_as_the_built_in_one_does() -> Result<()> {
    let built_in = LtsConfig {
        selection: Selection::Farthest,
        ..LtsConfig::default()
    };
    let (expected, _, _) = run(built_in, tiny_config(6))?;
    let (net, lts) = run_by(LtsConfig::default(), tiny_config(6), Far::default)?;
    assert!(lts.frozen_share() > 0.5);
    assert_eq!(weights(&net), weights(&expected));
    let (same, all) = lts.unmoved(&net)?;
    assert_eq!(same, all);
    Ok(())
}

#[test]
fn whole_channels_freeze_together_and_no_more_weights_than_the_method_does() -> Result<()> {
    let (_, method, _) = run(LtsConfig::default(), tiny_config(20))?;
    let (_, lts) = run_by(LtsConfig::default(), tiny_config(20), || Channels)?;
    assert!(lts.frozen_share() > 0.5, "{}", lts.frozen_share());
    for (name, channels) in [("layer1.0.conv1", 4), ("fc", 3)] {
        let mask = lts.mask(name)?;
        let whole = |part: &[bool]| part.iter().all(|f| *f == part[0]);
        assert!(mask.chunks(mask.len() / channels).all(whole), "{name}");
    }
    let shares = [&method, &lts].map(|l| l.report().updates_eliminated);
    assert!(shares[1] <= shares[0] + 3.0, "{shares:?}");
    assert!(lts.mask("no such layer").is_err());
    Ok(())
}

#[test]
fn a_followed_rule_is_judged_like_the_built_in_shadows() -> Result<()> {
    let net = tiny_net(1);
    let mut lts = quantise(&net, LtsConfig::baseline())?;
    lts.also_follow(|_| Box::new(Far::default()))?;
    train_with(
        &net,
        &shades(96, 1),
        &shades(48, 2),
        &tiny_config(8),
        &mut lts,
    )?;
    let shadows = lts.report().shadows;
    let names: Vec<&str> = shadows.iter().map(|s| s.rule.as_str()).collect();
    assert_eq!(names, ["nearest", "random", "farthest", "far"]);
    assert_eq!(shadows[2].frozen, shadows[3].frozen);
    assert_eq!(shadows[2].wrong, shadows[3].wrong);
    for shadow in &shadows {
        // 8 epochs of 6 steps, a warm-up of a fifth: nothing in the first fifth, all rules as many.
        assert_eq!(shadow.frozen[..3], [0, 0, 0], "{}", shadow.rule);
        let all: usize = shadow.frozen.iter().sum();
        assert_eq!(all, shadows[0].frozen.iter().sum::<usize>());
        let wrong: usize = shadow.wrong.iter().sum();
        assert_eq!(shadow.total(), 100.0 * wrong as f64 / all as f64);
        assert!(shadow.over_time()[0].is_nan());
    }
    Ok(())
}

#[test]
fn a_run_that_freezes_follows_no_other_rule() -> Result<()> {
    let mut lts = quantise(&tiny_net(1), LtsConfig::default())?;
    assert!(lts.also_follow(|_| Box::new(Channels)).is_err());
    Ok(())
}

#[test]
fn a_criterion_keeps_its_state_through_a_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let train = TrainConfig {
        checkpoint: Some(folder.path().join("lts.safetensors")),
        ..tiny_config(4)
    };
    let (_, lts) = run_by(LtsConfig::default(), train.clone(), Far::default)?;
    // The second call finds the finished run on disk and only reads it back.
    let (_, again) = run_by(LtsConfig::default(), train, Far::default)?;
    for (before, after) in lts.layers.iter().zip(&again.layers) {
        let saved = |l: &std::sync::Mutex<super::super::layer::LtsLayer>| {
            super::super::layer::lock(l)
                .criterion
                .as_ref()
                .map(|c| c.save())
        };
        let (before, after) = (saved(before), saved(after));
        assert_eq!(before.transpose()?, after.transpose()?);
    }
    assert_eq!(lts.report(), again.report());
    Ok(())
}

#[test]
fn those_that_move_settle_later_than_all() -> Result<()> {
    let (_, lts, _) = run(LtsConfig::baseline(), tiny_config(6))?;
    let report = lts.report();
    assert!(report.never_flipped > 0.0 && report.never_flipped < 1.0);
    assert!(report.moving_settled_after(0.5) < report.settled_after(0.5));
    assert!((report.moving_settled_after(1.0) - 1.0).abs() < 1e-5);
    Ok(())
}
