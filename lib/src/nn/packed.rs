//! Quantised networks on disk: levels of as many bits as they have.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::Dtype;

use super::net::Net;
use super::quantiser::{FixedGrid, Operand, Slots};
use super::ranges::QuantiserInfo;
use crate::ops::affine_quant::AffineGrid;
use crate::quant::Range;
use crate::quant::blocks::{Block, Blocks, pack, unpack, write_blocks};
use crate::{Error, Result};

/// First entry of the metadata.
const FORMAT: &str = "rebit levels 1";

/// What the metadata say of one quantiser.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Entry {
    layer: String,
    /// Whether it stands before the weight; otherwise before the input.
    weight: bool,
    bits: u32,
}

impl Net {
    /// Writes a network whose quantisers have whole-number zero points ([`super::Affine`], [`FixedGrid`]) as its levels:
    /// safetensors with, for each quantised weight, `NAME.weight.levels`, `NAME.weight.scale` and `NAME.weight.zero`; the
    /// scales and zero points of all inputs in `inputs.scale` and `inputs.zero`; every other parameter as it is. `note`
    /// pairs go into the metadata, with the quantisers' places and bits and a sha256 of all.
    ///
    /// A level is `q - lowest` of its [`AffineGrid`] in `bits` bits, row-major, the lowest bit first, without gaps; the
    /// number that it stands for is `(q + zero) / scale`.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let x = images(8, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&net, &x, &PtqConfig::bits(4))?;
    /// let path = std::env::temp_dir().join("rebit-doc-levels.safetensors");
    /// q.save_levels(&path, &[("network", "ResNet-20")])?;
    /// let other = resnet20(10, rng(5)).folded()?;
    /// other.load_levels(&path)?;
    /// assert_eq!(read(&other.predict(&x)?), read(&q.predict(&x)?));
    /// assert!(std::fs::metadata(&path).unwrap().len() < 170_000);
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`], with the layer, for a quantiser of another kind or without a range yet, more than 8 bits, and a
    /// zero point that 32 bits do not hold; [`Error::Io`] when the file cannot be written: an older one is then still there.
    pub fn save_levels(&self, path: impl AsRef<Path>, notes: &[(&str, &str)]) -> Result<()> {
        let path = path.as_ref();
        let (blocks, entries) = self.blocks()?;
        let entries = serde_json::to_string(&entries);
        let entries = entries.map_err(|e| Error::data(path, e, "This is a bug"))?;
        let mut metadata: HashMap<String, String> = HashMap::new();
        for (key, value) in notes {
            metadata.insert(format!("note.{key}"), value.to_string());
        }
        metadata.insert("quantisers".into(), entries);
        write_blocks(path, FORMAT, &blocks, metadata)
    }

    /// Reads what [`save_levels`](Self::save_levels) wrote into a network of the same layers at full precision: weights are
    /// the levels' numbers, and quantisers on the same grids stand where they stood, so that it computes the same bits.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::Data`] for one that is truncated, damaged, of another format
    /// or of another network, naming what does not fit; [`Error::Invalid`] for a network that is quantised already. The
    /// network is then as before.
    pub fn load_levels(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        self.load_levels_bytes(path, &bytes)
    }

    /// [`load_levels`](Self::load_levels) from memory; `path` is its name in messages.
    ///
    /// # Errors
    /// As [`load_levels`](Self::load_levels).
    pub fn load_levels_bytes(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        if let Some(placed) = self.quantisers().first() {
            return Err(Error::invalid(
                format!("layer {}", placed.layer),
                "is quantised already; load levels into a network at full precision",
            ));
        }
        let file = Levels::parse(path, bytes)?;
        let plan = file.plan(self)?;
        for (name, values) in &plan.values {
            self.set_parameter(name, values)?;
        }
        for (layer, grids, bits) in plan.weights {
            let quantiser = FixedGrid::new(grids, bits)?;
            let mut slot = Some(Slots::weights(quantiser, Range::MinMax));
            self.quantise(|l| {
                Ok(if l.name == layer {
                    slot.take().unwrap_or_default()
                } else {
                    Slots::none()
                })
            })?;
        }
        for (layer, grid, bits) in plan.inputs {
            self.quantise_input(&layer, FixedGrid::new(vec![grid], bits)?, Range::MinMax)?;
        }
        Ok(())
    }

    /// The tensors of the file, and where their quantisers stand.
    fn blocks(&self) -> Result<(Vec<Block>, Vec<Entry>)> {
        let (quantisers, params, layers) = (self.quantisers(), self.parameters(), self.layers());
        let mut blocks = Vec::new();
        let mut entries = Vec::new();
        let mut inputs: (Vec<f32>, Vec<i32>) = Default::default();
        let mut written = Vec::new();
        for placed in &quantisers {
            let grids = grids_of(placed)?;
            let zeros = grids.iter().map(|g| whole(g.zero, &placed.layer));
            let zeros = zeros.collect::<Result<Vec<i32>>>()?;
            let scales: Vec<f32> = grids.iter().map(|g| g.scale).collect();
            let weight = placed.operand == Operand::Weight;
            entries.push(Entry {
                layer: placed.layer.clone(),
                weight,
                bits: placed.bits,
            });
            if !weight {
                inputs.0.extend(scales);
                inputs.1.extend(zeros);
                continue;
            }
            let Some(layer) = layers.iter().find(|l| l.node == placed.node) else {
                continue;
            };
            let param = &params[layer.weight];
            written.push(layer.weight);
            let values = param.to_vec();
            if let Some(i) = values.iter().position(|v| v.is_nan()) {
                let why = format!("entry {i} is NaN; it has no level");
                return Err(Error::invalid(
                    format!("layer {}: its weight", placed.layer),
                    why,
                ));
            }
            let row = (values.len() / grids.len()).max(1);
            let levels = values.iter().enumerate().map(|(i, w)| {
                let g = grids[i / row];
                (g.level(*w) - g.lowest) as u8
            });
            let levels: Vec<u8> = levels.collect();
            let packed = pack(&levels, placed.bits);
            blocks.push(Block::bytes(format!("{}.levels", param.name), packed));
            let name = format!("{}.scale", param.name);
            blocks.push(Block::floats(name, vec![scales.len()], &scales));
            blocks.push(Block::wholes(format!("{}.zero", param.name), &zeros));
        }
        if !inputs.0.is_empty() {
            blocks.push(Block::floats(
                "inputs.scale",
                vec![inputs.0.len()],
                &inputs.0,
            ));
            blocks.push(Block::wholes("inputs.zero", &inputs.1));
        }
        for (id, param) in params.iter().enumerate() {
            if !written.contains(&id) && !is_range(&param.name, &quantisers) {
                blocks.push(Block::floats(
                    param.name.clone(),
                    param.dims.clone(),
                    &param.to_vec(),
                ));
            }
        }
        Ok((blocks, entries))
    }
}

