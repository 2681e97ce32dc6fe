//! What a folder of photographs promises.

use super::*;
use crate::data::Batches;
use image::{GrayImage, Luma, Rgb};

/// Two classes, `b` with a folder inside; the file of `a` is 8 wide and 6 high, red growing to the right.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("a")).expect("a writable folder");
    std::fs::create_dir_all(path("b/inner")).expect("a writable folder");
    let ramp = RgbImage::from_fn(8, 6, |x, y| Rgb([30 * x as u8, 40 * y as u8, 7]));
    ramp.save(path("a/ramp.png")).expect("a writable folder");
    let grey = GrayImage::from_pixel(12, 12, Luma([200]));
    grey.save(path("b/inner/grey.jpeg"))
        .expect("a writable folder");
    // The content counts, not the name: ImageNet has such a file.
    grey.save_with_format(path("b/also.JPG"), image::ImageFormat::Png)
        .expect("a writable folder");
    std::fs::write(path("b/notes.txt"), "no image").expect("a writable folder");
    std::fs::write(path("readme"), "no class").expect("a writable folder");
    folder
}

const BYTES: Normalize = Normalize {
    mean: [0.0; 3],
    std: [1.0 / 255.0; 3],
};

#[test]
fn classes_and_files_are_found_in_alphabetical_order() -> Result<()> {
    let folder = folder();
    let data = image_folder(folder.path())?;
    assert_eq!(data.classes, ["a", "b"]);
    let names: Vec<_> = data.files.iter().map(|(p, l)| (name_of(p), *l)).collect();
    let expected = [("ramp.png", 0), ("also.JPG", 1), ("grey.jpeg", 1)];
    assert_eq!(names, expected.map(|(n, l)| (n.to_string(), l)));
    assert_eq!(ImageSource::extent(&data), [3, 224, 224]);
    Ok(())
}

#[test]
fn without_augmentation_the_centre_is_taken_after_a_resize() -> Result<()> {
    let folder = folder();
    let mut data = image_folder(folder.path())?;
    // The shorter side has 6 pixels already: no resampling, columns 2 to 5 and rows 1 to 4 remain.
    (data.size, data.resize) = (4, 6);
    let mut out = vec![0.0; 48];
    assert_eq!(data.fill(&[0], None, &BYTES, &mut out)?, [0]);
    for (i, pixel) in out.chunks(3).enumerate() {
        let (x, y) = (2 + i % 4, 1 + i / 4);
        let expected = [30.0 * x as f32, 40.0 * y as f32, 7.0];
        assert!(
            pixel
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-3),
            "{pixel:?} {expected:?}"
        );
    }
    // Grey images become three equal channels.
    data.fill(&[1], None, &BYTES, &mut out)?;
    assert!(out.iter().all(|v| (v - 200.0).abs() < 1e-3), "{out:?}");
    Ok(())
}

#[test]
fn random_parts_lie_in_the_image_and_have_the_area_and_ratio_asked_for() {
    let mut rng = crate::rng(1);
    let mut smallest: f32 = 1.0;
    for _ in 0..2000 {
        let [x, y, w, h] = random_part((400, 300), 0.2, &mut rng);
        assert!(x + w <= 400 && y + h <= 300 && w > 0 && h > 0);
        let (area, ratio) = (w as f32 * h as f32 / 120_000.0, w as f32 / h as f32);
        smallest = smallest.min(area);
        assert!((0.199..=1.0).contains(&area), "{area}");
        assert!((0.74..=1.35).contains(&ratio), "{ratio}");
    }
    assert!(smallest < 0.25, "{smallest}");
    // Nothing of an allowed ratio fits a strip: its central part of ratio 4/3 is taken.
    assert_eq!(random_part((1000, 30), 0.9, &mut rng), [480, 0, 40, 30]);
    assert_eq!(random_part((30, 1000), 0.9, &mut rng), [0, 480, 30, 40]);
}

#[test]
fn batches_are_the_same_for_the_same_seed_and_at_any_number_of_threads() -> Result<()> {
    let folder = folder();
    let data = image_folder(folder.path())?.size(7);
    let run = |threads: usize, skip: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().expect("threads").install(|| {
            let batches = Batches::new(data.clone(), 1)
                .augmented(Augment::default())
                .shuffled(3);
            let mut epoch = batches.epoch(1);
            epoch.skip_batches(skip);
            let mut all = Vec::new();
            let mut out = Vec::new();
            while let Some(labels) = epoch.try_fill(&mut out)? {
                all.push((labels, out.clone()));
            }
            Ok::<_, Error>(all)
        })
    };
    let one = run(1, 0)?;
    assert_eq!(one.len(), 3);
    assert_eq!(one, run(3, 0)?);
    assert_eq!(
        one[2..],
        run(1, 2)?[..],
        "a skipped batch draws its numbers"
    );
    Ok(())
}

#[test]
fn a_broken_file_is_named() -> Result<()> {
    let folder = folder();
    std::fs::write(folder.path().join("a/broken.jpg"), b"\xff\xd8\xff no more").expect("writable");
    let data = image_folder(folder.path())?;
    let mut out = vec![0.0; 3 * 224 * 224];
    let error = data.fill(&[0], None, &BYTES, &mut out).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("broken.jpg") && error.contains("Replace or remove"),
        "{error}"
    );
    std::fs::remove_file(folder.path().join("a/ramp.png")).expect("it was there");
    let error = data.fill(&[1], None, &BYTES, &mut out).unwrap_err();
    assert!(error.to_string().contains("ramp.png"), "{error}");
    Ok(())
}

#[test]
fn folders_of_another_layout_are_refused() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let refuse = |path: &Path| image_folder(path).unwrap_err().to_string();
    assert!(refuse(empty.path()).contains("holds no class folder"));
    assert!(refuse(&empty.path().join("missing")).contains("missing"));
    std::fs::create_dir(empty.path().join("cats")).expect("a writable folder");
    let error = refuse(empty.path());
    assert!(
        error.contains("cats") && error.contains("no JPEG or PNG"),
        "{error}"
    );
}
