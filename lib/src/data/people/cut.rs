//! People cut out of scenes, as numbers that networks read.

use rand::Rng as _;
use rand_distr::StandardNormal;

use crate::boxes::{BoxXyxy, usable};
use crate::data::{FloatImages, Normalize, Photo, Scene, epoch_rng};
use crate::error::{Error, Result};
use crate::ops::roi_transform::{RoiTransform, try_roi_transform};
use crate::show::check_interrupt;
use crate::tensors::{Images, Matrix, Rng, from_vec};

/// What a byte of a scene or of a picture of a person becomes: `(byte / 255 - 1/2) / (1/4)`, so that 0, which lies around
/// an image where a box reaches beyond it, is a grey.
pub const PIXELS: Normalize = Normalize {
    mean: [0.5; 3],
    std: [0.25; 3],
};

/// Photographs of one size as a batch `(N, 3, H, W)`, normalised as [`PIXELS`].
///
/// ```
/// use rebit::data::people::photo_batch;
/// use rebit::prelude::*;
/// let world = World::new(WorldConfig::default())?;
/// let (a, b) = (world.scene(0), world.scene(1));
/// assert_eq!(photo_batch([&a.image, &b.image])?.shape(), &(2, 3, 96, 160));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] without a photograph, [`Error::Shape`] for photographs of different sizes; it names the first.
pub fn photo_batch<'a>(photos: impl IntoIterator<Item = &'a Photo>) -> Result<Images> {
    let photos: Vec<&Photo> = photos.into_iter().collect();
    let Some(first) = photos.first() else {
        return Err(Error::invalid("a batch of photographs", "holds none"));
    };
    let (height, width) = (first.height, first.width);
    let plane = height * width;
    let mut values = vec![0.0; photos.len() * 3 * plane];
    let [scale, shift] = [
        1.0 / (255.0 * PIXELS.std[0]),
        -PIXELS.mean[0] / PIXELS.std[0],
    ];
    for (photo, out) in photos.iter().zip(values.chunks_exact_mut(3 * plane.max(1))) {
        if (photo.height, photo.width) != (height, width) || photo.rgb.len() != 3 * plane {
            let expected = format!("photographs of {height}x{width}, as {:?} is", first.name);
            let found = format!("{:?} of {}x{}", photo.name, photo.height, photo.width);
            return Err(Error::shape("photo_batch", expected, found));
        }
        for (k, pixel) in photo.rgb.chunks_exact(3).enumerate() {
            for (c, byte) in pixel.iter().enumerate() {
                out[c * plane + k] = f32::from(*byte) * scale + shift;
            }
        }
    }
    from_vec(values, (photos.len(), 3, height, width))
}

/// Boxes cut out of a photograph and brought to a size by the
/// [ROI transform layer](crate::ops::roi_transform): what a re-ID network reads.
///
/// # Errors
/// As [`photo_batch`], and [`Error::Invalid`] for a size without pixels.
pub fn cut_out(photo: &Photo, boxes: &[BoxXyxy], size: (usize, usize)) -> Result<Images> {
    let corners: Matrix = from_vec(boxes.concat(), (boxes.len(), 4))?;
    let how = RoiTransform {
        images: vec![0; boxes.len()],
        out: size,
        supersample: false,
        constant_images: true,
    };
    try_roi_transform(photo_batch([photo])?, corners, how)
}

/// A box whose edges are each off by `N(0, share)` times its size.
///
/// ```
/// use rebit::data::people::jittered;
/// let b = [10.0, 20.0, 30.0, 80.0];
/// assert_eq!(jittered(b, 0.0, &mut rebit::rng(0)), b);
/// assert_ne!(jittered(b, 0.1, &mut rebit::rng(0)), b);
/// ```
pub fn jittered(b: BoxXyxy, share: f32, rng: &mut Rng) -> BoxXyxy {
    let (w, h) = (b[2] - b[0], b[3] - b[1]);
    let mut off = |size: f32| share * size * rng.sample::<f32, _>(StandardNormal);
    [b[0] + off(w), b[1] + off(h), b[2] + off(w), b[3] + off(h)]
}

/// Which pictures of people are cut out of scenes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutConfig {
    /// Height and width of the pictures.
    pub size: (usize, usize),
    /// Pictures of each box.
    pub copies: usize,
    /// How far their boxes are off, see [`jittered`]; the first copy is exact.
    pub jitter: f32,
    /// Seed of that.
    pub seed: u64,
}

impl Default for CutConfig {
    fn default() -> Self {
        CutConfig {
            size: (64, 32),
            copies: 1,
            jitter: 0.0,
            seed: 0,
        }
    }
}

