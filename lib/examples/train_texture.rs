//! Trains the generators of textures of [`rebit::papers::reid_texture`], on the made world of capsules.
//!
//! ```text
//! cargo run --release -p rebit --example train_texture -- [reid|pixels] [STEPS] [OUT.safetensors]
//! ```
//!
//! The recipe of both: 8 pictures of each of the 200 first people that the re-ID networks know, with poses as an estimator
//! would see them, batches of 4 people with 4 pictures each, the small U-Net, Adam with a learning rate of 1e-3 that falls
//! to a fifth at three quarters, 2000 steps. `reid` learns from four layers of re-ID network A, `pixels` from pixels within the
//! silhouette; faces and hands of both from textures of 200 other people. Measured on 50 people that no network has seen,
//! in five unseen views each; re-ID network B has no part in the training.

use std::path::PathBuf;

use rebit::nn::{pretrained_reid_a, pretrained_reid_b};
use rebit::papers::reid_texture::{
    Reid, Scores, Supervision, TextureConfig, Workbench, WorkbenchConfig,
};
use rebit::prelude::*;

fn said(name: &str, scores: &Scores) -> String {
    let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len().max(1) as f32;
    format!(
        "{name}: UV L1 seen {:.3} unseen {:.3}, SSIM input {:.3} unseen {:.3}, cos A {:.3} B {:.3}, top-1 A {:.3} B {:.3}, \
         mAP A {:.3} B {:.3}, structure {:.3}",
        mean(&scores.uv_seen),
        mean(&scores.uv_unseen),
        mean(&scores.ssim_input),
        mean(&scores.ssim_unseen),
        mean(&scores.cos_a),
        mean(&scores.cos_b),
        mean(&scores.top1_a),
        mean(&scores.top1_b),
        mean(&scores.map_a),
        mean(&scores.map_b),
        mean(&scores.structure),
    )
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let which = args.next().unwrap_or("reid".into());
    let steps = args
        .next()
        .map_or(Ok(2000), |s| s.parse())
        .expect("STEPS is a number");
    let out = PathBuf::from(args.next().unwrap_or("target/texture.safetensors".into()));
    let supervision = match which.as_str() {
        "reid" => Supervision::Layers,
        "pixels" => Supervision::Pixels,
        other => panic!("{other}: textures learn from reid or pixels"),
    };
    let (a, b) = (pretrained_reid_a()?, pretrained_reid_b()?);
    let config = WorkbenchConfig::default();
    let bench = Workbench::new(&config, Reid::part_based(&a)?, Reid::part_based(&b)?)?;
    println!("{}", said("truth", &bench.score(&bench.truth())?));
    println!("{}", said("mean texture", &bench.score(&bench.mean())?));
    println!(
        "{}",
        said("laid back", &bench.score(&bench.back_projections()?)?)
    );
    println!(
        "{}",
        said("PCA of true textures", &bench.score(&bench.priors(40)?)?)
    );
    let config = TextureConfig {
        supervision,
        steps,
        ..TextureConfig::small()
    };
    let start = std::time::Instant::now();
    let run = bench.train(&config)?;
    println!(
        "{which}: {steps} steps in {:.1} s, loss {:.4}",
        start.elapsed().as_secs_f32(),
        run.history.epochs.last().map_or(f32::NAN, |e| e.loss)
    );
    let scores = bench.score(&bench.textures(&run, &config)?)?;
    println!("{}", said(&which, &scores));
    run.net.save(
        &out,
        &[
            ("network", &format!("small U-Net, {which}")),
            ("steps", &steps.to_string()),
        ],
    )?;
    Ok(())
}
