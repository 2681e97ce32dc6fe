//! Joint training on a tiny world: what reaches what, the same run after an interruption, bad input.

use super::joint::Run;
use super::*;
use crate::boxes::{BoxXyxy, iou};
use crate::data::people::photo_batch;
use crate::data::{Scene, World, WorldConfig};
use crate::nn::{DetectorConfig, Mode, Net, ReidNetConfig, StateTensor, detector, reid};
use crate::train::{TrainDetectorConfig, train_detector};
use crate::{read, rng};

const PEOPLE: usize = 8;

fn scenes(count: u64) -> Vec<Scene> {
    let config = WorldConfig {
        identities: 0..PEOPLE as u32,
        people: (1, 2),
        annotation: 0.0,
        occlusion: 0.0,
        ..WorldConfig::default()
    };
    World::new(config).unwrap().scenes(0..count).unwrap()
}

/// A detector that finds people, after a short training on the very scenes.
fn nets(scenes: &[Scene]) -> (Net, Net) {
    let small = DetectorConfig {
        widths: [8, 16, 24, 24],
        head: 16,
        ..DetectorConfig::default()
    };
    let net = detector(&small, rng(1)).unwrap();
    let config = TrainDetectorConfig {
        steps: 150,
        scenes: 4,
        lr: 4e-3,
        show: false,
        ..TrainDetectorConfig::default()
    };
    train_detector(&net, scenes, &[], &config).unwrap();
    let small = ReidNetConfig {
        widths: [4, 8, 8, 12],
        embedding: 6,
        ..ReidNetConfig::light(PEOPLE)
    };
    (net, reid(&small, rng(2)).unwrap())
}

fn config(steps: usize) -> PersonSearchConfig {
    PersonSearchConfig {
        steps,
        scenes: 2,
        show: false,
        ..PersonSearchConfig::default()
    }
}

/// Names of the parameters that a run moved.
fn moved(before: &Net, after: &Net) -> Vec<String> {
    let (before, after): (Vec<StateTensor>, Vec<StateTensor>) =
        (before.state().unwrap(), after.state().unwrap());
    let differ = before.iter().zip(&after).filter(|(a, b)| a != b);
    differ.map(|(a, _)| a.0.clone()).collect()
}

#[test]
fn each_loss_reaches_what_its_routing_says() {
    let scenes = scenes(6);
    let (det, id) = nets(&scenes);
    let run = |routing: Routing, lambda: f32, proxies: Option<Proxies>| {
        let config = PersonSearchConfig {
            routing,
            lambda,
            proxies,
            ..config(2)
        };
        joint(&det, &id, &scenes, &config).unwrap()
    };
    let plain = Routing::default();
    // The re-ID loss alone: everything before the distances, not the score, nothing of the re-ID network.
    let alone = Routing {
        detection: false,
        ..plain
    };
    let only = run(alone, 1.0, None);
    assert!(only.trace.boxes[0] > 0 && only.trace.identity[0] > 0.0);
    let names = moved(&det, &only.detector);
    assert!(names.iter().any(|n| n == "boxes.weight") && names.iter().any(|n| n == "conv1.weight"));
    assert!(!names.iter().any(|n| n.starts_with("score")), "{names:?}");
    assert!(moved(&id, &only.reid).is_empty());
    // No running statistic moves in the joint stage.
    assert!(!names.iter().any(|n| n.contains("running")));
    // To the re-ID network alone: the detector is moved as the control moves it.
    let control = joint(&det, &id, &scenes, &config(2).control()).unwrap();
    let weights = Routing {
        boxes: false,
        reid: true,
        ..plain
    };
    let cut = run(weights, 1.0, None);
    assert!(moved(&control.detector, &cut.detector).is_empty());
    assert!(!moved(&id, &cut.reid).is_empty());
    // Both, with proxies.
    let both = Routing {
        reid: true,
        ..plain
    };
    let all = run(both, 1.0, Some(Proxies::default()));
    // Handles that are frozen train all the same: the routing decides.
    let config = PersonSearchConfig {
        routing: both,
        ..config(2)
    };
    let again = joint(&det.frozen(), &id.frozen(), &scenes, &config).unwrap();
    assert!(!moved(&id, &again.reid).is_empty() && !moved(&det, &again.detector).is_empty());
    assert!(
        !moved(&control.detector, &all.detector).is_empty() && !moved(&id, &all.reid).is_empty()
    );
    assert_eq!(all.trace.proxy.len(), 2);
    let table = all.proxies.unwrap();
    let length: f32 = table
        .row(scenes[0].identities[0].unwrap())
        .iter()
        .map(|v| v * v)
        .sum();
    assert!((length - 1.0).abs() < 1e-5);
}

