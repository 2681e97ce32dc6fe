//! Several people in one picture.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::background::background;
use super::camera::{gains, photograph};
use super::outfit::cloth;
use super::pose::{Pose, Viewpoint};
use super::raster::{Lens, Raster};
use super::stream::{Use, stream};
use super::texture::Texels;
use super::{Identity, World, seen_by};
use crate::boxes::BoxXyxy;
use crate::data::Photo;
use crate::error::Result;
use crate::tensors::Rng;

/// People of whom less than this share is seen are not shown.
const LEAST_SEEN: f32 = 0.4;
/// How often a scene with a person who is hidden too far is set up anew.
const ATTEMPTS: usize = 6;

/// A picture with people in it; the lists have an entry for each of them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scene {
    /// The picture.
    pub image: Photo,
    /// The camera.
    pub camera: u32,
    /// The smallest boxes around the people, what is hidden of them included, as far as it lies in the picture.
    pub boxes: Vec<BoxXyxy>,
    /// The boxes that somebody drew, which a detector learns from.
    pub annotated: Vec<BoxXyxy>,
    /// Who they are; `None` for somebody nobody knows.
    pub identities: Vec<Option<u32>>,
    /// The share of each silhouette that is seen, from 0 to 1.
    pub visible: Vec<f32>,
}

/// Somebody on the stage.
struct Actor {
    identity: u32,
    texels: Texels,
    raster: Raster,
    texture: super::Texture,
    /// Where the first pixel of the raster lies in the picture.
    top: i32,
    left: i32,
}

/// A flat thing that stands at a distance.
struct Post {
    rows: (f32, f32),
    columns: (f32, f32),
    depth: f32,
    colour: [f32; 3],
}

