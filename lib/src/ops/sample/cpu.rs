//! Sampling on the CPU: a result, or an image, at a time, channels in the inner loop.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::place::{Axis, Place};
use super::{Boxes, SampleKernel, SampleShape};
use crate::error::Result;
use crate::ops::parallel::{expect_len, wide};
use crate::tensors::CpuBuffer as Buffer;

/// Rows and columns of a box.
#[derive(Clone, Copy)]
struct Cut {
    rows: Axis,
    columns: Axis,
}

impl Cut {
    fn new(s: SampleShape, corners: &[f32]) -> Self {
        let axis = |from, to, pixels, cells| Axis {
            from,
            to,
            pixels,
            cells,
            border: s.border,
        };
        Cut {
            rows: axis(corners[1], corners[3], s.image.0, s.out.0),
            columns: axis(corners[0], corners[2], s.image.1, s.out.1),
        }
    }

    /// Calls `f(cell, places)` for every cell, with `None` for those of a box that is not finite.
    #[inline(always)]
    fn each(self, mut f: impl FnMut(usize, Option<(Place, Place)>)) {
        for i in 0..self.rows.cells {
            let row = self.rows.place(i);
            for j in 0..self.columns.cells {
                let places = row.zip(self.columns.place(j));
                f(i * self.columns.cells + j, places);
            }
        }
    }
}

impl SampleKernel for Cpu {
    fn sample(
        &self,
        s: SampleShape,
        x: &Buffer,
        boxes: Boxes<Buffer>,
        y: &mut Buffer,
    ) -> Result<()> {
        boxes.check(s, boxes.corners.len())?;
        expect_len("sample", "x", s.in_len(), x.len())?;
        expect_len("sample", "y", s.out_len(), y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let (c, image) = (s.channels, s.image.0 * s.image.1 * s.channels);
        y.par_chunks_mut(s.out.0 * s.out.1 * c)
            .zip(boxes.corners.par_chunks(4))
            .zip(boxes.images)
            .for_each(|((y, corners), &of)| {
                let x = &x[of as usize * image..][..image];
                let cut = Cut::new(s, corners);
                wide(|| {
                    cut.each(|cell, places| {
                        let y = &mut y[cell * c..][..c];
                        let Some((row, column)) = places else {
                            return y.fill(f32::NAN);
                        };
                        y.fill(0.0);
                        for (m, down) in row.taps(cut.rows) {
                            for (n, across) in column.taps(cut.columns) {
                                let from = &x[(m * s.image.1 + n) * c..][..c];
                                let weight = down * across;
                                y.iter_mut().zip(from).for_each(|(y, x)| *y += weight * x);
                            }
                        }
                    });
                });
            });
        Ok(())
    }

    fn sample_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<Buffer>,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        boxes.check(s, boxes.corners.len())?;
        expect_len("sample_grad_images", "dy", s.out_len(), dy.len())?;
        expect_len("sample_grad_images", "dx", s.in_len(), dx.len())?;
        if dx.is_empty() {
            return Ok(());
        }
        let (c, result) = (s.channels, s.out.0 * s.out.1 * s.channels);
        dx.par_chunks_mut(s.image.0 * s.image.1 * c)
            .enumerate()
            .for_each(|(image, dx)| {
                if !accumulate {
                    dx.fill(0.0);
                }
                for (k, &of) in boxes.images.iter().enumerate() {
                    if of as usize != image {
                        continue;
                    }
                    let cut = Cut::new(s, &boxes.corners[4 * k..4 * k + 4]);
                    let dy = &dy[k * result..][..result];
                    wide(|| {
                        cut.each(|cell, places| {
                            let Some((row, column)) = places else {
                                return;
                            };
                            let dy = &dy[cell * c..][..c];
                            for (m, down) in row.taps(cut.rows) {
                                for (n, across) in column.taps(cut.columns) {
                                    let into = &mut dx[(m * s.image.1 + n) * c..][..c];
                                    let weight = down * across;
                                    into.iter_mut().zip(dy).for_each(|(x, y)| *x += weight * y);
                                }
                            }
                        });
                    });
                }
            });
        Ok(())
    }

    fn sample_grad_boxes(
        &self,
        s: SampleShape,
        x: &Buffer,
        boxes: Boxes<Buffer>,
        dy: &Buffer,
        dcorners: &mut Buffer,
    ) -> Result<()> {
        boxes.check(s, boxes.corners.len())?;
        expect_len("sample_grad_boxes", "x", s.in_len(), x.len())?;
        expect_len("sample_grad_boxes", "dy", s.out_len(), dy.len())?;
        expect_len("sample_grad_boxes", "dcorners", 4 * s.boxes, dcorners.len())?;
        let (c, image) = (s.channels, s.image.0 * s.image.1 * s.channels);
        let result = s.out.0 * s.out.1 * c;
        dcorners
            .par_chunks_mut(4)
            .zip(boxes.corners.par_chunks(4))
            .zip(boxes.images)
            .enumerate()
            .for_each(|(k, ((to, corners), &of))| {
                let x = &x[of as usize * image..][..image];
                let dy = &dy[k * result..][..result];
                let cut = Cut::new(s, corners);
                let mut sums = [0.0f64; 4];
                cut.each(|cell, places| {
                    let Some((row, column)) = places else {
                        sums = [f64::NAN; 4];
                        return;
                    };
                    for (ch, &g) in dy[cell * c..][..c].iter().enumerate() {
                        let at = |m: isize, n: isize| -> f32 {
                            let pixel = cut.rows.pixel(row, m).zip(cut.columns.pixel(column, n));
                            pixel.map_or(0.0, |(m, n)| x[(m * s.image.1 + n) * c + ch])
                        };
                        let slope = slopes(row, column, at);
                        let (by_x, by_y) = (f64::from(g * slope.0), f64::from(g * slope.1));
                        sums[0] += by_x * f64::from(column.by_from);
                        sums[1] += by_y * f64::from(row.by_from);
                        sums[2] += by_x * f64::from(column.by_to);
                        sums[3] += by_y * f64::from(row.by_to);
                    }
                });
                to.iter_mut()
                    .zip(sums)
                    .for_each(|(to, sum)| *to = sum as f32);
            });
        Ok(())
    }
}

/// How a reading changes with its column and with its row; `at(m, n)` is the pixel `m` rows below and `n` columns after
/// the first. Pixels of weight 0 are not looked at.
#[inline(always)]
fn slopes(row: Place, column: Place, at: impl Fn(isize, isize) -> f32) -> (f32, f32) {
    let (mut by_x, mut by_y) = (0.0, 0.0);
    for (k, down) in [(0, 1.0 - row.second), (1, row.second)] {
        if down > 0.0 {
            by_x += down * (at(k, 1) - at(k, 0));
        }
    }
    for (k, across) in [(0, 1.0 - column.second), (1, column.second)] {
        if across > 0.0 {
            by_y += across * (at(1, k) - at(0, k));
        }
    }
    (by_x, by_y)
}
