//! Sampling in the order of tensors, a plane for each channel: on the CPU for few channels without a change of order,
//! otherwise on channels-last copies.
//!
//! A cell's channels are summed in the order of `cpu.rs`, so that both give the same bits.

use super::cpu::{Call, Cut, Read, slopes};
use super::{Boxes, SampleKernel, SampleShape};
use crate::error::{Error, Result};
use crate::ops::layout::LayoutKernel;
use crate::ops::parallel::wide;
use crate::tensors::CpuBuffer as Buffer;

/// `$body` with the number of channels as a constant; more than four never get here.
macro_rules! by_channels {
    ($channels:expr, $c:ident => $body:expr) => {
        wide(|| match $channels {
            1 => {
                const $c: usize = 1;
                $body
            }
            2 => {
                const $c: usize = 2;
                $body
            }
            3 => {
                const $c: usize = 3;
                $body
            }
            _ => {
                const $c: usize = 4;
                $body
            }
        })
    };
}

/// The rows `pixels` of each of `C` planes.
#[inline(always)]
fn lines<const C: usize>(x: &[f32], width: usize, pixels: [usize; 2]) -> [[&[f32]; C]; 2] {
    let line = |m: usize, k: usize| &x[k * (x.len() / C) + m * width..][..width];
    // Not `map`, which is not inlined here.
    [
        std::array::from_fn(|k| line(pixels[0], k)),
        std::array::from_fn(|k| line(pixels[1], k)),
    ]
}

impl Cut {
    #[inline(always)]
    fn read_planes<const C: usize>(&self, x: &[f32], y: &mut [f32], width: usize) {
        let (cells, wide) = (y.len() / C, self.columns.len());
        for (i, row) in self.rows.iter().enumerate() {
            let [above, below] = lines::<C>(x, width, row.pixels);
            for (j, column) in self.columns.iter().enumerate() {
                let to = i * wide + j;
                if !(row.both && column.both) {
                    for k in 0..C {
                        y[k * cells + to] = read_some((row, column), [above[k], below[k]]);
                    }
                    continue;
                }
                let at = column.pixels[0];
                let [[a, b], [c, d]] = row.products(column);
                for k in 0..C {
                    let (above, below) = (&above[k][at..][..2], &below[k][at..][..2]);
                    let sum = 0.0 + a * above[0] + b * above[1];
                    y[k * cells + to] = sum + c * below[0] + d * below[1];
                }
            }
        }
    }

    /// Adds the gradient of the image.
    #[inline(always)]
    fn spread_planes<const C: usize>(&self, dy: &[f32], dx: &mut [f32], width: usize) {
        let (plane, cells) = (dx.len() / C, dy.len() / C);
        for (i, row) in self.rows.iter().enumerate() {
            for (j, column) in self.columns.iter().enumerate() {
                let from = i * self.columns.len() + j;
                for k in 0..C {
                    let (dx, dy) = (&mut dx[k * plane..][..plane], dy[k * cells + from]);
                    if !(row.both && column.both) {
                        spread_some((row, column), dy, dx, width);
                        continue;
                    }
                    let weights = row.products(column);
                    for (m, weights) in row.pixels.into_iter().zip(weights) {
                        let into = &mut dx[m * width + column.pixels[0]..][..2];
                        into[0] += weights[0] * dy;
                        into[1] += weights[1] * dy;
                    }
                }
            }
        }
    }

