//! Super-resolution on real photographs: the benchmarks' own small images, and those of the Debian packages.
//!
//! Set5 and Set14 are looked for in `REBIT_SR_DATA`, otherwise in `../shared/data` beside the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use rebit::data::{Photo, SrPair, sr_benchmark};
use rebit::train::evaluate_bicubic;

fn benchmark(name: &str, scale: usize) -> Option<Vec<SrPair>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let root = std::env::var_os("REBIT_SR_DATA").map_or(beside, PathBuf::from);
    let folder = root.join(name);
    if !folder.exists() {
        eprintln!("{} is not there: skipped", folder.display());
        return None;
    }
    Some(sr_benchmark(folder, scale).unwrap())
}

#[test]
fn shrinking_makes_the_small_images_of_the_benchmarks_to_one_grey_level() {
    for (name, scale) in [("Set5", 2), ("Set5", 4), ("Set14", 2), ("Set14", 4)] {
        let Some(pairs) = benchmark(name, scale) else {
            return;
        };
        for pair in pairs {
            let ours = pair.high.shrunk(scale).unwrap();
            let differ = |(a, b): (&u8, &u8)| a.abs_diff(*b);
            let worst = ours
                .rgb
                .iter()
                .zip(&pair.low.rgb)
                .map(differ)
                .max()
                .unwrap();
            assert!(worst <= 1, "{name} x{scale}, {}: {worst}", pair.low.name);
        }
    }
}

#[test]
fn bicubic_scores_what_is_published() {
    for (scale, published) in [(2, 33.66), (4, 28.42)] {
        let Some(pairs) = benchmark("Set5", scale) else {
            return;
        };
        let score = evaluate_bicubic(&pairs).unwrap();
        assert!((score.psnr - published).abs() < 0.1, "x{scale}: {score:?}");
    }
}

#[test]
fn the_packages_of_debian_give_37_photographs_in_two_parts() {
    if rebit::data::data_folder().is_err()
        || Command::new("apt-get").arg("--version").output().is_err()
    {
        eprintln!("apt-get is not installed: nothing to test");
        return;
    }
    let photos = rebit::data::debian_photos().unwrap();
    assert_eq!((photos.train.len(), photos.test.len()), (31, 6));
    let names = |part: &[Photo]| part.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let (train, test) = (names(&photos.train), names(&photos.test));
    assert!(test.iter().all(|name| !train.contains(name)));
    for photo in photos.train.iter().chain(&photos.test) {
        let (h, w) = (photo.height, photo.width);
        assert_eq!(photo.rgb.len(), 3 * h * w);
        assert!(h.max(w) <= 1280 && h.min(w) >= 500, "{photo:?}");
    }
}
