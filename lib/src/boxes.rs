//! Boxes `(x1, y1, x2, y2)` in pixels, and how far two of them agree; without gradients.
//!
//! Places are continuous, x to the right and y down from the corner of the first pixel, so a box is `x2 - x1` wide:
//! no "+ 1" anywhere. A box whose sides are exchanged or equal has no area.

use crate::error::{Error, Result};

/// A box `[x1, y1, x2, y2]` in pixels.
pub type BoxXyxy = [f32; 4];

/// The area of a box: `(x2 - x1) (y2 - y1)`, 0 where a side is not positive, NaN where a coordinate is.
pub fn area(b: BoxXyxy) -> f32 {
    area64(b.map(f64::from)) as f32
}

fn area64([x1, y1, x2, y2]: [f64; 4]) -> f64 {
    let (w, h) = (x2 - x1, y2 - y1);
    if w.is_nan() || h.is_nan() {
        return f64::NAN;
    }
    w.max(0.0) * h.max(0.0)
}

/// The box that two boxes share; its sides may be negative.
fn shared(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    [
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]
}

/// `iou` in double precision: thresholds are compared with it.
pub(crate) fn iou64(a: [f64; 4], b: [f64; 4]) -> f64 {
    let both = area64(shared(a, b));
    let either = area64(a) + area64(b) - both;
    // `max` and `min` pass over NaN, areas do not.
    if either.is_nan() {
        f64::NAN
    } else if either > 0.0 {
        both / either
    } else {
        0.0
    }
}

/// Intersection over union of two boxes, from 0 to 1:
///
/// ```text
/// IoU(a, b) = |a and b| / |a or b|
/// ```
///
/// 0 for boxes without area, NaN where a coordinate is NaN.
///
/// ```
/// use rebit::boxes::iou;
/// assert_eq!(iou([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]), 1.0 / 3.0);
/// assert_eq!(iou([0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 3.0, 2.0]), 0.0);
/// ```
pub fn iou(a: BoxXyxy, b: BoxXyxy) -> f32 {
    iou64(a.map(f64::from), b.map(f64::from)) as f32
}

/// Generalised intersection over union, from -1 to 1: with the smallest box `c` around both,
///
/// ```text
/// GIoU(a, b) = IoU(a, b) - (|c| - |a or b|) / |c|
/// ```
///
/// It falls as boxes that do not meet move apart. -1 where `c` has no area, NaN where a coordinate is NaN.
///
/// Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.
///
/// ```
/// use rebit::boxes::giou;
/// let a = [0.0, 0.0, 1.0, 1.0];
/// assert_eq!(giou(a, a), 1.0);
/// assert_eq!(giou(a, [2.0, 0.0, 3.0, 1.0]), -1.0 / 3.0);
/// ```
pub fn giou(a: BoxXyxy, b: BoxXyxy) -> f32 {
    let (a, b) = (a.map(f64::from), b.map(f64::from));
    let either = area64(a) + area64(b) - area64(shared(a, b));
    let around = area64([
        a[0].min(b[0]),
        a[1].min(b[1]),
        a[2].max(b[2]),
        a[3].max(b[3]),
    ]);
    if either.is_nan() {
        return f32::NAN;
    }
    if around <= 0.0 {
        return -1.0;
    }
    (iou64(a, b) - (around - either) / around) as f32
}

/// Greedy suppression of what is not a maximum: boxes in decreasing order of their scores, without those whose IoU with
/// an earlier kept one is above `threshold`. Of equal scores the earlier box comes first. Returns the indices of the kept
/// boxes, best first.
///
/// ```
/// use rebit::boxes::nms;
/// let boxes = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [8.0, 0.0, 9.0, 9.0]];
/// assert_eq!(nms(&boxes, &[0.6, 0.9, 0.3], 0.5)?, [1, 2]);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there is a score for each box, [`Error::Invalid`] for NaN in a box, a score or the threshold.
pub fn nms(boxes: &[BoxXyxy], scores: &[f32], threshold: f32) -> Result<Vec<usize>> {
    if boxes.len() != scores.len() {
        let expected = format!("as many scores as boxes, {}", boxes.len());
        return Err(Error::shape("nms", expected, scores.len()));
    }
    let bad = (0..boxes.len()).find(|&i| scores[i].is_nan() || boxes[i].iter().any(|v| v.is_nan()));
    if let Some(i) = bad {
        let what = format!("nms: box {i}, {:?} with score {}", boxes[i], scores[i]);
        return Err(Error::invalid(what, "NaN cannot be ordered; drop it first"));
    }
    if threshold.is_nan() {
        let why = "the threshold is NaN; take one from 0 to 1";
        return Err(Error::invalid("nms", why));
    }
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for (at, i) in order.into_iter().enumerate() {
        if at % 256 == 0 {
            crate::show::check_interrupt()?;
        }
        let hides = |&k: &usize| {
            let (a, b) = (boxes[k].map(f64::from), boxes[i].map(f64::from));
            iou64(a, b) > f64::from(threshold)
        };
        if !kept.iter().any(hides) {
            kept.push(i);
        }
    }
    Ok(kept)
}

