use super::*;
use crate::boxes::iou;

fn world(config: WorldConfig) -> World {
    World::new(config).unwrap()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let world = world(WorldConfig::default());
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            (
                world.scenes(40..52).unwrap(),
                world.crops(0..4, 0..3).unwrap(),
            )
        })
    };
    let (one, many) = (with(1), with(5));
    assert!(one == many);
    // And each picture can be had alone.
    assert!(one.0[7] == world.scene(47));
    assert!(one.1[3 * 3 + 2] == world.crop(3, 2));
}

#[test]
fn other_seeds_and_numbers_are_other_pictures() {
    let a = world(WorldConfig::default());
    let b = world(WorldConfig {
        seed: 1,
        ..WorldConfig::default()
    });
    assert!(a.scene(0).image.rgb != a.scene(1).image.rgb);
    assert!(a.scene(0).image.rgb != b.scene(0).image.rgb);
    assert!(a.crop(0, 0).image.rgb != a.crop(0, 1).image.rgb);
    assert!(a.crop(0, 0).texture == a.crop(0, 1).texture);
    assert!(a.crop(0, 0).texture != a.crop(1, 0).texture);
    assert!(a.identity(5).texture != b.identity(5).texture);
}

#[test]
fn annotations_change_nothing_else_and_are_off_as_far_as_asked() {
    let set = |annotation: f32| {
        let config = WorldConfig {
            annotation,
            ..WorldConfig::default()
        };
        world(config).scenes(0..60).unwrap()
    };
    let (exact, some, much) = (set(0.0), set(0.06), set(0.12));
    for (e, s) in exact.iter().zip(&some) {
        assert!(e.image == s.image && e.boxes == s.boxes);
        assert_eq!(e.annotated, e.boxes);
    }
    let mean_iou = |set: &[Scene]| {
        let pairs = set.iter().flat_map(|s| s.boxes.iter().zip(&s.annotated));
        let all: Vec<f32> = pairs.map(|(a, b)| iou(*a, *b)).collect();
        all.iter().sum::<f32>() / all.len() as f32
    };
    let (some, much) = (mean_iou(&some), mean_iou(&much));
    assert!(
        (0.7..0.9).contains(&some) && (0.5..0.78).contains(&much) && much < some,
        "{some} {much}"
    );
}

#[test]
fn boxes_are_tight_and_everybody_is_seen() {
    let plain = WorldConfig {
        noise: 0.0,
        occlusion: 0.5,
        ..WorldConfig::default()
    };
    let scenes = world(plain).scenes(0..80).unwrap();
    let mut people = 0;
    for scene in &scenes {
        assert_eq!(scene.boxes.len(), scene.identities.len());
        assert_eq!(scene.boxes.len(), scene.visible.len());
        for (b, &seen) in scene.boxes.iter().zip(&scene.visible) {
            people += 1;
            let height = b[3] - b[1];
            assert!((28.0..82.0).contains(&height), "{b:?}");
            assert!(b[0] >= 0.0 && b[1] >= 0.0 && b[2] <= 160.0 && b[3] <= 96.0);
            assert!((0.4..=1.0).contains(&seen));
        }
        let mut ids = scene.identities.clone();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), scene.identities.len());
    }
    assert!((160..=320).contains(&people), "{people}");
    assert!(scenes.iter().flat_map(|s| &s.visible).any(|v| *v < 0.9));
}

#[test]
fn everybody_has_turns() {
    let config = WorldConfig {
        identities: 200..240,
        ..WorldConfig::default()
    };
    let scenes = world(config).scenes(0..120).unwrap();
    let mut counts = [0; 40];
    for id in scenes.iter().flat_map(|s| &s.identities) {
        counts[id.unwrap() as usize - 200] += 1;
    }
    assert!(counts.iter().all(|&n| n >= 3), "{counts:?}");
}

#[test]
fn the_true_texture_in_the_true_pose_is_the_picture_before_the_camera() {
    let world = world(WorldConfig {
        occlusion: 0.5,
        ..WorldConfig::default()
    });
    for view in 0..20 {
        let crop = world.crop(4, view);
        let again = world.texels(&crop.pose, &crop.viewpoint, (64, 32));
        assert!(again == crop.texels);
        let clean = crop.clean();
        let person = again.render(&crop.texture);
        let mut seen = 0;
        for (pixel, &mask) in crop.mask.iter().enumerate() {
            if mask {
                seen += 1;
                assert_eq!(Some(clean[pixel]), person[pixel]);
                assert!(crop.visible[again.nearest[pixel] as usize]);
            } else {
                assert_eq!(clean[pixel], crop.surroundings[pixel]);
            }
        }
        // Without noise, the picture is that under the camera's gains.
        assert!(seen > 100, "view {view}: {seen} pixels");
    }
}

#[test]
fn pictures_are_the_clean_ones_under_gain_and_noise() {
    let quiet = world(WorldConfig {
        noise: 0.0,
        ..WorldConfig::default()
    });
    let crop = quiet.crop(9, 1);
    let gains = camera::gains(0, crop.camera);
    for (pixel, clean) in crop.clean().iter().enumerate() {
        for c in 0..3 {
            let value = ((clean[c] * gains[c]).clamp(0.0, 1.0) * 255.0).round() as u8;
            assert_eq!(crop.image.rgb[3 * pixel + c], value);
        }
    }
    assert!(gains.iter().all(|g| (0.65..1.35).contains(g)));
    // With noise, the difference has its deviation where nothing is cut off.
    let noisy = world(WorldConfig {
        noise: 0.05,
        ..WorldConfig::default()
    })
    .crop(9, 1);
    let (mut squares, mut n) = (0.0, 0);
    for (a, b) in crop.image.rgb.iter().zip(&noisy.image.rgb) {
        if (60..195).contains(a) {
            squares += ((f64::from(*a) - f64::from(*b)) / 255.0).powi(2);
            n += 1;
        }
    }
    let deviation = (squares / f64::from(n)).sqrt();
    assert!((deviation - 0.05).abs() < 0.005, "{deviation}");
}

