//! Rendering of 16 textures and its gradient.

use rebit::data::Texture;
use rebit::ops::texture_render::TextureRenderKernel;
use rebit::papers::reid_texture::PhotoSet;
use rebit::prelude::*;
use serde_json::Value;

use super::exchange::Steps;
use super::{Folder, named, reads, timed};

/// Four pictures of four people, of 128x64 pixels; textures have 64x64 texels.
fn photos() -> Result<PhotoSet> {
    let config = WorldConfig {
        crop: (128, 64),
        ..WorldConfig::default()
    };
    PhotoSet::of(&World::new(config)?, 0..4, 0..4)
}

pub fn prepare(folder: &Folder) -> Result<()> {
    let photos = photos()?;
    let worn = photos.crops().iter().map(|c| &c.texture);
    let textures = Texture::batch(worn, (0.0, 1.0))?;
    let [texels, weights] = reads(photos.estimated());
    folder.write("render", &[named("textures", &textures), texels, weights]);
    Ok(())
}

/// `L = 1/2 sum of squares of the images`; what is told is the sum of squares of the gradient.
pub fn run(folder: &Folder, how: &str, steps: usize) -> Result<Value> {
    let photos = photos()?;
    let maps = photos.estimated();
    let textures: Images = from_vec(folder.read("render")["textures"].clone(), (16, 3, 64, 64))?;
    let mut told = Steps::default();
    match how {
        "tape" => {
            for _ in 0..steps {
                timed(&mut told, || tape(&textures, maps))?;
            }
        }
        "kernels" => kernels(&textures, maps, (steps, &mut told))?,
        other => panic!("{other}: rendering is measured on tape or as kernels"),
    }
    Ok(told.describe())
}

/// As a cell calls it: tensors, a tape, a loss.
fn tape(textures: &Images, maps: &[TexelMap]) -> Result<f32> {
    let images = try_texture_render(textures.leaky_trace(), maps)?;
    let loss = try_host_op(
        images,
        (),
        |x, y| {
            y[0] = 0.5 * squares(x);
            Ok(())
        },
        |x, dy, dx| {
            dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = dy[0] * x);
            Ok(())
        },
    )?;
    Ok(squares(&read(&loss.backward().get(textures))))
}

/// What networks would call, on buffers in the order of their pixels.
fn kernels(textures: &Images, maps: &[TexelMap], (steps, told): (usize, &mut Steps)) -> Result<()> {
    let texels = 64 * 64;
    let planes = read(textures);
    let each = planes.chunks_exact(3 * texels);
    let x = each.flat_map(|t| (0..3 * texels).map(|i| t[i % 3 * texels + i / 3]));
    let x = rebit::buffer(&x.collect::<Vec<_>>())?;
    let mut images = rebit::buffer(&vec![0.0; maps.len() * maps[0].pixels() * 3])?;
    let mut slopes = rebit::buffer(&vec![0.0; planes.len()])?;
    for _ in 0..steps {
        timed(told, || {
            dev().texture_render(maps, 3, &x, &mut images)?;
            dev().texture_render_grad(maps, 3, &images, &mut slopes, false)?;
            Ok(squares(&slopes.view()?))
        })?;
    }
    Ok(())
}

/// In lanes: one running sum would wait for itself.
fn squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for part in x.chunks(16) {
        lanes.iter_mut().zip(part).for_each(|(l, x)| *l += x * x);
    }
    lanes.iter().sum()
}
