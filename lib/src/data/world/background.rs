//! What stands behind people: photographs where there are some, otherwise painted.

use rand::Rng as _;

use super::outfit::{cloth, skin};
use crate::data::Photo;
use crate::tensors::Rng;

/// An image of numbers from 0 to 1, pixel by pixel.
pub(super) type Picture = Vec<[f32; 3]>;

/// A background of `(height, width)` pixels; the ground begins below row `horizon`.
pub(super) fn background(
    photos: &[Photo],
    (height, width): (usize, usize),
    horizon: Option<f32>,
    rng: &mut Rng,
) -> Picture {
    match photos.len() {
        0 => painted((height, width), horizon, rng),
        n => part_of(&photos[rng.random_range(0..n)], (height, width), rng),
    }
}

/// A part of a photograph with the right aspect ratio, at least half of it along the tighter axis, mirrored half of the
/// times; pixels are means over what they cover.
fn part_of(photo: &Photo, (height, width): (usize, usize), rng: &mut Rng) -> Picture {
    let (most_h, most_w) = (photo.height as f32, photo.width as f32);
    let whole = (most_h / height as f32).min(most_w / width as f32);
    let step = whole * rng.random_range(0.5..1.0f32);
    let top = rng.random_range(0.0..=(most_h - step * height as f32).max(0.0));
    let left = rng.random_range(0.0..=(most_w - step * width as f32).max(0.0));
    let mirrored = rng.random_bool(0.5);
    let range = |start: f32, k: usize, most: usize| {
        let from = (start + k as f32 * step) as usize;
        let to = (start + (k + 1) as f32 * step) as usize;
        (
            from.min(most - 1),
            to.clamp(from + 1, most.max(from + 1)).min(most),
        )
    };
    let mut out = Vec::with_capacity(height * width);
    for i in 0..height {
        let (r0, r1) = range(top, i, photo.height);
        for j in 0..width {
            let column = if mirrored { width - 1 - j } else { j };
            let (c0, c1) = range(left, column, photo.width);
            let mut sum = [0u32; 3];
            for row in r0..r1 {
                for pixel in photo.rgb[(row * photo.width + c0) * 3..(row * photo.width + c1) * 3]
                    .chunks_exact(3)
                {
                    (0..3).for_each(|c| sum[c] += u32::from(pixel[c]));
                }
            }
            let count = ((r1 - r0) * (c1 - c0)) as f32 * 255.0;
            out.push(sum.map(|s| s as f32 / count));
        }
    }
    out
}

/// A flat colour, ground where there is a horizon, 4 to 14 rectangles, some in the colours of clothes and skin and as
/// slim as people, and slow changes of brightness.
fn painted((height, width): (usize, usize), horizon: Option<f32>, rng: &mut Rng) -> Picture {
    let muted = |rng: &mut Rng| {
        let grey = rng.random_range(0.2..0.85f32);
        [0; 3].map(|_| (grey + rng.random_range(-0.12..0.12f32)).clamp(0.0, 1.0))
    };
    let wall = muted(rng);
    let mut out = vec![wall; height * width];
    if let Some(horizon) = horizon {
        let ground = muted(rng);
        let first = (horizon.max(0.0) as usize).min(height);
        for row in first..height {
            let near = 0.85 + 0.25 * (row - first) as f32 / (height - first) as f32;
            out[row * width..][..width].fill(ground.map(|v| v * near));
        }
    }
    for _ in 0..rng.random_range(4..=14) {
        let colour = match rng.random_range(0..10) {
            0..5 => muted(rng),
            5..9 => cloth(rng, 0.5),
            _ => skin(rng),
        };
        let (mut h, mut w) = (
            rng.random_range(0.05..0.6f32) * height as f32,
            rng.random_range(0.05..0.5f32) * width as f32,
        );
        // A third is as slim as a person.
        if rng.random_bool(0.33) {
            h = rng.random_range(0.25..0.8) * height as f32;
            w = (h * rng.random_range(0.2..0.45)).min(width as f32);
        }
        let top = rng.random_range(-0.2..0.95f32) * height as f32;
        let left = rng.random_range(-0.2..0.95f32) * width as f32;
        let rows = (top.max(0.0) as usize).min(height)..((top + h).max(0.0) as usize).min(height);
        let columns =
            (left.max(0.0) as usize).min(width)..((left + w).max(0.0) as usize).min(width);
        for row in rows {
            out[row * width + columns.start..row * width + columns.end].fill(colour);
        }
    }
    // Brightness on a coarse grid, bilinear between its nodes.
    const NODES: usize = 6;
    let grid: [[f32; NODES]; NODES] =
        std::array::from_fn(|_| std::array::from_fn(|_| rng.random_range(-0.08..0.08)));
    for row in 0..height {
        let y = row as f32 / height as f32 * (NODES - 1) as f32;
        let (r, fy) = (y as usize, y.fract());
        for column in 0..width {
            let x = column as f32 / width as f32 * (NODES - 1) as f32;
            let (c, fx) = (x as usize, x.fract());
            let upper = grid[r][c] * (1.0 - fx) + grid[r][c + 1] * fx;
            let lower = grid[r + 1][c] * (1.0 - fx) + grid[r + 1][c + 1] * fx;
            let add = upper * (1.0 - fy) + lower * fy;
            let pixel = &mut out[row * width + column];
            *pixel = pixel.map(|v| v + add);
        }
    }
    out
}
