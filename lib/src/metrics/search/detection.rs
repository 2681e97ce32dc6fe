//! How well people are detected, whoever they are.

use super::precision::average_precision;
use super::rank::check_boxes;
use super::{BoxCut, GalleryScene};
use crate::boxes::iou64;
use crate::error::Result;

/// How detections are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionConfig {
    /// The lowest score of detections that count.
    pub score: f32,
    /// The lowest IoU of a detection that finds somebody.
    pub iou: f64,
    /// How true boxes are rounded.
    pub cut: BoxCut,
    /// Whether people without identity are left out, and scenes with no others, their detections included.
    pub labelled_only: bool,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        DetectionConfig {
            score: 0.5,
            iou: 0.5,
            cut: BoxCut::Exact,
            labelled_only: false,
        }
    }
}

/// What detections came to. Shares of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionReport {
    /// Share of the people who were found; 0 where there is nobody.
    pub recall: f64,
    /// Average precision times recall.
    pub ap: f64,
    /// People.
    pub truths: usize,
    /// People who were found.
    pub found: usize,
    /// Detections that count.
    pub detections: usize,
}

/// Recall and average precision of the detections of all scenes together.
///
/// A person is found by a detection when each is the one with the highest IoU to the other and that is at least the
/// threshold: whoever shares a best detection with somebody it fits better is not found. Scores rank the detections, they
/// do not decide who is found. `AP = recall sum_n (R_n - R_(n-1)) P_n` over the distinct scores.
///
/// ```
/// use rebit::metrics::{Detection, DetectionConfig, GalleryScene, Person, detection};
/// let at = [0.0, 0.0, 10.0, 20.0];
/// let scene = GalleryScene {
///     people: vec![Person { identity: None, at }, Person { identity: None, at: [50.0, 0.0, 60.0, 20.0] }],
///     detections: vec![Detection { at, score: 0.8 }],
///     ..GalleryScene::default()
/// };
/// let report = detection(&[scene], &DetectionConfig::default())?;
/// assert_eq!((report.recall, report.ap), (0.5, 0.5));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for NaN in a box or a score.
pub fn detection(scenes: &[GalleryScene], config: &DetectionConfig) -> Result<DetectionReport> {
    let (mut truths, mut found) = (0, 0);
    let mut entries = Vec::new();
    for (k, scene) in scenes.iter().enumerate() {
        check_boxes(k, scene)?;
        let people: Vec<[f64; 4]> = scene
            .people
            .iter()
            .filter(|p| p.identity.is_some() || !config.labelled_only)
            .map(|p| config.cut.cut(p.at))
            .collect();
        if config.labelled_only && people.is_empty() {
            continue;
        }
        let kept = scene.detections.iter().filter(|d| d.score >= config.score);
        let kept: Vec<_> = kept
            .map(|d| (d.at.map(f64::from), f64::from(d.score)))
            .collect();
        let overlap = |person: usize, other: usize| iou64(people[person], kept[other].0);
        // Of equals, the earlier one.
        let best = |count: usize, of: &dyn Fn(usize) -> f64| {
            (0..count).reduce(|a, b| if of(b) > of(a) { b } else { a })
        };
        truths += people.len();
        for (d, (_, score)) in kept.iter().enumerate() {
            let person = best(people.len(), &|p| overlap(p, d));
            let hit = person.is_some_and(|p| {
                overlap(p, d) >= config.iou && best(kept.len(), &|o| overlap(p, o)) == Some(d)
            });
            found += usize::from(hit);
            entries.push((*score, hit));
        }
    }
    let detections = entries.len();
    let recall = found as f64 / truths.max(1) as f64;
    Ok(DetectionReport {
        recall,
        ap: recall * average_precision(entries),
        truths,
        found,
        detections,
    })
}
