//! Scenes with boxes, pictures of single persons, and what a reader sees of them when they end a cell.

use super::canvas::{Anchor, Canvas, TextStyle, WHITE, colour, text_width};
use super::figure::{Figure, column};
use super::images::{ImageGrid, images};
use super::png::Pixels;
use crate::boxes::BoxXyxy;
use crate::data::{Crop, Photo, Scene, Texture, World};
use crate::error::{Error, Result};
use crate::show::{MimeBundle, Show};

/// The width to which a picture is enlarged, where whole numbers allow it.
const WIDTH: f64 = 640.0;
const GAP: f64 = 8.0;

/// A scene with sets of boxes; see [`scene`].
#[derive(Debug, Clone)]
pub struct ScenePlot {
    title: String,
    image: Photo,
    sets: Vec<(String, Vec<BoxXyxy>)>,
    tight: Vec<BoxXyxy>,
    annotated: Vec<BoxXyxy>,
    names: Vec<(BoxXyxy, String)>,
    arrows: Vec<[f32; 4]>,
    scale: Option<f64>,
}

/// A scene, enlarged without smoothing, with boxes of several kinds over it and a legend above.
///
/// ```
/// use rebit::prelude::*;
/// let scene = World::new(WorldConfig::default())?.scene(3);
/// let found = vec![[10.0, 20.0, 40.0, 90.0]];
/// plot::scene("Scene 3", &scene).tight().annotated().boxes("found", &found).figure();
/// # Ok::<(), Error>(())
/// ```
pub fn scene(title: impl Into<String>, scene: &Scene) -> ScenePlot {
    let name = |id: &Option<u32>| id.map_or("?".to_string(), |id| id.to_string());
    let names = scene.boxes.iter().zip(&scene.identities);
    ScenePlot {
        title: title.into(),
        image: scene.image.clone(),
        sets: Vec::new(),
        tight: scene.boxes.clone(),
        annotated: scene.annotated.clone(),
        names: names.map(|(b, id)| (*b, name(id))).collect(),
        arrows: Vec::new(),
        scale: None,
    }
}

impl ScenePlot {
    /// A further set of boxes, in a colour of its own.
    pub fn boxes(mut self, name: impl Into<String>, boxes: &[BoxXyxy]) -> Self {
        self.sets.push((name.into(), boxes.to_vec()));
        self
    }

    /// The tight boxes of the scene.
    pub fn tight(self) -> Self {
        let boxes = self.tight.clone();
        self.boxes("tight", &boxes)
    }

    /// Its annotated boxes.
    pub fn annotated(self) -> Self {
        let boxes = self.annotated.clone();
        self.boxes("annotated", &boxes)
    }

    /// Arrows `[x, y, to x, to y]`, in pixels of the scene: where the edges of a box are drawn to, say.
    pub fn arrows(mut self, arrows: &[[f32; 4]]) -> Self {
        self.arrows.extend_from_slice(arrows);
        self
    }

    /// Without the numbers of the people.
    pub fn unnamed(mut self) -> Self {
        self.names.clear();
        self
    }

