//! A world of pedestrians: persons with textures, pictures of single persons, scenes with several; made from numbers, so
//! that there is as much of it as one wants and everything about it is known.
//!
//! A [`World`] has persons numbered from 0. [`World::crop`] is a picture of one of them with pose, texels and texture,
//! [`World::scene`] one of several people with their boxes. Every picture has a generator of its own: it depends on the
//! configuration and its numbers alone, not on pictures before it or on the number of threads.
//!
//! Bodies are a trait, [`Body`]; [`Capsules`] needs no files. Light falls from the camera (Lambert), cameras differ in gain
//! and cast of colour, and what somebody annotates differs from the tight box as far as [`WorldConfig::annotation`] says.

mod background;
mod body;
mod camera;
mod capsules;
mod config;
mod crop;
mod export;
mod outfit;
mod portrait;
mod pose;
pub mod raster;
mod scene;
mod store;
mod stream;
mod surface;
mod texture;

use std::sync::Arc;

use rand::Rng as _;
use rand::seq::SliceRandom;
use rand_distr::StandardNormal;
use rayon::prelude::*;

pub use body::Body;
pub use capsules::Capsules;
pub use config::WorldConfig;
pub use crop::{Crop, Sighting};
pub use export::Exported;
/// Points and directions, as `glam` has them.
pub use glam::Vec3;
pub use portrait::Portrait;
pub use pose::{Pose, Viewpoint};
pub use scene::Scene;
pub use surface::{Face, Surface};
pub use texture::{Lookup, Texels, Texture};

use crate::data::Photo;
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;
use crate::show::check_interrupt;
use crate::tensors::Rng;
use raster::{Mesh, Raster, Sides, rasterise};
use stream::{Use, stream};

/// Somebody who lives in a world.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The number.
    pub id: u32,
    /// Height, in metres.
    pub stature: f32,
    /// Thickness of trunk and limbs, 1 on average.
    pub girth: f32,
    /// What the person wears.
    pub texture: Texture,
}

/// A world of pedestrians; see the [module](self).
///
/// ```
/// use rebit::data::{World, WorldConfig};
/// let world = World::new(WorldConfig { seed: 3, ..WorldConfig::default() })?;
/// let (a, b) = (world.scene(7000), world.scene(7000));
/// assert!(a == b && !a.boxes.is_empty());
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct World {
    config: WorldConfig,
    body: Arc<dyn Body>,
    photos: Arc<[Photo]>,
}

impl World {
    /// The world of a configuration, with bodies of capsules and painted backgrounds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setting that makes no pictures; it names the setting.
    pub fn new(config: WorldConfig) -> Result<World> {
        World::with_body(config, Arc::new(Capsules::new()))
    }

    /// The same with other bodies.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn with_body(config: WorldConfig, body: Arc<dyn Body>) -> Result<World> {
        config.check()?;
        Ok(World {
            config,
            body,
            photos: Arc::new([]),
        })
    }

    /// The same with parts of photographs as backgrounds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a photograph without pixels.
    pub fn with_backgrounds(self, photos: Vec<Photo>) -> Result<World> {
        if let Some(empty) = photos.iter().find(|p| p.rgb.is_empty()) {
            let what = format!("background {:?}", empty.name);
            return Err(Error::invalid(what, "has no pixels"));
        }
        Ok(World {
            photos: photos.into(),
            ..self
        })
    }

    /// The configuration.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The kind of bodies.
    pub fn body(&self) -> &dyn Body {
        &*self.body
    }

    fn photos(&self) -> &[Photo] {
        &self.photos
    }

    /// A person.
    pub fn identity(&self, id: u32) -> Identity {
        let mut rng = stream(self.config.seed, Use::Shape, id.into(), 0);
        Identity {
            id,
            stature: rng.random_range(1.58..1.9),
            girth: rng.random_range(0.85..1.2),
            texture: self
                .body
                .texture(self.config.seed, id, self.config.hard_pairs),
        }
    }

    /// How far a camera looks down: `N(0.12, 0.08)`, from 0 to 0.35.
    fn pitch(&self, rng: &mut Rng) -> f32 {
        let normal: f32 = rng.sample(StandardNormal);
        (0.12 + 0.08 * normal).clamp(0.0, 0.35)
    }

    /// In which order the persons of the scenes take their turns in a round.
    fn order(&self, round: u64) -> Vec<u32> {
        let people = self.config.identities.end - self.config.identities.start;
        let mut order: Vec<u32> = (0..people).collect();
        order.shuffle(&mut stream(self.config.seed, Use::Turn, round, 0));
        order
    }
}

/// What a viewpoint sees of a body.
fn seen_by(body: &dyn Body, pose: &Pose, viewpoint: &Viewpoint, size: (usize, usize)) -> Raster {
    let mut positions = body.posed(pose);
    // A proper turn: normals of turned points are turned normals.
    viewpoint.see_all(&mut positions);
    let normals = body.surface().normals(&positions);
    let mesh = Mesh {
        surface: body.surface(),
        positions: &positions,
        normals: &normals,
    };
    let raster = rasterise(&mesh, &viewpoint.lens, size, Sides::Outside);
    raster.unwrap_or_else(|e| panic!("{}: {e}", body.name()))
}

/// `make(0)`, `make(1)` and so on, in parallel, in order.
fn in_parallel<T: Send>(count: u64, make: impl Fn(u64) -> T + Sync) -> Result<Vec<T>> {
    const AT_ONCE: u64 = 256;
    start_threads();
    let mut out = Vec::with_capacity(count as usize);
    for first in (0..count).step_by(AT_ONCE as usize) {
        check_interrupt()?;
        let part = first..(first + AT_ONCE).min(count);
        out.par_extend(part.into_par_iter().map(&make));
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
