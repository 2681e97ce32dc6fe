//! Where the cells of an axis are read: the same arithmetic as in sample.cu, bit for bit.

use super::Border;

/// One axis of a box.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// The box's side, from and to.
    pub from: f32,
    pub to: f32,
    /// Pixels of the image.
    pub pixels: usize,
    /// Cells of the result.
    pub cells: usize,
    pub border: Border,
}

/// Where a cell is read.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first of the two pixels; may lie outside, as may the one after it.
    pub first: isize,
    /// Weight of the second pixel; that of the first is the rest of 1.
    pub second: f32,
    /// How far the place moves with either end of the box.
    pub by_from: f32,
    pub by_to: f32,
}

impl Axis {
    /// `None` for a box that is not finite.
    #[inline(always)]
    pub fn place(self, cell: usize) -> Option<Place> {
        let t = (cell as f32 + 0.5) / self.cells as f32;
        let mut at = self.from + (self.to - self.from) * t;
        if !at.is_finite() {
            return None;
        }
        let (mut by_from, mut by_to) = (1.0 - t, t);
        let last = self.pixels as f32 - 0.5;
        if self.border == Border::Clamp {
            let (mut low, mut high) = (self.from + 0.5, self.to - 0.5);
            let (mut low_by, mut high_by) = ((1.0, 0.0), (0.0, 1.0));
            if self.to < self.from {
                (low, high) = (self.to + 0.5, self.from - 0.5);
                (low_by, high_by) = (high_by, low_by);
            }
            if high < low {
                // A box below a pixel is read at its middle.
                (low, low_by) = (0.5 * (self.from + self.to), (0.5, 0.5));
                (high, high_by) = (low, low_by);
            }
            if at < low {
                (at, (by_from, by_to)) = (low, low_by);
            }
            if at > high {
                (at, (by_from, by_to)) = (high, high_by);
            }
        }
        let repeated = match self.border {
            Border::Zero => false,
            Border::Clamp => true,
            Border::Edge => at >= -0.5 && at <= last + 1.0,
        };
        if repeated && (at < 0.5 || at > last) {
            at = if at < 0.5 { 0.5 } else { last };
            (by_from, by_to) = (0.0, 0.0);
        }
        let at = at - 0.5;
        // Far outside there is nothing to read, and nothing that could be counted.
        let within = at.clamp(-2.0, self.pixels as f32 + 1.0);
        let floor = within.floor();
        Some(Place {
            first: floor as isize,
            second: within - floor,
            by_from,
            by_to,
        })
    }

    /// The pixel that lies `k` after the first of a place, if there is one.
    #[inline(always)]
    pub fn pixel(self, place: Place, k: isize) -> Option<usize> {
        let at = place.first + k;
        (0..self.pixels as isize)
            .contains(&at)
            .then_some(at as usize)
    }
}
