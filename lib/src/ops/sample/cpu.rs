//! Sampling on the CPU: a result, or an image, at a time, channels in the inner loop.
//!
//! Places along an axis are worked out once a box. What loops over cells is compiled for one and for three channels, whose
//! inner loops then vanish, and for any number of them.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::place::{Axis, Place};
use super::planes::{self, OnCopies};
use super::{Boxes, FEW_CHANNELS, SampleKernel, SampleShape};
use crate::error::Result;
use crate::ops::parallel::{expect_len, wide};
use crate::tensors::CpuBuffer as Buffer;

/// Where a row or a column of cells is read.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub place: Place,
    /// The two pixels, 0 where there is none.
    pub pixels: [usize; 2],
    pub inside: [bool; 2],
    /// Their weights, also of pixels that do not exist.
    pub weights: [f32; 2],
    /// Whether both are read, as nearly everywhere.
    pub both: bool,
}

impl Read {
    #[inline(always)]
    fn new(axis: Axis, cell: usize) -> Option<Read> {
        let place = axis.place(cell)?;
        let pixels = [0, 1].map(|k| axis.pixel(place, k));
        let weights = [1.0 - place.second, place.second];
        Some(Read {
            place,
            both: (0..2).all(|k| pixels[k].is_some() && weights[k] > 0.0),
            pixels: pixels.map(Option::unwrap_or_default),
            inside: pixels.map(|p| p.is_some()),
            weights,
        })
    }

    /// The pixels that are read and their weights, above 0.
    pub fn taps(&self) -> impl Iterator<Item = (usize, f32)> {
        let all = (0..2).map(|k| (self.inside[k], self.pixels[k], self.weights[k]));
        all.filter(|(inside, _, w)| *inside && *w > 0.0)
            .map(|(_, pixel, w)| (pixel, w))
    }

    /// The weights of the four pixels that a row and a column read.
    #[inline(always)]
    pub fn products(&self, column: &Read) -> [[f32; 2]; 2] {
        self.weights
            .map(|down| column.weights.map(|across| down * across))
    }
}

/// Those of all cells of an axis; `None` for one that is not finite. Wide, since rounding down is an instruction only
/// there, and a call elsewhere.
fn reads(axis: Axis) -> Option<Vec<Read>> {
    wide(|| {
        let mut out = Vec::with_capacity(axis.cells);
        for cell in 0..axis.cells {
            out.push(Read::new(axis, cell)?);
        }
        Some(out)
    })
}

/// The readings of a box; `None` for one that is not finite.
pub(super) struct Cut {
    pub rows: Vec<Read>,
    pub columns: Vec<Read>,
}

impl Cut {
    pub fn new(s: SampleShape, corners: &[f32]) -> Option<Cut> {
        let axis = |from, to, pixels, cells| Axis {
            from,
            to,
            pixels,
            cells,
            border: s.border,
        };
        Some(Cut {
            rows: reads(axis(corners[1], corners[3], s.image.0, s.out.0))?,
            columns: reads(axis(corners[0], corners[2], s.image.1, s.out.1))?,
        })
    }

    /// `y` in so many channels, out of an image that is so many pixels wide.
    #[inline(always)]
    fn read(&self, x: &[f32], y: &mut [f32], width: usize, channels: usize) {
        let line = width * channels;
        let lines = y.chunks_exact_mut(self.columns.len() * channels);
        for (row, y) in self.rows.iter().zip(lines) {
            let [above, below] = row.pixels.map(|m| &x[m * line..][..line]);
            for (column, y) in self.columns.iter().zip(y.chunks_exact_mut(channels)) {
                if !(row.both && column.both) {
                    read_some((row, column), x, y, width);
                    continue;
                }
                let at = column.pixels[0] * channels;
                let (above, below) = (&above[at..][..2 * channels], &below[at..][..2 * channels]);
                let [[a, b], [c, d]] = row.products(column);
                for k in 0..channels {
                    let next = channels + k;
                    let sum = 0.0 + a * above[k] + b * above[next];
                    y[k] = sum + c * below[k] + d * below[next];
                }
            }
        }
    }

    /// Adds the gradient of the image.
    #[inline(always)]
    fn spread(&self, dy: &[f32], dx: &mut [f32], width: usize, channels: usize) {
        let line = width * channels;
        let lines = dy.chunks_exact(self.columns.len() * channels);
        for (row, dy) in self.rows.iter().zip(lines) {
            for (column, dy) in self.columns.iter().zip(dy.chunks_exact(channels)) {
                if !(row.both && column.both) {
                    spread_some((row, column), dy, dx, width);
                    continue;
                }
                let weights = row.products(column);
                for (m, weights) in row.pixels.into_iter().zip(weights) {
                    let at = m * line + column.pixels[0] * channels;
                    let into = &mut dx[at..][..2 * channels];
                    for k in 0..channels {
                        into[k] += weights[0] * dy[k];
                        into[channels + k] += weights[1] * dy[k];
                    }
                }
            }
        }
    }

