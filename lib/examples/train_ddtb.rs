//! Trains the quantised networks of the super-resolution notebook, for longer and with more seeds than a notebook can.
//!
//! ```text
//! cargo run --release -p rebit --example train_ddtb -- [OPTION ...]
//!
//! --updates N          length of each run, 250 unless told (the notebook's standard budget)
//! --seeds FIRST-LAST   1-3 unless told
//! --bits N,...         2 unless told
//! --methods NAME,...   published, pams, symmetric, dual, ddtb, random; all unless told
//! --lr X               learning rate of the weights, 0.001 unless told
//! --start M            percentile that trained bounds start at, in place of 99
//! --network NAME       base (8 blocks, the notebook's) or deep (16 blocks)
//! ```
//!
//! Says how asymmetric the sites are that have no ReLU before them, then prints a line for each method, bit width and seed, PSNR and SSIM on the middles of the six held-out photographs, and
//! a line for each method with mean and standard deviation over the seeds.

use rebit::data::{Patches, Photo, SrPair};
use rebit::nn::{EdsrConfig, pretrained_edsr_deep};
use rebit::papers::ddtb::{self, DdtbConfig};
use rebit::prelude::*;
use rebit::train::{SrConfig, evaluate_bicubic, evaluate_sr};

/// A row of the table, and what makes its configuration for a number of bits.
type Method = (&'static str, fn(u32) -> DdtbConfig);

const METHODS: [Method; 6] = [
    ("published", DdtbConfig::pams_published),
    ("pams", DdtbConfig::pams),
    ("symmetric", DdtbConfig::symmetric),
    ("dual", DdtbConfig::dual),
    ("ddtb", DdtbConfig::ddtb),
    ("random", DdtbConfig::random_sites),
];

fn main() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("usage: train_ddtb [--updates N] [--seeds FIRST-LAST] [--bits N,...] [--lr X]");
        eprintln!("       [--methods published,pams,symmetric,dual,ddtb,random] [--start M]");
        eprintln!("       [--network base|deep]");
        std::process::exit(2);
    };
    let (teacher, size) = match options.deep {
        true => pretrained_edsr_deep()?,
        false => ddtb::pretrained_edsr()?,
    };
    let photos = data::debian_photos()?;
    let test: Vec<SrPair> = photos
        .test
        .iter()
        .map(|photo| SrPair::new(&photo.centre(320, 320), size.scale))
        .collect::<Result<_>>()?;
    let patches = Patches::new(&photos.train, size.scale, 20)?;
    println!("bicubic          {:?}", evaluate_bicubic(&test)?);
    println!("full precision   {:?}", evaluate_sr(&teacher, &test)?);
    asymmetry(&teacher, &size, &photos.train)?;
    let bare = SrConfig {
        iterations: options.updates,
        batch: 8,
        lr: options.lr,
        schedule: Schedule::halved(5),
        ..SrConfig::default()
    };
    let bare = ddtb::fine_tune_without_body(&teacher, &size, &patches, &test, &bare)?;
    println!("without body     {:?}", bare.final_score());
    for &bits in &options.bits {
        for (name, make) in &options.methods {
            let mut psnr = Vec::new();
            for seed in options.seeds.0..=options.seeds.1 {
                let config = make(bits).seeded(seed).iterations(options.updates);
                let start = match (options.start, config.start) {
                    (Some(m), Range::Percentile(_)) => Range::Percentile(m / 100.0),
                    (_, start) => start,
                };
                let config = DdtbConfig {
                    lr: options.lr,
                    start,
                    ..config
                };
                let student = ddtb::quantised_edsr(&teacher, &size)?;
                let run = ddtb::train(&student, &teacher, &patches, &test, &config)?;
                let score = run.score;
                println!(
                    "{bits} bit, {name:<10} seed {seed:2}: {:.3} dB  {:.4}",
                    score.psnr, score.ssim
                );
                psnr.push(score.psnr);
            }
            println!(
                "{bits} bit, {name:<10} mean   : {:.3} dB",
                show::Spread::of(psnr)
            );
        }
    }
    Ok(())
}

/// Largest value over largest magnitude below zero, at each kind of site without a ReLU before it.
fn asymmetry(teacher: &Net, size: &EdsrConfig, photos: &[Photo]) -> Result<()> {
    let watched = ddtb::quantised_edsr(teacher, size)?;
    let mut probe = ddtb::quantise(&watched, &DdtbConfig::dual(2))?;
    let crops = photos.iter().map(|p| p.centre(256, 256).shrunk(4));
    let seen = probe.watch(&watched, &crops.collect::<Result<Vec<_>>>()?)?;
    for part in ["identity", "conv"] {
        let sites = seen.iter().filter(|site| site.name.ends_with(part));
        let ratios: Vec<String> = sites.map(|s| format!("{:.2}", s.asymmetry())).collect();
        println!("asymmetry of {part}, by block: {}", ratios.join(" "));
    }
    Ok(())
}

struct Options {
    updates: usize,
    seeds: (u64, u64),
    bits: Vec<u32>,
    methods: Vec<Method>,
    lr: f32,
    start: Option<f32>,
    deep: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Options> {
        let mut options = Options {
            updates: 250,
            seeds: (1, 3),
            bits: vec![2],
            methods: METHODS.to_vec(),
            lr: 1e-3,
            start: None,
            deep: false,
        };
        while let Some(name) = args.next() {
            let value = args.next()?;
            match name.as_str() {
                "--updates" => options.updates = value.parse().ok()?,
                "--seeds" => {
                    let (first, last) = value.split_once('-').unwrap_or((&value, &value));
                    options.seeds = (first.parse().ok()?, last.parse().ok()?);
                }
                "--bits" => {
                    options.bits = value
                        .split(',')
                        .map(|b| b.parse().ok())
                        .collect::<Option<_>>()?;
                }
                "--methods" => {
                    options.methods = value
                        .split(',')
                        .map(|name| METHODS.into_iter().find(|m| m.0 == name))
                        .collect::<Option<_>>()?;
                }
                "--lr" => options.lr = value.parse().ok()?,
                "--start" => options.start = Some(value.parse().ok()?),
                "--network" if value == "deep" => options.deep = true,
                "--network" if value == "base" => {}
                _ => return None,
            }
        }
        Some(options)
    }
}