/// Pictures of the people of scenes whose identity is known, with the identity as label. `boxes` gives a box for each
/// person of a scene: its annotated ones, or those of a detector.
///
/// Boxes of which less than 4 pixels in height or width lie within the scene are left out.
///
/// ```
/// use rebit::data::people::{CutConfig, cut_people};
/// use rebit::prelude::*;
/// let scenes = World::new(WorldConfig::default())?.scenes(0..3)?;
/// let boxes: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
/// let people = cut_people(&scenes, &boxes, &CutConfig { copies: 2, jitter: 0.05, ..CutConfig::default() })?;
/// assert_eq!(people.labels().len(), 2 * boxes.concat().len());
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there are boxes for each scene and person, [`Error::Invalid`] when nobody is left;
/// [`Error::Interrupted`].
pub fn cut_people(
    scenes: &[Scene],
    boxes: &[Vec<BoxXyxy>],
    config: &CutConfig,
) -> Result<FloatImages> {
    if boxes.len() != scenes.len() {
        let expected = format!("boxes for each of {} scenes", scenes.len());
        return Err(Error::shape("cut_people", expected, boxes.len()));
    }
    let mut all: Option<FloatImages> = None;
    for (k, (scene, boxes)) in scenes.iter().zip(boxes).enumerate() {
        check_interrupt()?;
        if boxes.len() != scene.identities.len() {
            let expected = format!("{} boxes for scene {k}", scene.identities.len());
            return Err(Error::shape("cut_people", expected, boxes.len()));
        }
        let mut rng = epoch_rng(config.seed, k as u64);
        let (mut cut, mut labels) = (Vec::new(), Vec::new());
        for (b, identity) in boxes.iter().zip(&scene.identities) {
            let Some(identity) = identity else { continue };
            for copy in 0..config.copies {
                let share = if copy == 0 { 0.0 } else { config.jitter };
                cut.push(jittered(*b, share, &mut rng));
                labels.push(*identity);
            }
        }
        let size = (scene.image.height, scene.image.width);
        let kept = usable(&cut, size, 4.0).kept;
        if kept.is_empty() {
            continue;
        }
        let cut: Vec<BoxXyxy> = kept.iter().map(|&k| cut[k]).collect();
        let labels: Vec<u32> = kept.iter().map(|&k| labels[k]).collect();
        let pictures = cut_out(&scene.image, &cut, config.size)?;
        match &mut all {
            Some(all) => all.push(&pictures, &labels)?,
            None => all = Some(FloatImages::new("people", &pictures, labels)?),
        }
    }
    all.ok_or_else(|| {
        let what = format!("{} scenes", scenes.len());
        Error::invalid(what, "hold nobody whose identity is known")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ImageSource, World, WorldConfig};
    use crate::tensors::{read, rng};

    #[test]
    fn a_whole_photograph_is_its_own_cut_out() {
        let photo = World::new(WorldConfig::default()).unwrap().scene(2).image;
        let batch = photo_batch([&photo]).unwrap();
        let whole = [0.0, 0.0, 160.0, 96.0];
        let cut = cut_out(&photo, &[whole], (96, 160)).unwrap();
        let pairs = read(&batch).into_iter().zip(read(&cut));
        let apart = pairs.map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5);
        let black = Photo {
            rgb: vec![0; photo.rgb.len()],
            ..photo
        };
        assert!(
            read(&photo_batch([&black]).unwrap())
                .iter()
                .all(|v| *v == -2.0)
        );
    }

    #[test]
    fn photographs_of_different_sizes_are_named() {
        let photo = |name: &str, width: usize| Photo {
            name: name.into(),
            height: 2,
            width,
            rgb: vec![0; 6 * width],
        };
        let error = photo_batch([&photo("one", 3), &photo("other", 4)]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("2x3") && error.contains("\"other\" of 2x4"),
            "{error}"
        );
        assert!(photo_batch([]).is_err());
    }

    #[test]
    fn people_without_a_name_or_a_usable_box_are_left_out() {
        let world = World::new(WorldConfig::default()).unwrap();
        let mut scenes = world.scenes(0..2).unwrap();
        let mut boxes: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
        let everybody: usize = boxes.iter().map(Vec::len).sum();
        scenes[0].identities[0] = None;
        boxes[1][0] = [500.0, 0.0, 520.0, 50.0];
        let config = CutConfig {
            copies: 3,
            jitter: 0.02,
            ..CutConfig::default()
        };
        let people = cut_people(&scenes, &boxes, &config).unwrap();
        assert_eq!(people.len(), 3 * (everybody - 2));
        assert_eq!(people.labels()[0], scenes[0].identities[1].unwrap());
        boxes[0].pop();
        assert!(cut_people(&scenes, &boxes, &config).is_err());
        assert!(cut_people(&scenes, &boxes[..1], &config).is_err());
        scenes.iter_mut().for_each(|s| s.identities.fill(None));
        boxes[0].push([0.0; 4]);
        let error = cut_people(&scenes, &boxes, &config)
            .unwrap_err()
            .to_string();
        assert!(error.contains("nobody"), "{error}");
        assert!(jittered([0.0, 0.0, 10.0, 10.0], f32::NAN, &mut rng(0))[0].is_nan());
    }
}
