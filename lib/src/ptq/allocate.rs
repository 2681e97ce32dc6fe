//! A budget of bits spent where it does most.

use super::sensitivity::Sensitivity;
use crate::plot::{self, Figure};
use crate::show::{MimeBundle, Show, Table};
use crate::{Error, Result};

/// Most units that a table of costs is divided into.
const UNITS: u64 = 4 << 20;

/// What an allocation may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitBudget {
    /// Bytes of all weights, without scales and biases.
    Bytes(usize),
    /// As many bits as all weights have at this number each.
    Uniform(u32),
    /// Bit operations of one sample, `macs x bits of weights x bits of inputs`, at so many bits of all inputs.
    BitOperations {
        /// The most there may be.
        limit: u64,
        /// Bits of every input.
        inputs: u32,
    },
}

/// Bits for each layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// By layer, in the order they run.
    pub bits: Vec<(String, u32)>,
    /// What they cost: bits of weights, or bit operations.
    pub cost: u64,
    /// What they may cost.
    pub budget: u64,
    /// The sum of what the layers cost alone.
    pub rise: f64,
    /// The best that any budget buys: cost and rise, from the least cost on.
    pub curve: Vec<(u64, f64)>,
    /// Cost and rise of the same bits everywhere.
    pub uniform: Vec<(u32, u64, f64)>,
    operations: bool,
}

/// The bits of each layer with the least sum of rises within a budget, of all combinations of the bits in `report`: exact,
/// by dynamic programming over layers and costs,
///
/// ```text
/// best[l][c] = min over bits k of best[l - 1][c - cost(l, k)] + rise(l, k)
/// ```
///
/// That the rises of layers add up is the assumption; it holds while they are small. Costs are counted in their largest
/// common divisor; where that makes more than four million steps they are rounded up to as many.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ptq::BitBudget;
/// let net = resnet20(10, rng(0));
/// let report = sensitivity(&net, &images(4, 3, 32, 32, &mut rng(1)))?;
/// let found = allocate_bits(&report, BitBudget::Uniform(4))?;
/// assert!(found.cost <= 4 * 270_896);
/// let four = found.uniform.iter().find(|u| u.0 == 4).expect("four bits were tried");
/// assert!(found.rise <= four.2);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a report without a layer, layers with other bits or rises that are not finite, and for a budget
/// that not even the fewest bits meet; the least cost is named.
pub fn allocate_bits(report: &Sensitivity, budget: BitBudget) -> Result<Allocation> {
    let bits = bits_of(report)?;
    let cost = |layer: usize, bits: u32| -> u64 {
        let layer = &report.layers[layer];
        match budget {
            BitBudget::Bytes(_) | BitBudget::Uniform(_) => layer.weights as u64 * u64::from(bits),
            BitBudget::BitOperations { inputs, .. } => {
                (layer.macs as u64).saturating_mul(u64::from(bits) * u64::from(inputs))
            }
        }
    };
    let layers = report.layers.len();
    let of_all = |bits: u32| (0..layers).map(|l| cost(l, bits)).sum::<u64>();
    let limit = match budget {
        BitBudget::Bytes(bytes) => 8 * bytes as u64,
        BitBudget::Uniform(bits) => of_all(bits),
        BitBudget::BitOperations { limit, .. } => limit,
    };
    let table = Costs::new(layers, &bits, &cost);
    let best = table.run(report, &bits)?;
    let affordable = best.ends.iter().filter(|(c, _)| table.bound(*c) <= limit);
    let Some(&(end, rise)) = affordable.min_by(|a, b| a.1.total_cmp(&b.1)) else {
        let least = bits.first().map_or(0, |b| of_all(*b));
        return Err(Error::invalid(
            format!("a budget of {limit}"),
            format!(
                "is below the least cost, {least} at {} bits everywhere",
                bits[0]
            ),
        ));
    };
    let chosen = best.trace(end, &table);
    let named = chosen.iter().zip(&report.layers);
    let mut curve: Vec<(u64, f64)> = Vec::new();
    for &(c, rise) in &best.ends {
        if curve.last().is_none_or(|last| rise < last.1) {
            curve.push((table.bound(c), rise));
        }
    }
    let uniform = bits.iter().enumerate().map(|(k, b)| {
        let rises = report.layers.iter().map(|l| l.rise[k].1);
        (*b, of_all(*b), rises.sum())
    });
    Ok(Allocation {
        cost: chosen
            .iter()
            .enumerate()
            .map(|(l, k)| cost(l, bits[*k]))
            .sum(),
        bits: named.map(|(k, l)| (l.name.clone(), bits[*k])).collect(),
        budget: limit,
        rise,
        curve,
        uniform: uniform.collect(),
        operations: matches!(budget, BitBudget::BitOperations { .. }),
    })
}

