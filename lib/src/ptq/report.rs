//! What quantising cost, layer by layer.

use rayon::prelude::*;

use super::calibration::Calibration;
use super::config::PtqConfig;
use super::graph::Wiring;
use super::place::{Observed, grids, on_grids};
use super::sensitivity::{Answers, is_of};
use crate::Result;
use crate::nn::{Affine, LayerInfo, Net, Operand, Slots};
use crate::ops::affine_quant::AffineGrid;
use crate::plot::{self, Figure};
use crate::quant::{Bounds, Range};
use crate::show::{Cell, MimeBundle, Progress, Show, Table, bundle_of};

/// Images that the outputs of the layers are compared on, at most.
const COMPARED: usize = 128;

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReport {
    /// Name of the layer.
    pub name: String,
    /// Number of its weights.
    pub weights: usize,
    /// Bits of the weights, where they are quantised.
    pub weight_bits: Option<u32>,
    /// Bits of the input, where it is.
    pub input_bits: Option<u32>,
    /// From the lowest to the highest level of any output channel.
    pub weight_range: Option<Bounds>,
    /// From the lowest to the highest level.
    pub input_range: Option<Bounds>,
    /// Signal to quantisation noise of the weights, `10 log10(sum w^2 / sum (wq - w)^2)` dB.
    pub weight_sqnr: Option<f64>,
    /// The same of the layer's output, with everything before it quantised too.
    pub output_sqnr: f64,
    /// Share of the weights beyond the outermost levels, by more than half a step.
    pub weights_clipped: f64,
    /// Share of the input's values outside its range, over the calibration images.
    pub inputs_clipped: f64,
    /// Rise of the output's error with this layer alone quantised, input and weights: see [`super::sensitivity_with`]; when
    /// it was asked for.
    pub sensitivity: Option<f64>,
}

/// What [`post_training`](super::post_training()) returns beside the network. Ends a cell as a table and a figure; a line
/// of text each layer on a terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct PtqReport {
    /// The layers, in the order they run.
    pub layers: Vec<LayerReport>,
    /// Calibration images.
    pub images: usize,
    /// Error of the network's answers, all layers quantised: what [`LayerReport::sensitivity`] is for one.
    pub rise: f64,
    /// Pairs of layers whose ranges were evened out.
    pub equalised: usize,
    /// Layers whose biases were corrected.
    pub corrected: usize,
}

/// What a report is made from.
pub(super) struct Made<'a> {
    pub float: &'a Net,
    pub q: &'a Net,
    pub wiring: &'a Wiring,
    pub calibration: &'a Calibration,
    pub observed: &'a [Observed],
    pub config: &'a PtqConfig,
}

/// The network at full precision beside the quantised one.
struct Compared {
    /// By layer, the ratio of the output to what quantising changed in it, in dB.
    noise: Vec<f64>,
    answers: Answers,
    /// How far the quantised network's answers are.
    rise: f64,
}

