use dfdx::prelude::{Backward, HasShape, MeanTo, Trace};

use super::*;
use crate::data::{Lookup, Photo, Pose, Texture, World, WorldConfig};
use crate::nn::{Conv, Net, NetBuilder, UNetConfig};
use crate::ops::numeric_gradient;
use crate::ops::relu::Activation;
use crate::{Error, Images, Result, from_vec, read, rng};

fn world() -> World {
    World::new(WorldConfig::default()).unwrap()
}

/// A network with four layers, a feature and classifiers over five people, untrained.
fn reid_net(seed: u64) -> Net {
    let mut b = NetBuilder::new(3, 64, 32, rng(seed));
    let mut x = b.input();
    for (k, width) in [4, 6, 8, 8].into_iter().enumerate() {
        let stride = if k < 3 { 2 } else { 1 };
        let y = b
            .conv(
                &format!("conv{}", k + 1),
                x,
                Conv::new(width).stride(stride),
            )
            .unwrap();
        x = b
            .norm(&format!("bn{}", k + 1), y, Activation::Relu)
            .unwrap();
    }
    let x = b.global_avg_pool(x).unwrap();
    let x = b.linear("feature", x, 6).unwrap();
    let x = b.linear("identities", x, 10).unwrap();
    b.build(x).unwrap()
}

fn reid(seed: u64) -> Reid {
    let layers = LayerWeights::of_four(["bn1", "bn2", "bn3", "bn4"]);
    Reid::new(&reid_net(seed), layers, "feature")
        .unwrap()
        .with_answers("identities", 5)
        .unwrap()
}

fn photos() -> PhotoSet {
    PhotoSet::of(&world(), 0..4, 0..3).unwrap()
}

fn real() -> RealTextures {
    let world = world();
    let worn: Vec<Texture> = (500..504).map(|i| world.identity(i).texture).collect();
    RealTextures::new(&worn, &world.body().structure()).unwrap()
}

fn short() -> TextureConfig {
    TextureConfig {
        net: UNetConfig {
            down: vec![4, 6],
            up: vec![4],
            ..UNetConfig::small()
        },
        steps: 4,
        batch: (2, 2),
        show: false,
        ..TextureConfig::small()
    }
}

fn said<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn the_true_texture_in_the_true_pose_is_the_clean_picture() {
    let photos = photos();
    let all: Vec<usize> = (0..photos.len()).collect();
    let own: Vec<(usize, bool)> = all.iter().map(|&i| (i, false)).collect();
    let around = photos.surroundings(&own).unwrap();
    let textures = photos.textures(&all).unwrap();
    let shown = score::before(&textures, photos.exact(), &around).unwrap();
    let (values, plane) = (read(&shown), 64 * 32);
    for (i, crop) in photos.crops().iter().enumerate() {
        // Where something stands in front of somebody the renderer does not know of it.
        for (p, clean) in crop.clean().into_iter().enumerate() {
            if crop.texels.mask()[p] != crop.mask[p] {
                continue;
            }
            for (c, clean) in clean.into_iter().enumerate() {
                let found = (values[(3 * i + c) * plane + p] + 1.0) / 2.0;
                assert!((found - clean).abs() < 1e-6, "{found} {clean}");
            }
        }
    }
}

