//! How much time a notebook may take.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::error::Error;

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
    /// The value for this budget.
    ///
    /// ```
    /// use rebit::show::Budget;
    /// assert_eq!(Budget::Quick.pick(2, 20, 200), 2);
    /// ```
    pub fn pick<T>(self, quick: T, standard: T, full: T) -> T {
        match self {
            Budget::Quick => quick,
            Budget::Standard => standard,
            Budget::Full => full,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pick("quick", "standard", "full"))
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "quick" => Ok(Budget::Quick),
            "standard" => Ok(Budget::Standard),
            "full" => Ok(Budget::Full),
            other => Err(Error::invalid(
                format!("budget {other:?}"),
                "the budgets are quick, standard and full",
            )),
        }
    }
}

/// The budget of this run: `REBIT_BUDGET`, otherwise standard.
///
/// ```
/// use rebit::prelude::*;
/// let epochs = budget().pick(2, 10, 200);
/// # assert!(epochs >= 2);
/// ```
pub fn budget() -> Budget {
    static BUDGET: OnceLock<Budget> = OnceLock::new();
    *BUDGET.get_or_init(|| {
        let Ok(text) = std::env::var(rebit_wire::BUDGET_VARIABLE) else {
            return Budget::default();
        };
        text.parse().unwrap_or_else(|e| {
            eprintln!("{}: {e}; taking standard", rebit_wire::BUDGET_VARIABLE);
            Budget::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_is_written_as_it_is_read() {
        for budget in [Budget::Quick, Budget::Standard, Budget::Full] {
            assert_eq!(budget.to_string().parse::<Budget>().unwrap(), budget);
        }
        let message = "fast".parse::<Budget>().unwrap_err().to_string();
        assert!(message.contains("quick, standard and full"), "{message}");
    }
}
