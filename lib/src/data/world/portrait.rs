//! A body as one looks at it to see what it wears: from any side, before a plain ground, with smooth edges.

use super::body::Body;
use super::pose::{Pose, Viewpoint};
use super::seen_by;
use super::texture::{Lookup, Texels, Texture};
use crate::data::Photo;
use crate::error::{Error, Result};

/// From where the `picture` of a [`Body`] is taken, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Portrait {
    /// Height and width in pixels.
    pub size: (usize, usize),
    /// How far the camera goes around the person, in radians; positive to the person's left.
    pub around: f32,
    /// How far it looks down, in radians.
    pub pitch: f32,
    /// The ground, red, green and blue from 0 to 1.
    pub ground: [f32; 3],
    /// Which texels a pixel shows.
    pub lookup: Lookup,
    /// Pixels are means of as many along each side, at least 1.
    pub fine: usize,
}

impl Default for Portrait {
    fn default() -> Self {
        Portrait {
            size: (192, 112),
            around: 0.0,
            pitch: 0.1,
            ground: [1.0; 3],
            lookup: Lookup::Nearest,
            fine: 2,
        }
    }
}

impl dyn Body + '_ {
    /// A picture of a body in a pose under a texture and the light of the camera; without a texture, in grey.
    ///
    /// ```
    /// use rebit::data::{Portrait, Pose};
    /// use rebit::prelude::*;
    /// let world = World::new(WorldConfig::default())?;
    /// let person = world.identity(3);
    /// let pose = Pose::standing(person.stature, person.girth);
    /// let side = Portrait { around: 1.57, ..Portrait::default() };
    /// let photo = world.body().picture(&pose, Some(&person.texture), &side)?;
    /// assert_eq!((photo.height, photo.width), (192, 112));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a texture of another size than the body's; [`Error::Invalid`] for a picture without pixels or
    /// of more than 4096 along a side, for a pose that is not finite, and where nothing of the body is in the picture.
    pub fn picture(&self, pose: &Pose, texture: Option<&Texture>, how: &Portrait) -> Result<Photo> {
        let fine = how.fine.max(1);
        let (height, width) = how.size;
        if height * width == 0 || height.max(width).saturating_mul(fine) > 4096 {
            let what = format!("a picture of {height}x{width} pixels of {fine}x{fine}");
            return Err(Error::invalid(what, "has 1 to 4096 along a side"));
        }
        let side = self.side();
        if let Some(t) = texture.filter(|t| t.side != side) {
            let expected = format!("a texture of {side}x{side} for {}", self.name());
            return Err(Error::shape(
                "picture",
                expected,
                format!("{0}x{0}", t.side),
            ));
        }
        let turned = Pose {
            yaw: pose.yaw - how.around,
            place: [0.0; 3],
            ..*pose
        };
        let large = (height * fine, width * fine);
        // The whole person, and a little ground above and below.
        let per_metre = large.0 as f32 / (1.12 * pose.stature.max(0.1));
        let view = Viewpoint::of_person(pose.stature, 6.0, how.pitch, per_metre, large);
        if self.posed(&turned).iter().any(|p| !p.is_finite()) {
            return Err(Error::invalid(format!("{pose:?}"), "is not finite"));
        }
        let texels = Texels::of(&seen_by(self, &turned, &view, large), side);
        if texels.nearest.iter().all(|t| *t == Texels::NONE) {
            return Err(Error::invalid(
                format!("{pose:?}"),
                "puts the body out of the picture",
            ));
        }
        let colours = colours(&texels, texture, how);
        let mut rgb = Vec::with_capacity(3 * height * width);
        for row in 0..height {
            for column in 0..width {
                let mut sum = [0.0f32; 3];
                for k in 0..fine * fine {
                    let at = (row * fine + k / fine) * large.1 + column * fine + k % fine;
                    (0..3).for_each(|c| sum[c] += colours[at][c]);
                }
                let share = 255.0 / (fine * fine) as f32;
                rgb.extend(sum.map(|s| (s * share).round() as u8));
            }
        }
        Ok(Photo {
            name: String::new(),
            height,
            width,
            rgb,
        })
    }
}

fn colours(texels: &Texels, texture: Option<&Texture>, how: &Portrait) -> Vec<[f32; 3]> {
    let Some(texture) = texture else {
        let seen = texels.nearest.iter().zip(&texels.shade);
        // Light alone: what lies across is darker than under a texture, so that one sees the shape.
        let grey = |shade: f32| [(1.6 * shade - 0.72).clamp(0.05, 0.88); 3];
        return seen
            .map(|(t, s)| {
                if *t == Texels::NONE {
                    how.ground
                } else {
                    grey(*s)
                }
            })
            .collect();
    };
    let map = texels.map(how.lookup);
    (0..map.pixels())
        .map(|pixel| {
            let reads = map.reads(pixel);
            if reads.is_empty() {
                return how.ground;
            }
            let mut sum = [0.0; 3];
            for (texel, weight) in reads {
                let colour = texture.colour(texel.into());
                (0..3).for_each(|c| sum[c] += weight * colour[c]);
            }
            sum
        })
        .collect()
}
