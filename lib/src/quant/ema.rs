//! Moving averages of ranges.

use crate::error::{Error, Result};

/// How a moving average `r` of momentum `b` begins, for the batch's number `x` in step `t = 1, 2, ...`.
///
/// | | `r` | on a constant `x` |
/// |---|---|---|
/// | `FirstBatch` | `x` in the first step, then `b r + (1 - b) x` | exact in every step |
/// | `Corrected` | `a / (1 - b^t)` with `a = b a + (1 - b) x` from 0 | exact in every step |
/// | `Compounded` | `(b r + (1 - b) x) / (1 - b^t)` from 0: the corrected number is stored and corrected again | at `b = 0.9` up to 3945 `x` |
/// | `FromZero` | `b r + (1 - b) x` from 0 | `(1 - b^t) x` |
///
/// `Corrected` is the mean with weights `b^age`, as in Adam. `Compounded` is what the code of IntraQ (arXiv:2111.09136)
/// computes and `FromZero` that of FDDA; both have forgotten their start after some hundred steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum EmaRule {
    /// The first batch is the first range.
    #[default]
    FirstBatch,
    /// Weights of the batches that sum to 1.
    Corrected,
    /// IntraQ's code.
    Compounded,
    /// FDDA's code.
    FromZero,
}

impl EmaRule {
    /// The average after a batch, `steps` of which came before; `old` does not count for the first.
    ///
    /// ```
    /// use rebit::quant::EmaRule;
    /// let corrected = EmaRule::Corrected.step(0.9, 1, 1.0, 3.0);
    /// assert!((corrected - (0.09 + 0.3) / 0.19).abs() < 1e-6);
    /// assert!((EmaRule::FromZero.step(0.9, 1, 0.1, 3.0) - 0.39).abs() < 1e-6);
    /// ```
    pub fn step(self, momentum: f32, steps: u32, old: f32, new: f32) -> f32 {
        let (b, new) = (f64::from(momentum), f64::from(new));
        let old = if steps == 0 { 0.0 } else { f64::from(old) };
        let weight = |steps: u32| 1.0 - b.powf(f64::from(steps));
        let next = match self {
            EmaRule::FirstBatch if steps == 0 => new,
            EmaRule::FirstBatch | EmaRule::FromZero => b * old + (1.0 - b) * new,
            EmaRule::Corrected => {
                (b * weight(steps) * old + (1.0 - b) * new) / weight(steps.saturating_add(1))
            }
            EmaRule::Compounded => (b * old + (1.0 - b) * new) / weight(steps.saturating_add(1)),
        };
        next as f32
    }

    /// Whether the next step depends on the number of steps, beyond whether there was one.
    pub(crate) fn counts(self) -> bool {
        matches!(self, EmaRule::Corrected | EmaRule::Compounded)
    }
}

/// Moving averages of several numbers at once: the bounds of a range.
///
/// ```
/// use rebit::quant::{Ema, EmaRule};
/// let mut range = Ema::new(0.9, EmaRule::Corrected)?;
/// range.observe(&[-1.0, 2.0])?;
/// range.freeze();
/// range.observe(&[-100.0, 100.0])?;
/// assert_eq!(range.values(), [-1.0, 2.0]);
/// range.thaw();
/// range.observe(&[-1.0, 2.0])?;
/// assert_eq!(range.values(), [-1.0, 2.0]);
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ema {
    momentum: f32,
    rule: EmaRule,
    steps: u32,
    values: Vec<f32>,
    frozen: bool,
}

impl Ema {
    /// An average of nothing yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a momentum that is no share.
    pub fn new(momentum: f32, rule: EmaRule) -> Result<Self> {
        if !(0.0..1.0).contains(&momentum) {
            return Err(Error::invalid(
                format!("a moving average of momentum {momentum}"),
                "is the share of the old range, from 0 to below 1",
            ));
        }
        Ok(Ema {
            momentum,
            rule,
            steps: 0,
            values: Vec::new(),
            frozen: false,
        })
    }