/// Whether a parameter is the range of a quantiser: its grid says the same.
fn is_range(name: &str, quantisers: &[QuantiserInfo]) -> bool {
    let own = |q: &QuantiserInfo| {
        let Some(rest) = name.strip_prefix(q.layer.as_str()) else {
            return false;
        };
        let ranges = match q.operand {
            Operand::Weight => [".weight_bounds", ".weight_scale", ".weight_steps"],
            Operand::Input => [".act_bounds", ".act_scale", ".act_steps"],
        };
        ranges.contains(&rest)
    };
    quantisers.iter().any(own)
}

pub(crate) fn grids_of(placed: &QuantiserInfo) -> Result<&[AffineGrid]> {
    let what = || {
        format!(
            "layer {}: the quantiser of its {:?}",
            placed.layer, placed.operand
        )
    };
    if placed.bits > 8 {
        let why = format!("has {} bits; levels are kept in at most 8", placed.bits);
        return Err(Error::invalid(what(), why));
    }
    match (&placed.grids, placed.ready) {
        (Some(grids), true) if !grids.is_empty() => Ok(grids),
        (_, false) => Err(Error::invalid(
            what(),
            "has no range yet; calibrate it first",
        )),
        _ => Err(Error::invalid(
            what(),
            "has no whole-number zero point, or a range of each pass; take Affine with a range that stays",
        )),
    }
}

fn whole(zero: f32, layer: &str) -> Result<i32> {
    if zero.fract() == 0.0 && zero.abs() < 2f32.powi(31) {
        return Ok(zero as i32);
    }
    Err(Error::invalid(
        format!("layer {layer}: zero point {zero}"),
        "does not fit 32 bits: the range is narrow and far from 0; widen it to hold 0 (Bounds::with_zero)",
    ))
}

/// A file that has been read.
struct Levels<'a> {
    file: Blocks<'a>,
    entries: Vec<Entry>,
}

/// What a file means for a network.
#[derive(Default)]
struct Plan {
    values: Vec<(String, Vec<f32>)>,
    weights: Vec<(String, Vec<AffineGrid>, u32)>,
    inputs: Vec<(String, AffineGrid, u32)>,
}

