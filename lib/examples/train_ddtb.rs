//! Trains the quantised networks of the super-resolution notebook for longer than a notebook can.
//!
//! ```text
//! cargo run --release -p rebit --example train_ddtb -- [ITERATIONS] [SEEDS] [1e5 LR] [BITS]...
//! ```
//!
//! Prints a line for each method, bit width and seed: PSNR and SSIM on the middles of the six held-out photographs.

use rebit::data::{Patches, SrPair};
use rebit::papers::ddtb::{self, DdtbConfig};
use rebit::prelude::*;
use rebit::train::{SrConfig, evaluate_bicubic, evaluate_sr};

fn main() -> Result<()> {
    let args: Vec<usize> = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("numbers only"))
        .collect();
    let iterations = args.first().copied().unwrap_or(400);
    let seeds = args.get(1).copied().unwrap_or(1) as u64;
    let lr = args.get(2).map_or(1e-3, |lr| *lr as f32 * 1e-5);
    let bits = match args.get(3..) {
        Some(bits) if !bits.is_empty() => bits.to_vec(),
        _ => vec![2],
    };
    let (teacher, size) = ddtb::pretrained_edsr()?;
    let photos = data::debian_photos()?;
    let test: Vec<SrPair> = photos
        .test
        .iter()
        .map(|photo| SrPair::new(&photo.centre(320, 320), size.scale))
        .collect::<Result<_>>()?;
    let patches = Patches::new(&photos.train, size.scale, 20)?;
    println!("bicubic          {:?}", evaluate_bicubic(&test)?);
    println!("full precision   {:?}", evaluate_sr(&teacher, &test)?);
    let run = SrConfig {
        iterations,
        batch: 8,
        lr,
        ..SrConfig::default()
    };
    let bare = ddtb::fine_tune_without_body(&teacher, &size, &patches, &test, &run)?;
    println!("without body     {:?}", bare.final_score());
    type Make = fn(u32) -> DdtbConfig;
    let methods: [(&str, Make); 6] = [
        ("PAMS, published", DdtbConfig::pams_published),
        ("PAMS bound", DdtbConfig::pams),
        ("symmetric", DdtbConfig::symmetric),
        ("dual", DdtbConfig::dual),
        ("DDTB", DdtbConfig::ddtb),
        ("random sites", DdtbConfig::random_sites),
    ];
    for bits in bits {
        for (name, make) in methods {
            for seed in 1..=seeds {
                let config = DdtbConfig {
                    lr,
                    ..make(bits as u32).seeded(seed).iterations(iterations)
                };
                let start = std::time::Instant::now();
                let student = ddtb::quantised_edsr(&teacher, &size)?;
                let run = ddtb::train(&student, &teacher, &patches, &test, &config)?;
                let seconds = start.elapsed().as_secs_f32();
                println!(
                    "{bits} bit, {name:<16} seed {seed}: {:.3} dB  {:.4}  ({seconds:.0} s)",
                    run.score.psnr, run.score.ssim
                );
            }
        }
    }
    Ok(())
}
