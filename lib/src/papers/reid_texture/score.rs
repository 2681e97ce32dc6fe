//! How good textures are.

use dfdx::prelude::{HasShape, PutTape, SplitTape};

use super::reid::Reid;
use super::supervision::render_before;
use super::{PhotoSet, UNIT};
use crate::data::{Texture, epoch_rng};
use crate::metrics::{Picture, ssim_rgb};
use crate::ops::texture_render::{TexelMap, try_texture_render};
use crate::{Error, Images, Result, Taped, read};

/// The mean absolute difference of two textures, colours from 0 to 1, over the texels that `chosen` names.
///
/// # Errors
/// [`Error::Shape`] for textures of different sizes or another number of texels.
pub fn texture_error(a: &Texture, b: &Texture, chosen: &[bool]) -> Result<f32> {
    if a.side != b.side || a.rgb.len() != b.rgb.len() || 3 * chosen.len() != a.rgb.len() {
        let expected = format!("two textures of {0}x{0} and as many texels", a.side);
        let found = format!("{0}x{0} and {1}", b.side, chosen.len());
        return Err(Error::shape("texture_error", expected, found));
    }
    let texels = (0..chosen.len()).filter(|t| chosen[*t]);
    let (mut sum, mut count) = (0.0f64, 0usize);
    for texel in texels {
        for c in 0..3 {
            let d = i32::from(a.rgb[3 * texel + c]) - i32::from(b.rgb[3 * texel + c]);
            sum += f64::from(d.abs()) / 255.0;
            count += 1;
        }
    }
    Ok(if count == 0 {
        0.0
    } else {
        (sum / count as f64) as f32
    })
}

/// Scores of textures that were made of one picture of each person, a number a person. `a` is the re-ID network that may
/// have been used in training, `b` one that never is. Unseen views are the person's other pictures, in their true poses.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scores {
    /// L1 distance from the true texture, of texels that the picture shows.
    pub uv_seen: Vec<f32>,
    /// The same, of those that it does not.
    pub uv_unseen: Vec<f32>,
    /// L1 distance of faces, hair and hands from the mean of real ones.
    pub structure: Vec<f32>,
    /// SSIM of picture and re-rendered texture in the estimated pose, both black outside the silhouette.
    pub ssim_input: Vec<f32>,
    /// SSIM with the true texture in unseen views, both black outside the silhouette.
    pub ssim_unseen: Vec<f32>,
    /// Mean cosine over the layers of `a` between the person before a foreign background and the picture, in unseen views.
    pub cos_a: Vec<f32>,
    /// The same with `b`.
    pub cos_b: Vec<f32>,
    /// Share of unseen views whose nearest picture, by the feature of `a`, shows the person.
    pub top1_a: Vec<f32>,
    /// The same with `b`.
    pub top1_b: Vec<f32>,
    /// Mean average precision by the feature of `a`.
    pub map_a: Vec<f32>,
    /// The same with `b`.
    pub map_b: Vec<f32>,
}

/// The mean of numbers.
pub(super) fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    (sum / values.len().max(1) as f64) as f32
}

/// What textures are scored with.
pub(super) struct Judge<'a> {
    pub photos: &'a PhotoSet,
    /// Pictures of a person, the first of which is the one that the texture was made of.
    pub views: usize,
    /// Where backgrounds come from.
    pub elsewhere: &'a PhotoSet,
    pub real: &'a Texture,
    pub structure: &'a [bool],
    pub a: &'a Reid,
    pub b: &'a Reid,
}