    /// Pixels of the figure for each pixel of the scene; as many as fit a notebook if not set.
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a picture without pixels, a scale that is not positive, or a figure of more than 8000 pixels.
    pub fn try_figure(self) -> Result<Figure> {
        let invalid = |why: String| Err(Error::invalid(format!("scene {:?}", self.title), why));
        let (height, width) = (self.image.height, self.image.width);
        if height * width == 0 || self.image.rgb.len() != height * width * 3 {
            return invalid(format!("a picture of {height} x {width} pixels"));
        }
        let fits = WIDTH / width as f64;
        let scale = self
            .scale
            .unwrap_or(if fits >= 1.0 { fits.floor() } else { fits });
        if !(scale.is_finite() && scale > 0.0) {
            return invalid(format!("a scale of {scale}; take a positive one"));
        }
        let shown = (width as f64 * scale, height as f64 * scale);
        let legend = !self.sets.is_empty();
        let top = if self.title.is_empty() { GAP } else { 32.0 } + if legend { 20.0 } else { 0.0 };
        let size = (shown.0 + 2.0 * GAP, top + shown.1 + GAP);
        if size.0 > 8000.0 || size.1 > 8000.0 {
            return invalid(format!(
                "{:.0} x {:.0} pixels; take a smaller scale",
                size.0, size.1
            ));
        }
        let pixels = Pixels {
            width,
            height,
            rgb: self.image.rgb.clone(),
        };
        let below = pixels.element((GAP, top), shown)?;
        let at = |x: f32, y: f32| {
            let (x, y) = (
                f64::from(x).clamp(0.0, width as f64),
                f64::from(y).clamp(0.0, height as f64),
            );
            (GAP + x * scale, top + y * scale)
        };
        let frame = |b: &BoxXyxy| {
            let [x1, y1, x2, y2] = *b;
            [at(x1, y1), at(x2, y1), at(x2, y2), at(x1, y2), at(x1, y1)]
        };
        let svg = Canvas::svg(
            (size.0.ceil() as u32, size.1.ceil() as u32),
            &below,
            |canvas| {
                let mut title = TextStyle::new(16.0, Anchor::Left);
                title.bold = true;
                title.size *=
                    ((size.0 - 2.0 * GAP) / text_width(&self.title, 16.0).max(1.0)).min(1.0);
                canvas.text((GAP, 18.0), &self.title, title)?;
                let mut x = GAP;
                for (k, (name, boxes)) in self.sets.iter().enumerate() {
                    let y = top - 13.0;
                    canvas.line(&[(x, y), (x + 18.0, y)], colour(k), 3.0)?;
                    canvas.text((x + 23.0, y), name, TextStyle::new(13.0, Anchor::Left))?;
                    x += 23.0 + text_width(name, 13.0) + 16.0;
                    let finite = boxes.iter().filter(|b| b.iter().all(|v| v.is_finite()));
                    for line in finite.map(frame) {
                        // White beneath, so that every colour is seen on every ground.
                        canvas.line(&line, WHITE, 3.5)?;
                        canvas.line(&line, colour(k), 2.0)?;
                    }
                }
                let finite = self
                    .arrows
                    .iter()
                    .filter(|a| a.iter().all(|v| v.is_finite()));
                for [x, y, to_x, to_y] in finite {
                    let (from, to) = (at(*x, *y), at(*to_x, *to_y));
                    for (ink, width) in [(WHITE, 4.5), (colour(3), 2.5)] {
                        canvas.line(&[from, to], ink, width)?;
                        canvas.line(&head(from, to), ink, width)?;
                    }
                }
                for (b, name) in &self.names {
                    let (x, y) = at(b[0], b[1]);
                    let wide = text_width(name, 12.0) + 6.0;
                    let y = y.max(top + 8.0);
                    canvas.rect((x, y - 8.0), (x + wide, y + 8.0), WHITE, 0.8)?;
                    canvas.text(
                        (x + wide / 2.0, y),
                        name,
                        TextStyle::new(12.0, Anchor::Centre),
                    )?;
                }
                Ok(())
            },
        )?;
        let mut summary = format!("[figure: {}]\n  {} people", self.title, self.tight.len());
        for (name, boxes) in &self.sets {
            summary += &format!("\n  {name}: {} boxes", boxes.len());
        }
        Ok(Figure::new(
            svg,
            (size.0.ceil() as u32, size.1.ceil() as u32),
            summary,
        ))
    }

    /// The finished figure.
    ///
    /// # Panics
    /// Where [`ScenePlot::try_figure`] returns an error.
    pub fn figure(self) -> Figure {
        self.try_figure().unwrap_or_else(|e| panic!("{e}"))
    }
}