impl Made<'_> {
    pub fn report(&self, equalised: usize, corrected: usize) -> Result<PtqReport> {
        let few = self.calibration.first(COMPARED);
        let Compared {
            noise,
            answers,
            rise,
        } = self.compare(&few)?;
        let mut layers = Vec::with_capacity(noise.len());
        for (layer, output_sqnr) in self.wiring.layers.iter().zip(noise) {
            layers.push(self.layer(layer, output_sqnr)?);
        }
        if self.config.sensitivity {
            let mut progress = Progress::new("sensitivity", Some(layers.len() as u64));
            for (layer, report) in self.wiring.layers.iter().zip(&mut layers) {
                let alone = self.alone(layer)?;
                report.sensitivity = Some(answers.rise(&alone, &few)?);
                progress.inc(1);
            }
        }
        Ok(PtqReport {
            layers,
            images: self.calibration.count(),
            rise,
            equalised,
            corrected,
        })
    }

    /// Both networks on the same images, in one pass each: their layers and their answers.
    fn compare(&self, few: &Calibration) -> Result<Compared> {
        let output = self.float.output_name();
        let names = self.wiring.layers.iter().map(|l| l.name.as_str());
        let names: Vec<&str> = names.chain([output.as_str()]).collect();
        let mut sums = vec![(0.0, 0.0); self.wiring.layers.len()];
        let (mut answers, mut on_levels) = (Vec::new(), Vec::new());
        for x in few.batches() {
            crate::show::check_interrupt()?;
            self.float.look(&[x], &names, |float| {
                self.q.look(&[x], &names, |q| {
                    let layers = sums.par_iter_mut().zip(float).zip(q);
                    layers.for_each(|((sum, y), yq)| {
                        let (signal, noise) = energies(&y.values, &yq.values);
                        *sum = (sum.0 + signal, sum.1 + noise);
                    });
                    if let (Some(y), Some(yq)) = (float.last(), q.last()) {
                        answers.extend_from_slice(&y.values);
                        on_levels.extend_from_slice(&yq.values);
                    }
                    Ok(())
                })
            })?;
        }
        let answers = Answers::from_values(self.float, answers);
        Ok(Compared {
            noise: sums.into_iter().map(decibel).collect(),
            rise: answers.rise_to(&on_levels)?,
            answers,
        })
    }

    fn layer(&self, layer: &LayerInfo, output_sqnr: f64) -> Result<LayerReport> {
        let quantisers = self.q.quantisers();
        let weight = &self.q.parameters()[layer.weight];
        let own = self.float.parameter(&weight.name)?.to_vec();
        let on = grids(&quantisers, layer, Operand::Weight);
        let values = on.as_ref().map(|grids| on_grids(&weight.to_vec(), grids));
        let clipped = |grids: &Vec<AffineGrid>| {
            let row = own.len() / grids.len();
            let beyond = |(i, w): (usize, &f32)| {
                let g = grids[i / row];
                let place = g.scale * w - g.zero;
                usize::from(place < g.lowest - 0.5 || place > g.highest + 0.5)
            };
            own.iter().enumerate().map(beyond).sum::<usize>() as f64 / own.len() as f64
        };
        let bits = |operand| {
            let placed = quantisers.iter().find(|q| is_of(q, &layer.name, operand));
            placed.map(|q| q.bits)
        };
        let input = grids(&quantisers, layer, Operand::Input);
        let seen = self.observed.iter().find(|o| o.reader == layer.name);
        Ok(LayerReport {
            name: layer.name.clone(),
            weights: layer.weights,
            weight_bits: bits(Operand::Weight),
            input_bits: bits(Operand::Input),
            weight_range: on.as_deref().and_then(outermost),
            input_range: input.as_deref().and_then(outermost),
            weight_sqnr: values.map(|q| decibel(energies(&own, &q))),
            output_sqnr,
            weights_clipped: on.as_ref().map_or(0.0, clipped),
            inputs_clipped: seen.map_or(0.0, |o| o.clipped),
            sensitivity: None,
        })
    }

    /// The network at full precision but for one layer.
    fn alone(&self, layer: &LayerInfo) -> Result<Net> {
        let alone = self.float.duplicate()?;
        let quantisers = self.q.quantisers();
        let range_of = |operand| {
            let found = quantisers.iter().find(|q| is_of(q, &layer.name, operand));
            found.and_then(|q| Some((q.bits, q.range.clone()?)))
        };
        let (weights, inputs) = (range_of(Operand::Weight), range_of(Operand::Input));
        let weight = self.q.parameters().swap_remove(layer.weight);
        alone.set_parameter(&weight.name, &weight.to_vec())?;
        alone.quantise(|l| {
            let mut slots = Slots::none();
            if l.name != layer.name {
                return Ok(slots);
            }
            if let Some((bits, _)) = &weights {
                let affine = Affine::bits(*bits);
                let affine = match self.config.per_channel {
                    true => affine.per_channel(),
                    false => affine,
                };
                slots = slots.and_weights(affine, Range::MinMax);
            }
            if let Some((bits, _)) = &inputs {
                slots = slots.inputs(Affine::bits(*bits), Range::MinMax);
            }
            Ok(slots)
        })?;
        for (operand, found) in [(Operand::Weight, weights), (Operand::Input, inputs)] {
            if let Some((_, range)) = found {
                alone.set_range(&layer.name, operand, &range)?;
            }
        }
        Ok(alone)
    }
}

/// From the lowest to the highest level of all grids.
fn outermost(grids: &[AffineGrid]) -> Option<Bounds> {
    let ends = |g: &AffineGrid| {
        Bounds::new(
            (g.lowest + g.zero) / g.scale,
            (g.highest + g.zero) / g.scale,
        )
    };
    let wider = |a: Bounds, b: Bounds| Bounds::new(a.lower.min(b.lower), a.upper.max(b.upper));
    grids.iter().map(ends).reduce(wider)
}

/// Sums that are added up side by side.
const LANES: usize = 8;

