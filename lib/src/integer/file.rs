//! Networks in integers on disk: levels of as many bits as they have, and the nodes.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use super::graph::{Graph, Node, What};
use super::net::IntegerNet;
use super::plain::Plain;
use super::weights::{Weights, Window};
use crate::nn::Extent;
use crate::ops::affine_quant::AffineGrid;
use crate::quant::blocks::{Block, Blocks, pack, unpack, write_blocks};
use crate::{Error, Result};

const FORMAT: &str = "rebit integer 1";

/// A node in the metadata; its numbers lie in the blocks, in the order of the nodes.
#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    reads: Vec<usize>,
    what: Kind,
    /// Bits of the quantiser before its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<u32>,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Image(usize, usize, usize),
    /// Geometry, bits, number of grids.
    Weighted(Geometry, u32, usize),
    Plain(Plain),
}

/// Inputs, outputs, kernel, stride, padding, dilation, groups.
#[derive(Serialize, Deserialize)]
struct Geometry([usize; 7]);

impl From<Window> for Geometry {
    fn from(w: Window) -> Self {
        Geometry([
            w.inputs, w.outputs, w.kernel, w.stride, w.padding, w.dilation, w.groups,
        ])
    }
}

impl From<Geometry> for Window {
    fn from(
        Geometry([inputs, outputs, kernel, stride, padding, dilation, groups]): Geometry,
    ) -> Self {
        Window {
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            dilation,
            groups,
        }
    }
}

/// Scales and zero points of a list of grids.
#[derive(Default)]
struct Grids {
    scales: Vec<f32>,
    zeros: Vec<f32>,
}

impl Grids {
    fn extend(&mut self, grids: &[AffineGrid]) {
        self.scales.extend(grids.iter().map(|g| g.scale));
        self.zeros.extend(grids.iter().map(|g| g.zero));
    }

    fn blocks(&self, name: &str) -> [Block; 2] {
        let length = vec![self.scales.len()];
        [("scale", &self.scales), ("zero", &self.zeros)]
            .map(|(what, v)| Block::floats(format!("{name}.{what}"), length.clone(), v))
    }
}

impl IntegerNet {
    /// Writes the network: safetensors with the levels of all weights one after the other in `levels`, each layer's
    /// `q - lowest` in its bits, row-major, the lowest bit first, beginning at a byte; the scales and zero points of their
    /// grids in `weights.scale` and `weights.zero`, of the inputs' in `inputs.scale` and `inputs.zero`, and `bias`. The nodes
    /// are JSON in the metadata, beside a sha256 of all. Nothing else is needed to read it.
    ///
    /// ```
    /// use rebit::integer::IntegerNet;
    /// use rebit::prelude::*;
    /// let x = images(4, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&resnet20(10, rng(0)), &x, &PtqConfig::bits(4))?;
    /// let int = q.integer()?;
    /// let path = std::env::temp_dir().join("rebit-doc-net.int4.safetensors");
    /// int.save(&path)?;
    /// let other = IntegerNet::load(&path)?;
    /// assert_eq!(read(&other.predict(&x)?), read(&int.predict(&x)?));
    /// assert!(std::fs::metadata(&path).unwrap().len() < 160_000);
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written: an older one is then still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (mut weights, mut inputs) = (Grids::default(), Grids::default());
        let (mut levels, mut bias) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();
        for node in &self.graph.nodes {
            if let Some((_, grid)) = node.input {
                inputs.extend(&[grid]);
            }
            entries.push(Entry {
                name: node.name.clone(),
                reads: node.reads.clone(),
                input: node.input.map(|(bits, _)| bits),
                what: match &node.what {
                    What::Image(e) => Kind::Image(e.channels, e.height, e.width),
                    What::Plain(plain) => Kind::Plain(plain.clone()),
                    What::Weighted(w) => {
                        levels.extend(pack(&w.levels, w.bits));
                        weights.extend(&w.grids);
                        bias.extend(&w.bias);
                        Kind::Weighted(w.window.into(), w.bits, w.grids.len())
                    }
                },
            });
        }
        let mut blocks = vec![
            Block::bytes("levels", levels),
            Block::floats("bias", vec![bias.len()], &bias),
        ];
        blocks.extend(weights.blocks("weights"));
        blocks.extend(inputs.blocks("inputs"));
        let mut metadata: HashMap<String, String> = HashMap::new();
        let nodes = serde_json::to_string(&entries);
        let nodes = nodes.map_err(|e| Error::data(path, e, "This is a bug"))?;
        metadata.insert("nodes".into(), nodes);
        metadata.insert("output".into(), self.graph.output.to_string());
        write_blocks(path, FORMAT, &blocks, metadata)
    }

    /// Reads what [`save`](Self::save) wrote: the same levels, and so the same answers.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::Data`] for one that is truncated, damaged or of another format,
    /// saying what is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<IntegerNet> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        IntegerNet::load_bytes(path, &bytes)
    }

    /// [`load`](Self::load) from memory; `path` is its name in messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_bytes(path: &Path, bytes: &[u8]) -> Result<IntegerNet> {
        let file = Blocks::parse(path, FORMAT, bytes)?;
        let entries: Vec<Entry> = file.json("nodes")?;
        let output: usize = file.json("output")?;
        let mut rest = Rest {
            file: &file,
            levels: &file.block("levels", Dtype::U8)?.bytes,
            bias: &file.floats("bias")?,
            weights: &pairs(&file, "weights")?,
            inputs: &pairs(&file, "inputs")?,
        };
        let nodes = entries.into_iter().map(|entry| rest.node(entry));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        if [
            rest.levels.len(),
            rest.bias.len(),
            rest.weights.len(),
            rest.inputs.len(),
        ] != [0; 4]
        {
            return Err(file.refuse("holds more numbers than its nodes have"));
        }
        IntegerNet::of(Graph { nodes, output }).map_err(|e| file.refuse(e))
    }
}