/// The two short lines at the end of an arrow.
fn head(from: (f64, f64), to: (f64, f64)) -> [(f64, f64); 3] {
    let back = (from.1 - to.1).atan2(from.0 - to.0);
    let end = |turn: f64| {
        let (sin, cos) = (back + turn).sin_cos();
        (to.0 + 7.0 * cos, to.1 + 7.0 * sin)
    };
    [end(0.5), to, end(-0.5)]
}

/// Pictures of single persons, captioned with person and camera.
///
/// ```
/// use rebit::prelude::*;
/// let world = World::new(WorldConfig::default())?;
/// plot::crops("Two persons", &world.crops(0..2, 0..4)?).columns(4).figure();
/// # Ok::<(), Error>(())
/// ```
pub fn crops(title: impl Into<String>, crops: &[Crop]) -> ImageGrid {
    let captions = crops
        .iter()
        .map(|c| format!("{} · cam {}", c.identity, c.camera));
    images(title)
        .photos(crops.iter().map(|c| &c.image))
        .captions(captions)
}

/// A figure as the value of a cell, under a line of text.
fn shown(figure: Result<Figure>, text: String) -> MimeBundle {
    let mut bundle = figure.map(|f| f.bundle()).unwrap_or_default();
    bundle.insert("text/plain".to_string(), text.into());
    bundle
}

/// A scene ends a cell with its tight and its annotated boxes, and the numbers of its people.
impl Show for Scene {
    fn bundle(&self) -> MimeBundle {
        let people: Vec<String> = self
            .identities
            .iter()
            .zip(&self.visible)
            .map(|(id, seen)| {
                let id = id.map_or("?".to_string(), |id| id.to_string());
                format!("{id} ({:.0} % seen)", 100.0 * seen)
            })
            .collect();
        let (h, w) = (self.image.height, self.image.width);
        let text = format!(
            "Scene {h}x{w} · camera {} · {} people: {}",
            self.camera,
            people.len(),
            people.join(", ")
        );
        let title = format!("{} · camera {}", self.image.name, self.camera);
        shown(scene(title, self).tight().annotated().try_figure(), text)
    }
}

/// A picture of one person ends a cell beside what the person wears.
impl Show for Crop {
    fn bundle(&self) -> MimeBundle {
        let texture = self.texture.photo();
        let names = ["picture", "texture"];
        let grid = images(self.image.name.as_str()).photos([&self.image, &texture]);
        let (h, w) = (self.image.height, self.image.width);
        let seen = self.mask.iter().filter(|m| **m).count();
        let text = format!(
            "Crop {h}x{w} · person {} · camera {} · yaw {:.0}° · {seen} pixels and {} texels seen",
            self.identity,
            self.camera,
            self.pose.yaw.to_degrees(),
            self.visible.iter().filter(|v| **v).count()
        );
        shown(grid.captions(names).scale(3.0).try_figure(), text)
    }
}

/// A texture ends a cell enlarged.
impl Show for Texture {
    fn bundle(&self) -> MimeBundle {
        let text = format!("Texture {0}x{0}", self.side);
        let grid = images(text.as_str()).photos([&self.photo()]);
        shown(
            grid.scale((256 / self.side.max(1)).max(1) as f64)
                .try_figure(),
            text,
        )
    }
}

