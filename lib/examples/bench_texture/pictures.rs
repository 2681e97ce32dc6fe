//! Texel maps and turntables.

use std::sync::Arc;

use rebit::data::{Body, Capsules, Crop, Lookup, Portrait, Pose};
use rebit::prelude::*;
use serde_json::Value;

use super::exchange::Steps;
use super::fine_body::FineBody;
use super::timed;

const SIZE: (usize, usize) = (128, 64);

/// The body in its pose, rasterised, and the map with its transpose; what is told is the number of maps.
pub fn texels(body: &str, steps: usize) -> Result<Value> {
    let body: Arc<dyn Body> = match body {
        "capsules" => Arc::new(Capsules::new()),
        "fine" => Arc::new(FineBody::new()?),
        other => panic!("{other}: there are capsules and fine ones"),
    };
    let config = WorldConfig {
        crop: SIZE,
        ..WorldConfig::default()
    };
    let world = World::with_body(config, body)?;
    let crops: Vec<Crop> = world.crops(0..4, 0..4)?;
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || {
            let maps = crops.iter().map(|c| {
                let texels = world.texels(&c.pose, &c.viewpoint, SIZE);
                texels.map(Lookup::Nearest)
            });
            Ok(maps.map(|m| m.pixels() as f32).sum::<f32>() / (SIZE.0 * SIZE.1) as f32)
        })?;
    }
    Ok(told.describe())
}

/// 24 frames of 128x64, rendered and encoded; what is told is the size of the file.
pub fn turntable(steps: usize) -> Result<Value> {
    let world = World::new(WorldConfig::default())?;
    let person = world.identity(4);
    let pose = Pose::standing(person.stature, person.girth);
    let how = Portrait {
        size: SIZE,
        ..Portrait::default()
    };
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || {
            let turning = plot::turntable(world.body(), &pose, &person.texture, 24, &how)?;
            Ok(turning.png().len() as f32)
        })?;
    }
    Ok(told.describe())
}
