//! Quantisers put before weights and activations, with ranges from the weights and the calibration images.

use rayon::prelude::*;

use super::calibration::Calibration;
use super::config::{LayerBits, PtqConfig};
use super::graph::Wiring;
use crate::nn::{Affine, LayerInfo, Net, Operand, QuantiserInfo, Slots};
use crate::ops::affine_quant::AffineGrid;
use crate::quant::{Bounds, Range, RangeObserver};
use crate::{Error, Result};

/// An activation that gets a quantiser.
pub(super) struct Observed {
    /// The layer, or the site, whose input it is.
    pub reader: String,
    pub bits: u32,
    pub bounds: Bounds,
    /// Share of the values outside the bounds.
    pub clipped: f64,
}

/// Where activations get quantisers, and to how many bits.
fn readers(wiring: &Wiring, net: &Net, config: &PtqConfig) -> Result<Vec<(String, String, u32)>> {
    if !config.sites {
        let inputs = wiring.layers.iter().filter_map(|layer| {
            let bits = config.bits_of(layer).inputs?;
            Some((layer.name.clone(), wiring.source(layer).to_string(), bits))
        });
        return Ok(inputs.collect());
    }
    let sites = net.sites();
    if sites.is_empty() {
        return Err(Error::invalid(
            "quantisers at sites",
            "the network has none; build it with sites, or quantise inputs",
        ));
    }
    let source = |node: usize| wiring.nodes[wiring.nodes[node].reads[0]].name.clone();
    let at = sites.into_iter().filter_map(|site| {
        let bits = config.input_bits?;
        Some((site.name.clone(), source(site.node), bits))
    });
    Ok(at.collect())
}

/// Runs the network at full precision and reads the ranges of its activations.
pub(super) fn observe(
    net: &Net,
    wiring: &Wiring,
    calibration: &Calibration,
    config: &PtqConfig,
) -> Result<Vec<Observed>> {
    let readers = readers(wiring, net, config)?;
    // Readers of one tensor at the same bits share an observer.
    let mut asked: Vec<(&str, u32)> = Vec::new();
    for (_, source, bits) in &readers {
        if !asked.contains(&(source, *bits)) {
            asked.push((source, *bits));
        }
    }
    // Where nothing is left out, nothing need be counted.
    let range = config.input_range;
    let observer = |&(_, bits): &(&str, u32)| match range.covers_all() {
        true => RangeObserver::new(range),
        false => RangeObserver::of_bits(range, bits),
    };
    let mut observers = asked.iter().map(observer).collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
    calibration.look(net, &names, |seen| {
        let pairs = observers.par_iter_mut().zip(seen).zip(&names);
        pairs.try_for_each(|((observer, seen), name)| {
            let taken = observer.observe(&seen.values);
            taken.map_err(|e| Error::invalid(format!("activation {name}"), e))
        })
    })?;
    let bounds: Result<Vec<(Bounds, f64)>> = observers.par_iter().map(settled).collect();
    let bounds = bounds?;
    let found = readers.iter().map(|(reader, source, bits)| {
        let at = asked.iter().position(|a| *a == (source.as_str(), *bits));
        let (bounds, clipped) = bounds[at.unwrap_or_default()];
        Observed {
            reader: reader.clone(),
            bits: *bits,
            bounds,
            clipped,
        }
    });
    Ok(found.collect())
}

/// The bounds, and the share of what was seen outside them.
fn settled(observer: &RangeObserver) -> Result<(Bounds, f64)> {
    let bounds = observer.found()?.with_zero();
    let seen = observer.histogram();
    let clipped = seen.map_or(0.0, |h| h.outside(bounds.lower, bounds.upper));
    Ok((bounds, clipped))
}

/// The bounds of a weight: one pair, or one for each output channel.
pub(super) fn weight_bounds(
    values: &[f32],
    rows: usize,
    bits: u32,
    (range, per_channel): (Range, bool),
) -> Result<Vec<Bounds>> {
    let rows = if per_channel { rows } else { 1 };
    let parts: Vec<&[f32]> = values.chunks_exact((values.len() / rows).max(1)).collect();
    let found = parts
        .into_par_iter()
        .map(|part| range.affine_bounds(bits, part));
    found.collect()
}

/// Puts a quantiser before each weight and each observed activation.
pub(super) fn place(net: &Net, config: &PtqConfig, observed: &[Observed]) -> Result<()> {
    let params = net.parameters();
    net.quantise(|layer| {
        let LayerBits { weights, .. } = config.bits_of(layer);
        let mut slots = Slots::none();
        if let Some(bits) = weights {
            let affine = Affine::bits(bits);
            let affine = if config.per_channel {
                affine.per_channel()
            } else {
                affine
            };
            slots = slots.and_weights(affine, Range::MinMax);
        }
        Ok(slots)
    })?;
    for layer in net.layers() {
        let Some(bits) = config.bits_of(&layer).weights else {
            continue;
        };
        let weight = &params[layer.weight];
        let how = (config.weight_range, config.per_channel);
        let bounds = weight_bounds(&weight.to_vec(), weight.dims[0], bits, how);
        let bounds = bounds.map_err(|e| Error::invalid(format!("layer {}", layer.name), e))?;
        let flat: Vec<f32> = bounds.iter().flat_map(|b| [b.lower, b.upper]).collect();
        net.set_range(&layer.name, Operand::Weight, &flat)?;
    }
    for activation in observed {
        net.quantise_input(
            &activation.reader,
            Affine::bits(activation.bits),
            Range::MinMax,
        )?;
        let Bounds { lower, upper } = activation.bounds;
        net.set_range(&activation.reader, Operand::Input, &[lower, upper])?;
    }
    Ok(())
}

/// The grids of a layer's weight or input; none where it is not quantised.
pub(super) fn grids(
    quantisers: &[QuantiserInfo],
    layer: &LayerInfo,
    operand: Operand,
) -> Option<Vec<AffineGrid>> {
    let found = quantisers
        .iter()
        .find(|q| q.node == layer.node && q.operand == operand);
    found.and_then(|q| q.grids.clone())
}

/// Rows of a weight on their grids.
pub(super) fn on_grids(values: &[f32], grids: &[AffineGrid]) -> Vec<f32> {
    let row = (values.len() / grids.len().max(1)).max(1);
    let parts = values.chunks_exact(row).zip(grids);
    parts
        .flat_map(|(part, grid)| part.iter().map(|w| grid.quantise(*w)))
        .collect()
}
