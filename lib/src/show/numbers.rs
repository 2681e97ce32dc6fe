//! Numbers below each other, written alike.

/// How all numbers of a block are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// Without a point.
    Whole,
    /// With this many digits behind the point.
    Fixed(usize),
    /// With an exponent.
    Scientific,
}

impl Notation {
    /// The notation that gives the largest of these numbers four significant digits, or all of its digits
    /// where every number is whole.
    pub fn of(values: impl IntoIterator<Item = f64> + Clone) -> Notation {
        let finite = || values.clone().into_iter().filter(|x| x.is_finite());
        let largest = finite().fold(0.0, |m: f64, x| m.max(x.abs()));
        if largest >= 1e7 || largest > 0.0 && largest < 1e-4 {
            return Notation::Scientific;
        }
        if finite().all(|x| x.fract() == 0.0) {
            return Notation::Whole;
        }
        let before_point = largest.log10().floor() as i32;
        Notation::Fixed((3 - before_point).max(0) as usize)
    }

    /// A number in this notation.
    pub fn write(self, x: f64) -> String {
        if !x.is_finite() {
            return x.to_string();
        }
        let text = match self {
            Notation::Whole => format!("{x:.0}"),
            Notation::Fixed(decimals) => format!("{x:.decimals$}"),
            Notation::Scientific if x == 0.0 => "0".to_string(),
            Notation::Scientific => format!("{x:.3e}"),
        };
        // What rounds to nothing has no sign.
        match text.strip_prefix('-') {
            Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.to_string(),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_one_notation() {
        let write = |values: &[f64]| -> Vec<String> {
            let notation = Notation::of(values.iter().copied());
            values.iter().map(|&x| notation.write(x)).collect()
        };
        assert_eq!(write(&[1.0, -12.0, 0.0]), ["1", "-12", "0"]);
        assert_eq!(write(&[0.5, -12.25]), ["0.50", "-12.25"]);
        assert_eq!(write(&[0.01234, -1e-9]), ["0.01234", "0.00000"]);
        assert_eq!(write(&[3e-5, 0.0]), ["3.000e-5", "0"]);
        assert_eq!(write(&[12_345_678.0, 1.5]), ["1.235e7", "1.500e0"]);
        assert_eq!(
            write(&[f64::NAN, 1.5, f64::NEG_INFINITY]),
            ["NaN", "1.500", "-inf"]
        );
        assert_eq!(write(&[]), [""; 0]);
    }
}
