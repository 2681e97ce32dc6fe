//! Files of quantised networks: safetensors of levels that are packed to as many bits as they have, under one checksum.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

use crate::files;
use crate::{Error, Result};

/// What a broken file asks for.
pub(crate) const REMEDY: &str =
    "Write the file again, or give the network that it was written from";

/// A tensor of the file.
pub(crate) struct Block {
    pub name: String,
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Block {
    pub fn floats(name: impl Into<String>, dims: Vec<usize>, values: &[f32]) -> Block {
        Block {
            name: name.into(),
            dtype: Dtype::F32,
            dims,
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    pub fn wholes(name: impl Into<String>, values: &[i32]) -> Block {
        Block {
            name: name.into(),
            dtype: Dtype::I32,
            dims: vec![values.len()],
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    pub fn bytes(name: impl Into<String>, bytes: Vec<u8>) -> Block {
        Block {
            name: name.into(),
            dtype: Dtype::U8,
            dims: vec![bytes.len()],
            bytes,
        }
    }
}

/// Levels of so many bits each, without gaps, the lowest bit first.
pub(crate) fn pack(levels: &[u8], bits: u32) -> Vec<u8> {
    let mut packed = vec![0u8; (levels.len() * bits as usize).div_ceil(8)];
    for (i, level) in levels.iter().enumerate() {
        let at = i * bits as usize;
        let spread = u16::from(*level) << (at % 8);
        packed[at / 8] |= spread as u8;
        if let Some(next) = packed.get_mut(at / 8 + 1) {
            *next |= (spread >> 8) as u8;
        }
    }
    packed
}

/// The levels that [`pack`] packed.
pub(crate) fn unpack(packed: &[u8], bits: u32, count: usize) -> Vec<u8> {
    let mask = ((1u16 << bits) - 1) as u8;
    let one = |i: usize| {
        let at = i * bits as usize;
        let next = packed.get(at / 8 + 1).copied().unwrap_or(0);
        let pair = u16::from(packed[at / 8]) | u16::from(next) << 8;
        (pair >> (at % 8)) as u8 & mask
    };
    (0..count).map(one).collect()
}

/// Writes blocks and metadata of a `format` under a temporary name and renames it.
pub(crate) fn write_blocks(
    path: &Path,
    format: &str,
    blocks: &[Block],
    mut metadata: HashMap<String, String>,
) -> Result<()> {
    metadata.insert("format".into(), format.into());
    metadata.insert("sha256".into(), digest(blocks, &metadata));
    let mut views = Vec::with_capacity(blocks.len());
    for block in blocks {
        let view = TensorView::new(block.dtype, block.dims.clone(), &block.bytes);
        let view = view.map_err(|e| Error::data(path, e, "This is a bug"))?;
        views.push((block.name.as_str(), view));
    }
    let data = safetensors::serialize(views, &Some(metadata));
    let data = data.map_err(|e| Error::data(path, e, "This is a bug"))?;
    files::save(path, &data)
}

/// sha256 of everything but itself, whatever the order.
fn digest(blocks: &[Block], metadata: &HashMap<String, String>) -> String {
    let mut hash = Sha256::new();
    let mut text = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    let mut sorted: Vec<_> = metadata
        .iter()
        .filter(|(key, _)| *key != "sha256")
        .collect();
    sorted.sort();
    for (key, value) in sorted {
        text(key.as_bytes());
        text(value.as_bytes());
    }
    let mut blocks: Vec<&Block> = blocks.iter().collect();
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    for block in blocks {
        text(block.name.as_bytes());
        text(format!("{:?} {:?}", block.dtype, block.dims).as_bytes());
        text(&block.bytes);
    }
    let bytes = hash.finalize();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A file that has been read and is whole.
pub(crate) struct Blocks<'a> {
    path: &'a Path,
    pub by_name: HashMap<String, Block>,
    pub metadata: HashMap<String, String>,
}

impl<'a> Blocks<'a> {
    /// [`Error::Data`] for bytes that are no file of this `format`, or damaged.
    pub fn parse(path: &'a Path, format: &str, bytes: &[u8]) -> Result<Self> {
        let broken = |e: safetensors::SafeTensorError| {
            Error::data(path, format!("is not a safetensors file: {e}"), REMEDY)
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let blocks = file.tensors().into_iter().map(|(name, view)| Block {
            name,
            dtype: view.dtype(),
            dims: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        });
        let blocks: Vec<Block> = blocks.collect();
        let refuse = |why: String| Error::data(path, why, REMEDY);
        if metadata.get("format").map(String::as_str) != Some(format) {
            return Err(refuse(format!("is no file of the format {format:?}")));
        }
        if metadata.get("sha256") != Some(&digest(&blocks, &metadata)) {
            return Err(refuse("is damaged: its checksum differs".into()));
        }
        let by_name = blocks.into_iter().map(|b| (b.name.clone(), b));
        Ok(Blocks {
            path,
            by_name: by_name.collect(),
            metadata,
        })
    }

    pub fn refuse(&self, why: impl ToString) -> Error {
        Error::data(self.path, why, REMEDY)
    }

    /// What an entry of the metadata says, in JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        let text = self.metadata.get(key);
        let value = text.map(|text| serde_json::from_str(text));
        match value {
            Some(Ok(value)) => Ok(value),
            _ => Err(self.refuse(format!("does not say its {key}"))),
        }
    }

    pub fn block(&self, name: &str, dtype: Dtype) -> Result<&Block> {
        let found = self.by_name.get(name).filter(|b| b.dtype == dtype);
        found.ok_or_else(|| self.refuse(format!("lacks {name} as {dtype:?}")))
    }

    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let words = self.block(name, Dtype::F32)?.bytes.as_chunks::<4>().0;
        Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }

    pub fn wholes(&self, name: &str) -> Result<Vec<i32>> {
        let words = self.block(name, Dtype::I32)?.bytes.as_chunks::<4>().0;
        Ok(words.iter().map(|w| i32::from_le_bytes(*w)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bits_of_packed_levels() {
        // 5, 2, 7, 1 in three bits: 101, 010, 111, 001 from the lowest bit on.
        assert_eq!(pack(&[5, 2, 7, 1], 3), [0b1101_0101, 0b0000_0011]);
        for bits in 1..=8 {
            let levels: Vec<u8> = (0..37u32).map(|i| (i * 29 % (1 << bits)) as u8).collect();
            let packed = pack(&levels, bits);
            assert_eq!(packed.len(), (37 * bits as usize).div_ceil(8));
            assert_eq!(unpack(&packed, bits, 37), levels);
        }
    }
}