    /// The gradient of the corners. A row's share of the vertical ones has one factor, so its cells are summed first.
    #[inline(always)]
    fn slopes(&self, x: &[f32], dy: &[f32], width: usize, channels: usize) -> [f64; 4] {
        let line = width * channels;
        let mut sums = [0.0f64; 4];
        let lines = dy.chunks_exact(self.columns.len() * channels);
        for (row, dy) in self.rows.iter().zip(lines) {
            let [above, below] = row.pixels.map(|m| &x[m * line..][..line]);
            let mut of_row = 0.0f64;
            for (column, dy) in self.columns.iter().zip(dy.chunks_exact(channels)) {
                let [at, last] = column.pixels.map(|n| n * channels);
                let first = [&above[at..][..channels], &below[at..][..channels]];
                let second = [&above[last..][..channels], &below[last..][..channels]];
                let (mut by_x, mut by_y) = (0.0f64, 0.0f64);
                for k in 0..channels {
                    let all = [[first[0][k], second[0][k]], [first[1][k], second[1][k]]];
                    let slope = match row.both && column.both {
                        true => inner_slopes(row, column, all),
                        false => slopes(row, column, all),
                    };
                    by_x += f64::from(dy[k] * slope.0);
                    by_y += f64::from(dy[k] * slope.1);
                }
                sums[0] += by_x * f64::from(column.place.by_from);
                sums[2] += by_x * f64::from(column.place.by_to);
                of_row += by_y;
            }
            sums[1] += of_row * f64::from(row.place.by_from);
            sums[3] += of_row * f64::from(row.place.by_to);
        }
        sums
    }
}

/// A cell that does not read four pixels.
#[cold]
fn read_some((row, column): (&Read, &Read), x: &[f32], y: &mut [f32], width: usize) {
    y.fill(0.0);
    for (m, down) in row.taps() {
        for (n, across) in column.taps() {
            let from = &x[(m * width + n) * y.len()..][..y.len()];
            let weight = down * across;
            y.iter_mut().zip(from).for_each(|(y, x)| *y += weight * x);
        }
    }
}

/// The gradient of such a cell.
#[cold]
fn spread_some((row, column): (&Read, &Read), dy: &[f32], dx: &mut [f32], width: usize) {
    for (m, down) in row.taps() {
        for (n, across) in column.taps() {
            let into = &mut dx[(m * width + n) * dy.len()..][..dy.len()];
            let weight = down * across;
            into.iter_mut().zip(dy).for_each(|(x, y)| *x += weight * y);
        }
    }
}

/// How a reading of four pixels, row by row, changes with its column and with its row.
#[inline(always)]
fn inner_slopes(row: &Read, column: &Read, at: [[f32; 2]; 2]) -> (f32, f32) {
    let [[a, b], [c, d]] = at;
    let by_x = row.weights[0] * (b - a) + row.weights[1] * (d - c);
    let by_y = column.weights[0] * (c - a) + column.weights[1] * (d - b);
    (by_x, by_y)
}

/// The same where some pixel does not exist, for which there is a zero, or has the weight 0 and is not looked at.
#[cold]
pub(super) fn slopes(row: &Read, column: &Read, at: [[f32; 2]; 2]) -> (f32, f32) {
    let at = |m: usize, n: usize| match row.inside[m] && column.inside[n] {
        true => at[m][n],
        false => 0.0,
    };
    let (mut by_x, mut by_y) = (0.0, 0.0);
    for k in 0..2 {
        if row.weights[k] > 0.0 {
            by_x += row.weights[k] * (at(k, 1) - at(k, 0));
        }
        if column.weights[k] > 0.0 {
            by_y += column.weights[k] * (at(1, k) - at(0, k));
        }
    }
    (by_x, by_y)
}

/// What `$body` computes for so many channels, a constant where the number is a frequent one. Not a function: a closure
/// that is called in three places is not inlined, and then knows neither the constant nor the wide registers.
macro_rules! by_channels {
    ($channels:expr, $c:ident => $body:expr) => {
        wide(|| match $channels {
            1 => {
                let $c = 1;
                $body
            }
            3 => {
                let $c = 3;
                $body
            }
            $c => $body,
        })
    };
}

/// A call whose boxes are read one at a time, in whichever order the channels of a pixel lie.
pub(super) struct Call<'a> {
    /// Its name in errors.
    pub op: &'static str,
    pub s: SampleShape,
    pub boxes: Boxes<'a, Buffer>,
}