/// The numbers of bits, the same in every layer and rising.
fn bits_of(report: &Sensitivity) -> Result<Vec<u32>> {
    let refuse = |what: String, why: &str| Err(Error::invalid(what, why));
    let Some(first) = report.layers.first() else {
        return refuse("allocation of bits".into(), "the report has no layer");
    };
    let bits: Vec<u32> = first.rise.iter().map(|(b, _)| *b).collect();
    if bits.is_empty() || bits.len() > 255 || !bits.is_sorted_by(|a, b| a < b) {
        return refuse(
            format!("bits {bits:?} of layer {}", first.name),
            "must be at least one number of them, rising",
        );
    }
    for layer in &report.layers {
        if !layer.rise.iter().map(|(b, _)| *b).eq(bits.iter().copied()) {
            return refuse(
                format!("layer {}", layer.name),
                "was tried with other bits than the first",
            );
        }
        if layer.rise.iter().any(|(_, rise)| !rise.is_finite()) {
            return refuse(
                format!("layer {}", layer.name),
                "has a rise that is not finite",
            );
        }
    }
    Ok(bits)
}

/// Costs in whole units.
struct Costs {
    unit: u64,
    /// By layer and choice.
    costs: Vec<Vec<usize>>,
    total: usize,
}

impl Costs {
    fn new(layers: usize, bits: &[u32], cost: &dyn Fn(usize, u32) -> u64) -> Self {
        let gcd = |a: u64, b: u64| {
            let (mut a, mut b) = (a, b);
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let all = (0..layers).flat_map(|l| bits.iter().map(move |b| cost(l, *b)));
        let divisor = all.fold(0, gcd).max(1);
        let most: u64 = (0..layers)
            .map(|l| bits.iter().map(|b| cost(l, *b)).max().unwrap_or(0))
            .sum();
        let unit = divisor.max(most.div_ceil(UNITS));
        let row = |l| {
            bits.iter()
                .map(|b| cost(l, *b).div_ceil(unit) as usize)
                .collect()
        };
        let costs: Vec<Vec<usize>> = (0..layers).map(row).collect();
        let total = costs
            .iter()
            .map(|c| c.iter().max().copied().unwrap_or(0))
            .sum();
        Costs { unit, costs, total }
    }

    /// The most that so many units stand for.
    fn bound(&self, units: usize) -> u64 {
        units as u64 * self.unit
    }

    fn run(&self, report: &Sensitivity, bits: &[u32]) -> Result<Best> {
        let mut best = vec![f64::INFINITY; self.total + 1];
        best[0] = 0.0;
        let mut choices = Vec::with_capacity(self.costs.len());
        for (costs, layer) in self.costs.iter().zip(&report.layers) {
            crate::show::check_interrupt()?;
            let mut next = vec![f64::INFINITY; self.total + 1];
            let mut choice = vec![0u8; self.total + 1];
            for (k, &cost) in costs.iter().enumerate().take(bits.len()) {
                let rise = layer.rise[k].1;
                for c in cost..=self.total {
                    let sum = best[c - cost] + rise;
                    if sum < next[c] {
                        (next[c], choice[c]) = (sum, k as u8);
                    }
                }
            }
            best = next;
            choices.push(choice);
        }
        let ends = best
            .into_iter()
            .enumerate()
            .filter(|(_, rise)| rise.is_finite());
        Ok(Best {
            ends: ends.collect(),
            choices,
        })
    }
}

struct Best {
    /// Costs that some choice has exactly, and the least rise at each.
    ends: Vec<(usize, f64)>,
    /// By layer and cost: the choice.
    choices: Vec<Vec<u8>>,
}

impl Best {
    /// The choices that come to this cost.
    fn trace(&self, mut end: usize, table: &Costs) -> Vec<usize> {
        let mut chosen = vec![0; self.choices.len()];
        for layer in (0..self.choices.len()).rev() {
            chosen[layer] = usize::from(self.choices[layer][end]);
            end -= table.costs[layer][chosen[layer]];
        }
        chosen
    }
}

impl Allocation {
    /// A row a layer.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["layer", "bits"]);
        for (name, bits) in &self.bits {
            table.push((name, *bits));
        }
        let cost = match self.operations {
            true => format!("{} of {} bit operations a sample", self.cost, self.budget),
            false => format!("{} of {} bytes", self.cost.div_ceil(8), self.budget / 8),
        };
        table.caption(format!(
            "Bits by layer: {cost}, sum of rises {:.4}",
            self.rise
        ))
    }

    /// The least rise that each cost buys, and the same bits everywhere beside it.
    ///
    /// # Errors
    /// As [`plot::Lines::try_figure`].
    pub fn figure(&self) -> Result<Figure> {
        let (per, x) = match self.operations {
            true => (1e6, "million bit operations a sample"),
            false => (8e3, "weights, kB"),
        };
        let place = |cost: u64| cost as f64 / per;
        let above: Vec<&(u64, f64)> = self.curve.iter().filter(|(_, rise)| *rise > 0.0).collect();
        let uniform: Vec<_> = self.uniform.iter().filter(|u| u.2 > 0.0).collect();
        plot::lines("What a budget buys")
            .x(x)
            .y("sum of rises")
            .log_y()
            .series(
                "best allocation",
                above.iter().map(|p| place(p.0)),
                above.iter().map(|p| p.1),
            )
            .dashed(
                "the same bits everywhere",
                uniform.iter().map(|u| place(u.1)),
                uniform.iter().map(|u| u.2),
            )
            .vertical("budget", place(self.budget))
            .try_figure()
    }
}

