//! How well people are found in whole scenes, as person search measures it.
//!
//! A query is a person, cut out of one scene; its gallery is a set of other scenes with detections. Each detection has a
//! feature, and the similarity is the dot product with the query's (the cosine, for features of unit length).
//!
//! For one query, over the scenes of its gallery:
//!
//! 1. detections whose score is under the threshold are left out;
//! 2. a scene that holds the person, at the box `g` of `w` x `h` pixels, counts as one truth, also without detections.
//!    Its detections are gone through from the most similar on; the first with
//!    `IoU >= min(0.5, w h / ((w + 10) (h + 10)))` is the match, all others are not;
//! 3. all detections are ranked together. With recall `r = matches / truths`
//!
//! ```text
//! AP = r sum_n (R_n - R_(n-1)) P_n
//! ```
//!
//! over the distinct similarities, from the highest: equal ones are one threshold. `R_n` is the recall among the
//! matches, `P_n` the precision down to there. 0 without a match;
//! 4. top-k is whether one of the `k` most similar detections is a match.
//!
//! The mean AP and top-k are means over queries. A query whose gallery holds the person nowhere has no answer: it is
//! counted ([`SearchReport::absent`]) and is in no mean.
//!
//! Source: the evaluation that OIM (Xiao et al., CVPR 2017) introduced, as public code does it. There, CUHK-SYSU's boxes
//! are cut to whole numbers and PRW's as they are read ([`BoxCut`]).

mod detection;
mod precision;
mod rank;

pub use detection::{DetectionConfig, DetectionReport, detection};
pub use rank::{Galleries, QueryReport, SearchConfig, SearchReport, gallery_lists, search};

use crate::boxes::BoxXyxy;

/// A person in a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Person {
    /// Who it is; `None` for somebody nobody knows.
    pub identity: Option<u32>,
    /// The true box.
    pub at: BoxXyxy,
}

/// What a detector found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The box.
    pub at: BoxXyxy,
    /// How sure the detector is.
    pub score: f32,
}

/// A scene with its people and what was found in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GalleryScene {
    /// The camera.
    pub camera: u32,
    /// Who is there.
    pub people: Vec<Person>,
    /// What was found.
    pub detections: Vec<Detection>,
    /// A feature of each detection, one after the other.
    pub features: Vec<f32>,
}

/// Somebody who is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    /// Who it is.
    pub identity: u32,
    /// The scene out of which the person was cut.
    pub scene: usize,
    /// The feature of the cut-out.
    pub feature: Vec<f32>,
}

/// How true boxes are rounded before they are compared. Detections never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoxCut {
    /// Not at all.
    #[default]
    Exact,
    /// As CUHK-SYSU's evaluation: x, y, width and height are cut to whole numbers (towards 0), then added.
    CuhkSysu,
    /// As PRW's: x, y, width and height are at least 0 and are added, then the corners are cut to whole numbers.
    Prw,
}

impl BoxCut {
    /// The box as it is compared.
    ///
    /// ```
    /// use rebit::metrics::BoxCut;
    /// let b = [-1.5, 2.75, 9.0, 8.5];
    /// assert_eq!(BoxCut::Exact.cut(b), [-1.5, 2.75, 9.0, 8.5]);
    /// assert_eq!(BoxCut::CuhkSysu.cut(b), [-1.0, 2.0, 9.0, 7.0]);
    /// assert_eq!(BoxCut::Prw.cut(b), [0.0, 2.0, 10.0, 8.0]);
    /// ```
    pub fn cut(self, at: BoxXyxy) -> [f64; 4] {
        let [x1, y1, x2, y2] = at.map(f64::from);
        let (w, h) = (x2 - x1, y2 - y1);
        match self {
            BoxCut::Exact => [x1, y1, x2, y2],
            BoxCut::CuhkSysu => {
                let [x, y, w, h] = [x1, y1, w, h].map(f64::trunc);
                [x, y, x + w, y + h]
            }
            BoxCut::Prw => {
                // `max` would make 0 of NaN.
                let [x, y, w, h] = [x1, y1, w, h].map(|v| if v < 0.0 { 0.0 } else { v });
                [x, y, x + w, y + h].map(f64::trunc)
            }
        }
    }
}

#[cfg(test)]
mod tests;
