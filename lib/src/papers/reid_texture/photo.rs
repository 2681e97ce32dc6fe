//! A texture from a photograph of one's own.

use std::path::Path;

use super::{UNIT, score};
use crate::data::{Lookup, Photo, Pose, Texture, Viewpoint, World};
use crate::nn::Net;
use crate::ops::texture_render::TexelMap;
use crate::{Error, Result, from_vec};

/// What was made of a photograph.
#[derive(Clone, Debug, PartialEq)]
pub struct FromPhoto {
    /// The texture.
    pub texture: Texture,
    /// The photograph as the network saw it.
    pub input: Photo,
    /// The body in the given pose under the texture, before the photograph.
    pub rendered: Photo,
    /// How well body and mask agree: pixels of both over pixels of either.
    pub overlap: f32,
    /// What was done to make the photograph fit, in words; empty when nothing was.
    pub notes: Vec<String>,
}

/// Makes a texture of the person in a photograph, a PNG or JPEG file, with a trained network.
///
/// The mask is a file too, of the size of the photograph, bright where the person is. The picture is cut out so that the
/// person lies where the body in the given pose lies in pictures of a [`World`], and resized to what the network reads. What
/// is outside the mask stays, as in training. `world` says which bodies there are.
///
/// # Errors
/// [`Error::Io`] and [`Error::Data`] for files that cannot be read; [`Error::Shape`] for a mask of another size;
/// [`Error::Invalid`] for a mask in which nobody is, and for a pose that puts the body out of the picture.
pub fn from_photo(
    net: &Net,
    world: &World,
    photo: impl AsRef<Path>,
    mask: impl AsRef<Path>,
    pose: &Pose,
) -> Result<FromPhoto> {
    let (photo, mask) = (Photo::read(photo)?, Photo::read(mask)?);
    made_of(net, world, &photo, &mask, pose)
}

fn made_of(
    net: &Net,
    world: &World,
    photo: &Photo,
    mask: &Photo,
    pose: &Pose,
) -> Result<FromPhoto> {
    let size = |p: &Photo| format!("{}x{}", p.height, p.width);
    if (photo.height, photo.width) != (mask.height, mask.width) {
        let expected = format!(
            "a mask of {} like the photograph {:?}",
            size(photo),
            photo.name
        );
        return Err(Error::shape("from_photo", expected, size(mask)));
    }
    let extent = net.input_extent();
    let (height, width) = (extent.height, extent.width);
    let mut notes = Vec::new();
    let inside: Vec<bool> = mask.rgb.chunks_exact(3).map(|p| p[1] >= 128).collect();
    let Some(bounds) = bounds(&inside, photo.width) else {
        let what = format!("the mask {:?}", mask.name);
        return Err(Error::invalid(what, "is bright nowhere: there is nobody"));
    };
    let map = shown_in(world, pose, (height, width))?;
    let Some(body) = self::bounds(&map.mask(), width) else {
        let why = "puts the body out of the picture";
        return Err(Error::invalid(format!("{pose:?}"), why));
    };
    let frame = Frame::that_puts(bounds, body, (height, width));
    let cut = frame.cut(photo);
    let seen = frame.cut(mask);
    if (photo.height, photo.width) != (height, width) || !frame.is_whole(photo) {
        notes.push(format!(
            "cut out at row {:.0}, column {:.0} with {:.0}x{:.0} pixels of {}, and resized to {height}x{width}",
            frame.top,
            frame.left,
            frame.height,
            frame.width,
            size(photo)
        ));
    }
    let input = resized(&cut, (height, width))?;
    let values = input.to_images();
    let scaled = crate::read(&values)
        .iter()
        .map(|v| v / 127.5 - 1.0)
        .collect();
    let made = net.predict_images(&from_vec(scaled, (1, 3, height, width))?)?;
    let texture = Texture::from_images(&made, UNIT)?.remove(0);
    let seen = resized(&seen, (height, width))?;
    let (rendered, overlap) = overlaid(&input, &seen, (&texture, &map))?;
    Ok(FromPhoto {
        texture,
        input,
        rendered,
        overlap,
        notes,
    })
}

fn resized(photo: &Photo, (height, width): (usize, usize)) -> Result<Photo> {
    match (photo.height, photo.width) == (height, width) {
        true => Ok(photo.clone()),
        false => photo.resized(height, width),
    }
}

