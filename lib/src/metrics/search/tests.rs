use super::*;
use serde_json::Value;

const HERE: BoxXyxy = [10.0, 10.0, 50.0, 110.0];
const THERE: BoxXyxy = [100.0, 10.0, 140.0, 110.0];

/// A scene in which person 1 stands at `HERE`, with detections of a similarity to the query each.
fn scene(found: &[(BoxXyxy, f32)]) -> GalleryScene {
    GalleryScene {
        camera: 1,
        people: vec![
            Person {
                identity: Some(1),
                at: HERE,
            },
            Person {
                identity: None,
                at: THERE,
            },
        ],
        detections: found
            .iter()
            .map(|f| Detection {
                at: f.0,
                score: 0.9,
            })
            .collect(),
        features: found.iter().map(|f| f.1).collect(),
    }
}

fn query() -> SearchQuery {
    SearchQuery {
        identity: 1,
        scene: 0,
        feature: vec![1.0],
    }
}

/// The one query, cut out of scene 0, in the others.
fn report(others: Vec<GalleryScene>) -> QueryReport {
    let mut scenes = vec![scene(&[(HERE, 1.0)])];
    scenes.extend(others);
    let report = search(&scenes, &[query()], &SearchConfig::default()).unwrap();
    report.queries[0]
}

#[test]
fn a_missed_detection_costs_recall() {
    // Found in one of two scenes, at the head of the ranking.
    let found = report(vec![scene(&[(HERE, 0.9), (THERE, 0.5)]), scene(&[])]);
    assert_eq!((found.truths, found.matches, found.ranked), (2, 1, 2));
    assert_eq!((found.ap, found.top), (0.5, [true; 3]));
    // Behind a stranger: precision 1/2.
    let behind = report(vec![scene(&[(HERE, 0.5), (THERE, 0.9)]), scene(&[])]);
    assert_eq!((behind.ap, behind.top), (0.25, [false, true, true]));
}

