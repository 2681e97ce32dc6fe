//! How much time a notebook may take.

use std::fmt;
use std::str::FromStr;

/// The size of the experiments of a notebook, chosen on the command line (`rebit run --budget quick`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Budget {
    /// Everything within about three minutes on two cores.
    Quick,
    /// About twenty minutes: the size of the outputs that are kept with the notebooks.
    #[default]
    Standard,
    /// The paper's own sizes.
    Full,
}

impl Budget {
    /// All budgets, the smallest first.
    pub const ALL: [Budget; 3] = [Budget::Quick, Budget::Standard, Budget::Full];

    /// The value for this budget.
    ///
    /// ```
    /// use rebit_wire::Budget;
    /// assert_eq!(Budget::Quick.pick(2, 20, 200), 2);
    /// ```
    pub fn pick<T>(self, quick: T, standard: T, full: T) -> T {
        match self {
            Budget::Quick => quick,
            Budget::Standard => standard,
            Budget::Full => full,
        }
    }

    /// Its word on the command line, in [`BUDGET_VARIABLE`](crate::BUDGET_VARIABLE) and in reports.
    pub fn as_str(self) -> &'static str {
        self.pick("quick", "standard", "full")
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBudget(String);

impl fmt::Display for UnknownBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownBudget(word) = self;
        write!(
            f,
            "budget {word:?}: the budgets are quick, standard and full"
        )
    }
}

impl std::error::Error for UnknownBudget {}

impl FromStr for Budget {
    type Err = UnknownBudget;

    fn from_str(text: &str) -> Result<Self, UnknownBudget> {
        Budget::ALL
            .into_iter()
            .find(|budget| budget.as_str() == text)
            .ok_or_else(|| UnknownBudget(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_is_written_as_it_is_read() {
        for budget in Budget::ALL {
            assert_eq!(budget.to_string().parse(), Ok(budget));
        }
        let message = "fast".parse::<Budget>().unwrap_err().to_string();
        assert!(message.contains("quick, standard and full"), "{message}");
    }
}
