//! Trains the detectors of people that person search starts from, on the made world of capsules.
//!
//! ```text
//! cargo run --release -p rebit --example train_detector -- [ANNOTATION] [STEPS] [OUT.safetensors]
//! ```
//!
//! ANNOTATION is how far the annotated boxes are off, 0.06 or 0.12 for the committed networks. The recipe: 1000 scenes of
//! 300 people, 700 steps of 8 scenes, Adam with a learning rate that falls from 1e-3 to 1e-4 along half a cosine, focal
//! loss of the scores and 1 - GIoU of the boxes. Measured on 150 scenes of 100 other people.

use std::path::PathBuf;

use rebit::metrics::{DetectionConfig, detection};
use rebit::nn::detector::{DetectConfig, found_in};
use rebit::nn::{DetectorConfig, detector};
use rebit::prelude::*;
use rebit::train::{TrainDetectorConfig, mean_overlap, train_detector};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let annotation: f32 = args
        .next()
        .map_or(Ok(0.06), |a| a.parse())
        .expect("ANNOTATION is a number");
    let steps = args
        .next()
        .map_or(Ok(700), |s| s.parse())
        .expect("STEPS is a number");
    let out = PathBuf::from(args.next().unwrap_or("target/detector.safetensors".into()));
    let scenes = World::new(WorldConfig::training(annotation))?.scenes(0..1000)?;
    let test = World::new(WorldConfig::testing(annotation))?;
    let test = test.scenes(WorldConfig::TEST_SCENES..WorldConfig::TEST_SCENES + 150)?;
    let net = detector(&DetectorConfig::default(), rng(1))?;
    let config = TrainDetectorConfig {
        label: format!("detector, annotation {annotation}"),
        steps,
        eval_every: 100,
        ..TrainDetectorConfig::default()
    };
    let history = train_detector(&net, &scenes, &test, &config)?;
    for (at, recall) in &history.tests {
        println!(
            "step {:>4}  {recall:.2} % of the people found",
            at * steps as f32
        );
    }
    let found = found_in(&net, &test, &DetectConfig::default())?;
    let report = detection(&found, &DetectionConfig::default())?;
    let line = format!(
        "recall {:.3}, AP {:.3}, mean IoU with tight boxes {:.3}",
        report.recall,
        report.ap,
        mean_overlap(&found)?
    );
    let annotation = annotation.to_string();
    net.save(
        &out,
        &[
            ("network", "detector of people, made world of capsules"),
            ("annotation", &annotation),
            ("steps", &steps.to_string()),
            ("test", &line),
        ],
    )?;
    println!("loss {:.4}", history.epochs[0].loss);
    println!("{line}; {} written", out.display());
    Ok(())
}
