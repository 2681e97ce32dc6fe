//! The search: matches, ranking, means.

use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::precision::average_precision;
use super::{BoxCut, GalleryScene, SearchQuery};
use crate::boxes::iou64;
use crate::data::epoch_rng;
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;

/// The scenes in which a query is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Galleries {
    /// All but the query's own, as PRW does.
    #[default]
    All,
    /// All of other cameras.
    OtherCameras,
    /// For each query a list of scenes, as CUHK-SYSU has them; a scene that is listed is taken, the query's own too.
    Lists(Vec<Vec<usize>>),
}

/// How people are searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchConfig {
    /// Where.
    pub galleries: Galleries,
    /// The lowest score of detections that count.
    pub score: f32,
    /// How true boxes are rounded.
    pub cut: BoxCut,
}

impl Default for SearchConfig {
    fn default() -> Self {
        SearchConfig {
            galleries: Galleries::All,
            score: 0.5,
            cut: BoxCut::Exact,
        }
    }
}

/// What a search came to. Shares of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchReport {
    /// Mean of the average precisions.
    pub map: f64,
    /// Share of queries with a match among the first 1, 5 and 10.
    pub top: [f64; 3],
    /// Each query, in their order.
    pub queries: Vec<QueryReport>,
    /// Queries whose gallery holds the person nowhere; they are in no mean.
    pub absent: usize,
}

/// One query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryReport {
    /// Average precision.
    pub ap: f64,
    /// Whether there is a match among the first 1, 5 and 10.
    pub top: [bool; 3],
    /// Scenes that hold the person.
    pub truths: usize,
    /// Those in which a detection matches.
    pub matches: usize,
    /// Detections that were ranked.
    pub ranked: usize,
}

/// Looks for each query in its gallery; see the [module](super).
///
/// ```
/// use rebit::metrics::{Detection, GalleryScene, Person, SearchConfig, SearchQuery, search};
/// let at = [10.0, 10.0, 40.0, 90.0];
/// let scene = |feature: [f32; 2]| GalleryScene {
///     people: vec![Person { identity: Some(7), at }],
///     detections: vec![Detection { at, score: 0.9 }],
///     features: feature.to_vec(),
///     ..GalleryScene::default()
/// };
/// let scenes = [scene([1.0, 0.0]), scene([0.8, 0.6])];
/// let query = SearchQuery { identity: 7, scene: 0, feature: vec![1.0, 0.0] };
/// let report = search(&scenes, &[query], &SearchConfig::default())?;
/// assert_eq!((report.map, report.top[0]), (1.0, 1.0));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for features that do not fit the detections or the query, or for lists that do not fit the queries;
/// [`Error::Invalid`] for a scene that is not there, and for NaN in a feature, a score or a box.
pub fn search(
    scenes: &[GalleryScene],
    queries: &[SearchQuery],
    config: &SearchConfig,
) -> Result<SearchReport> {
    start_threads();
    let length = queries.first().map_or(0, |q| q.feature.len());
    check(scenes, queries, config, length)?;
    let one = |k: usize| -> QueryReport {
        let query = &queries[k];
        let camera = scenes[query.scene].camera;
        match &config.galleries {
            Galleries::Lists(lists) => look(scenes, query, config, lists[k].iter().copied()),
            others => {
                let cameras = *others == Galleries::OtherCameras;
                let gallery = (0..scenes.len())
                    .filter(|&s| s != query.scene && !(cameras && scenes[s].camera == camera));
                look(scenes, query, config, gallery)
            }
        }
    };
    let queries: Vec<QueryReport> = (0..queries.len()).into_par_iter().map(one).collect();
    let answered = queries.iter().filter(|q| q.truths > 0).count();
    let mean = |of: &dyn Fn(&QueryReport) -> f64| {
        let all = queries.iter().filter(|q| q.truths > 0).map(of);
        all.sum::<f64>() / answered.max(1) as f64
    };
    Ok(SearchReport {
        map: mean(&|q| q.ap),
        top: [0, 1, 2].map(|k| mean(&|q| f64::from(u8::from(q.top[k])))),
        absent: queries.len() - answered,
        queries,
    })
}

