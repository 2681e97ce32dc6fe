//! The weights of a layer as whole numbers, and the largest sum that they can make.

use serde::{Deserialize, Serialize};

use crate::nn::Extent;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::conv2d::ConvShape;
use crate::{Error, Result};

/// The geometry of a convolution or linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

impl Window {
    pub fn shape(&self, x: Extent) -> ConvShape {
        ConvShape {
            batch: 1,
            in_h: x.height,
            in_w: x.width,
            in_channels: x.channels,
            out_channels: self.outputs,
            kernel: (self.kernel, self.kernel),
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
        }
    }

    pub fn extent(&self, x: Extent) -> Result<Extent> {
        if x.channels != self.inputs {
            let expected = format!("{} input channels", self.inputs);
            return Err(Error::shape("conv", expected, x));
        }
        let shape = self.shape(x);
        shape.check()?;
        Ok(Extent::new(self.outputs, shape.out_h(), shape.out_w()))
    }

    /// Products in the sum of one output; none for numbers that describe no convolution.
    pub fn products(&self) -> Option<usize> {
        let per_group = self.inputs.checked_div(self.groups)?;
        let taps = self.kernel.checked_mul(self.kernel)?;
        per_group.checked_mul(taps)
    }

    /// Each output channel sees one input channel, its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.inputs && self.groups == self.outputs
    }
}

/// A convolution or linear layer on levels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    pub window: Window,
    /// Bits of a weight.
    pub bits: u32,
    /// `q - lowest`, row-major `(out, in/groups, kh, kw)`.
    pub levels: Vec<u8>,
    /// One grid, or one for each output channel.
    pub grids: Vec<AffineGrid>,
    /// One number an output channel.
    pub bias: Vec<f32>,
}

/// One output channel: `w = unit * values`.
pub(crate) struct Row {
    pub values: Vec<i64>,
    pub unit: f64,
}

impl Weights {
    pub fn grid(&self, channel: usize) -> AffineGrid {
        match self.grids[..] {
            [only] => only,
            _ => self.grids[channel],
        }
    }

    /// The numbers that the levels stand for, as fake quantisation computes with them.
    pub fn numbers(&self) -> Vec<f32> {
        let row = self.row_len();
        let number = |(i, level): (usize, &u8)| {
            let g = self.grid(i / row);
            (f32::from(*level) + g.lowest + g.zero) / g.scale
        };
        self.levels.iter().enumerate().map(number).collect()
    }

    fn row_len(&self) -> usize {
        (self.levels.len() / self.window.outputs.max(1)).max(1)
    }

    /// The whole numbers of each output channel. A channel whose weights are all alike is one unit of that very weight: its
    /// grid may be too fine for whole numbers of any size.
    pub fn rows(&self) -> Vec<Row> {
        let parts = self.levels.chunks_exact(self.row_len()).enumerate();
        let row = |(channel, levels): (usize, &[u8])| {
            let g = self.grid(channel);
            let (lowest, zero, scale) = (g.lowest, g.zero, g.scale);
            let first = levels.first().copied().unwrap_or_default();
            if levels.iter().all(|l| *l == first) {
                let number = (f32::from(first) + lowest + zero) / scale;
                return Row {
                    values: vec![i64::from(number != 0.0); levels.len()],
                    unit: f64::from(number),
                };
            }
            Row {
                values: levels
                    .iter()
                    .map(|l| i64::from(*l) + lowest as i64 + zero as i64)
                    .collect(),
                unit: 1.0 / f64::from(scale),
            }
        };
        parts.map(row).collect()
    }

    /// The largest sum, in size, that any input on `grid` can give in any output channel.
    ///
    /// `max over o of sum |w'| * max |x'|`, where `x'` takes every value from the lowest to the highest level: what an
    /// input of the right signs at the end of its range comes to, up to that end being the larger one for both signs.
    pub fn largest_sum(&self, grid: AffineGrid) -> i128 {
        let largest = [grid.lowest + grid.zero, grid.highest + grid.zero];
        let largest = largest.map(|v| (v as i128).abs());
        let largest = largest[0].max(largest[1]);
        let sum = |row: &Row| {
            let sizes = row.values.iter().map(|w| i128::from(w.unsigned_abs()));
            largest * sizes.sum::<i128>()
        };
        self.rows().iter().map(sum).max().unwrap_or_default()
    }