#[test]
fn of_two_detections_on_a_person_one_counts() {
    // The more similar one is the match though it fits less well; the other ranks as a mistake.
    let near = [10.0, 10.0, 50.0, 90.0];
    let twice = report(vec![scene(&[(HERE, 0.6), (near, 0.8)])]);
    assert_eq!((twice.matches, twice.ap), (1, 1.0));
    // Both before a match in another scene: 1/1 and 2/3.
    let twice = report(vec![
        scene(&[(HERE, 0.6), (near, 0.8)]),
        scene(&[(HERE, 0.4)]),
    ]);
    assert!((twice.ap - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
}

#[test]
fn equal_similarities_are_one_threshold() {
    let tie = report(vec![scene(&[(THERE, 0.7), (HERE, 0.7)])]);
    assert_eq!(tie.ap, 0.5);
    let tie = report(vec![scene(&[(HERE, 0.7), (THERE, 0.7)])]);
    assert_eq!(tie.ap, 0.5);
}

#[test]
fn small_boxes_need_less_overlap() {
    // 10 x 20: threshold 200 / (20 * 30) = 1/3; seven rows of twenty are 0.35, six 0.3.
    let with = |found: BoxXyxy| {
        let mut one = scene(&[(found, 0.9)]);
        one.people[0].at = [0.0, 0.0, 10.0, 20.0];
        report(vec![one]).matches
    };
    assert_eq!(with([0.0, 0.0, 10.0, 7.0]), 1);
    assert_eq!(with([0.0, 0.0, 10.0, 6.0]), 0);
    // On a large box the same share is not enough.
    let large = [10.0, 10.0, 50.0, 50.0];
    assert_eq!(report(vec![scene(&[(large, 0.9)])]).matches, 0);
    // 40 x 100: half of it, exactly, is enough.
    let half = [10.0, 10.0, 50.0, 60.0];
    assert_eq!(report(vec![scene(&[(half, 0.9)])]).matches, 1);
    let less = [10.0, 10.0, 50.0, 59.0];
    assert_eq!(report(vec![scene(&[(less, 0.9)])]).matches, 0);
}

#[test]
fn who_is_nowhere_is_in_no_mean() {
    let mut away = scene(&[(HERE, 0.9)]);
    away.people[0].identity = Some(2);
    let scenes = [scene(&[]), away, scene(&[(HERE, 0.9)])];
    let other = SearchQuery {
        identity: 2,
        scene: 1,
        ..query()
    };
    let found = search(&scenes, &[query(), other], &SearchConfig::default()).unwrap();
    // Person 1 stands in scene 2 and is tied with the stranger in scene 1; person 2 stands in its own scene only.
    assert_eq!((found.absent, found.map, found.top[1]), (1, 0.5, 1.0));
    assert_eq!(found.queries[1].truths, 0);
    let nobody = search(&scenes, &[], &SearchConfig::default()).unwrap();
    assert_eq!((nobody.map, nobody.absent), (0.0, 0));
}

#[test]
fn the_query_scene_is_searched_only_where_it_is_listed() {
    let scenes = [scene(&[(HERE, 1.0)]), scene(&[(HERE, 0.5)])];
    let with = |galleries: Galleries| {
        let config = SearchConfig {
            galleries,
            ..SearchConfig::default()
        };
        search(&scenes, &[query()], &config).unwrap().queries[0].truths
    };
    assert_eq!(with(Galleries::All), 1);
    assert_eq!(with(Galleries::Lists(vec![vec![1]])), 1);
    assert_eq!(with(Galleries::Lists(vec![vec![0, 1]])), 2);
    // Both scenes are of one camera.
    assert_eq!(with(Galleries::OtherCameras), 0);
}

#[test]
fn detections_find_one_person_each() {
    let mut one = scene(&[(HERE, 0.0), (HERE, 0.0)]);
    one.detections[1].score = 0.95;
    let found = detection(&[one.clone()], &DetectionConfig::default()).unwrap();
    // Equal boxes: the earlier one finds, and ranks behind the other.
    assert_eq!((found.truths, found.found, found.detections), (2, 1, 2));
    assert_eq!((found.recall, found.ap), (0.5, 0.25));
    let labelled = DetectionConfig {
        labelled_only: true,
        ..DetectionConfig::default()
    };
    assert_eq!(detection(&[one.clone()], &labelled).unwrap().recall, 1.0);
    one.people.clear();
    let nobody = detection(&[one.clone()], &DetectionConfig::default()).unwrap();
    assert_eq!((nobody.recall, nobody.ap, nobody.detections), (0.0, 0.0, 2));
    assert_eq!(detection(&[one], &labelled).unwrap().detections, 0);
}

#[test]
fn gallery_lists_grow_and_begin_with_the_person() {
    let mut scenes: Vec<GalleryScene> = (0..40).map(|_| scene(&[])).collect();
    for (k, scene) in scenes.iter_mut().enumerate() {
        scene.people[0].identity = (k % 10 == 0).then_some(1);
    }
    let queries = [
        query(),
        SearchQuery {
            scene: 10,
            ..query()
        },
    ];
    let (small, large) = (
        gallery_lists(&scenes, &queries, 6, 3),
        gallery_lists(&scenes, &queries, 20, 3),
    );
    for (k, (small, large)) in small.iter().zip(&large).enumerate() {
        assert_eq!((small.len(), large.len()), (6, 20));
        assert_eq!(small[..], large[..6]);
        assert!(small[..3].iter().all(|s| s % 10 == 0) && small[3..].iter().all(|s| s % 10 != 0));
        assert!(!large.contains(&queries[k].scene));
    }
    assert_ne!(small[0][3..], small[1][3..]);
    assert_eq!(gallery_lists(&scenes, &queries, 99, 3)[0].len(), 39);
}

#[test]
fn what_does_not_fit_is_refused() {
    let scenes = [scene(&[(HERE, 1.0)]), scene(&[(HERE, 0.5)])];
    let said = |scenes: &[GalleryScene], query: SearchQuery, config: SearchConfig| {
        search(scenes, &[query], &config).unwrap_err().to_string()
    };
    let plain = SearchConfig::default;
    let long = SearchQuery {
        feature: vec![1.0; 2],
        ..query()
    };
    let text = said(&scenes, long, plain());
    assert!(
        text.contains("1 features of 2 numbers") && text.contains("1 numbers"),
        "{text}"
    );
    let lost = SearchQuery {
        scene: 9,
        ..query()
    };
    assert!(said(&scenes, lost, plain()).contains("no scene 9"));
    let nan = SearchQuery {
        feature: vec![f32::NAN],
        ..query()
    };
    assert!(said(&scenes, nan, plain()).contains("NaN"));
    for galleries in [Galleries::Lists(vec![]), Galleries::Lists(vec![vec![2]])] {
        let config = SearchConfig {
            galleries,
            ..plain()
        };
        said(&scenes, query(), config);
    }
    let mut broken = scenes.to_vec();
    broken[1].detections[0].at[2] = f32::NAN;
    assert!(said(&broken, query(), plain()).contains("scene 1, detection 0"));
    assert!(detection(&broken, &DetectionConfig::default()).is_err());
}

/// Inputs, and the figures that a public implementation gave for them.
struct Fixture {
    json: Value,
    scenes: Vec<GalleryScene>,
    queries: Vec<SearchQuery>,
}

fn numbers(value: &Value) -> Vec<f32> {
    let all = value.as_array().unwrap().iter();
    all.map(|v| v.as_f64().unwrap() as f32).collect()
}

fn corners(value: &Value) -> BoxXyxy {
    let b = numbers(value);
    [b[0], b[1], b[0] + b[2], b[1] + b[3]]
}

fn fixture() -> Fixture {
    let text = include_str!("person_search_eval.json");
    let json: Value = serde_json::from_str(text).unwrap();
    let list = |name: &str| json[name].as_array().unwrap().clone();
    let unknown = json["unlabelled_id"].as_i64().unwrap();
    let scenes: Vec<GalleryScene> = list("scenes")
        .iter()
        .map(|s| {
            let people = s["people"].as_array().unwrap().iter().map(|p| Person {
                identity: (p["id"].as_i64() != Some(unknown))
                    .then(|| p["id"].as_u64().unwrap() as u32),
                at: corners(&p["box"]),
            });
            let found = s["dets"].as_array().unwrap().iter().map(|d| {
                let d = numbers(d);
                Detection {
                    at: [d[0], d[1], d[2], d[3]],
                    score: d[4],
                }
            });
            GalleryScene {
                camera: s["cam"].as_u64().unwrap() as u32,
                people: people.collect(),
                detections: found.collect(),
                features: s["feats"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(numbers)
                    .collect(),
            }
        })
        .collect();
    let names = names(&json);
    let queries = list("queries")
        .iter()
        .map(|q| SearchQuery {
            identity: q["id"].as_u64().unwrap() as u32,
            scene: names.iter().position(|n| *n == q["scene"]).unwrap(),
            feature: numbers(&q["feat"]),
        })
        .collect();
    Fixture {
        json,
        scenes,
        queries,
    }
}

fn names(json: &Value) -> Vec<Value> {
    let scenes = json["scenes"].as_array().unwrap().iter();
    scenes.map(|s| s["name"].clone()).collect()
}

fn cut(name: &Value) -> BoxCut {
    match name.as_str().unwrap() {
        "raw" => BoxCut::Exact,
        "cuhk" => BoxCut::CuhkSysu,
        "prw" => BoxCut::Prw,
        other => panic!("{other}"),
    }
}

fn close(a: f64, b: &Value, what: &str) {
    let b = b.as_f64().unwrap();
    assert!((a - b).abs() < 1e-9, "{what}: {a} and {b}");
}

fn agrees(found: &SearchReport, expected: &Value) {
    close(found.map, &expected["mAP"], "mAP");
    for k in 0..3 {
        close(found.top[k], &expected["top"][k], "top");
    }
    assert_eq!(found.absent, 0);
    for (k, query) in found.queries.iter().enumerate() {
        close(query.ap, &expected["ap"][k], &format!("query {k}"));
        let counts = &expected["derived_counts"][k];
        let ours = [query.truths, query.matches, query.ranked];
        for (j, ours) in ours.into_iter().enumerate() {
            assert_eq!(Some(ours as u64), counts[j].as_u64(), "query {k}");
            let top = u64::from(query.top[j]);
            assert_eq!(
                Some(top),
                expected["top_per_query"][k][j].as_u64(),
                "query {k}"
            );
        }
    }
}

#[test]
fn search_with_lists_gives_the_public_figures() {
    let fixture = fixture();
    let names = names(&fixture.json);
    let results = fixture.json["results"]["cuhk"].as_array().unwrap();
    assert!(results.len() >= 3);
    for expected in results {
        let lists = fixture.json["galleries"][expected["gallery"].as_str().unwrap()].as_array();
        let list = |list: &Value| -> Vec<usize> {
            let scenes = list.as_array().unwrap().iter();
            scenes
                .map(|s| names.iter().position(|n| *n == s[0]).unwrap())
                .collect()
        };
        let config = SearchConfig {
            galleries: Galleries::Lists(lists.unwrap().iter().map(list).collect()),
            score: expected["score_threshold"].as_f64().unwrap() as f32,
            cut: BoxCut::CuhkSysu,
        };
        agrees(
            &search(&fixture.scenes, &fixture.queries, &config).unwrap(),
            expected,
        );
    }
}

#[test]
fn search_in_all_scenes_gives_the_public_figures() {
    let fixture = fixture();
    let results = fixture.json["results"]["prw"].as_array().unwrap();
    assert!(results.len() >= 4);
    for expected in results {
        let galleries = match expected["other_cameras_only"].as_bool().unwrap() {
            true => Galleries::OtherCameras,
            false => Galleries::All,
        };
        let config = SearchConfig {
            galleries,
            score: expected["score_threshold"].as_f64().unwrap() as f32,
            cut: cut(&expected["boxes"]),
        };
        agrees(
            &search(&fixture.scenes, &fixture.queries, &config).unwrap(),
            expected,
        );
    }
}

#[test]
fn detection_gives_the_public_figures() {
    let fixture = fixture();
    let used = fixture.json["detection_scenes"].as_array().unwrap();
    let names = names(&fixture.json);
    let scenes: Vec<GalleryScene> = used
        .iter()
        .map(|n| fixture.scenes[names.iter().position(|m| m == n).unwrap()].clone())
        .collect();
    let results = fixture.json["results"]["detection"].as_array().unwrap();
    assert!(results.len() >= 8);
    for expected in results {
        let config = DetectionConfig {
            score: expected["score_threshold"].as_f64().unwrap() as f32,
            iou: expected["iou_threshold"].as_f64().unwrap(),
            cut: cut(&expected["boxes"]),
            labelled_only: expected["labelled_only"].as_bool().unwrap(),
        };
        let found = detection(&scenes, &config).unwrap();
        close(found.recall, &expected["recall"], "recall");
        close(found.ap, &expected["ap"], "ap");
        let counts = [found.truths, found.found, found.detections];
        for (k, ours) in counts.into_iter().enumerate() {
            assert_eq!(Some(ours as u64), expected["derived_counts"][k].as_u64());
        }
    }
}
