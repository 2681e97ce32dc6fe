//! The ROI transform layer and the gradient of its boxes.

use std::sync::Arc;

use rebit::data::people::photo_batch;
use rebit::ops::sample::{Boxes, SampleKernel, SampleShape};
use rebit::prelude::*;
use serde_json::Value;

use super::exchange::Steps;
use super::{CROP, CROPS, Folder, SCENES, scenes, timed};

/// Boxes and what each result counts for; the pictures are those of the steps.
pub fn prepare(folder: &Folder) -> Result<()> {
    let scenes = scenes(SCENES)?;
    let images = photo_batch(scenes.iter().map(|s| &s.image))?;
    let (mut rng, each) = (rng(5), CROPS / SCENES);
    // As many of each scene: its people in turn, somewhat off.
    let near = scenes
        .iter()
        .flat_map(|s| s.annotated.iter().cycle().take(each));
    let boxes = near.flat_map(|b| data::people::jittered(*b, 0.05, &mut rng));
    let boxes = boxes.collect();
    let counts = read(&rebit::images(CROPS, 3, CROP.0, CROP.1, &mut rng));
    let (n, c, h, w) = *images.shape();
    folder.write(
        "roi",
        &[
            ("images".into(), vec![n, c, h, w], read(&images)),
            ("boxes".into(), vec![CROPS, 4], boxes),
            ("weights".into(), vec![CROPS, 3, CROP.0, CROP.1], counts),
        ],
    );
    Ok(())
}

/// `L = sum of weights V`; what is told is the sum of `dL/dbox` times its place, which hangs on values and gradients.
pub fn run(folder: &Folder, how: &str, steps: usize) -> Result<Value> {
    let found = folder.read("roi");
    let boxes = found["boxes"].clone();
    let weights: Arc<[f32]> = found["weights"].as_slice().into();
    let of: Vec<u32> = (0..CROPS).map(|k| (k / (CROPS / SCENES)) as u32).collect();
    let images: Images = from_vec(found["images"].clone(), (SCENES, 3, 96, 160))?;
    let mut told = Steps::default();
    match how {
        "tape" => {
            for _ in 0..steps {
                let corners: Matrix = from_vec(boxes.clone(), (CROPS, 4))?;
                let (of, weights) = (of.clone(), weights.clone());
                timed(&mut told, || tape(&images, corners, of, weights))?;
            }
        }
        "kernels" => kernels(&images, (&boxes, &of), &weights, (steps, &mut told))?,
        other => panic!("{other}: the layer is measured on tape or as kernels"),
    }
    Ok(told.describe())
}

/// As a cell calls it: tensors, a tape, a loss.
fn tape(images: &Images, corners: Matrix, of: Vec<u32>, weights: Arc<[f32]>) -> Result<f32> {
    let how = RoiTransform {
        images: of,
        out: CROP,
        supersample: false,
        constant_images: true,
    };
    let cut = try_roi_transform(images.leaky_trace(), corners.leaky_trace(), how)?;
    let back = weights.clone();
    let loss = try_host_op(
        cut,
        (),
        move |v, y| {
            y[0] = dot(v, &weights);
            Ok(())
        },
        move |_, dy, dv| {
            dv.iter_mut()
                .zip(&*back)
                .for_each(|(dv, w)| *dv = dy[0] * w);
            Ok(())
        },
    )?;
    let slopes = read(&loss.backward().get(&corners));
    Ok(told_of(&read(&corners), &slopes))
}

/// What networks call, on buffers in the order of their pixels.
fn kernels(
    images: &Images,
    (boxes, of): (&[f32], &[u32]),
    weights: &[f32],
    (steps, told): (usize, &mut Steps),
) -> Result<()> {
    let s = SampleShape {
        batch: SCENES,
        image: (96, 160),
        channels: 3,
        boxes: CROPS,
        out: CROP,
        border: Border::Zero,
    };
    let x = rebit::buffer(&channels_last(&read(images), 96 * 160))?;
    let w = rebit::buffer(&channels_last(weights, CROP.0 * CROP.1))?;
    let corners = rebit::buffer(boxes)?;
    let (mut y, mut slopes) = (
        rebit::buffer(&vec![0.0; weights.len()])?,
        rebit::buffer(&vec![0.0; boxes.len()])?,
    );
    for _ in 0..steps {
        timed(told, || {
            let at = || Boxes {
                corners: &corners,
                images: of,
            };
            SampleKernel::sample(&dev(), s, &x, at(), &mut y)?;
            dev().sample_grad_boxes(s, &x, at(), &w, &mut slopes)?;
            Ok(told_of(boxes, &slopes.view()?))
        })?;
    }
    Ok(())
}

/// A number that hangs on every slope.
fn told_of(boxes: &[f32], slopes: &[f32]) -> f32 {
    boxes.iter().zip(slopes).map(|(b, s)| b * s).sum()
}

/// In lanes: one running sum would wait for itself.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        let pairs = a.iter().zip(b);
        lanes
            .iter_mut()
            .zip(pairs)
            .for_each(|(l, (a, b))| *l += a * b);
    }
    lanes.iter().sum()
}

/// Pictures of three planes of so many pixels, pixel by pixel.
fn channels_last(x: &[f32], pixels: usize) -> Vec<f32> {
    let each =
        |x: &[f32]| -> Vec<f32> { (0..3 * pixels).map(|i| x[i % 3 * pixels + i / 3]).collect() };
    x.chunks_exact(3 * pixels).flat_map(each).collect()
}
