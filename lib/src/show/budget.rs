//! How much time this run may take.

use std::sync::OnceLock;

pub use rebit_wire::Budget;

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
