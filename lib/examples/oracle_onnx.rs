//! Writes networks as ONNX files with images and our answers to them, for `tests/oracles`.
//!
//! ```text
//! oracle_onnx export FOLDER IMAGES    NAME.onnx, NAME.answers.f32, NAME.integer.f32, images.f32, labels.u8, works.json
//! oracle_onnx import FILE.onnx IMAGES.f32 N C H W ANSWERS.f32    our answers with a network from a file of others
//! ```
//!
//! With CIFAR-10 the images are those of its test set, otherwise noise without labels.

use std::path::Path;

use rebit::nn::{
    CifarResnetConfig, EdsrConfig, Shortcut, SrresnetConfig, cifar_resnet_with, edsr, srresnet,
};
use rebit::onnx::import_onnx;
use rebit::prelude::*;
use serde_json::{Value, json};

/// Calibration images.
const CALIBRATION: usize = 128;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |n: &str| n.parse::<usize>().expect("a number");
    match args.as_slice() {
        ["export", folder, count] => export(Path::new(folder), number(count)),
        ["import", file, x, n, c, h, w, answers] => {
            let x = numbers(x)?;
            let x = from_vec(x, (number(n), number(c), number(h), number(w)))?;
            let net = import_onnx(file)?;
            write(Path::new(answers), &read(&net.predict_images(&x)?))
        }
        _ => Err(Error::invalid(
            format!("{args:?}"),
            "say export FOLDER IMAGES, or import FILE IMAGES N C H W ANSWERS",
        )),
    }
}

fn numbers(path: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let words = bytes.as_chunks::<4>().0.iter();
    Ok(words.map(|w| f32::from_le_bytes(*w)).collect())
}

fn write(path: &Path, values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
}

/// Files of one folder, and what is said of them.
struct Exchange<'a> {
    folder: &'a Path,
    works: Vec<Value>,
}

impl Exchange<'_> {
    fn add(&mut self, name: &str, net: &Net, x: &Images, images: &str) -> Result<()> {
        net.export_onnx(self.folder.join(format!("{name}.onnx")))?;
        let all = in_parts(x, |x| net.predict_images(x))?;
        write(&self.folder.join(format!("{name}.answers.f32")), &all)?;
        // A network of which some layer reads numbers has no integer form.
        let integer = net.integer().ok();
        if let Some(int) = &integer {
            let all = in_parts(x, |x| int.predict_images(x))?;
            write(&self.folder.join(format!("{name}.integer.f32")), &all)?;
        }
        let (n, c, h, w) = *x.shape();
        self.works.push(json!({
            "name": name,
            "images": images,
            "shape": [n, c, h, w],
            "integer": integer.is_some(),
        }));
        Ok(())
    }
}

fn in_parts(x: &Images, answer: impl Fn(&Images) -> Result<Images>) -> Result<Vec<f32>> {
    let (n, c, h, w) = *x.shape();
    let values = read(x);
    let one = c * h * w;
    let mut all = Vec::new();
    for part in values.chunks(250 * one) {
        let part = from_vec(part.to_vec(), (part.len() / one, c, h, w))?;
        all.extend(read(&answer(&part)?));
    }
    assert!(n > 0 && !all.is_empty());
    Ok(all)
}

/// The first images, at most so many.
fn first(x: &Images, n: usize) -> Result<Images> {
    let (all, c, h, w) = *x.shape();
    let n = n.min(all);
    from_vec(read(x)[..n * c * h * w].to_vec(), (n, c, h, w))
}

fn export(folder: &Path, count: usize) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let (test, calibration, labels) = match data::cifar10() {
        Ok(cifar) => {
            let pick = |set: &Dataset, n: usize| {
                let some = set.take(n, 1);
                let all: Vec<usize> = (0..some.len()).collect();
                (some.images(&all, &Normalize::CIFAR10), some.labels)
            };
            let (test, labels) = pick(&cifar.test, count);
            (test, pick(&cifar.train, CALIBRATION).0, labels)
        }
        Err(why) => {
            eprintln!("without CIFAR-10 ({why}): images of noise");
            let noise = |n, seed| images(n, 3, 32, 32, &mut rng(seed));
            (noise(64, 1), noise(CALIBRATION, 2), Vec::new())
        }
    };
    write(&folder.join("images.f32"), &read(&test))?;
    let path = folder.join("labels.u8");
    std::fs::write(&path, labels).map_err(|e| Error::io(path, e))?;
    let mut to = Exchange {
        folder,
        works: Vec::new(),
    };
    let net = pretrained_resnet20()?;
    let some = first(&test, 500)?;
    to.add("float", &net, &some, "images")?;
    to.add("folded", &net.folded()?, &some, "images")?;
    let recipes = [
        ("w8a8", PtqConfig::bits(8)),
        ("w7a8", PtqConfig::bits(8).weights(7)),
        ("w4a4", PtqConfig::bits(4).first_last(8)),
        ("w4", PtqConfig::bits(4).weights_only()),
        ("w8a8_per_tensor", PtqConfig::minmax(8).per_tensor()),
    ];
    for (name, config) in recipes {
        let (q, _) = post_training(&net, &calibration, &config)?;
        to.add(name, &q, &test, "images")?;
    }
    // Sites, and channels of zeros around those of a shortcut.
    let config = CifarResnetConfig {
        shortcut: Shortcut::PadChannels,
        sites: true,
        ..CifarResnetConfig::default()
    };
    let padded = cifar_resnet_with(&config, rng(3))?;
    padded.calibrate(&calibration)?;
    let few = first(&test, 16)?;
    write(&folder.join("few.f32"), &read(&few))?;
    to.add("option_a", &padded, &few, "few")?;
    let photographs = images(1, 3, 21, 30, &mut rng(5));
    write(&folder.join("photographs.f32"), &read(&photographs))?;
    let small = EdsrConfig {
        blocks: 2,
        channels: 16,
        ..EdsrConfig::default()
    };
    to.add("edsr", &edsr(&small, rng(6))?, &photographs, "photographs")?;
    let small = SrresnetConfig {
        blocks: 1,
        channels: 16,
        ..SrresnetConfig::default()
    };
    to.add(
        "srresnet",
        &srresnet(&small, rng(7))?,
        &photographs,
        "photographs",
    )?;
    let path = folder.join("works.json");
    let works = serde_json::to_string(&to.works).expect("plain data");
    std::fs::write(&path, works).map_err(|e| Error::io(path, e))
}