    /// The gradient of the corners.
    #[inline(always)]
    fn slopes_planes<const C: usize>(&self, x: &[f32], dy: &[f32], width: usize) -> [f64; 4] {
        let cells = dy.len() / C;
        let mut sums = [0.0f64; 4];
        // Pixels of a row that cells read, and how readings between two of them change, the same for all cells there.
        let both = || self.columns.iter().filter(|c| c.both).map(|c| c.pixels);
        let first = both().map(|p| p[0]).min().unwrap_or(0);
        let span = both().map(|p| p[1] + 1 - first).max().unwrap_or(0);
        let [mut across, mut down] = [(); 2].map(|_| vec![[0.0f32; C]; span]);
        for (i, row) in self.rows.iter().enumerate() {
            let [above, below] = lines::<C>(x, width, row.pixels);
            if row.both {
                for k in 0..C {
                    let (above, below) = (&above[k][first..][..span], &below[k][first..][..span]);
                    for (n, down) in down.iter_mut().enumerate() {
                        down[k] = below[n] - above[n];
                    }
                    let pairs = above.windows(2).zip(below.windows(2));
                    for (across, (a, b)) in across.iter_mut().zip(pairs) {
                        across[k] = row.weights[0] * (a[1] - a[0]) + row.weights[1] * (b[1] - b[0]);
                    }
                }
            }
            let mut of_row = 0.0f64;
            for (j, column) in self.columns.iter().enumerate() {
                let [at, last] = column.pixels;
                let (mut by_x, mut by_y) = (0.0f64, 0.0f64);
                let dy = |k: usize| dy[k * cells + i * self.columns.len() + j];
                if row.both && column.both {
                    let (across, down) = (&across[at - first], &down[at - first..][..2]);
                    for k in 0..C {
                        let of_y = column.weights[0] * down[0][k] + column.weights[1] * down[1][k];
                        by_x += f64::from(dy(k) * across[k]);
                        by_y += f64::from(dy(k) * of_y);
                    }
                } else {
                    for k in 0..C {
                        let all = [
                            [above[k][at], above[k][last]],
                            [below[k][at], below[k][last]],
                        ];
                        let slope = slopes(row, column, all);
                        by_x += f64::from(dy(k) * slope.0);
                        by_y += f64::from(dy(k) * slope.1);
                    }
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

/// A cell that does not read four pixels, out of the two rows of a plane.
#[cold]
fn read_some((row, column): (&Read, &Read), lines: [&[f32]; 2]) -> f32 {
    let mut sum = 0.0;
    for (m, down) in row.taps() {
        let line = if m == row.pixels[0] && row.inside[0] {
            lines[0]
        } else {
            lines[1]
        };
        for (n, across) in column.taps() {
            sum += down * across * line[n];
        }
    }
    sum
}

#[cold]
fn spread_some((row, column): (&Read, &Read), dy: f32, dx: &mut [f32], width: usize) {
    for (m, down) in row.taps() {
        for (n, across) in column.taps() {
            dx[m * width + n] += down * across * dy;
        }
    }
}

pub(super) fn sample(
    s: SampleShape,
    x: &Buffer,
    boxes: Boxes<Buffer>,
    y: &mut Buffer,
) -> Result<()> {
    let op = "sample_planes";
    Call { op, s, boxes }.read(
        x,
        y,
        |cut, x, y| by_channels!(s.channels, C => cut.read_planes::<C>(x, y, s.image.1)),
    )
}

pub(super) fn grad_images(
    s: SampleShape,
    boxes: Boxes<Buffer>,
    dy: &Buffer,
    dx: &mut Buffer,
) -> Result<()> {
    let op = "sample_planes_grad_images";
    Call { op, s, boxes }.spread(
        dy,
        dx,
        true,
        |cut, dy, dx| by_channels!(s.channels, C => cut.spread_planes::<C>(dy, dx, s.image.1)),
    )
}

pub(super) fn grad_boxes(
    s: SampleShape,
    x: &Buffer,
    boxes: Boxes<Buffer>,
    dy: &Buffer,
    dcorners: &mut Buffer,
) -> Result<()> {
    let op = "sample_planes_grad_boxes";
    Call { op, s, boxes }.slopes(
        x,
        dy,
        dcorners,
        |cut, x, dy| by_channels!(s.channels, C => cut.slopes_planes::<C>(x, dy, s.image.1)),
    )
}

/// The same on channels-last copies.
pub(super) struct OnCopies<'a, D>(pub &'a D);

impl<D: SampleKernel + LayoutKernel> OnCopies<'_, D>
where
    Error: From<D::Err>,
{
    fn turned(&self, x: &D::Vec, channels: usize, (h, w): (usize, usize)) -> Result<D::Vec> {
        let mut y = self.0.try_alloc_len(self.0.len(x))?;
        self.0.to_channels_last(x, channels, h * w, &mut y)?;
        Ok(y)
    }

    pub fn sample(
        &self,
        s: SampleShape,
        x: &D::Vec,
        boxes: Boxes<D::Vec>,
        y: &mut D::Vec,
    ) -> Result<()> {
        s.check()?;
        let x = self.turned(x, s.channels, s.image)?;
        let mut turned = self.0.try_alloc_len(s.out_len())?;
        self.0.sample(s, &x, boxes, &mut turned)?;
        let pixels = s.out.0 * s.out.1;
        self.0
            .to_channels_first(&turned, s.channels, pixels, y, false)
    }

    pub fn grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<D::Vec>,
        dy: &D::Vec,
        dx: &mut D::Vec,
    ) -> Result<()> {
        s.check()?;
        let dy = self.turned(dy, s.channels, s.out)?;
        let mut turned = self.0.try_alloc_len(s.in_len())?;
        self.0
            .sample_grad_images(s, boxes, &dy, &mut turned, false)?;
        let pixels = s.image.0 * s.image.1;
        self.0
            .to_channels_first(&turned, s.channels, pixels, dx, true)
    }

    pub fn grad_boxes(
        &self,
        s: SampleShape,
        x: &D::Vec,
        boxes: Boxes<D::Vec>,
        dy: &D::Vec,
        dcorners: &mut D::Vec,
    ) -> Result<()> {
        s.check()?;
        let x = self.turned(x, s.channels, s.image)?;
        let dy = self.turned(dy, s.channels, s.out)?;
        self.0.sample_grad_boxes(s, &x, boxes, &dy, dcorners)
    }
}
