//! Rates of the pedestrian world and of the search metric: `cargo bench -p rebit --bench world [-- FILTER]`.
//!
//! Items are pictures, scenes and queries. `REBIT_THREADS` sets the threads.

use divan::counter::ItemsCount;
use divan::{Bencher, Divan};
use rand::Rng as _;
use rebit::data::{World, WorldConfig};
use rebit::metrics::{Galleries, GalleryScene, SearchConfig, SearchQuery, gallery_lists, search};
use rebit::{dev, rng};

#[path = "../examples/support/gallery.rs"]
mod gallery;

use gallery::gallery_scene;

fn main() {
    // Starts the library's threads.
    dev();
    Divan::from_args().main();
}

fn world() -> World {
    World::new(WorldConfig::default()).expect("the default is valid")
}

#[divan::bench]
fn capsule_crops_64x32(bencher: Bencher) {
    let world = world();
    let count = ItemsCount::new(200usize);
    bencher
        .counter(count)
        .bench_local(|| world.crops(0..25, 0..8).expect("not interrupted"));
}

#[divan::bench]
fn capsule_scenes_96x160(bencher: Bencher) {
    let world = world();
    let count = ItemsCount::new(50usize);
    bencher
        .counter(count)
        .bench_local(|| world.scenes(0..50).expect("not interrupted"));
}

/// 120 scenes, 300 queries, features of 192 numbers, galleries of 5, 10, 20, 50 and all scenes.
#[divan::bench]
fn search_all_gallery_sizes(bencher: Bencher) {
    let mut rng = rng(1);
    let mut feature = || -> Vec<f32> { (0..192).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let world = world();
    let scenes: Vec<GalleryScene> = (0..120)
        .map(|k| gallery_scene(&world.scene(k), |_| feature()))
        .collect();
    let people = scenes.iter().enumerate().flat_map(|(scene, s)| {
        s.people
            .iter()
            .filter_map(move |p| Some((scene, p.identity?)))
    });
    let queries: Vec<SearchQuery> = people
        .take(300)
        .map(|(scene, identity)| SearchQuery {
            identity,
            scene,
            feature: feature(),
        })
        .collect();
    let count = ItemsCount::new(queries.len());
    bencher.counter(count).bench_local(|| {
        for size in [5, 10, 20, 50, 119] {
            let config = SearchConfig {
                galleries: Galleries::Lists(gallery_lists(&scenes, &queries, size, 0)),
                ..SearchConfig::default()
            };
            search(&scenes, &queries, &config).expect("valid");
        }
    });
}