impl<'a> Levels<'a> {
    fn parse(path: &'a Path, bytes: &[u8]) -> Result<Self> {
        let file = Blocks::parse(path, FORMAT, bytes)?;
        let entries = file.json("quantisers")?;
        Ok(Levels { file, entries })
    }

    fn grids(&self, stem: &str, bits: u32) -> Result<Vec<AffineGrid>> {
        let scales = self.file.floats(&format!("{stem}.scale"))?;
        let zeros = self.file.wholes(&format!("{stem}.zero"))?;
        if zeros.len() != scales.len() || !(1..=8).contains(&bits) {
            return Err(self.file.refuse(format!(
                "{stem} has other scales than zero points, or {bits} bits"
            )));
        }
        let half = 2f32.powi(bits as i32 - 1);
        let grid = |(scale, zero): (f32, i32)| AffineGrid {
            scale,
            zero: zero as f32,
            lowest: -half,
            highest: half - 1.0,
        };
        Ok(scales.into_iter().zip(zeros).map(grid).collect())
    }

    /// Checks everything against the network, which stays as it is.
    fn plan(&self, net: &Net) -> Result<Plan> {
        let (params, layers) = (net.parameters(), net.layers());
        let names: Vec<String> = net.nodes().into_iter().map(|n| n.name).collect();
        let mut plan = Plan::default();
        let mut taken: Vec<String> = Vec::new();
        let mut at_input = 0;
        for entry in &self.entries {
            let refuse = |why: &str| self.file.refuse(format!("layer {}: {why}", entry.layer));
            if !entry.weight {
                if !names.contains(&entry.layer) {
                    return Err(refuse("is not in the network"));
                }
                let grids = self.grids("inputs", entry.bits)?;
                let grid = grids
                    .get(at_input)
                    .ok_or_else(|| refuse("lacks the grid of its input"))?;
                plan.inputs.push((entry.layer.clone(), *grid, entry.bits));
                at_input += 1;
                continue;
            }
            let Some(layer) = layers.iter().find(|l| l.name == entry.layer) else {
                return Err(refuse("is no convolution or linear layer of the network"));
            };
            let weight = &params[layer.weight];
            let stem = &weight.name;
            let grids = self.grids(stem, entry.bits)?;
            let packed = &self.file.block(&format!("{stem}.levels"), Dtype::U8)?.bytes;
            let expected = (weight.len() * entry.bits as usize).div_ceil(8);
            let rows = grids.len();
            if packed.len() != expected || (rows != 1 && rows != weight.dims[0]) {
                return Err(refuse("has another number of weights or channels here"));
            }
            let row = (weight.len() / rows).max(1);
            let levels = unpack(packed, entry.bits, weight.len())
                .into_iter()
                .enumerate();
            let values = levels.map(|(i, level)| {
                let g = grids[i / row];
                (f32::from(level) + g.lowest + g.zero) / g.scale
            });
            plan.values.push((stem.clone(), values.collect()));
            FixedGrid::new(grids.clone(), entry.bits).map_err(|e| refuse(&e.to_string()))?;
            plan.weights.push((entry.layer.clone(), grids, entry.bits));
            taken.extend([".levels", ".scale", ".zero"].map(|end| format!("{stem}{end}")));
        }
        for (layer, grid, bits) in &plan.inputs {
            FixedGrid::new(vec![*grid], *bits)
                .map_err(|e| self.file.refuse(format!("layer {layer}: {e}")))?;
        }
        taken.extend(["inputs.scale", "inputs.zero"].map(String::from));
        for param in &params {
            if plan.values.iter().any(|(name, _)| *name == param.name) {
                continue;
            }
            let block = self.file.block(&param.name, Dtype::F32)?;
            if block.dims != param.dims {
                let why = format!(
                    "{}: {:?}, in the network {:?}",
                    param.name, block.dims, param.dims
                );
                return Err(self.file.refuse(why));
            }
            plan.values
                .push((param.name.clone(), self.file.floats(&param.name)?));
            taken.push(param.name.clone());
        }
        match self.file.by_name.keys().find(|name| !taken.contains(name)) {
            Some(extra) => Err(self
                .file
                .refuse(format!("holds {extra:?}, which the network lacks"))),
            None => Ok(plan),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net as built;
    use crate::nn::{Affine, Conv, pretrained_resnet20};
    use crate::ops::relu::Activation;
    use crate::{images, read, rng};

    fn small() -> Result<Net> {
        built((2, 4, 4), |b, x| {
            let x = b.conv("conv", x, Conv::new(3).with_bias())?;
            let x = b.activation("relu", x, Activation::Relu)?;
            let x = b.global_avg_pool(x)?;
            b.linear("fc", x, 2)
        })
    }

    fn quantised(bits: u32) -> Result<Net> {
        let net = small()?;
        net.quantise(|_| {
            let weights = Affine::bits(bits).per_channel();
            Ok(Slots::weights(weights, Range::MinMax).inputs(Affine::bits(8), Range::MinMax))
        })?;
        net.observe_ranges(&images(4, 2, 4, 4, &mut rng(1)))?;
        Ok(net)
    }

    #[test]
    fn what_is_read_computes_the_same_bits() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let x = images(3, 2, 4, 4, &mut rng(2));
        for bits in 1..=8 {
            let (q, path) = (quantised(bits)?, folder.path().join("q.safetensors"));
            q.save_levels(&path, &[("by", "a test")])?;
            let other = small()?;
            other.load_levels(&path)?;
            assert_eq!(
                read(&other.predict(&x)?),
                read(&q.predict(&x)?),
                "{bits} bits"
            );
            // Written again it is the same file.
            let again = folder.path().join("again.safetensors");
            other.save_levels(&again, &[("by", "a test")])?;
            let third = small()?;
            third.load_levels(&again)?;
            assert_eq!(third.state()?, other.state()?);
        }
        Ok(())
    }

    #[test]
    fn a_file_is_as_small_as_its_levels() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        for bits in [8, 4, 2] {
            let q = pretrained_resnet20()?.folded()?;
            q.quantise(|_| {
                let weights = Affine::bits(bits).per_channel();
                Ok(Slots::weights(weights, Range::MinMax).inputs(Affine::bits(8), Range::MinMax))
            })?;
            q.observe_ranges(&images(2, 3, 32, 32, &mut rng(1)))?;
            let path = folder.path().join(format!("{bits}.safetensors"));
            q.save_levels(&path, &[])?;
            let size = std::fs::metadata(&path).unwrap().len() as f64;
            let channels: usize = q
                .parameters()
                .iter()
                .filter(|p| p.name.ends_with(".bias"))
                .map(|p| p.len())
                .sum();
            let least = (270_896 * bits as usize / 8 + 12 * channels) as f64;
            assert!(
                size <= 1.05 * least + 10_000.0,
                "{bits} bits: {size} of {least}"
            );
        }
        Ok(())
    }