/// Scales and zero points.
fn pairs(file: &Blocks, name: &str) -> Result<Vec<(f32, f32)>> {
    let scales = file.floats(&format!("{name}.scale"))?;
    let zeros = file.floats(&format!("{name}.zero"))?;
    if scales.len() != zeros.len() {
        return Err(file.refuse(format!("{name} have other scales than zero points")));
    }
    let bad =
        |(s, z): &&(f32, f32)| !(s.is_normal() && *s > 0.0 && z.fract() == 0.0 && z.abs() <= 1e15);
    let pairs: Vec<(f32, f32)> = scales.into_iter().zip(zeros).collect();
    match pairs.iter().find(bad) {
        Some((s, z)) => Err(file.refuse(format!(
            "{name} have a scale of {s} with a zero point of {z}"
        ))),
        None => Ok(pairs),
    }
}

/// What the nodes have not taken yet.
struct Rest<'a> {
    file: &'a Blocks<'a>,
    levels: &'a [u8],
    bias: &'a [f32],
    weights: &'a [(f32, f32)],
    inputs: &'a [(f32, f32)],
}

impl Rest<'_> {
    fn node(&mut self, entry: Entry) -> Result<Node> {
        let short = |name: &str| {
            self.file
                .refuse(format!("holds too few numbers for layer {name}"))
        };
        let input = match entry.input {
            None => None,
            Some(bits) => {
                let pair = take(&mut self.inputs, 1).ok_or_else(|| short(&entry.name))?;
                Some((bits, self.grids(pair, bits)?[0]))
            }
        };
        let what = match entry.what {
            Kind::Image(c, h, w) => What::Image(Extent::new(c, h, w)),
            Kind::Plain(plain) => What::Plain(plain),
            Kind::Weighted(geometry, bits, grids) => {
                let window = Window::from(geometry);
                let count = window
                    .products()
                    .and_then(|p| p.checked_mul(window.outputs));
                let length = count.and_then(|c| c.checked_mul(bits as usize));
                let parts = (|| {
                    Some((
                        count?,
                        take(&mut self.levels, length?.div_ceil(8))?,
                        take(&mut self.bias, window.outputs)?,
                        take(&mut self.weights, grids)?,
                    ))
                })();
                let Some((count, levels, bias, pairs)) = parts else {
                    return Err(self
                        .file
                        .refuse(format!("holds too few numbers for layer {}", entry.name)));
                };
                let grids = self.grids(pairs, bits)?;
                What::Weighted(Weights {
                    window,
                    bits,
                    levels: unpack(levels, bits, count),
                    grids,
                    bias: bias.to_vec(),
                })
            }
        };
        Ok(Node {
            name: entry.name,
            reads: entry.reads,
            what,
            input,
        })
    }

    fn grids(&self, pairs: &[(f32, f32)], bits: u32) -> Result<Vec<AffineGrid>> {
        if !(1..=8).contains(&bits) {
            return Err(self.file.refuse(format!("has a quantiser of {bits} bits")));
        }
        let half = 2f32.powi(bits as i32 - 1);
        let grid = |(scale, zero): &(f32, f32)| AffineGrid {
            scale: *scale,
            zero: *zero,
            lowest: -half,
            highest: half - 1.0,
        };
        Ok(pairs.iter().map(grid).collect())
    }
}

/// The first `count` entries, if there are as many.
fn take<'a, T>(from: &mut &'a [T], count: usize) -> Option<&'a [T]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}