#[test]
fn composites_are_the_background_outside_the_body_and_gradients_are_right() {
    let photos = photos();
    let maps = [photos.estimated()[3].clone()];
    let around = photos.surroundings(&[(7, true)]).unwrap();
    let texture = photos.textures(&[3]).unwrap();
    let values = read(&texture);
    let loss = |v: &[f32]| {
        let t: Images = from_vec(v.to_vec(), (1, 3, 64, 64)).unwrap();
        render_before(t.leaky_trace(), &maps, &around)
            .unwrap()
            .square()
            .mean::<(), _>()
    };
    let shown = render_before(texture.leaky_trace(), &maps, &around).unwrap();
    let (found, behind, plane) = (read(&shown), read(&around), 64 * 32);
    for (p, covered) in maps[0].mask().into_iter().enumerate() {
        for c in 0..3 {
            assert!(covered || found[c * plane + p] == behind[c * plane + p]);
        }
    }
    let gradient = read(&shown.square().mean::<(), _>().backward().get(&texture));
    // Twenty texels, seen or not.
    let chosen: Vec<usize> = (0..20).map(|k| (k * 617 + 90) % values.len()).collect();
    let part: Vec<f32> = chosen.iter().map(|&k| values[k]).collect();
    let numeric = numeric_gradient(&part, 0.25, |moved| {
        let mut all = values.clone();
        chosen.iter().zip(moved).for_each(|(&k, v)| all[k] = *v);
        // Small numbers made larger, so that their difference is seen.
        read(&loss(&all))[0] * 1000.0
    });
    let seen = maps[0].seen();
    for (&k, numeric) in chosen.iter().zip(numeric) {
        let found = gradient[k] * 1000.0;
        assert!(
            (found - numeric).abs() < 0.02 * numeric.abs().max(0.5),
            "{found} {numeric}"
        );
        assert!(seen[k % 4096] || found == 0.0);
    }
    assert!(chosen.iter().any(|k| seen[k % 4096]));
}

#[test]
fn the_loss_is_zero_for_equal_pictures_and_grows_with_a_colour_shift() {
    let (photos, reid) = (photos(), reid(1));
    let kept = reid.keep(&photos.pictures(&[0]).unwrap()).unwrap();
    let of = |shown: Images| {
        let mut pass = reid.look(shown.leaky_trace()).unwrap();
        let terms = reid.distance(&mut pass, (&kept, &[0]), None).unwrap();
        read(&crate::train::total(terms))[0]
    };
    let same = photos.pictures(&[0]).unwrap();
    assert!(of(same.clone()).abs() < 1e-5);
    // The reds of a band over the trunk, more and more.
    let shifted = |by: f32| {
        let mut values = read(&same);
        (20 * 32..36 * 32).for_each(|p| values[p] += by);
        of(from_vec(values, (1, 3, 64, 32)).unwrap())
    };
    let losses: Vec<f32> = [0.2, 0.5, 1.0].into_iter().map(shifted).collect();
    assert!(losses[0] > 0.0 && losses.is_sorted(), "{losses:?}");
    let worn = reid.cosines(&same, &same).unwrap();
    assert!((worn[0] - 1.0).abs() < 1e-5);
}