/// First and last row and column, the last ones excluded.
fn bounds(inside: &[bool], width: usize) -> Option<[usize; 4]> {
    let pixels = || {
        inside
            .iter()
            .enumerate()
            .filter(|(_, m)| **m)
            .map(|(i, _)| i)
    };
    let rows = || pixels().map(|i| i / width);
    let columns = || pixels().map(|i| i % width);
    Some([
        rows().min()?,
        rows().max()? + 1,
        columns().min()?,
        columns().max()? + 1,
    ])
}

/// A rectangle of a photograph; it may reach beyond it.
struct Frame {
    top: f32,
    left: f32,
    height: f32,
    width: f32,
}

impl Frame {
    /// The one in which `person` of the photograph lies where `body` lies in a picture of this size: as high, in the middle
    /// of the same columns.
    fn that_puts(person: [usize; 4], body: [usize; 4], (height, width): (usize, usize)) -> Frame {
        let [top, bottom, left, right] = person.map(|v| v as f32);
        let [body_top, body_bottom, body_left, body_right] = body.map(|v| v as f32);
        let scale = (bottom - top) / (body_bottom - body_top);
        Frame {
            top: top - scale * body_top,
            left: (left + right) / 2.0 - scale * (body_left + body_right) / 2.0,
            height: scale * height as f32,
            width: scale * width as f32,
        }
    }

    fn is_whole(&self, photo: &Photo) -> bool {
        let near = |a: f32, b: usize| (a - b as f32).abs() < 0.5;
        near(self.top, 0) && near(self.left, 0) && near(self.height, photo.height)
    }

    /// The rectangle, with the outermost pixels repeated beyond the photograph.
    fn cut(&self, photo: &Photo) -> Photo {
        let (height, width) = (self.height.round().max(1.0), self.width.round().max(1.0));
        let (top, left) = (self.top.round() as i64, self.left.round() as i64);
        let mut rgb = Vec::with_capacity(3 * (height * width) as usize);
        for row in 0..height as i64 {
            for column in 0..width as i64 {
                let y = (top + row).clamp(0, photo.height as i64 - 1) as usize;
                let x = (left + column).clamp(0, photo.width as i64 - 1) as usize;
                rgb.extend_from_slice(&photo.rgb[3 * (y * photo.width + x)..][..3]);
            }
        }
        Photo {
            name: photo.name.clone(),
            height: height as usize,
            width: width as usize,
            rgb,
        }
    }
}

/// Share of a picture's height that people of the world fill, on average: 1.74 m at 33 of 64 pixels a metre.
const FILLED: f32 = 0.9;

/// The texels that a body shows in a picture of the world.
fn shown_in(world: &World, pose: &Pose, size: (usize, usize)) -> Result<TexelMap> {
    if world.body().posed(pose).iter().any(|p| !p.is_finite()) {
        return Err(Error::invalid(format!("{pose:?}"), "is not finite"));
    }
    let per_metre = FILLED * size.0 as f32 / pose.stature.max(0.1);
    let view = Viewpoint::of_person(pose.stature, 6.0, 0.1, per_metre, size);
    Ok(world.texels(pose, &view, size).map(Lookup::Nearest))
}

/// The body before the picture, and how far it and the mask agree.
fn overlaid(
    input: &Photo,
    mask: &Photo,
    (texture, map): (&Texture, &TexelMap),
) -> Result<(Photo, f32)> {
    if map.side() != texture.side {
        let expected = format!("a network for textures of {0}x{0}", map.side());
        return Err(Error::shape(
            "from_photo",
            expected,
            format!("{0}x{0}", texture.side),
        ));
    }
    let person = score::picture(texture, map)?;
    let mut rgb = input.rgb.clone();
    let (mut both, mut either) = (0usize, 0usize);
    for (pixel, covered) in map.mask().into_iter().enumerate() {
        let inside = mask.rgb[3 * pixel + 1] >= 128;
        both += usize::from(covered && inside);
        either += usize::from(covered || inside);
        if covered {
            let bytes = person.rgb[pixel].map(|v| (v * 255.0).round() as u8);
            rgb[3 * pixel..][..3].copy_from_slice(&bytes);
        }
    }
    let rendered = Photo {
        name: format!("{} rendered", input.name),
        rgb,
        ..input.clone()
    };
    Ok((rendered, both as f32 / either.max(1) as f32))
}