impl Judge<'_> {
    /// The scores of a texture for each person.
    pub fn score(&self, textures: &[Texture]) -> Result<Scores> {
        let people = self.photos.len() / self.views;
        if textures.len() != people {
            let expected = format!("a texture for each of {people} people");
            return Err(Error::shape("scores", expected, textures.len()));
        }
        let mut scores = Scores::default();
        for (k, texture) in textures.iter().enumerate() {
            self.score_texture(k, texture, &mut scores)?;
        }
        self.score_views(textures, &mut scores)?;
        Ok(scores)
    }

    fn score_texture(&self, k: usize, texture: &Texture, into: &mut Scores) -> Result<()> {
        let first = k * self.views;
        let crop = &self.photos.crops()[first];
        let seen = &crop.visible;
        let unseen: Vec<bool> = seen.iter().map(|s| !s).collect();
        into.uv_seen
            .push(texture_error(texture, &crop.texture, seen)?);
        into.uv_unseen
            .push(texture_error(texture, &crop.texture, &unseen)?);
        into.structure
            .push(texture_error(texture, self.real, self.structure)?);
        let map = &self.photos.estimated()[first];
        let shown = picture(texture, map)?;
        let photo = Picture::from(&crop.image).masked(&map.mask())?;
        into.ssim_input.push(ssim_rgb(&shown, &photo)?);
        let mut unseen = Vec::new();
        for view in first + 1..first + self.views {
            let map = &self.photos.exact()[view];
            let (found, truth) = (picture(texture, map)?, picture(&crop.texture, map)?);
            unseen.push(ssim_rgb(&found, &truth)?);
        }
        into.ssim_unseen.push(mean(&unseen));
        Ok(())
    }

    /// What re-ID networks say to unseen views, before backgrounds that do not depend on the textures.
    fn score_views(&self, textures: &[Texture], into: &mut Scores) -> Result<()> {
        let views: Vec<usize> = (0..self.photos.len())
            .filter(|i| i % self.views != 0)
            .collect();
        if views.is_empty() {
            return Ok(());
        }
        let worn = views.iter().map(|i| &textures[i / self.views]);
        let maps: Vec<TexelMap> = views
            .iter()
            .map(|&i| self.photos.exact()[i].clone())
            .collect();
        let mut rng = epoch_rng(0x7e57, 0);
        let around = self.elsewhere.random_surroundings(views.len(), &mut rng)?;
        let shown = before(&Texture::batch(worn, UNIT)?, &maps, &around)?;
        let photos = self.photos.pictures(&views)?;
        let per = self.views - 1;
        let each = |values: Vec<f32>| values.chunks(per).map(mean).collect::<Vec<f32>>();
        for (net, cos, top1, map) in [
            (self.a, &mut into.cos_a, &mut into.top1_a, &mut into.map_a),
            (self.b, &mut into.cos_b, &mut into.top1_b, &mut into.map_b),
        ] {
            *cos = each(net.cosines(&shown, &photos)?);
            let (first, precision) = ranked(net, &shown, &photos, per)?;
            (*top1, *map) = (each(first), each(precision));
        }
        Ok(())
    }
}

/// Textured bodies before backgrounds, without a tape.
pub(super) fn before(textures: &Images, maps: &[TexelMap], around: &Images) -> Result<Images> {
    let taped = textures.clone().put_tape(Taped::default());
    Ok(render_before(taped, maps, around)?.split_tape().0)
}

/// For each query whether the nearest picture shows the same person, and the average precision. `per` neighbouring rows are
/// of one person; the picture with the number of the query, whose pose it has, is left out.
fn ranked(
    net: &Reid,
    queries: &Images,
    gallery: &Images,
    per: usize,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let (queries, gallery) = (net.embed(queries)?, net.embed(gallery)?);
    let (rows, columns) = *queries.shape();
    let (q, g) = (read(&queries), read(&gallery));
    let mut out = (Vec::new(), Vec::new());
    for query in 0..rows {
        let row = &q[query * columns..][..columns];
        let likeness = |other: usize| -> f32 {
            let pairs = row.iter().zip(&g[other * columns..][..columns]);
            pairs.map(|(a, b)| a * b).sum()
        };
        let mut all: Vec<(f32, usize)> = (0..rows)
            .filter(|other| *other != query)
            .map(|other| (likeness(other), other))
            .collect();
        if let Some((_, other)) = all.iter().find(|a| a.0.is_nan()) {
            let what = format!("the feature of picture {query} or {other}");
            return Err(Error::invalid(what, "is NaN"));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let right = all.iter().map(|(_, other)| other / per == query / per);
        let (mut found, mut sum) = (0usize, 0.0f64);
        for (rank, right) in right.enumerate() {
            if rank == 0 {
                out.0.push(f32::from(right));
            }
            if right {
                found += 1;
                sum += found as f64 / (rank + 1) as f64;
            }
        }
        out.1.push((sum / found.max(1) as f64) as f32);
    }
    Ok(out)
}

/// A textured body before black.
pub(super) fn picture(texture: &Texture, map: &TexelMap) -> Result<Picture> {
    let batch = Texture::batch([texture], (0.0, 1.0))?;
    let values = read(&try_texture_render(batch, std::slice::from_ref(map))?);
    let ((height, width), plane) = (map.image(), map.pixels());
    Ok(Picture {
        height,
        width,
        rgb: (0..plane)
            .map(|p| [0, 1, 2].map(|c| values[c * plane + p]))
            .collect(),
    })
}
