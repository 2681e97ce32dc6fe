//! The committed ResNet-8 answers as many test images rightly as the table beside its weights says.

use std::process::Command;

use rebit::prelude::*;

/// The accuracy in the row of `file` of the table in `lib/weights/README.md`.
fn stated(file: &str) -> f32 {
    let table = include_str!("../weights/README.md");
    let row = table.lines().find(|line| line.contains(file));
    let row = row.unwrap_or_else(|| panic!("no row of {file}"));
    let figure = row.rsplit('|').find(|cell| cell.contains('%')).unwrap();
    figure.trim().trim_end_matches('%').trim().parse().unwrap()
}

#[test]
fn resnet8_reaches_its_accuracy_at_16x16() {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    if rebit::data::data_folder().is_err() || Command::new(npm).arg("--version").output().is_err() {
        eprintln!("npm is not installed: no images to test with");
        return;
    }
    let net = pretrained_resnet8().unwrap();
    assert_eq!(net.parameter_count(), 78_042);
    let small = data::cifar10().unwrap().mean_pooled(2).unwrap();
    let found = accuracy(&net, &small.test, &Normalize::CIFAR10);
    let stated = stated("resnet8_cifar10_16.safetensors");
    assert!(
        (found - stated).abs() < 0.03,
        "{found} %, stated {stated} %"
    );
}
