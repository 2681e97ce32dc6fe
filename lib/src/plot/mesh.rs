//! Bodies from several sides, shaded or textured.

use super::figure::Figure;
use super::images::images;
use crate::data::{Body, Photo, Portrait, Pose, Texture};
use crate::error::{Error, Result};

/// A body from several sides; see [`mesh`].
#[derive(Clone, Debug)]
pub struct MeshPlot<'a> {
    title: String,
    body: &'a dyn Body,
    rows: Vec<(String, Option<Texture>)>,
    pose: Pose,
    views: Vec<f32>,
    portrait: Portrait,
}

/// A body, upright and from four sides if nothing else is said, in grey or under textures: a row for each.
///
/// ```
/// use rebit::prelude::*;
/// let world = World::new(WorldConfig::default())?;
/// let shirt = world.identity(3).texture;
/// plot::mesh("Person 3", world.body()).grey("shape").textured("clothes", &shirt).figure();
/// # Ok::<(), Error>(())
/// ```
pub fn mesh(title: impl Into<String>, body: &dyn Body) -> MeshPlot<'_> {
    let right = std::f32::consts::FRAC_PI_2;
    MeshPlot {
        title: title.into(),
        body,
        rows: Vec::new(),
        pose: Pose::standing(1.75, 1.0),
        views: vec![0.0, right, 2.0 * right, 3.0 * right],
        portrait: Portrait::default(),
    }
}

impl MeshPlot<'_> {
    /// A row without a texture: the shape under the camera's light.
    pub fn grey(mut self, name: impl Into<String>) -> Self {
        self.rows.push((name.into(), None));
        self
    }

    /// A row under a texture.
    pub fn textured(mut self, name: impl Into<String>, texture: &Texture) -> Self {
        self.rows.push((name.into(), Some(texture.clone())));
        self
    }

    /// In this pose.
    pub fn pose(mut self, pose: &Pose) -> Self {
        self.pose = *pose;
        self
    }

    /// From these sides: how far the camera goes around, in degrees.
    pub fn around(mut self, degrees: impl IntoIterator<Item = f32>) -> Self {
        self.views = degrees.into_iter().map(f32::to_radians).collect();
        self
    }

    /// Each picture of `height` x `width` pixels.
    pub fn size(mut self, height: usize, width: usize) -> Self {
        self.portrait.size = (height, width);
        self
    }

    fn photos(&self) -> Result<Vec<Photo>> {
        let grey = [(String::new(), None)];
        let rows = if self.rows.is_empty() {
            &grey[..]
        } else {
            &self.rows
        };
        let mut out = Vec::new();
        for (name, texture) in rows {
            for (k, &around) in self.views.iter().enumerate() {
                let how = Portrait {
                    around,
                    ..self.portrait
                };
                let mut photo = self.body.picture(&self.pose, texture.as_ref(), &how)?;
                photo.name = if k == 0 { name.clone() } else { String::new() };
                out.push(photo);
            }
        }
        Ok(out)
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a side to look from, and those of [`Body`]'s `picture`.
    pub fn try_figure(self) -> Result<Figure> {
        if self.views.is_empty() {
            let what = format!("mesh {:?}", self.title);
            return Err(Error::invalid(what, "is looked at from nowhere"));
        }
        let photos = self.photos()?;
        let grid = images(self.title.as_str()).photos(&photos);
        grid.columns(self.views.len()).scale(1.0).try_figure()
    }

    /// The finished figure.
    ///
    /// # Panics
    /// Where [`MeshPlot::try_figure`] returns an error.
    pub fn figure(self) -> Figure {
        self.try_figure().unwrap_or_else(|e| panic!("{e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Capsules;

    #[test]
    fn a_body_is_drawn_from_all_sides_under_what_it_wears() {
        let body = Capsules::new();
        let texture = body.texture(0, 4, 0.0);
        let figure = mesh("Person", &body)
            .grey("shape")
            .textured("clothes", &texture);
        let photos = figure.photos().unwrap();
        assert_eq!(photos.len(), 8);
        // The front is not the back, and grey is grey.
        assert_ne!(photos[4].rgb, photos[6].rgb);
        assert!(
            photos[0]
                .rgb
                .chunks(3)
                .all(|p| p[0] == p[1] && p[1] == p[2])
        );
        assert!(photos[4].rgb.chunks(3).any(|p| p[0] != p[1]));
        let svg = figure.figure();
        assert!(svg.svg().contains("clothes"));
        assert!(svg.size().0 <= 690, "{:?}", svg.size());
        let one = mesh("", &body).around([30.0]).size(40, 24).figure();
        assert_eq!(one.svg().matches("<image").count(), 1);
    }

    #[test]
    fn a_camera_that_goes_to_the_left_sees_the_left_arm_in_front() {
        let body = Capsules::new();
        let mut texture = Texture {
            side: 64,
            rgb: vec![90; 64 * 64 * 3],
        };
        // The left upper arm and forearm.
        for (rows, columns) in [(0..16, 32..48), (16..32, 40..52)] {
            for row in rows {
                for column in columns.clone() {
                    texture.rgb[(row * 64 + column) * 3] = 255;
                }
            }
        }
        let red = |degrees: f32| {
            let plot = mesh("", &body).textured("", &texture).around([degrees]);
            let photo = &plot.photos().unwrap()[0];
            let pixels = photo.rgb.chunks(3).enumerate();
            let red = pixels
                .filter(|(_, p)| p[0] > p[1].saturating_add(60))
                .map(|(i, _)| i % photo.width);
            let columns: Vec<usize> = red.collect();
            let mean = columns.iter().sum::<usize>() as f32 / columns.len().max(1) as f32;
            (columns.len(), mean / photo.width as f32)
        };
        let (front, left, right) = (red(0.0), red(90.0), red(-90.0));
        assert!(
            front.1 > 0.55,
            "the left arm is on the right of the picture: {front:?}"
        );
        assert!(left.0 > 2 * right.0, "{left:?} {right:?}");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let body = Capsules::new();
        let small = Texture {
            side: 8,
            rgb: vec![0; 192],
        };
        let said = |plot: MeshPlot| plot.try_figure().unwrap_err().to_string();
        assert!(said(mesh("m", &body).textured("", &small)).contains("8x8"));
        assert!(said(mesh("m", &body).around([])).contains("nowhere"));
        assert!(said(mesh("m", &body).size(0, 10)).contains("0x10"));
        let nan = Pose {
            yaw: f32::NAN,
            ..Pose::standing(1.7, 1.0)
        };
        assert!(said(mesh("m", &body).pose(&nan)).contains("finite"));
        let gone = Pose {
            stature: 1e-6,
            ..Pose::standing(1.7, 1.0)
        };
        assert!(said(mesh("m", &body).pose(&gone)).contains("out of the picture"));
    }
}