impl Call<'_> {
    /// Numbers of an image and of a result, after a look at the boxes and at the lengths that all calls compare.
    fn sizes(&self, named: [(&'static str, usize, usize); 2]) -> Result<(usize, usize)> {
        let s = self.s;
        self.boxes.check(s, self.boxes.corners.len())?;
        for (name, expected, found) in named {
            expect_len(self.op, name, expected, found)?;
        }
        let of = |(height, width): (usize, usize)| height * width * s.channels;
        Ok((of(s.image), of(s.out)))
    }

    /// `read(cut, image, result)` for each box.
    pub fn read(
        &self,
        x: &Buffer,
        y: &mut Buffer,
        read: impl Fn(&Cut, &[f32], &mut [f32]) + Sync,
    ) -> Result<()> {
        let s = self.s;
        let lengths = [("x", s.in_len(), x.len()), ("y", s.out_len(), y.len())];
        let (image, result) = self.sizes(lengths)?;
        if y.is_empty() {
            return Ok(());
        }
        y.par_chunks_mut(result)
            .zip(self.boxes.corners.par_chunks(4))
            .zip(self.boxes.images)
            .for_each(|((y, corners), &of)| match Cut::new(s, corners) {
                None => y.fill(f32::NAN),
                Some(cut) => read(&cut, &x[of as usize * image..][..image], y),
            });
        Ok(())
    }

    /// `spread(cut, gradient of the result, gradient of the image)` for each box, an image a thread.
    pub fn spread(
        &self,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
        spread: impl Fn(&Cut, &[f32], &mut [f32]) + Sync,
    ) -> Result<()> {
        let s = self.s;
        let lengths = [("dy", s.out_len(), dy.len()), ("dx", s.in_len(), dx.len())];
        let (image, result) = self.sizes(lengths)?;
        if dx.is_empty() {
            return Ok(());
        }
        let boxes = &self.boxes;
        dx.par_chunks_mut(image).enumerate().for_each(|(at, dx)| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (k, &of) in boxes.images.iter().enumerate() {
                if of as usize != at {
                    continue;
                }
                let Some(cut) = Cut::new(s, &boxes.corners[4 * k..4 * k + 4]) else {
                    continue;
                };
                spread(&cut, &dy[k * result..][..result], dx);
            }
        });
        Ok(())
    }

    /// `slopes(cut, image, gradient of the result)` for each box.
    pub fn slopes(
        &self,
        x: &Buffer,
        dy: &Buffer,
        dcorners: &mut Buffer,
        slopes: impl Fn(&Cut, &[f32], &[f32]) -> [f64; 4] + Sync,
    ) -> Result<()> {
        let s = self.s;
        let lengths = [("x", s.in_len(), x.len()), ("dy", s.out_len(), dy.len())];
        let (image, result) = self.sizes(lengths)?;
        expect_len(self.op, "dcorners", 4 * s.boxes, dcorners.len())?;
        if result == 0 {
            dcorners.fill(0.0);
            return Ok(());
        }
        dcorners
            .par_chunks_mut(4)
            .zip(self.boxes.corners.par_chunks(4))
            .zip(self.boxes.images)
            .enumerate()
            .for_each(|(k, ((to, corners), &of))| {
                let (x, dy) = (&x[of as usize * image..], &dy[k * result..]);
                let sums = match Cut::new(s, corners) {
                    None => [f64::NAN; 4],
                    Some(cut) => slopes(&cut, &x[..image], &dy[..result]),
                };
                to.iter_mut()
                    .zip(sums)
                    .for_each(|(to, sum)| *to = sum as f32);
            });
        Ok(())
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
        let op = "sample";
        Call { op, s, boxes }.read(
            x,
            y,
            |cut, x, y| by_channels!(s.channels, c => cut.read(x, y, s.image.1, c)),
        )
    }

    fn sample_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<Buffer>,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let op = "sample_grad_images";
        Call { op, s, boxes }.spread(
            dy,
            dx,
            accumulate,
            |cut, dy, dx| by_channels!(s.channels, c => cut.spread(dy, dx, s.image.1, c)),
        )
    }

    fn sample_grad_boxes(
        &self,
        s: SampleShape,
        x: &Buffer,
        boxes: Boxes<Buffer>,
        dy: &Buffer,
        dcorners: &mut Buffer,
    ) -> Result<()> {
        let op = "sample_grad_boxes";
        Call { op, s, boxes }.slopes(
            x,
            dy,
            dcorners,
            |cut, x, dy| by_channels!(s.channels, c => cut.slopes(x, dy, s.image.1, c)),
        )
    }

    fn sample_planes(
        &self,
        s: SampleShape,
        x: &Buffer,
        boxes: Boxes<Buffer>,
        y: &mut Buffer,
    ) -> Result<()> {
        match s.channels {
            1..=FEW_CHANNELS => planes::sample(s, x, boxes, y),
            _ => OnCopies(self).sample(s, x, boxes, y),
        }
    }

    fn sample_planes_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<Buffer>,
        dy: &Buffer,
        dx: &mut Buffer,
    ) -> Result<()> {
        match s.channels {
            1..=FEW_CHANNELS => planes::grad_images(s, boxes, dy, dx),
            _ => OnCopies(self).grad_images(s, boxes, dy, dx),
        }
    }

    fn sample_planes_grad_boxes(
        &self,
        s: SampleShape,
        x: &Buffer,
        boxes: Boxes<Buffer>,
        dy: &Buffer,
        dcorners: &mut Buffer,
    ) -> Result<()> {
        match s.channels {
            1..=FEW_CHANNELS => planes::grad_boxes(s, x, boxes, dy, dcorners),
            _ => OnCopies(self).grad_boxes(s, x, boxes, dy, dcorners),
        }
    }
}
