//! Rebit's side of `tests/peers/run texture`, one JSON object a run.
//!
//! ```text
//! bench_texture prepare FOLDER                       networks, pictures and maps for everybody to start from
//! bench_texture render FOLDER tape|kernels STEPS     16 textures on bodies, and their gradient
//! bench_texture training FOLDER STEPS                a training step of the small U-Net: losses, seconds, peak of memory
//! bench_texture unet FOLDER STEPS                    a step of the paper's U-Net
//! bench_texture texels capsules|fine STEPS           texel maps of bodies, 16 a step
//! bench_texture turntable STEPS                      24 frames, encoded
//! ```

use std::path::PathBuf;

use rebit::prelude::*;
use serde_json::{Value, json};

#[path = "../support/exchange.rs"]
mod exchange;
#[path = "../support/fine_body.rs"]
mod fine_body;
#[path = "../support/folder.rs"]
mod folder;
mod pictures;
mod render;
mod steps;
#[path = "../support/timed.rs"]
mod timed;

use exchange::Named;
use folder::Folder;
use timed::timed;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |n: &str| n.parse::<usize>().expect("a number");
    let at = |folder: &str| Folder(PathBuf::from(folder));
    let result = match args.as_slice() {
        ["prepare", folder] => prepare(&at(folder))?,
        ["render", folder, how, n] => render::run(&at(folder), how, number(n))?,
        ["training", folder, n] => steps::training(&at(folder), number(n))?,
        ["unet", folder, n] => steps::unet_alone(&at(folder), number(n))?,
        ["texels", body, n] => pictures::texels(body, number(n))?,
        ["turntable", n] => pictures::turntable(number(n))?,
        _ => panic!("usage: bench_texture prepare|render|training|unet|texels|turntable ..."),
    };
    println!("{result}");
    Ok(())
}

fn prepare(folder: &Folder) -> Result<Value> {
    folder.create();
    render::prepare(folder)?;
    steps::prepare(folder)?;
    Ok(json!({ "threads": rayon::current_num_threads() }))
}

fn named(name: &str, x: &Images) -> Named {
    let (n, c, h, w) = *x.shape();
    (name.into(), vec![n, c, h, w], read(x))
}

/// What maps of one texel a pixel read: texels and weights, `(maps, pixels)`, 0 where there is none.
fn reads(maps: &[TexelMap]) -> [Named; 2] {
    let pixels = maps[0].pixels();
    let each = |m: &TexelMap| -> Vec<(u16, f32)> {
        let first = |p: usize| m.reads(p).first().copied().unwrap_or((0, 0.0));
        (0..pixels).map(first).collect()
    };
    let all: Vec<(u16, f32)> = maps.iter().flat_map(each).collect();
    let shape = vec![maps.len(), pixels];
    [
        (
            "texel".into(),
            shape.clone(),
            all.iter().map(|r| f32::from(r.0)).collect(),
        ),
        ("weight".into(), shape, all.iter().map(|r| r.1).collect()),
    ]
}