    #[test]
    fn damage_at_any_byte_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.safetensors");
        quantised(3)?.save_levels(&path, &[("by", "a test")])?;
        let whole = std::fs::read(&path).unwrap();
        let net = small()?;
        let before = net.state()?;
        for at in 0..whole.len() {
            assert!(
                net.load_levels_bytes(&path, &whole[..at]).is_err(),
                "{at} bytes"
            );
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(net.load_levels_bytes(&path, &flipped).is_err(), "byte {at}");
        }
        assert_eq!(net.state()?, before);
        assert!(net.quantisers().is_empty());
        net.load_levels_bytes(&path, &whole)
    }

    #[test]
    fn what_does_not_fit_is_named_and_older_files_stay() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.safetensors");
        let q = quantised(4)?;
        q.save_levels(&path, &[])?;
        let other = built((2, 4, 4), |b, x| {
            b.conv("conv", x, Conv::new(3).with_bias())
        })?;
        let error = other.load_levels(&path).unwrap_err().to_string();
        assert!(
            error.contains("fc") && error.contains("q.safetensors"),
            "{error}"
        );
        let error = q.load_levels(&path).unwrap_err().to_string();
        assert!(error.contains("quantised already"), "{error}");
        let open = small()?;
        open.quantise(|_| Ok(Slots::none().inputs(Affine::bits(4), Range::MinMax)))?;
        let error = open.save_levels(&path, &[]).unwrap_err().to_string();
        assert!(
            error.contains("layer conv") && error.contains("no range yet"),
            "{error}"
        );
        let normalised = small()?;
        normalised.quantise(|_| Ok(Slots::bits(2)))?;
        normalised.calibrate(&images(4, 2, 4, 4, &mut rng(3)))?;
        let error = normalised.save_levels(&path, &[]).unwrap_err().to_string();
        assert!(error.contains("zero point"), "{error}");
        small()?.load_levels(&path)?;
        assert!(q.save_levels(folder.path(), &[]).is_err());
        Ok(())
    }
}
