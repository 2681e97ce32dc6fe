//! Trains the re-ID networks of person search, on the made world of capsules.
//!
//! ```text
//! cargo run --release -p rebit --example train_reid -- [A|B] [STEPS] [OUT.safetensors]
//! ```
//!
//! Network A is the light one, which losses run through. Network B only measures: it is wider, and was trained on other
//! scenes, from another seed, with a triplet loss. The recipe of both: the tight boxes of 1000 scenes of 300 people, each
//! once exactly and once with edges off by 5 %, batches of 12 people with 4 pictures each, crops with padding 2 and flips,
//! 4000 steps for A and 1500 for B, Adam with a learning rate that falls from 1e-3 to 5e-5 along half a cosine. Measured
//! on the tight boxes of 150 scenes of 100 other people.

use std::path::PathBuf;

use rebit::data::people::{CutConfig, cut_people};
use rebit::nn::{ReidNetConfig, reid};
use rebit::prelude::*;
use rebit::train::{TrainReidConfig, crop_map, train_reid};

fn people(world: &World, seeds: std::ops::Range<u64>, copies: usize) -> Result<FloatImages> {
    let scenes = world.scenes(seeds)?;
    let boxes: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
    let config = CutConfig {
        copies,
        jitter: 0.05,
        ..CutConfig::default()
    };
    cut_people(&scenes, &boxes, &config)
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let which = args.next().unwrap_or("A".into());
    let usual = if which == "A" { 4000 } else { 1500 };
    let steps = args
        .next()
        .map_or(Ok(usual), |s| s.parse())
        .expect("STEPS is a number");
    let out = PathBuf::from(args.next().unwrap_or("target/reid.safetensors".into()));
    let (net, first, config) = match which.as_str() {
        "A" => (
            reid(&ReidNetConfig::light(300), rng(1))?,
            100_000,
            TrainReidConfig::default(),
        ),
        "B" => (
            reid(&ReidNetConfig::wide(300), rng(2))?,
            200_000,
            TrainReidConfig {
                seed: 2,
                triplet: 1.0,
                ..TrainReidConfig::default()
            },
        ),
        other => panic!("{other}: the networks are A and B"),
    };
    let world = World::new(WorldConfig::training(0.0))?;
    let train = people(&world, first..first + 1000, 2)?;
    let test = World::new(WorldConfig::testing(0.0))?;
    let start = WorldConfig::TEST_SCENES;
    let test = people(&test, start..start + 150, 1)?;
    let config = TrainReidConfig {
        label: format!("re-ID {which}"),
        steps,
        eval_every: 250,
        ..config
    };
    let history = train_reid(&net, &train, Some(&test), &config)?;
    for (at, map) in &history.tests {
        println!(
            "step {:>4}  mAP among test pictures {map:.2} %",
            at * steps as f32
        );
    }
    let map = crop_map(&net, &test)?;
    let line = format!("mAP among pictures of unseen people {map:.3}");
    net.save(
        &out,
        &[
            ("network", &format!("re-ID {which}, made world of capsules")),
            ("steps", &steps.to_string()),
            ("test", &line),
        ],
    )?;
    println!("loss {:.4}", history.epochs[0].loss);
    println!("{line}; {} written", out.display());
    Ok(())
}
