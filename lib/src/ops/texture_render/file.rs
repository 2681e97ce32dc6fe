//! Texel maps as files.
//!
//! Little-endian, one after the other:
//!
//! | | |
//! |---|---|
//! | `RBTX` | what it is |
//! | u16 | version, 1 |
//! | u16 | texels of a pixel, 1 or 4 |
//! | u32, u32, u32 | height and width of the image, side of the texture |
//! | u16 for each texel of each pixel | the texel; 65535 for none |
//! | f32 for each texel of each pixel | its weight |
//! | u8 for each pixel | 1 where the body is seen, else 0 |

use std::path::Path;

use super::TexelMap;
use super::map::MOST;
use crate::error::{Error, Result};
use crate::files;

const MAGIC: &[u8; 4] = b"RBTX";
const VERSION: u16 = 1;
const NONE: u16 = u16::MAX;
const HEAD: usize = 20;
const REMEDY: &str = "Write it anew with TexelMap::save";

impl TexelMap {
    /// Writes the map, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        files::save(path, &self.bytes())
    }

    /// Reads a map that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Data`] for one that is something else, of another version, cut
    /// off, or contradicts itself.
    pub fn load(path: impl AsRef<Path>) -> Result<TexelMap> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        parse(&bytes).map_err(|why| Error::data(path, why, REMEDY))
    }

    fn bytes(&self) -> Vec<u8> {
        let reads: Vec<_> = (0..self.pixels()).map(|p| self.reads(p)).collect();
        let per = match reads.iter().all(|r| r.len() <= 1) {
            true => 1,
            false => MOST,
        };
        let mut out = Vec::with_capacity(HEAD + self.pixels() * (6 * per + 1));
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((per as u16).to_le_bytes());
        let (height, width) = self.image();
        for side in [height, width, self.side()] {
            out.extend((side as u32).to_le_bytes());
        }
        let slots = || {
            let padded = |r: &Vec<(u16, f32)>| {
                let mut padded = r.clone();
                padded.resize(per, (NONE, 0.0));
                padded
            };
            reads.iter().flat_map(padded)
        };
        slots().for_each(|(texel, _)| out.extend(texel.to_le_bytes()));
        slots().for_each(|(_, weight)| out.extend(weight.to_le_bytes()));
        out.extend(self.mask().into_iter().map(u8::from));
        out
    }
}

fn parse(bytes: &[u8]) -> std::result::Result<TexelMap, String> {
    if bytes.len() < HEAD || &bytes[..4] != MAGIC {
        return Err("is no texel map".into());
    }
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| [0, 1, 2, 3].map(|k| bytes[at + k]);
    let count = |at: usize| u32::from_le_bytes(word(at)) as usize;
    if short(4) != VERSION {
        return Err(format!("is of version {}, not {VERSION}", short(4)));
    }
    let per = short(6) as usize;
    if per != 1 && per != MOST {
        return Err(format!("has {per} texels a pixel, not 1 or {MOST}"));
    }
    let (height, width, side) = (count(8), count(12), count(16));
    // The product of two 32-bit numbers fits, and so does a few times that.
    let pixels = height as u64 * width as u64;
    let expected = u128::from(pixels) * (6 * per as u128 + 1) + HEAD as u128;
    if bytes.len() as u128 != expected {
        let found = bytes.len();
        return Err(format!(
            "has {found} bytes, a map of {height}x{width} has {expected}"
        ));
    }
    let pixels = pixels as usize;
    let weights = HEAD + 2 * per * pixels;
    let masks = weights + 4 * per * pixels;
    let mut reads = Vec::with_capacity(pixels);
    for pixel in 0..pixels {
        let slots = pixel * per..(pixel + 1) * per;
        let pairs = slots.map(|s| {
            let weight = f32::from_le_bytes(word(weights + 4 * s));
            (short(HEAD + 2 * s), weight)
        });
        reads.push(pairs.filter(|(texel, _)| *texel != NONE).collect());
    }
    let map = TexelMap::new((height, width), side, &reads).map_err(|e| e.to_string())?;
    let said = bytes[masks..].iter().map(|m| *m != 0);
    match map.mask().into_iter().zip(said).position(|(a, b)| a != b) {
        Some(pixel) => Err(format!("pixel {pixel}: its mask contradicts its texels")),
        None => Ok(map),
    }
}