impl std::fmt::Display for Allocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table().fmt(f)
    }
}

impl Show for Allocation {
    fn bundle(&self) -> MimeBundle {
        super::report::with_figure(&self.table(), self.figure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptq::LayerSensitivity;
    use crate::rng;
    use rand::Rng as _;

    fn report(layers: &[(usize, &[f64])], bits: &[u32]) -> Sensitivity {
        let layer = |(i, (weights, rises)): (usize, &(usize, &[f64]))| LayerSensitivity {
            name: format!("l{i}"),
            weights: *weights,
            macs: 10 * weights,
            rise: bits.iter().copied().zip(rises.iter().copied()).collect(),
        };
        Sensitivity {
            layers: layers.iter().enumerate().map(layer).collect(),
            images: 1,
            divergence: true,
        }
    }

    #[test]
    fn a_budget_goes_where_it_does_most() -> Result<()> {
        // 2 or 4 bits; both at 3 bits' cost can be had one way or the other.
        let two = report(&[(100, &[8.0, 1.0]), (100, &[3.0, 0.5])], &[2, 4]);
        let found = allocate_bits(&two, BitBudget::Uniform(3))?;
        assert_eq!(found.bits, [("l0".into(), 4), ("l1".into(), 2)]);
        assert_eq!((found.cost, found.budget, found.rise), (600, 600, 4.0));
        assert_eq!(found.curve, [(400, 11.0), (600, 4.0), (800, 1.5)]);
        assert_eq!(found.uniform, [(2, 400, 11.0), (4, 800, 1.5)]);
        let bytes = allocate_bits(&two, BitBudget::Bytes(99))?;
        assert_eq!(bytes.bits, found.bits);
        let operations = BitBudget::BitOperations {
            limit: 48_000,
            inputs: 8,
        };
        assert_eq!(allocate_bits(&two, operations)?.bits, found.bits);
        assert!(found.figure().is_ok() && found.to_string().contains("75 of 75 bytes"));
        Ok(())
    }

    #[test]
    fn it_is_the_best_of_all_combinations() -> Result<()> {
        let mut rng = rng(5);
        let bits = [2, 3, 4, 6, 8];
        for _ in 0..20 {
            let layers: Vec<(usize, Vec<f64>)> = (0..5)
                .map(|_| {
                    let mut rises: Vec<f64> =
                        bits.iter().map(|_| rng.random_range(0.0..1.0)).collect();
                    rises.sort_by(|a, b| b.total_cmp(a));
                    (rng.random_range(1..60), rises)
                })
                .collect();
            let borrowed: Vec<(usize, &[f64])> = layers.iter().map(|l| (l.0, &l.1[..])).collect();
            let report = report(&borrowed, &bits);
            let weights: usize = layers.iter().map(|l| l.0).sum();
            let budget = rng.random_range(2 * weights..8 * weights) as u64;
            let mut least = f64::INFINITY;
            for code in 0..5usize.pow(5) {
                let choice: Vec<usize> = (0..5).map(|l| code / 5usize.pow(l) % 5).collect();
                let cost: usize = choice
                    .iter()
                    .zip(&layers)
                    .map(|(k, l)| l.0 * bits[*k] as usize)
                    .sum();
                if cost as u64 <= budget / 8 * 8 {
                    let rise: f64 = choice.iter().zip(&layers).map(|(k, l)| l.1[*k]).sum();
                    least = least.min(rise);
                }
            }
            match allocate_bits(&report, BitBudget::Bytes(budget as usize / 8)) {
                Ok(found) => {
                    assert!(
                        (found.rise - least).abs() < 1e-12,
                        "{} against {least}",
                        found.rise
                    );
                    assert!(found.cost <= budget);
                }
                Err(_) => assert!(least.is_infinite()),
            }
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_allocated_is_refused() {
        let two = report(&[(100, &[8.0, 1.0]), (100, &[3.0, 0.5])], &[2, 4]);
        let error = allocate_bits(&two, BitBudget::Bytes(49))
            .unwrap_err()
            .to_string();
        assert!(error.contains("392") && error.contains("400"), "{error}");
        assert!(allocate_bits(&report(&[], &[]), BitBudget::Bytes(1)).is_err());
        let nan = report(&[(1, &[f64::NAN])], &[2]);
        assert!(allocate_bits(&nan, BitBudget::Bytes(9)).is_err());
        let mut other = two;
        other.layers[1].rise[0].0 = 3;
        let error = allocate_bits(&other, BitBudget::Bytes(999))
            .unwrap_err()
            .to_string();
        assert!(error.contains("l1"), "{error}");
    }
}