    /// Takes the numbers of a batch in, unless the average is frozen.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of them than before, [`Error::Invalid`] for one that is not finite; the average
    /// is then as before.
    pub fn observe(&mut self, batch: &[f32]) -> Result<()> {
        if self.frozen {
            return Ok(());
        }
        if let Some(bad) = batch.iter().find(|v| !v.is_finite()) {
            return Err(Error::invalid(
                format!("a moving average of {bad}"),
                "look for a diverged layer or an unnormalised input",
            ));
        }
        if self.steps == 0 {
            self.values = vec![0.0; batch.len()];
        }
        if batch.len() != self.values.len() {
            let expected = format!("{} numbers", self.values.len());
            return Err(Error::shape("moving average", expected, batch.len()));
        }
        for (value, new) in self.values.iter_mut().zip(batch) {
            *value = self.rule.step(self.momentum, self.steps, *value, *new);
        }
        self.steps += 1;
        Ok(())
    }

    /// The averages; nothing before the first batch.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Batches so far.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// From here on batches change nothing.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// From here on batches count again.
    pub fn thaw(&mut self) {
        self.frozen = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(rule: EmaRule, steps: usize) -> Vec<f32> {
        let mut ema = Ema::new(0.9, rule).unwrap();
        let step = |_| {
            ema.observe(&[1.0]).unwrap();
            ema.values()[0]
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn a_constant_is_exact_where_the_start_is_right() {
        for rule in [EmaRule::FirstBatch, EmaRule::Corrected] {
            assert!(
                constant(rule, 300).iter().all(|v| (v - 1.0).abs() < 1e-6),
                "{rule:?}"
            );
        }
        for (t, v) in constant(EmaRule::FromZero, 50).iter().enumerate() {
            assert!(
                (v - (1.0 - 0.9f32.powi(t as i32 + 1))).abs() < 1e-6,
                "{t}: {v}"
            );
        }
    }

    #[test]
    fn the_compounded_correction_overshoots_as_the_authors_code_does() {
        let values = constant(EmaRule::Compounded, 400);
        // By hand: 0.1 / 0.1 = 1, (0.9 + 0.1) / 0.19, (0.9 / 0.19 + 0.1) / 0.271.
        let expected = [1.0, 1.0 / 0.19, (0.9 / 0.19 + 0.1) / 0.271];
        for (v, e) in values.iter().zip(expected) {
            assert!((v - e).abs() < 1e-5 * e, "{v}, not {e}");
        }
        let (at, largest) = values
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        assert_eq!(at + 1, 21);
        assert!((largest - 3945.0).abs() < 1.0, "{largest}");
        let back = values.iter().rposition(|v| (v - 1.0).abs() > 0.01).unwrap() + 2;
        assert_eq!(back, 153);
    }

    #[test]
    fn literal_averages_of_two_numbers() {
        let mut ema = Ema::new(0.5, EmaRule::Corrected).unwrap();
        for batch in [[0.0, 8.0], [-3.0, 2.0], [-7.0, 1.0]] {
            ema.observe(&batch).unwrap();
        }
        // Weights 1/7, 2/7, 4/7.
        for (v, e) in ema.values().iter().zip([-34.0 / 7.0, 16.0 / 7.0]) {
            assert!((v - e).abs() < 1e-6, "{v}");
        }
    }

    #[test]
    fn what_is_no_average_is_refused_and_changes_nothing() {
        assert!(Ema::new(1.0, EmaRule::FirstBatch).is_err());
        let mut ema = Ema::new(0.9, EmaRule::Corrected).unwrap();
        ema.observe(&[1.0, 2.0]).unwrap();
        let error = ema.observe(&[1.0]).unwrap_err().to_string();
        assert!(
            error.contains("2 numbers") && error.contains("found 1"),
            "{error}"
        );
        assert!(ema.observe(&[f32::NAN, 1.0]).is_err());
        assert_eq!((ema.steps(), ema.values()), (1, &[1.0, 2.0][..]));
    }
}
