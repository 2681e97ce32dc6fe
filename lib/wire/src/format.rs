//! How a cell's value is written when it has only its `Debug` form.

use std::fmt::{self, Debug, Display};
use std::str::FromStr;

/// A format string with one place for the value, as `:fmt` takes it: `{:?}`, `{:#?}`, `{:.3?}`, `{:x?}`, `-> {:?}`.
///
/// ```
/// use rebit_wire::ValueFormat;
/// let format: ValueFormat = "-> {:.1?}".parse().unwrap();
/// assert_eq!(format.of(&[0.25, 1.0]).to_string(), "-> [0.2, 1.0]");
/// assert!("{}".parse::<ValueFormat>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueFormat {
    before: String,
    after: String,
    pretty: bool,
    precision: Option<usize>,
    radix: Radix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Radix {
    #[default]
    Ten,
    Lower,
    Upper,
}

impl ValueFormat {
    /// `{:?}`.
    pub const DEBUG: ValueFormat = ValueFormat {
        before: String::new(),
        after: String::new(),
        pretty: false,
        precision: None,
        radix: Radix::Ten,
    };

    /// The value in this format.
    pub fn of<'a>(&'a self, value: &'a dyn Debug) -> impl Display + 'a {
        Formatted {
            format: self,
            value,
        }
    }
}

struct Formatted<'a> {
    format: &'a ValueFormat,
    value: &'a dyn Debug,
}

impl Display for Formatted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Formatted { format, value } = self;
        let digits = format.precision.unwrap_or(0);
        f.write_str(&format.before)?;
        match (format.radix, format.pretty, format.precision.is_some()) {
            (Radix::Ten, false, false) => write!(f, "{value:?}"),
            (Radix::Ten, false, true) => write!(f, "{value:.digits$?}"),
            (Radix::Ten, true, false) => write!(f, "{value:#?}"),
            (Radix::Ten, true, true) => write!(f, "{value:#.digits$?}"),
            (Radix::Lower, false, _) => write!(f, "{value:x?}"),
            (Radix::Lower, true, _) => write!(f, "{value:#x?}"),
            (Radix::Upper, false, _) => write!(f, "{value:X?}"),
            (Radix::Upper, true, _) => write!(f, "{value:#X?}"),
        }?;
        f.write_str(&format.after)
    }
}

impl FromStr for ValueFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<ValueFormat, UnknownFormat> {
        let unknown = || UnknownFormat(text.to_string());
        let (before, rest) = text.split_once("{:").ok_or_else(unknown)?;
        let (place, after) = rest.split_once('}').ok_or_else(unknown)?;
        let mut rest = place.strip_suffix('?').ok_or_else(unknown)?;
        let mut format = ValueFormat {
            before: before.to_string(),
            after: after.to_string(),
            ..ValueFormat::default()
        };
        let has_braces = |part: &str| part.contains(['{', '}']);
        if has_braces(before) || has_braces(after) {
            return Err(unknown());
        }
        for (end, radix) in [("x", Radix::Lower), ("X", Radix::Upper)] {
            if let Some(start) = rest.strip_suffix(end) {
                (rest, format.radix) = (start, radix);
            }
        }
        if let Some(behind) = rest.strip_prefix('#') {
            (rest, format.pretty) = (behind, true);
        }
        if let Some(digits) = rest.strip_prefix('.') {
            let digits: u16 = digits.parse().map_err(|_| unknown())?;
            (rest, format.precision) = ("", Some(digits.into()));
        }
        match rest.is_empty() {
            true => Ok(format),
            false => Err(unknown()),
        }
    }
}

/// A text that is no [`ValueFormat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownFormat(text) = self;
        write!(
            f,
            "format {text:?}: values are shown by their `Debug` form, {{:?}}, {{:#?}}, {{:.3?}} or {{:x?}}, \
             with any text around it"
        )
    }
}

impl std::error::Error for UnknownFormat {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_rust_writes_them() {
        let values: [&dyn Debug; 3] = [&[10, 255], &Some(0.125), &"a"];
        for value in values {
            for (text, wanted) in [
                ("{:?}", format!("{value:?}")),
                ("{:#?}", format!("{value:#?}")),
                ("{:.2?}", format!("{value:.2?}")),
                ("{:#.1?}", format!("{value:#.1?}")),
                ("{:x?}", format!("{value:x?}")),
                ("{:#X?}", format!("{value:#X?}")),
                ("a {:?} b", format!("a {value:?} b")),
            ] {
                let format: ValueFormat = text.parse().unwrap();
                assert_eq!(format.of(value).to_string(), wanted, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for text in [
            "", "{}", "{:}", "{?}", "{:5?}", "{:.a?}", "{:?}{:?}", "{{:?}", "{:??}", "x",
        ] {
            let error = text.parse::<ValueFormat>().unwrap_err();
            assert!(error.to_string().contains("{:#?}"), "{error}");
        }
    }
}
