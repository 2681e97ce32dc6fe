//! How well people are found in scenes: with a detector's boxes or with given ones.

use crate::boxes::{BoxXyxy, usable};
use crate::data::Scene;
use crate::data::people::{PersonQuery, cut_out};
use crate::metrics::{
    Detection, DetectionConfig, GalleryScene, Person, SearchConfig, SearchQuery, SearchReport,
    detection, search,
};
use crate::nn::Net;
use crate::nn::detector::{DetectConfig, found_in};
use crate::nn::reid::features;
use crate::show::{MimeBundle, Show, Table, check_interrupt};
use crate::train::mean_overlap;
use crate::{Error, Result, read};

/// Where the boxes of the gallery come from.
#[derive(Clone, Copy)]
pub enum BoxesFrom<'a> {
    /// A detector's.
    Detector(&'a Net),
    /// Given ones, for each scene.
    Given(&'a [Vec<BoxXyxy>]),
}

/// What a search came to, and all that it was computed from.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Mean AP and top-1, 5, 10, each query's too.
    pub search: SearchReport,
    /// Share of the people who are found at IoU 0.5 with their tight box.
    pub recall: f64,
    /// The same at IoU 0.75.
    pub recall_75: f64,
    /// The mean over all people of the largest IoU of a detection with their tight box.
    pub overlap: f64,
    /// The scenes with their detections and features.
    pub gallery: Vec<GalleryScene>,
    /// The queries with their features.
    pub queries: Vec<SearchQuery>,
}

/// Queries out of scenes: of everybody with an identity the first `each` boxes of which at least `seen` is visible.
///
/// ```
/// use rebit::papers::person_search::queries;
/// use rebit::prelude::*;
/// let scenes = World::new(WorldConfig { identities: 0..8, ..WorldConfig::default() })?.scenes(0..10)?;
/// let all = queries(&scenes, 2, 0.6);
/// assert!(all.len() > 8 && all.len() <= 16);
/// # Ok::<(), Error>(())
/// ```
pub fn queries(scenes: &[Scene], each: usize, seen: f32) -> Vec<PersonQuery> {
    let mut taken = std::collections::HashMap::new();
    let mut out = Vec::new();
    for (scene, s) in scenes.iter().enumerate() {
        for ((identity, &at), visible) in s.identities.iter().zip(&s.boxes).zip(&s.visible) {
            let Some(identity) = *identity else { continue };
            let count: &mut usize = taken.entry(identity).or_default();
            if *count < each && *visible >= seen {
                *count += 1;
                out.push(PersonQuery {
                    identity,
                    scene,
                    at,
                });
            }
        }
    }
    out
}

/// Searches scenes for people: boxes, cut out by the ROI transform layer, features, similarities, as
/// [`search`](crate::metrics::search()) measures them in all other scenes. Queries are cut out at their own box.
///
/// ```
/// use rebit::nn::{ReidNetConfig, reid};
/// use rebit::papers::person_search::{BoxesFrom, evaluate, queries};
/// use rebit::prelude::*;
/// let scenes = World::new(WorldConfig { identities: 0..6, ..WorldConfig::default() })?.scenes(0..6)?;
/// let tight: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
/// let net = reid(&ReidNetConfig::light(6), rng(0))?;
/// let found = evaluate(BoxesFrom::Given(&tight), &net, &scenes, &queries(&scenes, 1, 0.5))?;
/// assert_eq!((found.recall, found.overlap), (1.0, 1.0));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] without scenes or queries, and for a query whose scene is not there; [`Error::Shape`] unless there
/// are boxes for each scene; as [`found_in`] and [`features`].
pub fn evaluate(
    boxes: BoxesFrom,
    reid: &Net,
    scenes: &[Scene],
    queries: &[PersonQuery],
) -> Result<Evaluation> {
    if scenes.is_empty() || queries.is_empty() {
        let what = format!("{} queries in {} scenes", queries.len(), scenes.len());
        return Err(Error::invalid(what, "are no search"));
    }
    let mut gallery = match boxes {
        BoxesFrom::Detector(net) => found_in(net, scenes, &DetectConfig::default())?,
        BoxesFrom::Given(boxes) => given(boxes, scenes)?,
    };
    for (scene, found) in scenes.iter().zip(&mut gallery) {
        check_interrupt()?;
        let at: Vec<BoxXyxy> = found.detections.iter().map(|d| d.at).collect();
        found.features = describe(reid, scene, &at)?;
    }
    let asked = queries.iter().enumerate().map(|(k, q)| {
        let Some(scene) = scenes.get(q.scene) else {
            let why = format!("there is no scene {}; there are {}", q.scene, scenes.len());
            return Err(Error::invalid(format!("query {k}"), why));
        };
        Ok(SearchQuery {
            identity: q.identity,
            scene: q.scene,
            feature: describe(reid, scene, &[q.at])?,
        })
    });
    let asked = asked.collect::<Result<Vec<_>>>()?;
    let recall = |iou: f64| -> Result<f64> {
        let config = DetectionConfig {
            iou,
            ..DetectionConfig::default()
        };
        Ok(detection(&gallery, &config)?.recall)
    };
    Ok(Evaluation {
        search: search(&gallery, &asked, &SearchConfig::default())?,
        recall: recall(0.5)?,
        recall_75: recall(0.75)?,
        overlap: mean_overlap(&gallery)?,
        queries: asked,
        gallery,
    })
}

/// The features of boxes of a scene, one after the other.
fn describe(reid: &Net, scene: &Scene, boxes: &[BoxXyxy]) -> Result<Vec<f32>> {
    if boxes.is_empty() {
        return Ok(Vec::new());
    }
    let extent = reid.input_extent();
    let crops = cut_out(&scene.image, boxes, (extent.height, extent.width))?;
    Ok(read(&features(reid, &crops)?))
}

/// Given boxes as detections that are certain; those that cannot be cut out are no detections.
fn given(boxes: &[Vec<BoxXyxy>], scenes: &[Scene]) -> Result<Vec<GalleryScene>> {
    if boxes.len() != scenes.len() {
        let expected = format!("boxes for each of {} scenes", scenes.len());
        return Err(Error::shape("evaluate", expected, boxes.len()));
    }
    let of = |(scene, boxes): (&Scene, &Vec<BoxXyxy>)| {
        let people = scene.boxes.iter().zip(&scene.identities);
        let kept = usable(boxes, (scene.image.height, scene.image.width), 4.0).kept;
        GalleryScene {
            camera: scene.camera,
            people: people
                .map(|(&at, &identity)| Person { identity, at })
                .collect(),
            detections: kept
                .into_iter()
                .map(|k| Detection {
                    at: boxes[k],
                    score: 1.0,
                })
                .collect(),
            features: Vec::new(),
        }
    };
    Ok(scenes.iter().zip(boxes).map(of).collect())
}

/// An evaluation ends a cell as a table.
impl Show for Evaluation {
    fn bundle(&self) -> MimeBundle {
        let share = |v: f64| format!("{v:.3}");
        let head = [
            "mAP",
            "top-1",
            "top-5",
            "recall@.5",
            "recall@.75",
            "mean IoU",
        ];
        let [top_1, top_5, _] = self.search.top.map(share);
        Table::new(head)
            .row((
                share(self.search.map),
                top_1,
                top_5,
                share(self.recall),
                share(self.recall_75),
                share(self.overlap),
            ))
            .caption(format!(
                "{} queries in {} scenes, {} of them with nobody to find",
                self.queries.len(),
                self.gallery.len(),
                self.search.absent
            ))
            .bundle()
    }
}