/// A world ends a cell with a scene and a few of its people.
impl Show for World {
    fn bundle(&self) -> MimeBundle {
        let config = self.config();
        let people = config.identities.clone();
        let first = people.start..people.end.min(people.start + 8);
        let text = format!(
            "World of {} · seed {} · persons {:?} in scenes of {}x{} · crops of {}x{} · annotation {}",
            self.body().name(),
            config.seed,
            people,
            config.scene.0,
            config.scene.1,
            config.crop.0,
            config.crop.1,
            config.annotation
        );
        let figures = self.crops(first, 0..2).and_then(|all| {
            let scene = scene("Scene 0", &self.scene(0)).tight().annotated();
            let scale = (64.0 / config.crop.0 as f64).max(0.25);
            let people = crops("People", &all).scale(scale).columns(16);
            // Captions of persons would not fit under pictures of this size.
            let people = people.captions(vec![String::new(); all.len()]);
            Ok(column([scene.try_figure()?, people.try_figure()?]))
        });
        shown(figures, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::WorldConfig;

    fn world() -> World {
        World::new(WorldConfig::default()).unwrap()
    }

    fn plain(value: &impl Show) -> String {
        value.bundle()["text/plain"].as_str().unwrap().to_string()
    }

    #[test]
    fn a_scene_shows_every_box_and_name() {
        let one = world().scene(1);
        let people = one.boxes.len();
        let found = vec![[1.0, 2.0, 30.0, 40.0], [f32::NAN, 0.0, 1.0, 1.0]];
        let figure = scene("Street", &one)
            .tight()
            .boxes("found", &found)
            .figure();
        // A white line under each, and a line in the legend for each set; NaN has no place.
        let lines = figure.svg().matches("<polyline").count();
        assert_eq!(lines, 2 * (people + 1) + 2);
        for word in ["Street", "tight", "found"] {
            assert!(figure.svg().contains(word), "{word}");
        }
        for id in &one.identities {
            assert!(figure.svg().contains(&format!("\n{}\n", id.unwrap())));
        }
        assert_eq!(figure.size().0, 656);
    }

    #[test]
    fn arrows_are_drawn_where_they_are_finite() {
        let one = world().scene(1);
        let arrows = [[10.0, 10.0, 30.0, 10.0], [f32::NAN, 0.0, 1.0, 1.0]];
        let plain = scene("x", &one).unnamed().figure();
        let svg = scene("x", &one).unnamed().arrows(&arrows).figure();
        let lines = |f: &Figure| f.svg().matches("<polyline").count();
        assert_eq!(lines(&svg), lines(&plain) + 4);
        assert!(plain.svg().matches("<text").count() == 1);
    }

    #[test]
    fn scenes_crops_textures_and_worlds_end_cells_as_pictures() {
        let world = world();
        let (scene, crop) = (world.scene(0), world.crop(2, 1));
        assert!(plain(&scene).starts_with("Scene 96x160 · camera "));
        assert!(plain(&scene).contains(&format!("{} people: ", scene.boxes.len())));
        assert!(plain(&crop).starts_with("Crop 64x32 · person 2 · camera "));
        assert_eq!(plain(&crop.texture), "Texture 64x64");
        assert!(plain(&world).starts_with("World of capsules"));
        let pictures = [
            scene.bundle(),
            crop.bundle(),
            crop.texture.bundle(),
            world.bundle(),
        ];
        for picture in pictures {
            assert!(
                picture["image/svg+xml"]
                    .as_str()
                    .unwrap()
                    .contains("data:image/png")
            );
        }
    }

    #[test]
    fn crops_are_captioned_and_strips_are_framed() {
        let all = world().crops(4..6, 0..2).unwrap();
        let grid = crops("People", &all);
        let svg = grid.clone().figure().svg().to_string();
        assert!(svg.contains(&format!("4 · cam {}", all[0].camera)));
        let framed = grid.frames([Some(true), None, Some(false)]).figure();
        assert_eq!(framed.svg().matches("<polyline").count(), 2);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let mut one = world().scene(1);
        let error = scene("x", &one)
            .scale(f64::NAN)
            .try_figure()
            .unwrap_err()
            .to_string();
        assert!(error.contains("scale"), "{error}");
        assert!(scene("x", &one).scale(100.0).try_figure().is_err());
        one.image.height = 0;
        assert!(scene("x", &one).try_figure().is_err());
        assert!(plain(&one).starts_with("Scene 0x160"));
    }
}
