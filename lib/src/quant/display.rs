//! What a reader sees of quantised numbers.

use crate::show::{MimeBundle, Show, TensorSummary, shape_text};

use super::Quantised;

/// Quantised numbers end a cell with their shape, their grid and a corner of the levels.
impl Show for Quantised {
    fn bundle(&self) -> MimeBundle {
        let title = format!(
            "Quantised {} levels 0..={}, values {} to {}",
            shape_text(&self.shape),
            self.highest,
            self.offset,
            self.offset + self.scale,
        );
        TensorSummary::new(&self.shape, &self.levels)
            .titled(title)
            .bundle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_shown_with_their_grid() {
        let q = Quantised {
            levels: vec![0, 3, 1, 2],
            shape: vec![2, 2],
            highest: 3,
            scale: 1.5,
            offset: -0.5,
        };
        assert_eq!(
            q.bundle()["text/plain"],
            "Quantised (2, 2) levels 0..=3, values -0.5 to 1 · min 0 · mean 1.5 · max 3\n0  3\n1  2"
        );
    }
}