/// Which boxes can be cut out of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// Indices of the boxes that can.
    pub kept: Vec<usize>,
    /// How many cannot.
    pub dropped: usize,
}

/// The boxes with finite coordinates of which at least `least` pixels in height and in width lie within an image of
/// `(height, width)` pixels.
///
/// ```
/// use rebit::boxes::usable;
/// let boxes = [[0.0, 0.0, 9.0, 9.0], [5.0, 5.0, 2.0, 9.0], [f32::NAN, 0.0, 9.0, 9.0], [30.0, 0.0, 39.0, 9.0]];
/// let usable = usable(&boxes, (20, 20), 4.0);
/// assert_eq!((usable.kept, usable.dropped), (vec![0], 3));
/// ```
pub fn usable(boxes: &[BoxXyxy], (height, width): (usize, usize), least: f32) -> Usable {
    let image = [0.0, 0.0, width as f64, height as f64];
    let least = f64::from(least).max(f64::MIN_POSITIVE);
    let fits = |b: &BoxXyxy| {
        let [x1, y1, x2, y2] = shared(b.map(f64::from), image);
        b.iter().all(|v| v.is_finite()) && x2 - x1 >= least && y2 - y1 >= least
    };
    let kept: Vec<usize> = (0..boxes.len()).filter(|&i| fits(&boxes[i])).collect();
    Usable {
        dropped: boxes.len() - kept.len(),
        kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BoxXyxy = [1.0, 2.0, 5.0, 6.0];

    #[test]
    fn overlaps_worked_by_hand() {
        // 2 x 4 of 16 + 16 - 8.
        assert_eq!(iou(A, [3.0, 2.0, 7.0, 6.0]), 8.0 / 24.0);
        assert_eq!(iou(A, A), 1.0);
        assert_eq!(iou(A, [2.0, 3.0, 3.0, 4.0]), 1.0 / 16.0);
        assert_eq!(iou(A, [5.0, 2.0, 6.0, 6.0]), 0.0);
        // Around: 6 x 4; either: 24; nothing is empty.
        assert_eq!(giou(A, [3.0, 2.0, 7.0, 6.0]), 8.0 / 24.0);
        // Diagonal neighbours: 32 of 64 around are covered.
        assert_eq!(giou(A, [5.0, 6.0, 9.0, 10.0]), -0.5);
    }

    #[test]
    fn boxes_without_area_share_nothing_and_nan_stays() {
        for flat in [[1.0, 1.0, 1.0, 5.0], [4.0, 1.0, 2.0, 5.0], [0.0; 4]] {
            assert_eq!(area(flat), 0.0);
            assert_eq!(iou(flat, A), 0.0);
            assert_eq!(iou(flat, flat), 0.0);
            assert!(giou(flat, A) <= 0.0);
        }
        assert_eq!(giou([2.0; 4], [2.0; 4]), -1.0);
        for k in 0..4 {
            let mut b = A;
            b[k] = f32::NAN;
            for (x, y) in [(A, b), (b, A)] {
                assert!(iou(x, y).is_nan() && giou(x, y).is_nan(), "{k}");
            }
            assert!(area(b).is_nan());
        }
    }

    #[test]
    fn suppression_keeps_the_best_and_what_it_does_not_hide() {
        let boxes = [
            [0.0, 0.0, 10.0, 10.0],
            [0.0, 0.0, 10.0, 5.0],
            [0.0, 0.0, 10.0, 6.0],
            [20.0, 0.0, 30.0, 10.0],
            [20.0, 0.0, 30.0, 10.0],
        ];
        let scores = [0.9, 0.8, 0.7, 0.5, 0.5];
        // IoU with the first: 0.5, which is not above the threshold, and 0.6; that of the last two is 1.
        assert_eq!(nms(&boxes, &scores, 0.5).unwrap(), [0, 1, 3]);
        assert_eq!(nms(&boxes, &scores, 0.49).unwrap(), [0, 3]);
        assert_eq!(nms(&boxes, &scores, 1.0).unwrap(), [0, 1, 2, 3, 4]);
        assert!(nms(&[], &[], 0.5).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        let error = nms(&[A, A], &[0.5], 0.5).unwrap_err().to_string();
        assert!(
            error.contains("boxes, 2") && error.contains("found 1"),
            "{error}"
        );
        assert!(nms(&[A], &[f32::NAN], 0.5).is_err());
        assert!(nms(&[[0.0, f32::NAN, 1.0, 1.0]], &[0.5], 0.5).is_err());
        assert!(nms(&[A], &[0.5], f32::NAN).is_err());
    }

    #[test]
    fn parts_outside_the_image_do_not_count() {
        let boxes = [
            [-6.0, 0.0, 3.0, 9.0],
            [-5.0, 0.0, 4.0, 9.0],
            [16.0, 17.0, 99.0, 99.0],
        ];
        let found = usable(&boxes, (20, 20), 4.0);
        assert_eq!(
            found,
            Usable {
                kept: vec![1],
                dropped: 2
            }
        );
        // Zero asks for some area at least.
        assert_eq!(usable(&[[3.0, 3.0, 3.0, 9.0]], (20, 20), 0.0).dropped, 1);
    }
}
