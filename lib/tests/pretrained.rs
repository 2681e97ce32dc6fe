//! Committed networks are as good as the tables beside their weights say.

use std::process::Command;

use rebit::data::people::{CutConfig, cut_people};
use rebit::metrics::{DetectionConfig, detection};
use rebit::nn::detector::{DetectConfig, found_in};
use rebit::nn::{
    pretrained_detector, pretrained_mobilenet_v2, pretrained_reid_a, pretrained_reid_b,
};
use rebit::papers::reid_texture::{
    Reid, Workbench, WorkbenchConfig, pretrained_by_pixels, pretrained_by_reid, textures,
};
use rebit::prelude::*;
use rebit::train::crop_map;

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

#[test]
fn mobilenet_v2_reaches_its_accuracy() {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    if rebit::data::data_folder().is_err() || Command::new(npm).arg("--version").output().is_err() {
        eprintln!("npm is not installed: no images to test with");
        return;
    }
    let net = pretrained_mobilenet_v2().unwrap();
    let cifar = data::cifar10().unwrap();
    let found = accuracy(&net, &cifar.test, &Normalize::CIFAR10);
    let stated = stated("mobilenet_v2_cifar10.safetensors");
    assert!(
        (found - stated).abs() < 0.03,
        "{found} %, stated {stated} %"
    );
}

/// The last number in the row of `file`, a share of 1.
fn stated_share(file: &str) -> f64 {
    let table = include_str!("../weights/README.md");
    let row = table.lines().find(|line| line.contains(file));
    let row = row.unwrap_or_else(|| panic!("no row of {file}"));
    let figure = row.trim_end_matches(['|', ' ']).rsplit('|').next();
    figure.unwrap().trim().parse().unwrap()
}

fn test_scenes() -> Vec<data::Scene> {
    let first = WorldConfig::TEST_SCENES;
    let world = World::new(WorldConfig::testing(0.0)).unwrap();
    world.scenes(first..first + 150).unwrap()
}

#[test]
fn detectors_find_as_many_people_as_stated() {
    let scenes = test_scenes();
    for (annotation, file) in [
        (0.06, "detector_capsules_06"),
        (0.12, "detector_capsules_12"),
    ] {
        let net = pretrained_detector(annotation).unwrap();
        let found = found_in(&net, &scenes, &DetectConfig::default()).unwrap();
        let recall = detection(&found, &DetectionConfig::default())
            .unwrap()
            .recall;
        let stated = stated_share(file);
        assert!((recall - stated).abs() < 0.004, "{recall}, stated {stated}");
    }
}

#[test]
fn reid_networks_tell_people_apart_as_stated() {
    let scenes = test_scenes();
    let boxes: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
    let people = cut_people(&scenes, &boxes, &CutConfig::default()).unwrap();
    for (net, file) in [
        (pretrained_reid_a(), "reid_a_capsules"),
        (pretrained_reid_b(), "reid_b_capsules"),
    ] {
        let map = crop_map(&net.unwrap(), &people).unwrap();
        let stated = stated_share(file);
        assert!((map - stated).abs() < 0.004, "{map}, stated {stated}");
    }
}

#[test]
fn generators_make_textures_as_like_as_stated() {
    let reid = |net: Result<Net>| Reid::part_based(&net.unwrap()).unwrap();
    let (a, b) = (reid(pretrained_reid_a()), reid(pretrained_reid_b()));
    let bench = Workbench::new(&WorkbenchConfig::default(), a, b).unwrap();
    for (net, file) in [
        (pretrained_by_reid(), "texture_reid_capsules"),
        (pretrained_by_pixels(), "texture_pixels_capsules"),
    ] {
        let made = textures(&net.unwrap(), bench.test(), &bench.inputs()).unwrap();
        let scores = bench.score(&made).unwrap().top1_b;
        let found = scores.iter().map(|s| f64::from(*s)).sum::<f64>() / scores.len() as f64;
        let stated = stated_share(file);
        assert!(
            (found - stated).abs() < 0.01,
            "{file}: {found}, {stated} stated"
        );
    }
}
