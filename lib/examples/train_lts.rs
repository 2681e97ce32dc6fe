//! Trains a quantised network with LTS at the paper's settings, on CIFAR-10 or on a folder in ImageNet's layout.
//!
//! ```text
//! cargo run --release -p rebit --example train_lts -- DATA NET [OPTION ...]
//!
//! DATA   cifar10, or a folder with `train` and `val`, one sub-folder of JPEG or PNG files a class in each
//! NET    resnet20 resnet32 resnet56 (CIFAR-10), resnet18 resnet34 resnet50 mobilenet_v1 mobilenet_v2 (folders)
//!
//! --weights FILE   full-precision weights in torchvision's names; resnet20 has its own
//! --bits N         2 (default), 3, 4
//! --threshold T    linear (default), sine, constant
//! --baseline       freeze nothing
//! --code-2022      the quantisers and optimiser settings of the authors' code of 2022
//! --epochs N       another length; warm-up and learning-rate steps keep their share
//! --images N       only so many of CIFAR-10's training images, the notebook's where N is its number
//! --batch N        another batch size
//! --ema M          another memory of the distance, which suits the length of the run
//! --seed N         another order of the images, 1 unless told
//! --ends-8         first and last layer at 8 bits
//! --size N         height and width of the images of a folder, 224 unless told
//! --out FILE       target/lts.safetensors unless told; the run's state lies beside it
//! ```
//!
//! A run that was interrupted or killed continues when the same command is given again, to the same bits. Within an
//! epoch the state is written every 500 steps.

use std::path::PathBuf;

use rebit::data::{ImageSource, image_folder};
use rebit::nn::{imagenet_resnet, mobilenet_v1, mobilenet_v2, resnet32, resnet56};
use rebit::papers::lts::{self, Ends, Recipe, Threshold};
use rebit::prelude::*;

fn main() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!(
            "usage: train_lts DATA NET [--weights FILE] [--bits N] [--threshold linear|sine|constant]"
        );
        eprintln!(
            "       [--baseline] [--code-2022] [--epochs N] [--images N] [--batch N] [--ema M]"
        );
        eprintln!("       [--seed N] [--ends-8] [--size N] [--out FILE]");
        std::process::exit(2);
    };
    let cifar = options.data == "cifar10";
    let mut recipe = match (cifar, options.code_2022) {
        (true, false) => Recipe::cifar(),
        (true, true) => Recipe::cifar_2022(),
        (false, false) => Recipe::imagenet(),
        (false, true) => Recipe::imagenet_2022(),
    };
    recipe.lts.bits = options.bits;
    recipe.lts.threshold = options.threshold;
    recipe.lts.freeze = !options.baseline;
    recipe.train.epochs = options.epochs.unwrap_or(recipe.train.epochs);
    recipe.train.batch_size = options.batch.unwrap_or(recipe.train.batch_size);
    recipe.train.seed = options.seed.unwrap_or(recipe.train.seed);
    recipe.lts.ema = options.ema.unwrap_or(recipe.lts.ema);
    if options.ends_at_8 {
        recipe.lts.ends = Ends::EightBit;
    }
    recipe.train.label = options.net.clone();
    recipe.train.checkpoint = Some(options.out.with_extension("state.safetensors"));
    recipe.train.checkpoint_steps = 500;
    if cifar {
        let data = data::cifar10()?;
        let net = match options.net.as_str() {
            "resnet20" if options.weights.is_none() => pretrained_resnet20()?,
            "resnet20" => resnet20(10, rng(0)),
            "resnet32" => resnet32(10, rng(0)),
            "resnet56" => resnet56(10, rng(0)),
            other => return Err(unknown(other)),
        };
        let images = match options.images {
            Some(images) => data.train.take(images, 1),
            None => data.train,
        };
        return train(&net, &images, &data.test, &recipe, &options);
    }
    let part = |name: &str| image_folder(PathBuf::from(&options.data).join(name));
    let min_scale = if options.net == "resnet18" { 0.2 } else { 0.08 };
    let train_set = part("train")?.size(options.size).min_scale(min_scale);
    let test_set = part("val")?.size(options.size);
    let (size, classes) = (options.size, train_set.classes.len());
    let net = match options.net.as_str() {
        "resnet18" => imagenet_resnet(18, size, classes, rng(0)),
        "resnet34" => imagenet_resnet(34, size, classes, rng(0)),
        "resnet50" => imagenet_resnet(50, size, classes, rng(0)),
        "mobilenet_v1" => mobilenet_v1(size, classes, rng(0)),
        "mobilenet_v2" => mobilenet_v2(size, classes, rng(0)),
        other => Err(unknown(other)),
    }?;
    train(&net, &train_set, &test_set, &recipe, &options)
}

