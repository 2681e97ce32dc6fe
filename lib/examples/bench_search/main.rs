//! Rebit's side of `tests/peers/run person-search`, one JSON object a run.
//!
//! ```text
//! bench_search prepare FOLDER                     networks, scenes, crops and a search for everybody to start from
//! bench_search roi FOLDER tape|kernels STEPS      48 boxes cut out of 8 scenes, and their gradient
//! bench_search detector|reid FOLDER STEPS         a training step: losses, seconds, peak of memory
//! bench_search joint STEPS                         the same of both networks, end to end
//! bench_search crops|bodies|scenes STEPS          pictures of the made world
//! bench_search search STEPS                       300 queries in galleries of five sizes
//! ```

use std::path::{Path, PathBuf};

use rebit::data::Scene;
use rebit::data::people::{CutConfig, cut_people};
use rebit::prelude::*;
use serde_json::{Value, json};

#[path = "../support/exchange.rs"]
mod exchange;
#[path = "../support/fine_body.rs"]
mod fine_body;
#[path = "../support/folder.rs"]
mod folder;
#[path = "../support/gallery.rs"]
mod gallery;
mod joint;
mod roi;
mod search;
mod steps;
#[path = "../support/timed.rs"]
mod timed;

use exchange::{Named, Steps};
use folder::Folder;
use timed::timed;

/// Scenes of a step.
const SCENES: usize = 8;
/// Crops of a step, and boxes that are cut out.
const CROPS: usize = 48;
/// Height and width of a crop.
const CROP: (usize, usize) = (64, 32);
/// How far annotated boxes are off: the world in which the joint training gains most.
const ANNOTATION: f32 = 0.12;
/// As the trainings of the library have it.
const FOCAL: Focal = Focal {
    alpha: 0.5,
    gamma: 2.0,
};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |n: &str| n.parse::<usize>().expect("a number");
    let at = |folder: &str| Folder(PathBuf::from(folder));
    let result = match args.as_slice() {
        ["prepare", folder] => prepare(&at(folder))?,
        ["roi", folder, how, n] => roi::run(&at(folder), how, number(n))?,
        ["detector", folder, n] => steps::detector(&at(folder), number(n))?,
        ["reid", folder, n] => steps::reid(&at(folder), number(n))?,
        ["joint", n] => joint::run(number(n))?,
        ["crops", n] => rate(&world()?, number(n), |w| Ok(w.crops(0..25, 0..8)?.len()))?,
        ["bodies", n] => rate(&fine_world()?, number(n), |w| {
            Ok(w.crops(0..8, 0..4)?.len())
        })?,
        ["scenes", n] => rate(&world()?, number(n), |w| Ok(w.scenes(0..50)?.len()))?,
        ["search", n] => search::run(number(n))?,
        _ => panic!(
            "usage: bench_search prepare|roi|detector|reid|joint|crops|bodies|scenes|search ..."
        ),
    };
    println!("{result}");
    Ok(())
}

fn prepare(folder: &Folder) -> Result<Value> {
    folder.create();
    steps::prepare(folder)?;
    joint::prepare(folder)?;
    roi::prepare(folder)?;
    search::prepare(folder)?;
    Ok(json!({ "threads": rayon::current_num_threads() }))
}

/// The first scenes that detectors learn from.
fn scenes(count: usize) -> Result<Vec<Scene>> {
    World::new(WorldConfig::training(ANNOTATION))?.scenes(0..count as u64)
}

/// The annotated boxes of scenes, and who is in them: rows of scene, four coordinates, identity.
fn annotations(scenes: &[Scene]) -> Named {
    let rows = scenes.iter().enumerate().flat_map(|(k, scene)| {
        let people = scene.annotated.iter().zip(&scene.identities);
        people.map(move |(b, id)| {
            [
                k as f32,
                b[0],
                b[1],
                b[2],
                b[3],
                id.map_or(-1.0, |i| i as f32),
            ]
        })
    });
    let rows: Vec<f32> = rows.flatten().collect();
    ("annotated".into(), vec![rows.len() / 6, 6], rows)
}

/// The pictures of scenes as bytes, `(N, H, W, 3)`.
fn bytes(scenes: &[Scene]) -> Named {
    let image = &scenes[0].image;
    let shape = vec![scenes.len(), image.height, image.width, 3];
    let all = scenes.iter().flat_map(|s| s.image.rgb.iter());
    ("scenes".into(), shape, all.map(|b| f32::from(*b)).collect())
}

/// The first people of many scenes, cut out.
fn people() -> Result<FloatImages> {
    let scenes = scenes(4 * SCENES)?;
    let boxes: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.annotated.clone()).collect();
    cut_people(&scenes, &boxes, &CutConfig::default())
}

/// Loads what a file holds into a network.
fn loaded(net: Net, file: &Path) -> Result<Net> {
    net.load(file)?;
    Ok(net)
}

fn world() -> Result<World> {
    World::new(WorldConfig::default())
}

/// Pictures of 128x64 of bodies with as many quads as scanned ones.
fn fine_world() -> Result<World> {
    let config = WorldConfig {
        crop: (128, 64),
        ..WorldConfig::default()
    };
    World::with_body(config, std::sync::Arc::new(fine_body::FineBody::new()?))
}

/// Pictures that `make` returns the number of, again and again: its losses are these numbers.
fn rate(world: &World, steps: usize, make: impl Fn(&World) -> Result<usize>) -> Result<Value> {
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || Ok(make(world)? as f32))?;
    }
    Ok(told.describe())
}