fn look(
    scenes: &[GalleryScene],
    query: &SearchQuery,
    config: &SearchConfig,
    gallery: impl Iterator<Item = usize>,
) -> QueryReport {
    let length = query.feature.len();
    let (mut truths, mut matches) = (0, 0);
    let mut entries: Vec<(f64, bool)> = Vec::new();
    for scene in gallery.map(|s| &scenes[s]) {
        let person = scene
            .people
            .iter()
            .find(|p| p.identity == Some(query.identity));
        truths += usize::from(person.is_some());
        let first = entries.len();
        let mut boxes = Vec::new();
        for (k, found) in scene.detections.iter().enumerate() {
            if found.score >= config.score {
                let feature = &scene.features[k * length..][..length];
                let similarity = dot(feature, &query.feature);
                entries.push((similarity, false));
                boxes.push(found.at.map(f64::from));
            }
        }
        let Some(person) = person else { continue };
        let truth = config.cut.cut(person.at);
        let threshold = small_box_threshold(truth);
        // Of equal similarities, the earlier detection.
        let best = (0..boxes.len())
            .filter(|&k| iou64(truth, boxes[k]) >= threshold)
            .reduce(|a, b| {
                if entries[first + b].0 > entries[first + a].0 {
                    b
                } else {
                    a
                }
            });
        if let Some(best) = best {
            entries[first + best].1 = true;
            matches += 1;
        }
    }
    let mut order: Vec<&(f64, bool)> = entries.iter().collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let top = [1, 5, 10].map(|k| order.iter().take(k).any(|e| e.1));
    let ranked = entries.len();
    let recall = matches as f64 / truths.max(1) as f64;
    QueryReport {
        ap: recall * average_precision(entries),
        top,
        truths,
        matches,
        ranked,
    }
}

/// In double precision, in lanes: one running sum would wait for itself.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    lanes.iter().sum()
}

/// `min(0.5, w h / ((w + 10) (h + 10)))`: small boxes need not be met as exactly.
fn small_box_threshold([x1, y1, x2, y2]: [f64; 4]) -> f64 {
    let (w, h) = (x2 - x1, y2 - y1);
    (w * h / ((w + 10.0) * (h + 10.0))).min(0.5)
}

fn check(
    scenes: &[GalleryScene],
    queries: &[SearchQuery],
    config: &SearchConfig,
    length: usize,
) -> Result<()> {
    let no_scene = |what: String, scene: usize| {
        let why = format!("there is no scene {scene}; there are {}", scenes.len());
        Err(Error::invalid(what, why))
    };
    for (k, query) in queries.iter().enumerate() {
        if query.feature.len() != length {
            let found = format!("{} in query {k}", query.feature.len());
            return Err(Error::shape(
                "search",
                format!("features of {length} numbers"),
                found,
            ));
        }
        if query.scene >= scenes.len() {
            return no_scene(format!("query {k}"), query.scene);
        }
        if query.feature.iter().any(|v| v.is_nan()) {
            return Err(Error::invalid(
                format!("query {k}"),
                "its feature holds NaN",
            ));
        }
    }
    for (k, scene) in scenes.iter().enumerate() {
        let count = scene.detections.len();
        if !queries.is_empty() && scene.features.len() != count * length {
            let expected = format!("{count} features of {length} numbers in scene {k}");
            let found = format!("{} numbers", scene.features.len());
            return Err(Error::shape("search", expected, found));
        }
        if scene.features.iter().any(|v| v.is_nan()) {
            return Err(Error::invalid(format!("scene {k}"), "a feature holds NaN"));
        }
        check_boxes(k, scene)?;
    }
    if let Galleries::Lists(lists) = &config.galleries {
        if lists.len() != queries.len() {
            let expected = format!("a list for each of {} queries", queries.len());
            return Err(Error::shape("search", expected, lists.len()));
        }
        for (k, list) in lists.iter().enumerate() {
            if let Some(&scene) = list.iter().find(|&&s| s >= scenes.len()) {
                return no_scene(format!("gallery of query {k}"), scene);
            }
        }
    }
    Ok(())
}

/// # Errors
/// [`Error::Invalid`] for NaN in a box or a score.
pub(super) fn check_boxes(k: usize, scene: &GalleryScene) -> Result<()> {
    let nan = |b: &[f32; 4]| b.iter().any(|v| v.is_nan());
    for (i, found) in scene.detections.iter().enumerate() {
        if nan(&found.at) || found.score.is_nan() {
            let what = format!("scene {k}, detection {i}");
            return Err(Error::invalid(
                what,
                format!("{found:?} holds NaN; drop it first"),
            ));
        }
    }
    match scene.people.iter().position(|p| nan(&p.at)) {
        Some(i) => {
            let what = format!("scene {k}, person {i}");
            Err(Error::invalid(what, "its box holds NaN"))
        }
        None => Ok(()),
    }
}

/// For each query a gallery of `size` scenes: those that hold the person first, then others in an order drawn from `seed`
/// and the query; never the query's own. A larger gallery holds the smaller ones.
///
/// Fewer where there are not as many scenes.
pub fn gallery_lists(
    scenes: &[GalleryScene],
    queries: &[SearchQuery],
    size: usize,
    seed: u64,
) -> Vec<Vec<usize>> {
    let list = |(k, query): (usize, &SearchQuery)| {
        let mut order: Vec<usize> = (0..scenes.len()).filter(|&s| s != query.scene).collect();
        order.shuffle(&mut epoch_rng(seed, k as u64));
        let holds = |s: &usize| {
            let mut people = scenes[*s].people.iter();
            people.any(|p| p.identity == Some(query.identity))
        };
        // Stable: the drawn order stays among those with the person, and among the others.
        order.sort_by_key(|s| !holds(s));
        order.truncate(size);
        order
    };
    queries.iter().enumerate().map(list).collect()
}
