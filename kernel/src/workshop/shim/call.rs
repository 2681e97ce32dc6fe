//! A call of rustc, as cargo makes it.

use std::collections::HashSet;

/// One call of rustc.
pub struct Call {
    args: Vec<String>,
}

impl Call {
    /// The call with these arguments.
    pub fn new(args: &[String]) -> Call {
        Call {
            args: args.to_vec(),
        }
    }

    /// The values of an option, written `--name value` or `--name=value`.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let next = self.args.iter().skip(1).map(Some).chain([None]);
        self.args
            .iter()
            .zip(next)
            .filter_map(move |(arg, next)| match arg.strip_prefix(name)? {
                "" => next.map(String::as_str),
                rest => rest.strip_prefix('='),
            })
    }

    /// The first value of an option.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// A setting of code generation.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let settings = self.values("-C");
        settings
            .filter_map(|setting| setting.split_once('='))
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// The features that the crate is compiled with.
    pub fn features(&self) -> HashSet<String> {
        self.values("--cfg")
            .filter_map(|cfg| cfg.strip_prefix("feature=\"")?.strip_suffix('"'))
            .map(str::to_string)
            .collect()
    }

    /// Crates that are given by name, with their files (absent where rustc is to search).
    pub fn externs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.values("--extern").map(|given| {
            let (name, file) = match given.split_once('=') {
                Some((name, file)) => (name, Some(file)),
                None => (given, None),
            };
            // Options stand in front of the name (`noprelude:core`).
            (name.rsplit(':').next().unwrap_or(name), file)
        })
    }

    /// Its arguments.
    pub fn args(&self) -> &[String] {
        &self.args
    }
}
