//! A person as OBJ, for `tests/oracles` to read with another program:
//!
//! ```text
//! oracle_obj FOLDER       person.obj with material and texture, and what they should hold (person.json)
//! ```

use std::path::PathBuf;

use rebit::data::Pose;
use rebit::prelude::*;
use serde_json::json;

/// Where a left hand is in the texture of capsules: rows, and columns.
const LEFT_HAND: (std::ops::Range<usize>, std::ops::Range<usize>) = (27..32, 40..52);
const RED: [u8; 3] = [255, 0, 0];

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).expect("oracle_obj FOLDER"));
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let world = World::new(WorldConfig::default())?;
    let person = world.identity(3);
    let mut texture = person.texture;
    for pixel in texture.rgb.chunks_exact_mut(3).filter(|p| *p == RED) {
        pixel[0] = 254;
    }
    for row in LEFT_HAND.0 {
        for column in LEFT_HAND.1 {
            let at = 3 * (row * texture.side + column);
            texture.rgb[at..at + 3].copy_from_slice(&RED);
        }
    }
    let pose = Pose::standing(person.stature, person.girth);
    let files = world
        .body()
        .export_obj(folder.join("person.obj"), &pose, &texture)?;
    let surface = world.body().surface();
    let corners = |f: &rebit::data::world::Face| {
        let mut different = f.vertices.to_vec();
        different.sort_unstable();
        different.dedup();
        different.len()
    };
    let triangles = surface
        .faces()
        .iter()
        .map(|f| corners(f) - 2)
        .sum::<usize>();
    let told = json!({
        "obj": files.obj,
        "vertices": surface.vertices(),
        "triangles": triangles,
        "uv": surface.uv(),
        "positions": world.body().posed(&pose).iter().map(|p| p.to_array()).collect::<Vec<_>>(),
        "stature": person.stature,
        "side": texture.side,
        "rgb": texture.rgb,
    });
    let path = folder.join("person.json");
    std::fs::write(&path, told.to_string()).map_err(|e| Error::io(path, e))
}
