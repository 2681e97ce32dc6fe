//! MobileNetV2 with one range for each weight tensor: what equalisation and corrected biases are for.

use rebit::prelude::*;
use rebit::ptq::Correction;

use super::Set;

impl Set {
    /// W8A8 with each step alone and with both, and W4A8, where they matter more.
    pub fn mobile(&self, seed: usize) -> Result<()> {
        let float = self.float()?;
        for bits in [8, 6, 4] {
            for (recipe, config) in [
                ("minmax", PtqConfig::minmax(bits)),
                ("bits", PtqConfig::bits(bits)),
            ] {
                let config = config.inputs(8);
                self.row(
                    &format!("seed {seed}, W{bits}A8 {recipe} per channel"),
                    &config,
                )?;
                for (steps, equalise, correction) in [
                    ("alone", false, None),
                    ("equalised", true, None),
                    ("biases corrected", false, Some(Correction::Empirical)),
                    ("both", true, Some(Correction::Empirical)),
                ] {
                    let config = PtqConfig {
                        per_channel: false,
                        equalise,
                        correction,
                        ..config.clone()
                    };
                    let what = format!("seed {seed}, W{bits}A8 {recipe} per tensor, {steps}");
                    let (top1, _) = self.row(&what, &config)?;
                    println!("  {:+.2} points", top1 - float);
                }
            }
        }
        Ok(())
    }
}