impl World {
    /// Scene number `seed`. It depends on the configuration and this number alone.
    ///
    /// People come in turn: among as many scenes as there are persons everybody stands about equally often.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// use rebit::data::{World, WorldConfig};
    /// let world = World::new(WorldConfig::default())?;
    /// let scene = world.scene(7);
    /// assert_eq!(scene.boxes.len(), scene.identities.len());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn scene(&self, seed: u64) -> Scene {
        let config = self.config();
        let mut rng = stream(config.seed, Use::Scene, seed, 0);
        let mut cast = self.cast(seed, &mut rng);
        let camera = rng.random_range(0..config.cameras);
        let mut attempt = 0;
        let (stage, shown) = loop {
            let stage = self.stage(&cast, &mut rng);
            let shown = self.shown(&stage);
            let hidden = shown.iter().position(|&s| s < LEAST_SEEN);
            attempt += 1;
            match hidden {
                None => break (stage, shown),
                // Whoever is still hidden stays away.
                Some(k) if attempt >= ATTEMPTS => {
                    cast.remove(k);
                    attempt = 0;
                }
                Some(_) => {}
            }
        };
        let (image, boxes) = self.picture(&stage, camera, &mut rng);
        let mut drawn = stream(config.seed, Use::Annotation, seed, 0);
        let annotate = |b: &BoxXyxy| annotated(*b, config.annotation, config.scene, &mut drawn);
        Scene {
            image: Photo {
                name: format!("scene {seed}"),
                ..image
            },
            camera,
            annotated: boxes.iter().map(annotate).collect(),
            boxes,
            identities: stage.actors.iter().map(|a| Some(a.identity)).collect(),
            visible: shown,
        }
    }

    /// Scenes of these numbers, in parallel.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn scenes(&self, seeds: std::ops::Range<u64>) -> Result<Vec<Scene>> {
        let count = seeds.end.saturating_sub(seeds.start);
        super::in_parallel(count, |k| self.scene(seeds.start + k))
    }

    /// Who stands in a scene.
    fn cast(&self, seed: u64, rng: &mut Rng) -> Vec<Identity> {
        let config = self.config();
        let (least, most) = config.people;
        let people = u64::from(config.identities.end - config.identities.start);
        let mut cast: Vec<u32> = Vec::new();
        for slot in 0..rng.random_range(least..=most) as u64 {
            let turn = seed.wrapping_mul(most as u64).wrapping_add(slot);
            let order = self.order(turn / people);
            let identity = config.identities.start + order[(turn % people) as usize];
            if !cast.contains(&identity) {
                cast.push(identity);
            }
        }
        cast.into_iter().map(|i| self.identity(i)).collect()
    }

    fn stage(&self, cast: &[Identity], rng: &mut Rng) -> Stage {
        let (height, width) = self.config().scene;
        let size = height as f32 / 96.0;
        let focal = 200.0 * size;
        let viewpoint = Viewpoint {
            lens: Lens {
                focal,
                centre: [width as f32 / 2.0, 0.0],
                near: 0.1,
            },
            height: rng.random_range(1.7..2.5),
            distance: 0.0,
            pitch: self.pitch(rng),
        };
        let mut poses = Vec::new();
        let (mut highest, mut lowest) = (f32::MAX, f32::MIN);
        for person in cast {
            let depth = focal / (size * rng.random_range(26.0..42.0f32));
            let margin = 0.25 * depth.recip() * focal;
            let x = rng.random_range(margin..(width as f32 - margin).max(margin + 1.0));
            let mut pose = Pose::walking(person.stature, person.girth, rng);
            pose.place = [(x - width as f32 / 2.0) / focal * depth, 0.0, -depth];
            for y in [0.0, person.stature] {
                let p = viewpoint.see(glam::Vec3::new(pose.place[0], y, -depth));
                let row = focal * p.y / p.z;
                (highest, lowest) = (highest.min(row), lowest.max(row));
            }
            poses.push(pose);
        }
        if cast.is_empty() {
            (highest, lowest) = (0.0, height as f32 * 0.7);
        }
        // The picture is moved up or down so that everybody is in it; a few pixels may be cut off.
        let (first, last) = (2.0 - highest, height as f32 - 2.0 - lowest);
        let offset = match first < last {
            true => rng.random_range(first..last),
            false => (first + last) / 2.0,
        };
        let mut viewpoint = viewpoint;
        viewpoint.lens.centre[1] = offset;
        let actors = cast.iter().zip(poses);
        let actors: Vec<Actor> = actors
            .map(|(i, pose)| self.actor(i, &pose, &viewpoint))
            .collect();
        let horizon = offset - focal * viewpoint.pitch.tan();
        let posts = (0..2)
            .filter(|_| rng.random_bool(self.config().occlusion))
            .count();
        let posts = (0..posts)
            .map(|_| post(&viewpoint, (height, width), rng))
            .collect();
        Stage {
            actors,
            posts,
            horizon,
        }
    }

    fn actor(&self, identity: &Identity, pose: &Pose, viewpoint: &Viewpoint) -> Actor {
        // A window around the person, in whole pixels.
        let lens = viewpoint.lens;
        let mut corners = Vec::new();
        let reach = 0.65 * identity.stature;
        for x in [-reach, reach] {
            for y in [-0.1, identity.stature + 0.1] {
                for z in [-reach, reach] {
                    let place = glam::Vec3::from_array(pose.place) + glam::Vec3::new(x, y, z);
                    let p = viewpoint.see(place);
                    let depth = p.z.max(lens.near);
                    corners.push([p.x, p.y].map(|v| lens.focal * v / depth));
                }
            }
        }
        let span = |axis: usize| {
            let of = |c: &[f32; 2]| c[axis] + lens.centre[axis];
            let low = corners.iter().map(of).fold(f32::MAX, f32::min).floor();
            let high = corners.iter().map(of).fold(f32::MIN, f32::max).ceil();
            (low as i32, (high - low) as usize)
        };
        let ((left, width), (top, height)) = (span(0), span(1));
        let mut window = *viewpoint;
        window.lens.centre = [lens.centre[0] - left as f32, lens.centre[1] - top as f32];
        let raster = seen_by(self.body(), pose, &window, (height, width));
        Actor {
            identity: identity.id,
            texels: Texels::of(&raster, self.body().side()),
            raster,
            texture: identity.texture.clone(),
            top,
            left,
        }
    }

    /// The share of each silhouette that is seen.
    fn shown(&self, stage: &Stage) -> Vec<f32> {
        let owner = self.owners(stage);
        let count = |k: usize| {
            let seen = owner.iter().filter(|o| **o == Some(k)).count();
            let all = stage.actors[k].raster.hits.iter().filter(|h| h.is_hit());
            seen as f32 / all.count().max(1) as f32
        };
        (0..stage.actors.len()).map(count).collect()
    }

    /// The actor that is seen in each pixel.
    fn owners(&self, stage: &Stage) -> Vec<Option<usize>> {
        let size = self.config().scene;
        let mut depth = vec![f32::INFINITY; size.0 * size.1];
        let mut owner = vec![None; size.0 * size.1];
        for (k, actor) in stage.actors.iter().enumerate() {
            for (pixel, hit) in actor.pixels(size) {
                let near = actor.raster.hits[hit].depth;
                if near < depth[pixel] {
                    (depth[pixel], owner[pixel]) = (near, Some(k));
                }
            }
        }
        for post in &stage.posts {
            for pixel in post.pixels(size) {
                if post.depth < depth[pixel] {
                    owner[pixel] = None;
                }
            }
        }
        owner
    }

    fn picture(&self, stage: &Stage, camera: u32, rng: &mut Rng) -> (Photo, Vec<BoxXyxy>) {
        let config = self.config();
        let size = config.scene;
        let mut picture = background(self.photos(), size, Some(stage.horizon), rng);
        // From far to near.
        let mut posts: Vec<&Post> = stage.posts.iter().collect();
        posts.sort_by(|a, b| b.depth.total_cmp(&a.depth));
        for post in posts {
            post.pixels(size).for_each(|p| picture[p] = post.colour);
        }
        let owner = self.owners(stage);
        let mut boxes = Vec::new();
        for (k, actor) in stage.actors.iter().enumerate() {
            let [mut x1, mut y1, mut x2, mut y2] = [usize::MAX, usize::MAX, 0, 0];
            for (pixel, hit) in actor.pixels(size) {
                let (row, column) = (pixel / size.1, pixel % size.1);
                (x1, y1) = (x1.min(column), y1.min(row));
                (x2, y2) = (x2.max(column + 1), y2.max(row + 1));
                if owner[pixel] == Some(k) {
                    let texel = actor.texels.nearest[hit];
                    let shade = actor.texels.shade[hit];
                    picture[pixel] = actor.texture.colour(texel.into()).map(|c| c * shade);
                }
            }
            boxes.push([x1, y1, x2, y2].map(|v| v as f32));
        }
        let image = photograph(
            &picture,
            size,
            gains(config.seed, camera),
            config.noise,
            rng,
        );
        (image, boxes)
    }
}

