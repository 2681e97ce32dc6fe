//! What a data set promises to a training loop.

use dfdx::prelude::HasShape;

use super::*;
use crate::tensors::{read, rng};

/// `n` images 3 x 4 x 4 whose byte at channel c, row y, column x is `c * 16 + y * 4 + x + 1`; the last
/// digit of the label is the index.
fn numbered(n: usize) -> Dataset {
    let image: Vec<u8> = (1..=48).collect();
    Dataset {
        name: "numbered".into(),
        images: image.repeat(n),
        labels: (0..n).map(|i| (i % 3) as u8).collect(),
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        channels: 3,
        height: 4,
        width: 4,
    }
}

const BYTES: Normalize = Normalize {
    mean: [0.0; 3],
    std: [1.0 / 255.0; 3],
};

#[test]
fn fill_writes_nhwc_and_normalises_each_channel() {
    let data = numbered(2);
    let normalize = Normalize {
        mean: [0.5, 0.0, 0.0],
        std: [2.0, 1.0, 0.5],
    };
    let mut out = vec![f32::NAN; 48];
    assert_eq!(data.fill(&[1], None, &normalize, &mut out), [1]);
    // Row 1, column 2: bytes 7, 23 and 39.
    let at = (4 + 2) * 3;
    assert_eq!(out[at], (7.0 / 255.0 - 0.5) / 2.0);
    assert_eq!(out[at + 1], 23.0 / 255.0);
    assert_eq!(out[at + 2], (39.0 / 255.0) / 0.5);
}

#[test]
fn every_augmented_image_is_a_shift_of_at_most_the_padding_and_perhaps_mirrored() {
    let data = numbered(400);
    let augment = Augment::PaddedCrop {
        padding: 2,
        flip: true,
    };
    let indices: Vec<usize> = (0..400).collect();
    let mut out = vec![0.0; 400 * 48];
    data.fill(&indices, Some((&augment, &mut rng(5))), &BYTES, &mut out);
    // The same crop written down directly: shift by (dy, dx) with black outside, then mirror.
    let expected = |dy: i32, dx: i32, flip: bool| -> Vec<f32> {
        let mut image = Vec::new();
        for y in 0..4 {
            for x in 0..4 {
                let x = if flip { 3 - x } else { x };
                let (sy, sx) = (y + dy, x + dx);
                let inside = (0..4).contains(&sy) && (0..4).contains(&sx);
                for c in 0..3 {
                    let byte = if inside { c * 16 + sy * 4 + sx + 1 } else { 0 };
                    image.push(byte as f32);
                }
            }
        }
        image
    };
    let mut all = Vec::new();
    for dy in -2..=2 {
        for dx in -2..=2 {
            all.extend([expected(dy, dx, false), expected(dy, dx, true)]);
        }
    }
    let mut seen = vec![0; all.len()];
    for image in out.chunks_exact(48) {
        let near = |e: &Vec<f32>| e.iter().zip(image).all(|(a, b)| (a - b).abs() < 1e-3);
        seen[all.iter().position(near).expect("not a shift of the image")] += 1;
    }
    // 400 draws from 50 equally likely results: each about 8 times.
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}

#[test]
fn fill_gives_the_same_numbers_at_any_thread_count() {
    let data = numbered(100);
    let indices: Vec<usize> = (0..100).rev().collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut out = vec![0.0; 100 * 48];
            let augment = Augment::default();
            data.fill(&indices, Some((&augment, &mut rng(3))), &BYTES, &mut out);
            out
        })
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn a_padding_larger_than_the_image_gives_black_or_a_shift_and_never_fails() {
    let data = numbered(50);
    let augment = Augment::PaddedCrop {
        padding: 9,
        flip: true,
    };
    let indices: Vec<usize> = (0..50).collect();
    let mut out = vec![1.0; 50 * 48];
    data.fill(&indices, Some((&augment, &mut rng(1))), &BYTES, &mut out);
    assert!(
        out.chunks_exact(48)
            .any(|image| image.iter().all(|&v| v == 0.0))
    );
}

#[test]
fn a_buffer_of_the_wrong_size_or_an_index_that_is_not_there_is_an_error() {
    let data = numbered(2);
    let wrong = data.try_fill(&[0], None, &BYTES, &mut [0.0; 47]);
    assert!(matches!(wrong, Err(Error::Shape { op: "fill", .. })));
    let wrong = data.try_fill(&[2], None, &BYTES, &mut [0.0; 48]);
    assert!(wrong.unwrap_err().to_string().contains("2 images"));
}

#[test]
fn batches_cover_an_epoch_once_in_a_new_order_each_time() {
    let mut data = numbered(10);
    data.labels = (0..10).collect();
    let batches = Batches::new(data.clone(), 4).shuffled(7);
    let labels = |epoch| -> Vec<Vec<u32>> { batches.epoch(epoch).map(|(_, l)| l).collect() };
    let first = labels(0);
    assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    let mut all = first.concat();
    assert_eq!(first, labels(0));
    assert_ne!(first, labels(1));
    all.sort();
    assert_eq!(all, (0..10).collect::<Vec<u32>>());
    assert_eq!(batches.clone().drop_last().epoch(0).count(), 2);
}

#[test]
fn a_batch_as_a_tensor_and_as_a_buffer_hold_the_same_numbers() {
    let data = numbered(3);
    let normalize = Normalize::CIFAR10;
    let (images, _) = Batches::new(data.clone(), 3)
        .normalized(normalize)
        .epoch(0)
        .next()
        .unwrap();
    assert_eq!(*images.shape(), (3, 3, 4, 4));
    assert_eq!(read(&images), read(&data.images(&[0, 1, 2], &normalize)));
}

#[test]
fn subset_take_and_split_keep_image_and_label_together() {
    let mut data = numbered(20);
    for i in 0..20 {
        data.images[i * 48] = data.labels[i];
    }
    let (a, b) = data.split(5, 1);
    assert_eq!((a.len(), b.len()), (5, 15));
    for part in [data.subset(3..9), data.take(6, 2), a, b] {
        for i in 0..part.len() {
            assert_eq!(part.pixels(i)[0], part.labels[i]);
        }
    }
    assert_eq!(data.subset([19, 0]).labels, [1, 0]);
    assert_ne!(data.take(6, 2).labels, data.take(6, 3).labels);
    assert!(data.try_subset([20]).is_err());
    assert!(data.try_split(21, 0).is_err());
}