#[test]
fn turns_move_one_side_at_a_time() {
    let scenes = scenes(4);
    let (det, id) = nets(&scenes);
    let config = PersonSearchConfig {
        routing: Routing {
            reid: true,
            ..Routing::default()
        },
        turns: Turns::Alternating(2),
        ..config(4)
    };
    let mut run = Run::new(&det, &id, &scenes, &config).unwrap();
    run.go(2).unwrap();
    assert!(!moved(&det, &run.detector).is_empty() && moved(&id, &run.reid).is_empty());
    let middle = run.detector.duplicate().unwrap();
    run.go(4).unwrap();
    assert!(moved(&middle, &run.detector).is_empty() && !moved(&id, &run.reid).is_empty());
    assert_eq!(run.trace.detection[2..], [0.0, 0.0]);
}

#[test]
fn a_resumed_run_is_the_same_run() {
    let scenes = scenes(4);
    let (det, id) = nets(&scenes);
    let folder = tempfile::tempdir().unwrap();
    let config = PersonSearchConfig {
        proxies: Some(Proxies::default()),
        routing: Routing {
            reid: true,
            ..Routing::default()
        },
        checkpoint: Some(folder.path().join("run.state")),
        save_every: 2,
        ..config(5)
    };
    let whole = PersonSearchConfig {
        checkpoint: None,
        ..config.clone()
    };
    let whole = joint(&det, &id, &scenes, &whole).unwrap();
    let mut part = Run::new(&det, &id, &scenes, &config).unwrap();
    part.go(3).unwrap();
    drop(part);
    let again = joint(&det, &id, &scenes, &config).unwrap();
    assert!(moved(&whole.detector, &again.detector).is_empty());
    assert!(moved(&whole.reid, &again.reid).is_empty());
    assert_eq!((whole.trace, whole.proxies), (again.trace, again.proxies));
    let other = PersonSearchConfig {
        lambda: 2.0,
        ..config
    };
    let error = joint(&det, &id, &scenes, &other).err().unwrap().to_string();
    assert!(
        error.contains("lambda: 1.0 there, lambda: 2.0 here"),
        "{error}"
    );
}

#[test]
fn proposals_lie_on_their_people_and_are_few() {
    let scenes = scenes(4);
    let (det, _) = nets(&scenes);
    let batch: Vec<&Scene> = scenes.iter().collect();
    let images = photo_batch(batch.iter().map(|s| &s.image)).unwrap();
    let pass = det.run(&images, Mode::Eval).unwrap();
    let found = proposals(&pass, &batch, PEOPLE, &config(1)).unwrap();
    assert!(!found.cells.is_empty());
    for ((cell, b), label) in found.cells.iter().zip(&found.boxes).zip(&found.labels) {
        let scene = batch[cell.image];
        let person = scene
            .identities
            .iter()
            .position(|i| *i == Some(*label))
            .unwrap();
        assert!(iou(scene.annotated[person], *b) >= 0.5);
        let same = found.cells.iter().zip(&found.labels);
        assert!(
            same.filter(|(c, l)| c.image == cell.image && *l == label)
                .count()
                <= 2
        );
    }
    let error = proposals(&pass, &batch, 1, &config(1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("0..1"), "{error}");
    // Nobody with a name: no proposals, and a run goes on without them.
    let mut unknown = scenes.clone();
    unknown.iter_mut().for_each(|s| s.identities.fill(None));
    let batch: Vec<&Scene> = unknown.iter().collect();
    assert!(
        proposals(&pass, &batch, PEOPLE, &config(1))
            .unwrap()
            .cells
            .is_empty()
    );
}

#[test]
fn scenes_without_people_and_boxes_without_area_stop_nothing() {
    let mut empty = scenes(3);
    for scene in &mut empty {
        scene.boxes.clear();
        scene.annotated.clear();
        scene.identities.clear();
        scene.visible.clear();
    }
    let scenes = scenes(3);
    let (det, id) = nets(&scenes);
    let run = joint(&det, &id, &empty, &config(2)).unwrap();
    assert_eq!(run.trace.boxes, [0, 0]);
    assert!(run.trace.detection.iter().all(|l| l.is_finite()));
    // A detector whose boxes are all far too small: dropped with a count, or refused.
    let tiny = det.duplicate().unwrap();
    let dims = tiny.parameter("boxes.weight").unwrap().to_vec().len();
    tiny.set_parameter("boxes.weight", &vec![0.0; dims])
        .unwrap();
    tiny.set_parameter("boxes.bias", &[-4.0; 4]).unwrap();
    let run = joint(&tiny, &id, &scenes, &config(1)).unwrap();
    assert!(run.trace.dropped > 0 && run.trace.boxes == [0]);
    let strict = PersonSearchConfig {
        unusable: Unusable::Refuse,
        ..config(1)
    };
    let error = joint(&tiny, &id, &scenes, &strict)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("4 pixels"), "{error}");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let ok = config(1);
    let off = Routing {
        boxes: false,
        reid: false,
        detection: false,
    };
    let bad = [
        PersonSearchConfig {
            scenes: 0,
            ..ok.clone()
        },
        PersonSearchConfig {
            lr: f32::NAN,
            ..ok.clone()
        },
        PersonSearchConfig {
            lambda: -1.0,
            ..ok.clone()
        },
        PersonSearchConfig {
            overlap: 2.0,
            ..ok.clone()
        },
        PersonSearchConfig {
            routing: off,
            ..ok.clone()
        },
        PersonSearchConfig {
            turns: Turns::Alternating(3),
            ..ok.clone()
        },
        PersonSearchConfig {
            proxies: Some(Proxies {
                momentum: 2.0,
                ..Proxies::default()
            }),
            ..ok.clone()
        },
        PersonSearchConfig {
            lambda: 0.0,
            routing: Routing {
                detection: false,
                ..Routing::default()
            },
            ..ok.clone()
        },
    ];
    for config in bad {
        assert!(config.check().is_err(), "{config:?}");
    }
    let scenes = scenes(1);
    let (det, id) = (
        detector(&DetectorConfig::default(), rng(0)).unwrap(),
        reid(&ReidNetConfig::light(PEOPLE), rng(0)).unwrap(),
    );
    assert!(joint(&det, &id, &[], &ok).is_err());
    let error = joint(&det, &det, &scenes, &ok).err().unwrap().to_string();
    assert!(error.contains("no re-ID network"), "{error}");
    let few = reid(&ReidNetConfig::light(1), rng(0)).unwrap();
    assert!(joint(&det, &few, &scenes, &ok).is_ok() || scenes[0].identities.contains(&Some(1)));
}