#[test]
fn without_noise_the_estimated_pose_is_the_pose() {
    let exact = world(WorldConfig {
        pose_noise: 0.0,
        ..WorldConfig::default()
    });
    let usual = world(WorldConfig::default());
    for view in 0..10 {
        let crop = exact.crop(2, view);
        assert_eq!(crop.pose, crop.estimated_pose);
        let other = usual.crop(2, view);
        assert!(other.image == crop.image && other.pose == crop.pose);
        assert!(other.pose != other.estimated_pose);
        assert!((other.pose.yaw - other.estimated_pose.yaw).abs() < 1.0);
    }
}

#[test]
fn bilinear_weights_add_up_and_lie_around_the_place() {
    let crop = world(WorldConfig::default()).crop(0, 0);
    let (mut seen, texels) = (0, &crop.texels);
    for (pixel, four) in texels.bilinear().into_iter().enumerate() {
        let Some(four) = four else {
            assert_eq!(texels.nearest[pixel], Texels::NONE);
            continue;
        };
        seen += 1;
        let sum: f32 = four.iter().map(|f| f.1).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        for axis in 0..2 {
            let centre = |t: u16| match axis {
                0 => f32::from(t % 64) + 0.5,
                _ => f32::from(t / 64) + 0.5,
            };
            let mean: f32 = four.iter().map(|(t, w)| w * centre(*t)).sum();
            assert!((mean - texels.place[pixel][axis]).abs() < 1e-3);
        }
        // The nearest texel has the largest weight.
        let most = four.iter().map(|f| f.1).fold(0.0, f32::max);
        let nearest: f32 = four
            .iter()
            .filter(|f| f.0 == texels.nearest[pixel])
            .map(|f| f.1)
            .sum();
        assert!(nearest >= most - 1e-4);
    }
    assert!(seen > 200);
}

#[test]
fn photographs_stand_behind_people() {
    let red = Photo {
        name: "red".into(),
        height: 40,
        width: 30,
        rgb: [200, 0, 0].repeat(1200),
    };
    let config = WorldConfig {
        noise: 0.0,
        occlusion: 0.0,
        ..WorldConfig::default()
    };
    let world = world(config).with_backgrounds(vec![red]).unwrap();
    let crop = world.crop(1, 1);
    let around = crop
        .mask
        .iter()
        .zip(&crop.surroundings)
        .filter(|(seen, _)| !**seen);
    assert!(around.clone().count() > 500);
    assert!(
        around
            .into_iter()
            .all(|(_, p)| *p == [200.0 / 255.0, 0.0, 0.0])
    );
    let empty = Photo {
        name: "none".into(),
        height: 0,
        width: 0,
        rgb: vec![],
    };
    assert!(
        World::new(WorldConfig::default())
            .unwrap()
            .with_backgrounds(vec![empty])
            .is_err()
    );
}

#[test]
fn settings_that_make_no_pictures_are_named() {
    let plain = WorldConfig::default();
    for (config, name) in [
        (
            WorldConfig {
                identities: 5..5,
                ..plain.clone()
            },
            "identities",
        ),
        (
            WorldConfig {
                crop: (64, 0),
                ..plain.clone()
            },
            "crop",
        ),
        (
            WorldConfig {
                scene: (4, 160),
                ..plain.clone()
            },
            "scene",
        ),
        (
            WorldConfig {
                people: (4, 2),
                ..plain.clone()
            },
            "people",
        ),
        (
            WorldConfig {
                cameras: 0,
                ..plain.clone()
            },
            "cameras",
        ),
        (
            WorldConfig {
                annotation: f32::NAN,
                ..plain.clone()
            },
            "annotation",
        ),
        (
            WorldConfig {
                noise: -1.0,
                ..plain.clone()
            },
            "noise",
        ),
        (
            WorldConfig {
                occlusion: 1.5,
                ..plain.clone()
            },
            "occlusion",
        ),
    ] {
        let error = World::new(config).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    // Nobody at all, and everybody hidden: scenes without people.
    let empty = world(WorldConfig {
        people: (0, 0),
        ..plain
    })
    .scene(1);
    assert!(empty.boxes.is_empty() && empty.image.rgb.len() == 96 * 160 * 3);
}

#[test]
fn bodies_of_other_sizes_make_larger_pictures() {
    let config = WorldConfig {
        crop: (128, 64),
        scene: (192, 320),
        ..WorldConfig::default()
    };
    let world = world(config);
    let crop = world.crop(3, 0);
    assert_eq!(crop.mask.len(), 128 * 64);
    let rows = crop
        .texels
        .mask()
        .chunks(64)
        .filter(|r| r.contains(&true))
        .count();
    assert!((85..=128).contains(&rows), "{rows}");
    let scene = world.scene(3);
    assert!(scene.boxes.iter().all(|b| b[3] - b[1] > 76.0));
}
