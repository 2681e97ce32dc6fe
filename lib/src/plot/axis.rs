//! An axis: from numbers to a place on it, and the marks along it.

use super::extent;

/// What a caller said about an axis.
#[derive(Debug, Clone, Default)]
pub(super) struct AxisSpec {
    pub label: String,
    pub log: bool,
    /// Fixed ends instead of those of the data.
    pub range: Option<(f64, f64)>,
}

/// An axis with its ends and marks.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    log: bool,
    low: f64,
    high: f64,
    /// Where, and what is written there.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis for these values, with `margin` of its length free at both ends and about `marks` marks.
    pub fn new<'a>(
        spec: &AxisSpec,
        values: impl IntoIterator<Item = &'a f64>,
        margin: f64,
        marks: usize,
    ) -> Axis {
        let scale = |v: f64| if spec.log { v.log10() } else { v };
        let usable = spec
            .range
            .filter(|&(low, high)| low.is_finite() && high > low && (!spec.log || low > 0.0));
        let (low, high) = match usable {
            Some((low, high)) => (scale(low), scale(high)),
            None => {
                let (low, high) = extent(values, spec.log).unwrap_or(match spec.log {
                    true => (1.0, 10.0),
                    false => (0.0, 1.0),
                });
                let (low, high) = (scale(low), scale(high));
                // A single value stands in the middle.
                let length = match high - low {
                    l if l > 1e-12 * low.abs().max(high.abs()).max(1e-300) => l,
                    _ => match low.abs() {
                        0.0 => 1.0,
                        size => size * 0.1,
                    },
                };
                let free = match high > low {
                    true => length * margin,
                    false => length * 0.5,
                };
                (low - free, high + free)
            }
        };
        let marks = match spec.log {
            true => log_marks(low, high, marks),
            false => linear_marks(low, high, marks),
        };
        Axis {
            log: spec.log,
            low,
            high,
            marks,
        }
    }

    /// An axis with a name at 0, 1, 2, ...; each takes the space from half below to half above.
    pub fn categories(names: &[String]) -> Axis {
        Axis {
            log: false,
            low: -0.5,
            high: names.len().max(1) as f64 - 0.5,
            marks: names
                .iter()
                .enumerate()
                .map(|(i, name)| (i as f64, name.clone()))
                .collect(),
        }
    }

    /// Where a value is, from 0 at the low end to 1 at the high end; beyond the ends it stays there.
    pub fn fraction(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Whether a value can be drawn at all.
    pub fn takes(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }

    /// The low end, as a value.
    pub fn start(&self) -> f64 {
        if self.log {
            10f64.powf(self.low)
        } else {
            self.low
        }
    }

    /// The high end, as a value.
    pub fn end(&self) -> f64 {
        if self.log {
            10f64.powf(self.high)
        } else {
            self.high
        }
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_marks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    // The step whose number of marks is closest to the wanted one.
    let miss = |step: &f64| (((high - low) / step).floor() + 1.0 - count as f64).abs();
    let step = [0.5, 1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .min_by(|a, b| miss(a).total_cmp(&miss(b)))
        .unwrap_or(power);
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    if !(first.is_finite() && last.is_finite()) || last - first > 1000.0 {
        return Vec::new();
    }
    (0..=(last - first) as usize)
        .map(|i| {
            // Adding zero turns a negative zero into a zero.
            let value = (first + i as f64) * step + 0.0;
            (value, linear_text(value, step, decimals))
        })
        .collect()
}

fn linear_text(value: f64, step: f64, decimals: usize) -> String {
    let size = value.abs().max(step);
    match () {
        () if value == 0.0 => "0".to_string(),
        () if step < 1e-4 || size >= 1e9 => power_text(value),
        () if step >= 1e5 => format!("{}M", short(value / 1e6)),
        () if step >= 1e3 || size >= 1e5 => format!("{}k", short(value / 1e3)),
        () => format!("{value:.decimals$}"),
    }
}

/// A number without needless zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Whole powers of ten, thinned when there are many; 2 and 5 times them when there are few.
fn log_marks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let decades = high - low;
    let factors: &[f64] = match decades {
        d if d < 1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        d if d < 2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let stride = (decades / count.max(1) as f64).ceil().max(1.0) as i32;
    let (first, last) = (low.floor() as i32, high.ceil() as i32);
    let mut marks = Vec::new();
    for power in (first..=last).filter(|p| p.rem_euclid(stride) == 0) {
        for factor in factors {
            let value = factor * 10f64.powi(power);
            if (low - 1e-9..=high + 1e-9).contains(&value.log10()) {
                marks.push((value, log_text(value)));
            }
        }
    }
    marks
}

fn log_text(value: f64) -> String {
    match value {
        v if (0.99e-3..1e4).contains(&v) => short(v),
        v => power_text(v),
    }
}

/// `3·10⁻⁵`; plain `10⁻⁵` for a power of ten.
fn power_text(value: f64) -> String {
    let mut power = value.abs().log10().floor() as i32;
    let mut factor = value / 10f64.powi(power);
    if (factor.abs() - 10.0).abs() < 1e-6 {
        (factor, power) = (factor / 10.0, power + 1);
    }
    let raised: String = power
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => char::from_u32(0x2070 + digit as u32 - '0' as u32).unwrap_or(digit),
        })
        .collect();
    match format!("{factor:.2}")
        .trim_end_matches('0')
        .trim_end_matches('.')
    {
        "1" => format!("10{raised}"),
        "-1" => format!("-10{raised}"),
        factor => format!("{factor}·10{raised}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(spec: &AxisSpec, values: &[f64], marks: usize) -> Vec<String> {
        let axis = Axis::new(spec, values, 0.0, marks);
        axis.marks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn marks_are_round_numbers() {
        let linear = AxisSpec::default();
        assert_eq!(
            texts(&linear, &[0.0, 1.0], 5),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(|t| if t == "0.0" { "0" } else { t })
        );
        assert_eq!(texts(&linear, &[3.0, 197.0], 4), ["50", "100", "150"]);
        assert_eq!(
            texts(&linear, &[-0.02, 0.02], 4),
            ["-0.02", "-0.01", "0", "0.01", "0.02"]
        );
        assert_eq!(
            texts(&linear, &[0.0, 78000.0], 4),
            ["0", "20k", "40k", "60k"]
        );
        assert_eq!(
            texts(&linear, &[0.0, 2e6], 4),
            ["0", "0.5M", "1M", "1.5M", "2M"]
        );
        assert_eq!(
            texts(&linear, &[0.0, 4e-5], 4),
            ["0", "10⁻⁵", "2·10⁻⁵", "3·10⁻⁵", "4·10⁻⁵"]
        );
    }

    #[test]
    fn a_logarithmic_axis_is_marked_at_powers_of_ten() {
        let log = AxisSpec {
            log: true,
            ..AxisSpec::default()
        };
        assert_eq!(
            texts(&log, &[1e-5, 0.1], 5),
            ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1"]
        );
        assert_eq!(
            texts(&log, &[1.0, 100.0], 5),
            ["1", "2", "5", "10", "20", "50", "100"]
        );
        let axis = Axis::new(&log, &[1.0, 100.0], 0.0, 5);
        assert!((axis.fraction(10.0) - 0.5).abs() < 1e-12);
        assert!(!axis.takes(0.0) && !axis.takes(-1.0) && axis.takes(1e-9));
    }

    #[test]
    fn data_without_extent_or_without_values_give_an_axis_too() {
        let spec = AxisSpec::default();
        let axis = Axis::new(&spec, &[5.0, 5.0], 0.05, 5);
        assert!((axis.fraction(5.0) - 0.5).abs() < 1e-12);
        for values in [&[0.0][..], &[], &[f64::NAN], &[f64::INFINITY]] {
            let axis = Axis::new(&spec, values, 0.05, 5);
            assert!(axis.fraction(0.5).is_finite() && !axis.marks.is_empty());
        }
    }

    #[test]
    fn a_given_range_is_taken_unless_it_makes_no_sense() {
        let with = |range, log| {
            let spec = AxisSpec {
                range: Some(range),
                log,
                ..AxisSpec::default()
            };
            let axis = Axis::new(&spec, &[1.0, 2.0], 0.0, 5);
            (axis.start().round(), axis.end().round())
        };
        assert_eq!(with((0.0, 10.0), false), (0.0, 10.0));
        assert_eq!(with((10.0, 0.0), false), (1.0, 2.0));
        assert_eq!(with((0.0, 10.0), true), (1.0, 2.0));
    }
}