#[test]
fn every_supervision_trains_and_the_same_settings_give_the_same_network() {
    let (photos, reid, real) = (photos(), reid(1), real());
    for supervision in [
        Supervision::Layers,
        Supervision::LayersAndPooled,
        Supervision::Pooled,
        Supervision::Softmax,
        Supervision::Triplet { margin: 0.3 },
        Supervision::Pixels,
        Supervision::LayersAndPixels,
        Supervision::Texture,
    ] {
        let config = short().supervised_by(supervision);
        let one = train(&photos, Some(&reid), Some(&real), &config).unwrap();
        let made = textures(&one.net, &photos, &[0, 5]).unwrap();
        let again = train(&photos, Some(&reid), Some(&real), &config).unwrap();
        assert_eq!(made, textures(&again.net, &photos, &[0, 5]).unwrap());
        assert!(one.history.epochs.iter().all(|e| e.loss.is_finite()));
    }
    for background in [Background::Own, Background::Masked, Background::Black] {
        let config = TextureConfig {
            background,
            other_pose: true,
            ..short()
        };
        assert!(train(&photos, Some(&reid), Some(&real), &config).is_ok());
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let (photos, reid, real) = (photos(), reid(1), real());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texture.run");
    let whole = TextureConfig {
        steps: 60,
        net: UNetConfig {
            down: vec![2, 2],
            up: vec![2],
            ..UNetConfig::small()
        },
        ..short()
    };
    let plain = train(&photos, Some(&reid), Some(&real), &whole).unwrap();
    let kept = TextureConfig {
        checkpoint: Some(path.clone()),
        save_every: 7,
        ..whole.clone()
    };
    // Within an epoch of 30, and not where the state was written.
    let with = (Some(&reid), Some(&real));
    let stopped = run::train_until(&photos, with, &kept, Some(40));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let resumed = train(&photos, Some(&reid), Some(&real), &kept).unwrap();
    let numbers = |net: &Net| -> Vec<Vec<u32>> {
        let bits = |p: &crate::nn::Param| p.to_vec().iter().map(|v| v.to_bits()).collect();
        net.parameters().iter().map(bits).collect()
    };
    assert_eq!(numbers(&plain.net), numbers(&resumed.net));
    // Another run is refused.
    let other = TextureConfig { face: 3.0, ..kept };
    assert!(said(train(&photos, Some(&reid), Some(&real), &other)).contains("its settings"));
}

#[test]
fn a_texture_alone_falls_towards_its_picture() {
    let (photos, reid) = (photos(), reid(1));
    let start = mean_texture(&[photos.crops()[6].texture.clone()]).unwrap();
    let config = FitConfig {
        steps: 30,
        backgrounds: 2,
        ..FitConfig::default()
    };
    let run = fit_single(&photos, 0, &reid, &start, &config).unwrap();
    assert!(run.after < run.before, "{} {}", run.after, run.before);
    // What the pose hides stays as it was.
    let seen = photos.estimated()[0].seen();
    for texel in (0..4096).filter(|t| !seen[*t]) {
        assert_eq!(
            run.texture.rgb[3 * texel..][..3],
            start.rgb[3 * texel..][..3]
        );
    }
}

#[test]
fn a_picture_laid_back_on_its_body_has_the_colours_that_are_seen() {
    let world = World::new(WorldConfig {
        noise: 0.0,
        occlusion: 0.0,
        ..WorldConfig::default()
    })
    .unwrap();
    let photos = PhotoSet::of(&world, 0..3, 0..1).unwrap();
    let grey = Texture {
        side: 64,
        rgb: vec![128; 3 * 4096],
    };
    let (crop, map) = (&photos.crops()[1], &photos.exact()[1]);
    let back = back_projection(crop, map, world.body(), &grey).unwrap();
    // The camera's gain is the only difference: one factor for each channel.
    let seen = map.seen();
    for c in 0..3 {
        let ratios: Vec<f32> = (0..4096)
            .filter(|t| seen[*t] && (60..200).contains(&crop.texture.rgb[3 * t + c]))
            .map(|t| f32::from(back.rgb[3 * t + c]) / f32::from(crop.texture.rgb[3 * t + c]))
            .collect();
        let mean = ratios.iter().sum::<f32>() / ratios.len() as f32;
        assert!(ratios.len() > 50 && (0.6..1.4).contains(&mean));
        assert!(ratios.iter().all(|r| (r - mean).abs() < 0.06), "{ratios:?}");
    }
    // A texel that is seen on neither side has the fill.
    let mirror = world.body().mirror();
    let hidden = (0..4096)
        .find(|&t| !seen[t] && !seen[mirror[t] as usize])
        .unwrap();
    assert_eq!(back.rgb[3 * hidden..][..3], [128; 3]);
    let prior = TexturePrior::of(
        &(300..340)
            .map(|i| world.identity(i).texture)
            .collect::<Vec<_>>(),
        12,
    )
    .unwrap();
    let fitted = prior.fit(crop, map, 0.3).unwrap();
    let all = vec![true; 4096];
    let mean = mean_texture(
        &(300..340)
            .map(|i| world.identity(i).texture)
            .collect::<Vec<_>>(),
    );
    let before = texture_error(&mean.unwrap(), &crop.texture, &all).unwrap();
    assert!(texture_error(&fitted, &crop.texture, &all).unwrap() < before);
}

#[test]
fn a_workbench_scores_the_truth_best() {
    let config = WorkbenchConfig {
        train: 0..4,
        train_views: 2,
        test: 10..14,
        test_views: 3,
        real: 20..24,
        ..WorkbenchConfig::default()
    };
    let bench = Workbench::new(&config, reid(1), reid(2)).unwrap();
    let truth = bench.score(&bench.truth()).unwrap();
    let mean = bench.score(&bench.mean()).unwrap();
    assert!(
        truth
            .uv_seen
            .iter()
            .chain(&truth.uv_unseen)
            .all(|e| *e == 0.0)
    );
    assert!(truth.ssim_unseen.iter().all(|s| (s - 1.0).abs() < 1e-6));
    let average = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
    assert!(average(&truth.ssim_input) > average(&mean.ssim_input));
    assert!(average(&truth.cos_a) > average(&mean.cos_a));
    assert!(mean.structure.iter().all(|s| *s == 0.0));
    assert_eq!(bench.inputs(), [0, 3, 6, 9]);
    assert_eq!(bench.back_projections().unwrap().len(), 4);
    let run = bench.train(&short()).unwrap();
    let made = bench.textures(&run, &short()).unwrap();
    assert_eq!(bench.score(&made).unwrap().cos_b.len(), 4);
    let e = said(bench.score(&made[1..]));
    assert!(e.contains("4 people") && e.contains('3'), "{e}");
    let twice = WorkbenchConfig {
        test: 3..9,
        ..config.clone()
    };
    assert!(said(Workbench::new(&twice, reid(1), reid(2))).contains("overlap"));
    let nobody = WorkbenchConfig {
        real: 20..20,
        ..config
    };
    assert!(said(Workbench::new(&nobody, reid(1), reid(2))).contains("holds none"));
}

#[test]
fn a_photograph_of_ones_own_is_cut_out_and_resized() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let crop = world.crop(7, 0);
    // A large photograph in the middle of which the person stands.
    let large = crop.image.resized(128, 64).unwrap();
    let bright = |inside: bool| [if inside { 255 } else { 0 }; 3];
    let (mut photo, mut mask) = (vec![90; 3 * 200 * 160], vec![0; 3 * 200 * 160]);
    for row in 0..128 {
        for column in 0..64 {
            let at = 3 * ((row + 30) * 160 + column + 50);
            photo[at..at + 3].copy_from_slice(&large.rgb[3 * (row * 64 + column)..][..3]);
            let inside = crop.texels.mask()[row / 2 * 32 + column / 2];
            mask[at..at + 3].copy_from_slice(&bright(inside));
        }
    }
    let file = |name: &str, rgb: &[u8], width: usize| {
        let path = folder.path().join(name);
        let photo = Photo {
            name: name.into(),
            height: rgb.len() / 3 / width,
            width,
            rgb: rgb.to_vec(),
        };
        photo.save(&path).unwrap();
        path
    };
    let (photo, mask) = (file("p.png", &photo, 160), file("m.png", &mask, 160));
    let net = crate::nn::unet(&UNetConfig::small(), rng(0)).unwrap();
    let made = from_photo(&net, &world, &photo, &mask, &crop.pose).unwrap();
    assert_eq!((made.input.height, made.input.width), (64, 32));
    assert_eq!((made.texture.side, made.notes.len()), (64, 1));
    assert!(made.overlap > 0.6, "{}", made.overlap);
    assert!(made.notes[0].contains("200x160"), "{}", made.notes[0]);
    let empty = file("e.png", &vec![0; 3 * 200 * 160], 160);
    let e = said(from_photo(&net, &world, &photo, &empty, &crop.pose));
    assert!(e.contains("nobody"), "{e}");
    let small = file("s.png", &[0; 3 * 20], 5);
    let e = said(from_photo(&net, &world, &photo, &small, &crop.pose));
    assert!(e.contains("200x160") && e.contains("4x5"), "{e}");
    let away = Pose {
        place: [50.0, 0.0, 0.0],
        ..crop.pose
    };
    let e = said(from_photo(&net, &world, &photo, &mask, &away));
    assert!(e.contains("out of the picture"), "{e}");
    assert!(matches!(
        from_photo(
            &net,
            &world,
            folder.path().join("no.png"),
            &mask,
            &crop.pose
        ),
        Err(Error::Io { .. })
    ));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (photos, reid, real) = (photos(), reid(1), real());
    let with = |change: fn(&mut TextureConfig)| {
        let mut config = short();
        change(&mut config);
        said(train(&photos, Some(&reid), Some(&real), &config))
    };
    assert!(with(|c| c.steps = 0).contains("0 steps"));
    assert!(with(|c| c.lr = f32::NAN).contains("NaN"));
    assert!(with(|c| c.face = -1.0).contains("face weight -1"));
    assert!(with(|c| c.batch = (9, 2)).contains("only 4"));
    assert!(with(|c| c.batch.0 = 0).contains("at least 1"));
    assert!(with(|c| c.net.input = (32, 32)).contains("64x32"));
    assert!(with(|c| c.net.output = (32, 32)).contains("64x64"));
    let e = said(train(&photos, None, Some(&real), &short()));
    assert!(e.contains("needs a re-ID network"), "{e}");
    let e = said(train(&photos, Some(&reid), None, &short()));
    assert!(e.contains("needs real textures"), "{e}");
    assert!(said(RealTextures::new(&[], &[true; 4])).contains("holds none"));
    let grey = Texture {
        side: 2,
        rgb: vec![1; 12],
    };
    assert!(said(RealTextures::new(&[grey], &[true; 3])).contains("2x2"));
    assert!(said(PhotoSet::of(&world(), 3..3, 0..2)).contains("holds none"));
    assert!(said(photos.pictures(&[99])).contains("picture 99"));
    let layers = |name: &str| LayerWeights(vec![(name.into(), 1.0)]);
    assert!(said(Reid::new(&reid_net(0), layers("bn9"), "feature")).contains("bn9"));
    assert!(said(Reid::new(&reid_net(0), layers("bn1"), "bn2")).contains("vector"));
    let e = said(
        Reid::new(&reid_net(0), layers("bn1"), "feature")
            .unwrap()
            .with_answers("identities", 3),
    );
    assert!(e.contains("multiple of 3"), "{e}");
    let map = photos.crops()[0].texels.map(Lookup::Bilinear);
    let wide = Photo {
        name: "wide".into(),
        height: 2,
        width: 3,
        rgb: vec![0; 18],
    };
    assert!(said(Texture::from_photo(&wide)).contains("2x3"));
    let other: Images = from_vec(vec![0.0; 3 * 4], (1, 3, 2, 2)).unwrap();
    assert!(said(render_before(other.leaky_trace(), &[map], &other)).contains("64x64"));
    let small: Images = from_vec(vec![0.0; 3 * 64 * 64], (1, 3, 64, 64)).unwrap();
    assert!(said(reid.embed(&small)).contains("64x32"));
    assert_eq!(
        reid.embed(&photos.pictures(&[0, 1]).unwrap())
            .unwrap()
            .shape(),
        &(2, 6)
    );
}

#[test]
fn nan_in_a_picture_ends_a_run() {
    // A network that gives NaN stands for anything that does.
    let (photos, real) = (photos(), real());
    let net = reid_net(1);
    net.set_parameter("conv1.weight", &[f32::NAN; 108]).unwrap();
    let layers = LayerWeights::of_four(["bn1", "bn2", "bn3", "bn4"]);
    let broken = Reid::new(&net, layers, "feature").unwrap();
    let e = said(train(&photos, Some(&broken), Some(&real), &short()));
    assert!(e.contains("step 1") && e.contains("NaN"), "{e}");
}