/// Energy of a signal and of another one's difference to it.
fn energies(signal: &[f32], other: &[f32]) -> (f64, f64) {
    let (mut energy, mut noise) = ([0.0f64; LANES], [0.0f64; LANES]);
    let mut add = |lane: usize, a: f32, b: f32| {
        let (a, b) = (f64::from(a), f64::from(b));
        energy[lane] += a * a;
        noise[lane] += (b - a) * (b - a);
    };
    let (parts, rest) = signal.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    for (part, other) in parts.iter().zip(others) {
        for (lane, (a, b)) in part.iter().zip(other).enumerate() {
            add(lane, *a, *b);
        }
    }
    for (lane, (a, b)) in rest.iter().zip(other_rest).enumerate() {
        add(lane, *a, *b);
    }
    (energy.iter().sum(), noise.iter().sum())
}

/// Infinite without noise, and for nothing at all.
fn decibel((signal, noise): (f64, f64)) -> f64 {
    match noise {
        0.0 => f64::INFINITY,
        noise => 10.0 * (signal / noise).log10(),
    }
}

/// A table with a figure below it; the table alone where pictures are not shown, or there is none.
pub(super) fn with_figure(table: &Table, figure: Result<Figure>) -> MimeBundle {
    let html = match figure {
        Ok(figure) => format!("{}<div>{}</div>", table.html(), figure.svg()),
        Err(_) => table.html(),
    };
    bundle_of("text/html", html, table)
}

impl PtqReport {
    /// A row a layer.
    pub fn table(&self) -> Table {
        let mut head = vec![
            "layer",
            "bits W/A",
            "levels of W",
            "levels of A",
            "SQNR W, dB",
            "SQNR out, dB",
            "clipped W, %",
            "clipped A, %",
        ];
        let told = self.layers.iter().any(|l| l.sensitivity.is_some());
        if told {
            head.push("alone");
        }
        let mut table = Table::new(head);
        let bits = |b: Option<u32>| b.map_or("32".to_string(), |b| b.to_string());
        let range = |r: Option<Bounds>| {
            r.map_or("-".to_string(), |r| {
                format!("{:.3} … {:.3}", r.lower, r.upper)
            })
        };
        for l in &self.layers {
            let mut row: Vec<Cell> = vec![
                l.name.as_str().into(),
                format!("{}/{}", bits(l.weight_bits), bits(l.input_bits)).into(),
                range(l.weight_range).into(),
                range(l.input_range).into(),
                l.weight_sqnr.map_or("-".into(), |v| Cell::from(rounded(v))),
                rounded(l.output_sqnr).into(),
                rounded(100.0 * l.weights_clipped).into(),
                rounded(100.0 * l.inputs_clipped).into(),
            ];
            if told {
                row.push(l.sensitivity.map_or("-".into(), Cell::from));
            }
            table.push(row);
        }
        table.caption(format!(
            "Post-training quantisation: answers {:.4} from full precision; {} images, {} pairs equalised, {} biases corrected",
            self.rise, self.images, self.equalised, self.corrected
        ))
    }

    /// The ratio of signal to noise over the layers, of weights and of outputs.
    ///
    /// # Errors
    /// As [`plot::Lines::try_figure`].
    pub fn figure(&self) -> Result<Figure> {
        let finite = |v: f64| if v.is_finite() { v } else { f64::NAN };
        let at = || 1..=self.layers.len();
        let weights = self
            .layers
            .iter()
            .map(|l| finite(l.weight_sqnr.unwrap_or(f64::NAN)));
        let outputs = self.layers.iter().map(|l| finite(l.output_sqnr));
        plot::lines("Signal to quantisation noise")
            .x("layer")
            .y("dB")
            .series("weights", at(), weights)
            .series("output, all before it quantised", at(), outputs)
            .markers()
            .try_figure()
    }
}

/// Two digits behind the point, for a column that is read from top to bottom.
fn rounded(v: f64) -> f64 {
    (100.0 * v).round() / 100.0
}

impl std::fmt::Display for PtqReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table().fmt(f)
    }
}

impl Show for PtqReport {
    fn bundle(&self) -> MimeBundle {
        with_figure(&self.table(), self.figure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_ratios_and_ends() {
        assert_eq!(energies(&[3.0, 4.0], &[3.0, 3.5]), (25.0, 0.25));
        let (ones, twos) = (vec![1.0; 5 * LANES + 3], vec![3.0; 5 * LANES + 3]);
        let n = ones.len() as f64;
        assert_eq!(energies(&ones, &twos), (n, 4.0 * n));
        assert!((decibel((25.0, 0.25)) - 20.0).abs() < 1e-12);
        assert_eq!(decibel((0.0, 0.0)), f64::INFINITY);
        let grid = |l, u| AffineGrid::new(Bounds::new(l, u), 2).unwrap();
        let ends = outermost(&[grid(-1.0, 2.0), grid(0.0, 6.0)]).unwrap();
        assert_eq!((ends.lower, ends.upper), (-1.0, 6.0));
    }
}
