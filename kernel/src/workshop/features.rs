//! Features of the library that sessions ask for.

use crate::error::{Error, Result};

/// Environment: features of the library, separated by commas or spaces; `cuda` makes the GPU the device of cells.
pub const FEATURES: &str = "REBIT_FEATURES";

/// Names of features, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(Vec<String>);

impl Features {
    /// Those of [`FEATURES`].
    ///
    /// # Errors
    /// As [`Features::parse`].
    pub fn wanted() -> Result<Features> {
        Features::parse(&std::env::var(FEATURES).unwrap_or_default())
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
        Ok(Features(names))
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
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
    }
}
