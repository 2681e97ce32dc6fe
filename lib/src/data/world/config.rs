//! How a world is made.

use std::ops::Range;

use crate::error::{Error, Result};

/// How a world is made; two worlds of equal configurations and bodies are the same.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct WorldConfig {
    /// Everything depends on it.
    pub seed: u64,
    /// Who appears in scenes. Worlds that differ in this have the same persons.
    pub identities: Range<u32>,
    /// Height and width of the pictures of single persons.
    pub crop: (usize, usize),
    /// Height and width of scenes.
    pub scene: (usize, usize),
    /// The fewest and the most people that a scene is made for; who would be hidden by others stays away.
    pub people: (usize, usize),
    /// Cameras.
    pub cameras: u32,
    /// How far annotated boxes are off: each edge by `N(0, a)` times the box's size, and the box `a` times its size too
    /// large.
    pub annotation: f32,
    /// How far estimated poses are off: 0 not at all, 1 as is usual, 2 badly.
    pub pose_noise: f32,
    /// Standard deviation of the noise of pictures, whose values run from 0 to 1.
    pub noise: f32,
    /// How probable it is that something stands in front of a person.
    pub occlusion: f64,
    /// How probable it is that a person of odd number differs from the one before in one item only.
    pub hard_pairs: f64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        WorldConfig {
            seed: 0,
            identities: 0..100,
            crop: (64, 32),
            scene: (96, 160),
            people: (2, 4),
            cameras: 6,
            annotation: 0.06,
            pose_noise: 1.0,
            noise: 0.02,
            occlusion: 0.15,
            hard_pairs: 0.1,
        }
    }
}

impl WorldConfig {
    /// The number of the first scene for tests: scenes of one number have background and camera in common, so those that
    /// something was trained on have smaller ones.
    pub const TEST_SCENES: u64 = 1_000_000;

    /// The world with the 300 people that the committed detectors and re-ID networks were trained on.
    pub fn training(annotation: f32) -> Self {
        WorldConfig {
            identities: 0..300,
            annotation,
            ..WorldConfig::default()
        }
    }

    /// The same world with 100 other people.
    ///
    /// ```
    /// use rebit::data::{World, WorldConfig};
    /// let world = World::new(WorldConfig::testing(0.12))?;
    /// let scene = world.scene(WorldConfig::TEST_SCENES);
    /// assert!(scene.identities.iter().flatten().all(|id| *id >= 300));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn testing(annotation: f32) -> Self {
        WorldConfig {
            identities: 300..400,
            ..WorldConfig::training(annotation)
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let refuse = |setting: &str, value: String, why: &str| {
            Err(Error::invalid(
                format!("WorldConfig: {setting} {value}"),
                why,
            ))
        };
        if self.identities.is_empty() {
            let value = format!("{:?}", self.identities);
            return refuse(
                "identities",
                value,
                "holds nobody; take a range such as 0..100",
            );
        }
        for (setting, (height, width)) in [("crop", self.crop), ("scene", self.scene)] {
            if !(8..=4096).contains(&height) || !(8..=4096).contains(&width) {
                let value = format!("{height}x{width}");
                return refuse(setting, value, "height and width are 8 to 4096 pixels");
            }
        }
        let (least, most) = self.people;
        if least > most || most > 64 {
            let value = format!("{least} to {most}");
            return refuse(
                "people",
                value,
                "the first number is the smaller one, at most 64",
            );
        }
        if self.cameras == 0 {
            return refuse("cameras", "0".into(), "there is at least one");
        }
        for (setting, value) in [
            ("annotation", self.annotation),
            ("pose_noise", self.pose_noise),
            ("noise", self.noise),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(setting, value.to_string(), "is a number from 0 on");
            }
        }
        for (setting, value) in [
            ("occlusion", self.occlusion),
            ("hard_pairs", self.hard_pairs),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(setting, value.to_string(), "is a probability, from 0 to 1");
            }
        }
        Ok(())
    }
}
