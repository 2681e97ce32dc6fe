//! The search metric over galleries of several sizes.

use rand::Rng as _;
use rebit::metrics::{
    Galleries, GalleryScene, Person, SearchConfig, SearchQuery, gallery_lists, search,
};
use rebit::prelude::*;
use serde_json::{Value, json};

use super::exchange::{Named, Steps};
use super::gallery::gallery_scene;
use super::{Folder, timed};

const SCENES: usize = 120;
const QUERIES: usize = 300;
const FEATURE: usize = 192;
/// All other scenes are the last.
const SIZES: [usize; 5] = [5, 10, 20, 50, SCENES - 1];

/// Scenes of the made world whose annotated boxes are the detections; features are a direction of the person and noise.
fn setting() -> Result<(Vec<GalleryScene>, Vec<SearchQuery>)> {
    let (world, mut rng) = (World::new(WorldConfig::default())?, rng(1));
    let mut random =
        |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let people: Vec<Vec<f32>> = (0..100).map(|_| random(FEATURE)).collect();
    let mut feature = |id: Option<u32>| -> Vec<f32> {
        let own = id.map(|id| &people[id as usize]);
        let noise = random(FEATURE).into_iter().enumerate();
        noise
            .map(|(k, v)| 3.0 * v + own.map_or(0.0, |own| own[k]))
            .collect()
    };
    let all = world.scenes(0..SCENES as u64)?;
    let scenes: Vec<GalleryScene> = all
        .iter()
        .map(|scene| gallery_scene(scene, &mut feature))
        .collect();
    let known = scenes.iter().enumerate().flat_map(|(k, scene)| {
        let people = scene.people.iter().filter_map(|p| p.identity);
        people.map(move |id| (k, id))
    });
    let known: Vec<(usize, u32)> = known.take(QUERIES).collect();
    let query = |(scene, identity)| SearchQuery {
        identity,
        scene,
        feature: feature(Some(identity)),
    };
    let queries = known.into_iter().map(query).collect();
    Ok((scenes, queries))
}

fn galleries(scenes: &[GalleryScene], queries: &[SearchQuery], size: usize) -> Vec<Vec<usize>> {
    gallery_lists(scenes, queries, size, 0)
}

pub fn prepare(folder: &Folder) -> Result<()> {
    let (scenes, queries) = setting()?;
    assert_eq!(queries.len(), QUERIES);
    let matrix = |name: &str, columns: usize, values: Vec<f32>| -> Named {
        (name.into(), vec![values.len() / columns, columns], values)
    };
    let boxes = |k: usize, at: BoxXyxy| [k as f32, at[0], at[1], at[2], at[3]];
    let of = scenes.iter().enumerate();
    let detections = of
        .clone()
        .flat_map(|(k, s)| s.detections.iter().flat_map(move |d| boxes(k, d.at)));
    let people = of.flat_map(|(k, s)| {
        let id = |p: &Person| p.identity.map_or(-1.0, |id| id as f32);
        s.people
            .iter()
            .flat_map(move |p| boxes(k, p.at).into_iter().chain([id(p)]))
    });
    let mut tensors = vec![
        matrix("detections", 5, detections.collect()),
        matrix("people", 6, people.collect()),
        matrix(
            "features",
            FEATURE,
            scenes.iter().flat_map(|s| s.features.clone()).collect(),
        ),
        matrix(
            "queries",
            1,
            queries.iter().map(|q| q.identity as f32).collect(),
        ),
        matrix(
            "query_features",
            FEATURE,
            queries.iter().flat_map(|q| q.feature.clone()).collect(),
        ),
    ];
    for size in SIZES {
        let lists = galleries(&scenes, &queries, size).concat();
        let lists = lists.into_iter().map(|s| s as f32).collect();
        tensors.push(matrix(&format!("gallery.{size}"), size, lists));
    }
    folder.write("search", &tensors);
    Ok(())
}

/// What is told of a step is the mean over the sizes of the mean average precision. The lists are made beforehand, as the
/// other side reads them.
pub fn run(steps: usize) -> Result<Value> {
    let (scenes, queries) = setting()?;
    let configs = SIZES.map(|size| SearchConfig {
        galleries: Galleries::Lists(galleries(&scenes, &queries, size)),
        ..SearchConfig::default()
    });
    let (mut told, mut maps) = (Steps::default(), Vec::new());
    for _ in 0..steps {
        timed(&mut told, || {
            let reports = configs.iter().map(|c| search(&scenes, &queries, c));
            let reports = reports.collect::<Result<Vec<_>>>()?;
            maps = reports.iter().map(|r| r.map).collect::<Vec<f64>>();
            Ok((maps.iter().sum::<f64>() / maps.len() as f64) as f32)
        })?;
    }
    let mut told = told.describe();
    told["maps"] = json!(maps);
    Ok(told)
}