    /// Refuses weights whose sums over inputs on `grid` 32 bits may not hold.
    pub fn check(&self, grid: AffineGrid) -> Result<()> {
        // Padded inputs are kept as 16 bits.
        let offset = grid.lowest + grid.zero;
        if offset.abs() > f32::from(i16::MAX) - 255.0 {
            return Err(Error::invalid(
                format!("the zero point {} of its input", grid.zero),
                "is beyond 16 bits: the range is narrow and far from 0; widen it to hold 0 (Bounds::with_zero)",
            ));
        }
        let largest = self.largest_sum(grid);
        if largest <= i128::from(i32::MAX) {
            return Ok(());
        }
        Err(Error::invalid(
            format!("its accumulator, which can reach {largest},"),
            format!(
                "would overflow: 32 bits hold {}; take fewer bits, a range that holds 0, or fewer inputs",
                i32::MAX
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fake_quant::Bounds;

    fn linear(inputs: usize, bits: u32, levels: Vec<u8>, ranges: &[(f32, f32)]) -> Weights {
        let grids = ranges
            .iter()
            .map(|(l, u)| AffineGrid::new(Bounds::new(*l, *u), bits).unwrap());
        let grids: Vec<AffineGrid> = grids.collect();
        let outputs = levels.len() / inputs;
        Weights {
            window: Window {
                inputs,
                outputs,
                kernel: 1,
                stride: 1,
                padding: 0,
                dilation: 1,
                groups: 1,
            },
            bits,
            levels,
            bias: vec![0.0; outputs],
            grids,
        }
    }

    #[test]
    fn literal_whole_numbers_of_each_channel() {
        // [0, 3] at two bits: levels 0 1 2 3. [-2, 1]: -2 -1 0 1.
        let w = linear(2, 2, vec![0, 3, 1, 2], &[(0.0, 3.0), (-2.0, 1.0)]);
        let rows = w.rows();
        assert_eq!(
            (rows[0].values.clone(), rows[1].values.clone()),
            (vec![0, 3], vec![-1, 0])
        );
        assert_eq!(w.numbers(), [0.0, 3.0, -1.0, 0.0]);
        // Inputs 0 to 3: at most 3 * 3, and 1 * 3.
        let grid = AffineGrid::new(Bounds::new(0.0, 3.0), 2).unwrap();
        assert_eq!(w.largest_sum(grid), 9);
    }

    #[test]
    fn a_channel_of_equal_weights_is_exact() {
        // A range of one point: its levels are 1e-8 / 15 apart, and the zero point has 34 bits.
        let w = linear(3, 4, vec![8; 3], &[(0.7, 0.7)]);
        let row = &w.rows()[0];
        assert_eq!(
            (row.values.clone(), row.unit as f32),
            (vec![1; 3], w.numbers()[0])
        );
        assert!((row.unit - 0.7).abs() < 1e-7, "{}", row.unit);
    }

    #[test]
    fn the_bound_is_reached_and_not_passed() {
        let grid = AffineGrid::new(Bounds::new(0.0, 255.0), 8).unwrap();
        let most = i32::MAX as usize / (255 * 255);
        // A first weight of 0, so that the channel is no channel of equal weights.
        let levels = |n: usize| {
            let mut levels = vec![255; n];
            levels[0] = 0;
            levels
        };
        let fits = linear(most + 1, 8, levels(most + 1), &[(0.0, 255.0)]);
        assert_eq!(fits.largest_sum(grid), (255 * 255 * most) as i128);
        fits.check(grid).unwrap();
        let over = linear(most + 2, 8, levels(most + 2), &[(0.0, 255.0)]);
        let error = over.check(grid).unwrap_err().to_string();
        assert!(
            error.contains("2147515650") && error.contains("2147483647"),
            "{error}"
        );
        let far = AffineGrid::new(Bounds::new(999.0, 1000.0), 8).unwrap();
        let error = fits.check(far).unwrap_err().to_string();
        assert!(
            error.contains("zero point") && error.contains("with_zero"),
            "{error}"
        );
    }
}