fn unknown(net: &str) -> Error {
    Error::invalid(
        format!("network {net:?}"),
        "resnet20, resnet32 and resnet56 fit cifar10; resnet18, resnet34, resnet50, mobilenet_v1 and mobilenet_v2 a folder",
    )
}

fn train(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    recipe: &Recipe,
    options: &Options,
) -> Result<()> {
    if let Some(weights) = &options.weights {
        net.load(weights)?;
    }
    println!("{train_set:?}\n{test_set:?}");
    let trial = lts::train(net, train_set, test_set, &recipe.train, recipe.lts)?;
    let best = format!("{:.2}", trial.history.best_accuracy());
    net.save(
        &options.out,
        &[("network", &options.net), ("best_top1", &best)],
    )?;
    println!(
        "{:.2} % top-1 at the end, {best} % at best; {:.1} % of updates and {:.1} % of backward FLOPs eliminated; {} written",
        trial.history.final_accuracy(),
        trial.report.updates_eliminated,
        trial.report.backward_flops_eliminated,
        options.out.display()
    );
    Ok(())
}

struct Options {
    data: String,
    net: String,
    weights: Option<PathBuf>,
    bits: u32,
    threshold: Threshold,
    baseline: bool,
    code_2022: bool,
    epochs: Option<usize>,
    images: Option<usize>,
    batch: Option<usize>,
    ema: Option<f32>,
    seed: Option<u64>,
    ends_at_8: bool,
    size: usize,
    out: PathBuf,
}

impl Options {
    /// `None` for a command line that means nothing.
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Options {
            data: args.next()?,
            net: args.next()?,
            weights: None,
            bits: 2,
            threshold: Threshold::Linear,
            baseline: false,
            code_2022: false,
            epochs: None,
            images: None,
            batch: None,
            ema: None,
            seed: None,
            ends_at_8: false,
            size: 224,
            out: "target/lts.safetensors".into(),
        };
        while let Some(option) = args.next() {
            match option.as_str() {
                "--baseline" => options.baseline = true,
                "--code-2022" => options.code_2022 = true,
                "--weights" => options.weights = Some(args.next()?.into()),
                "--bits" => options.bits = args.next()?.parse().ok()?,
                "--epochs" => options.epochs = Some(args.next()?.parse().ok()?),
                "--images" => options.images = Some(args.next()?.parse().ok()?),
                "--batch" => options.batch = Some(args.next()?.parse().ok()?),
                "--ema" => options.ema = Some(args.next()?.parse().ok()?),
                "--seed" => options.seed = Some(args.next()?.parse().ok()?),
                "--ends-8" => options.ends_at_8 = true,
                "--size" => options.size = args.next()?.parse().ok()?,
                "--out" => options.out = args.next()?.into(),
                "--threshold" => {
                    options.threshold = match args.next()?.as_str() {
                        "linear" => Threshold::Linear,
                        "sine" => Threshold::Sine,
                        "constant" => Threshold::Constant(0.1),
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
        Some(options)
    }
}