struct Stage {
    actors: Vec<Actor>,
    posts: Vec<Post>,
    horizon: f32,
}

impl Actor {
    /// The pixels of the picture in which the silhouette lies, hidden or not, and their places in the raster.
    fn pixels(&self, (height, width): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
        let hits = self.raster.hits.iter().enumerate();
        hits.filter(|(_, hit)| hit.is_hit())
            .filter_map(move |(k, _)| {
                let row = self.top + (k / self.raster.width) as i32;
                let column = self.left + (k % self.raster.width) as i32;
                let inside =
                    (0..height as i32).contains(&row) && (0..width as i32).contains(&column);
                inside.then(|| (row as usize * width + column as usize, k))
            })
    }
}

impl Post {
    fn pixels(&self, (height, width): (usize, usize)) -> impl Iterator<Item = usize> {
        let range = |(from, to): (f32, f32), most: usize| {
            (from.max(0.0) as usize).min(most)..(to.max(0.0) as usize).min(most)
        };
        let columns = range(self.columns, width);
        range(self.rows, height).flat_map(move |r| columns.clone().map(move |c| r * width + c))
    }
}

/// A post, or something low and wide.
fn post(viewpoint: &Viewpoint, (_, width): (usize, usize), rng: &mut Rng) -> Post {
    let (focal, centre) = (viewpoint.lens.focal, viewpoint.lens.centre);
    let depth = rng.random_range(3.8..7.0f32);
    let (tall, wide) = match rng.random_bool(0.5) {
        true => (
            rng.random_range(2.0..3.0f32),
            rng.random_range(0.1..0.25f32),
        ),
        false => (rng.random_range(0.4..0.9f32), rng.random_range(0.5..1.2f32)),
    };
    let x = rng.random_range(0.0..width as f32);
    let row = |y: f32| {
        let p = viewpoint.see(glam::Vec3::new(0.0, y, -depth));
        centre[1] + focal * p.y / p.z
    };
    Post {
        rows: (row(tall), row(0.0)),
        columns: (x, x + (wide * focal / depth).max(1.0)),
        depth,
        colour: cloth(rng, 0.8),
    }
}

/// What somebody draws who should draw the box `b`: each edge off by `N(0, a)` times the box's size, after the box was
/// made `a` times its size larger.
fn annotated(b: BoxXyxy, a: f32, (height, width): (usize, usize), rng: &mut Rng) -> BoxXyxy {
    let (w, h) = (b[2] - b[0], b[3] - b[1]);
    let mut off = |size: f32| a * size * rng.sample::<f32, _>(StandardNormal);
    let (dx1, dy1, dx2, dy2) = (off(w), off(h), off(w), off(h));
    let grown = [
        b[0] - a * w / 2.0 + dx1,
        b[1] - a * h / 2.0 + dy1,
        b[2] + a * w / 2.0 + dx2,
        b[3] + a * h / 2.0 + dy2,
    ];
    let across = |v: f32| v.clamp(0.0, width as f32);
    let down = |v: f32| v.clamp(0.0, height as f32);
    let (x1, y1) = (across(grown[0]), down(grown[1]));
    // Never without area, however far off.
    let (x2, y2) = (across(grown[2]).max(x1 + 1.0), down(grown[3]).max(y1 + 1.0));
    [x1, y1, x2, y2]
}