#[test]
fn a_search_with_true_boxes_finds_everybody_and_absent_people_are_counted() {
    let scenes = scenes(10);
    let (_, id) = nets(&scenes);
    let tight: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
    let mut asked = queries(&scenes, 1, 0.5);
    let found = evaluate(BoxesFrom::Given(&tight), &id, &scenes, &asked).unwrap();
    assert_eq!((found.recall, found.recall_75), (1.0, 1.0));
    assert!(found.search.queries.iter().all(|q| q.matches == q.truths));
    asked[0].identity = 7_000;
    let absent = evaluate(BoxesFrom::Given(&tight), &id, &scenes, &asked).unwrap();
    assert_eq!(absent.search.absent, found.search.absent + 1);
    // Missing boxes lower the recall, not the number of people.
    let none: Vec<Vec<BoxXyxy>> = vec![Vec::new(); scenes.len()];
    let missed = evaluate(BoxesFrom::Given(&none), &id, &scenes, &asked).unwrap();
    assert_eq!((missed.recall, missed.search.map), (0.0, 0.0));
    assert!(evaluate(BoxesFrom::Given(&none[1..]), &id, &scenes, &asked).is_err());
    assert!(evaluate(BoxesFrom::Given(&none), &id, &scenes, &[]).is_err());
    asked[0].scene = 99;
    assert!(evaluate(BoxesFrom::Given(&tight), &id, &scenes, &asked).is_err());
}

#[test]
fn clipping_keeps_short_gradients_and_the_direction_of_long_ones() {
    use crate::{Matrix, from_vec};
    use dfdx::prelude::{Backward, SumTo, Trace};
    let b: Matrix = from_vec(vec![0.0, 0.0, 10.0, 20.0, 5.0, 5.0, 6.0, 7.0], (2, 4)).unwrap();
    let weights: Matrix = from_vec(vec![1.0, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0], (2, 4)).unwrap();
    let boxes = clipped(b.leaky_trace(), 2.0).unwrap();
    assert_eq!(read(&boxes), read(&b));
    let pull = read(&(boxes * weights).sum::<(), _>().backward().get(&b));
    assert!((pull[0] - 0.2).abs() < 1e-6 && (pull[4] - 0.01).abs() < 1e-7);
    assert!(pull[1..4].iter().chain(&pull[5..]).all(|v| *v == 0.0));
}
