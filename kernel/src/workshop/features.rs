//! How sessions want the library built: its features, and how well it is optimised.

use crate::error::{Error, Result};

/// Environment: features of the library, separated by commas or spaces; `cuda` makes the GPU the device of cells.
pub const FEATURES: &str = "REBIT_FEATURES";

/// Environment: how well the library itself is optimised, 0 to 3 (unset: 3). For those who change the library and look at
/// what cells make of it: at 0 it compiles in a sixth of the time, and computes slowly.
pub const LEVEL: &str = "REBIT_LIBRARY_OPT";

/// Names of features, sorted, and the library's own optimisation level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    names: Vec<String>,
    level: Option<u8>,
}

impl Features {
    /// Those of [`FEATURES`], at the level of [`LEVEL`].
    ///
    /// # Errors
    /// As [`Features::parse`]; a level that rustc does not have.
    pub fn wanted() -> Result<Features> {
        let features = Features::parse(&std::env::var(FEATURES).unwrap_or_default())?;
        features.at(&std::env::var(LEVEL).unwrap_or_default())
    }

    /// The same at an optimisation level; nothing stands for the best.
    fn at(self, level: &str) -> Result<Features> {
        let level = match level {
            "" | "3" => None,
            "0" => Some(0),
            "1" => Some(1),
            "2" => Some(2),
            other => {
                return Err(Error::Tool {
                    what: format!("{LEVEL} is {other:?}, which is no optimisation level"),
                    remedy: "Set it to 0, 1, 2 or 3, or unset it".to_string(),
                });
            }
        };
        Ok(Features { level, ..self })
    }

    /// Those that a list names.
    ///
    /// # Errors
    /// A name that cargo would not take.
    pub fn parse(list: &str) -> Result<Features> {
        let words = list.split([',', ' ']).filter(|name| !name.is_empty());
        let mut names: Vec<String> = words.map(str::to_string).collect();
        names.sort();
        names.dedup();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if let Some(name) = names.iter().find(|name| !name.chars().all(valid)) {
            return Err(Error::Tool {
                what: format!("{FEATURES} names {name:?}, which no feature can be called"),
                remedy: format!(
                    "Set it to cuda for an NVIDIA GPU, or unset it ({FEATURES}={list})"
                ),
            });
        }
        Ok(Features { names, level: None })
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The library's optimisation level, where it is not the best.
    pub fn level(&self) -> Option<u8> {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_set_of_names() {
        let parse = |list| Features::parse(list).unwrap();
        assert_eq!(parse(""), Features::default());
        assert_eq!(parse("cuda, _emu,cuda").names(), ["_emu", "cuda"]);
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_remedy() {
        let error = Features::parse("cuda,\"x\"").unwrap_err().to_string();
        assert!(error.contains("REBIT_FEATURES"), "{error}");
        let error = Features::default().at("9").unwrap_err().to_string();
        assert!(error.contains("REBIT_LIBRARY_OPT"), "{error}");
    }

    #[test]
    fn the_best_level_is_the_usual_one() {
        let at = |level| Features::default().at(level).unwrap();
        assert_eq!(at(""), at("3"));
        assert_eq!((at("3").level(), at("0").level()), (None, Some(0)));
    }
}
