//! One person, cut out.

use rand::Rng as _;

use super::background::background;
use super::camera::{gains, photograph};
use super::outfit::cloth;
use super::pose::{Pose, Viewpoint};
use super::stream::{Use, stream};
use super::texture::{Texels, Texture};
use super::{World, seen_by};
use crate::data::Photo;
use crate::error::Result;

/// An image of one person with who it is: all that a re-ID network learns from, of made and of real pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The image.
    pub image: Photo,
    /// The person, `None` for somebody nobody knows.
    pub identity: Option<u32>,
    /// The camera.
    pub camera: u32,
}

/// A picture of one person, and how it came about.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Crop {
    /// The picture.
    pub image: Photo,
    /// Who it is.
    pub identity: u32,
    /// The camera.
    pub camera: u32,
    /// How the person stands.
    pub pose: Pose,
    /// What an estimator of poses makes of it.
    pub estimated_pose: Pose,
    /// From where the picture was taken.
    pub viewpoint: Viewpoint,
    /// The texel in each pixel, occluded ones included.
    pub texels: Texels,
    /// The pixels in which the person is seen: without what something in front hides.
    pub mask: Vec<bool>,
    /// The texels of the texture that are seen in the picture.
    pub visible: Vec<bool>,
    /// What the person wears.
    pub texture: Texture,
    /// The picture's background and what stands in front of the person, before the camera's gain and noise; red, green
    /// and blue from 0 to 1, pixel by pixel.
    pub surroundings: Vec<[f32; 3]>,
}

impl Crop {
    /// The picture with its person and camera only.
    pub fn sighting(&self) -> Sighting {
        Sighting {
            image: self.image.clone(),
            identity: Some(self.identity),
            camera: self.camera,
        }
    }

    /// The picture before the camera's gain and noise: the texture under the light where the person is seen, the
    /// surroundings elsewhere.
    pub fn clean(&self) -> Vec<[f32; 3]> {
        let person = self.texels.render(&self.texture);
        let pixels = person.into_iter().zip(&self.mask).zip(&self.surroundings);
        pixels
            .map(|((person, &seen), &around)| person.filter(|_| seen).unwrap_or(around))
            .collect()
    }
}

impl World {
    /// Picture number `view` of a person. It depends on the configuration and on the two numbers alone.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// use rebit::data::{World, WorldConfig};
    /// let world = World::new(WorldConfig::default())?;
    /// let crop = world.crop(12, 3);
    /// assert_eq!((crop.image.height, crop.image.width), (64, 32));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn crop(&self, identity: u32, view: u64) -> Crop {
        let config = self.config();
        let size = config.crop;
        let mut rng = stream(config.seed, Use::Crop, identity.into(), view);
        let person = self.identity(identity);
        let camera = rng.random_range(0..config.cameras);
        let per_metre = size.0 as f32 / 64.0 * rng.random_range(31.0..35.0f32);
        let pitch = self.pitch(&mut rng);
        let viewpoint = Viewpoint::of_person(person.stature, 6.0, pitch, per_metre, size);
        let mut pose = Pose::walking(person.stature, person.girth, &mut rng);
        pose.place[0] = rng.random_range(-0.05..0.05);
        pose.place[2] = rng.random_range(-0.05..0.05);
        let texels = self.texels(&pose, &viewpoint, size);
        let mut surroundings = background(self.photos(), size, None, &mut rng);
        let mut mask = texels.mask();
        if rng.random_bool(config.occlusion) {
            let (rows, columns) = obstacle(size, &mut rng);
            let colour = cloth(&mut rng, 0.7);
            for row in rows {
                for column in columns.clone() {
                    mask[row * size.1 + column] = false;
                    surroundings[row * size.1 + column] = colour;
                }
            }
        }
        let mut estimate = stream(config.seed, Use::Estimate, identity.into(), view);
        let estimated_pose = pose.estimated(config.pose_noise, per_metre, &mut estimate);
        let mut crop = Crop {
            image: Photo {
                name: String::new(),
                height: 0,
                width: 0,
                rgb: Vec::new(),
            },
            identity,
            camera,
            pose,
            estimated_pose,
            viewpoint,
            visible: texels.seen(&mask),
            texels,
            mask,
            texture: person.texture,
            surroundings,
        };
        let gains = gains(config.seed, camera);
        crop.image = photograph(&crop.clean(), size, gains, config.noise, &mut rng);
        crop.image.name = format!("person {identity}, view {view}");
        crop
    }

    /// The texel in each pixel of a person in this pose, as seen from a viewpoint.
    ///
    /// # Panics
    /// For a viewpoint whose lens has no positive focal length.
    pub fn texels(&self, pose: &Pose, viewpoint: &Viewpoint, size: (usize, usize)) -> Texels {
        let raster = seen_by(self.body(), pose, viewpoint, size);
        Texels::of(&raster, self.body().side())
    }

    /// All pictures of these persons, `views` of each, person by person.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn crops(
        &self,
        identities: std::ops::Range<u32>,
        views: std::ops::Range<u64>,
    ) -> Result<Vec<Crop>> {
        let each = views.end.saturating_sub(views.start);
        let all = u64::from(identities.end.saturating_sub(identities.start)) * each;
        super::in_parallel(all, |k| {
            let identity = identities.start + (k / each) as u32;
            self.crop(identity, views.start + k % each)
        })
    }
}

/// Something that hides a part of a person: from a side, or from below.
fn obstacle(
    (height, width): (usize, usize),
    rng: &mut crate::tensors::Rng,
) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let part = |of: usize, share: f32| ((of as f32 * share) as usize).clamp(1, of);
    let share = rng.random_range(0.15..0.4f32);
    match rng.random_range(0..3) {
        0 => (height - part(height, share)..height, 0..width),
        1 => (
            part(height, rng.random_range(0.0..0.4f32))..height,
            0..part(width, share),
        ),
        _ => (
            part(height, rng.random_range(0.0..0.4f32))..height,
            width - part(width, share)..width,
        ),
    }
}
