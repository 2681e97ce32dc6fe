//! Trains the full-precision EDSR that the super-resolution notebook starts from.
//!
//! ```text
//! cargo run --release -p rebit --example train_edsr -- [ITERATIONS] [OUT.safetensors] [BLOCKS] [CHANNELS] [SCALE]
//! ```
//!
//! The recipe: EDSR with 8 blocks of 32 channels at scale 2 (unless told otherwise), mean absolute error on grey levels, Adam, batch 8 of 24x24
//! low-resolution pixels, learning rate rising to 1e-3 over the first 2 % of the run and falling to 0 along half a
//! cosine, flips and transposes; 31 photographs from Debian packages, measured on the middles of 6 others. The run
//! is kept at each measurement and continues where it was stopped. The last lines train the control without a body: the same head, tail
//! and long skip, all residual blocks left out.

use std::path::PathBuf;

use rebit::data::{Patches, SrPair};
use rebit::nn::{EdsrConfig, Net, edsr};
use rebit::prelude::*;
use rebit::train::{SrConfig, evaluate_bicubic, train_sr};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let iterations = args
        .next()
        .map_or(9000, |n| n.parse().expect("ITERATIONS is a number"));
    let out = PathBuf::from(args.next().unwrap_or("target/edsr_x2.safetensors".into()));
    let mut size = |or: usize| args.next().map_or(or, |n| n.parse().expect("a number"));
    let config = EdsrConfig {
        blocks: size(8),
        channels: size(32),
        scale: size(2),
        ..EdsrConfig::default()
    };

    let photos = data::debian_photos()?;
    let test: Vec<SrPair> = photos
        .test
        .iter()
        .map(|photo| SrPair::new(&photo.centre(320, 320), config.scale))
        .collect::<Result<_>>()?;
    println!("bicubic: {:?}", evaluate_bicubic(&test)?);
    let patches = Patches::new(&photos.train, config.scale, 24)?;

    let net = edsr(&config, rng(1))?;
    let run = SrConfig {
        label: "EDSR".into(),
        iterations,
        batch: 8,
        lr: 1e-3,
        schedule: Schedule::Cosine { warmup: 0.02 },
        eval_every: 250,
        checkpoint: Some(out.with_extension("run")),
        ..SrConfig::default()
    };
    let history = train_sr(&net, &patches, &test, &run)?;
    let score = history.final_score();
    write(&net, &out, &config, iterations, score.psnr)?;

    let bare = edsr(
        &EdsrConfig {
            blocks: 0,
            ..config
        },
        rng(1),
    )?;
    let control = SrConfig {
        label: "without body".into(),
        iterations: (iterations / 4).max(1),
        checkpoint: None,
        ..run
    };
    let control = train_sr(&bare, &patches, &test, &control)?.final_score();
    println!(
        "{:.3} dB, {:.3} dB above the control without body; {} written",
        score.psnr,
        score.psnr - control.psnr,
        out.display()
    );
    Ok(())
}

fn write(
    net: &Net,
    out: &PathBuf,
    config: &EdsrConfig,
    iterations: usize,
    psnr: f32,
) -> Result<()> {
    let (blocks, channels) = (config.blocks.to_string(), config.channels.to_string());
    net.save(
        out,
        &[
            ("network", &format!("EDSR x{}", config.scale)),
            ("blocks", &blocks),
            ("channels", &channels),
            ("iterations", &iterations.to_string()),
            ("psnr_y", &format!("{psnr:.3}")),
        ],
    )
}
