//! Sentences of a paper beside what was measured.

use std::fmt;

use rebit_wire::{Message, MimeBundle};

use super::{Shown, bundle_of, escape_html, place};

/// A measured or published figure as a claim shows it.
pub trait Quantity {
    /// The figure as text; numbers with four significant digits.
    fn say(&self) -> String;
}

impl Quantity for f64 {
    fn say(&self) -> String {
        four_digits(*self)
    }
}

impl Quantity for f32 {
    fn say(&self) -> String {
        four_digits(*self as f64)
    }
}

macro_rules! say_as_displayed {
    ($($t:ty),*) => { $(impl Quantity for $t {
        fn say(&self) -> String { self.to_string() }
    })* };
}
say_as_displayed!(
    str, String, bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, Spread
);

impl<T: Quantity + ?Sized> Quantity for &T {
    fn say(&self) -> String {
        (**self).say()
    }
}

/// A mean with its spread, `91.2 ± 0.3`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle.
    pub mean: f64,
    /// Half a width: a standard deviation over seeds, say. NaN where it is not known; then only the middle is printed.
    pub spread: f64,
}

impl Spread {
    /// Mean and standard deviation (with n - 1 in the denominator) of a few numbers. The deviation of fewer than two is
    /// not known, the mean of none neither.
    ///
    /// ```
    /// use rebit::show::Spread;
    /// assert_eq!(Spread::of([1.0f32, 2.0, 3.0]).to_string(), "2.0 ± 1.0");
    /// assert_eq!(Spread::of([1.5f32]).to_string(), "1.50");
    /// ```
    pub fn of<T: Into<f64>>(values: impl IntoIterator<Item = T>) -> Spread {
        let values: Vec<f64> = values.into_iter().map(Into::into).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let spread = match values.len() {
            0 | 1 => f64::NAN,
            _ => (squares / (n - 1.0)).sqrt(),
        };
        Spread { mean, spread }
    }
}

impl Spread {
    /// Mean of a few numbers and its standard error, `s / sqrt(n)`: for differences of paired runs. The error of fewer
    /// than two is not known.
    ///
    /// ```
    /// use rebit::show::Spread;
    /// assert_eq!(Spread::of_mean([1.0f32, 2.0, 3.0, 2.0]).to_string(), "2.00 ± 0.41");
    /// ```
    pub fn of_mean<T: Into<f64>>(values: impl IntoIterator<Item = T>) -> Spread {
        let values: Vec<f64> = values.into_iter().map(Into::into).collect();
        let Spread { mean, spread } = Spread::of(values.iter().copied());
        let error = spread / (values.len() as f64).sqrt();
        Spread {
            mean,
            spread: error,
        }
    }

    /// Whether the mean lies above 0 by at least so many spreads; false where the spread is not known.
    ///
    /// ```
    /// assert!(rebit::show::spread(0.8, 0.2).above_zero(2.0));
    /// assert!(!rebit::show::spread(0.3, 0.2).above_zero(2.0));
    /// ```
    pub fn above_zero(self, spreads: f64) -> bool {
        self.mean > 0.0 && self.mean >= spreads * self.spread
    }
}

/// `mean ± spread`, for a claim or a table.
///
/// ```
/// assert_eq!(rebit::show::spread(91.2345, 0.29).to_string(), "91.23 ± 0.29");
/// ```
pub fn spread(mean: f64, spread: f64) -> Spread {
    Spread { mean, spread }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Unless told otherwise, two digits of the spread say how many of the mean are worth reading.
        let decimals = f.precision().unwrap_or(match self.spread.abs() {
            s if s > 0.0 && s.is_finite() => (1 - s.log10().floor() as i32).clamp(0, 9) as usize,
            _ => 2,
        });
        write!(f, "{:.decimals$}", self.mean)?;
        if self.spread.is_nan() {
            return Ok(());
        }
        write!(f, " ± {:.decimals$}", self.spread)
    }
}

/// Four significant digits, without needless zeros; very large and very small numbers with an exponent.
pub(super) fn four_digits(x: f64) -> String {
    if x == 0.0 {
        return "0".to_string();
    }
    if !x.is_finite() {
        return x.to_string();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if !(-5..7).contains(&magnitude) {
        return format!("{x:.3e}");
    }
    let decimals = (3 - magnitude).max(0) as usize;
    let text = format!("{x:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// What a row says of its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Fails,
    Finding,
}

impl Verdict {
    pub fn of(holds: bool) -> Self {
        match holds {
            true => Verdict::Holds,
            false => Verdict::Fails,
        }
    }

    pub fn said(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Fails => "does not hold",
            Verdict::Finding => "finding",
        }
    }

    pub fn colour(self) -> &'static str {
        match self {
            Verdict::Holds => "#009e73",
            Verdict::Fails => "#d55e00",
            Verdict::Finding => "#0072b2",
        }
    }
}

/// Checks a sentence of a paper: shows the row, and tells the kernel, which collects the claims of a
/// notebook. Usually written with [`claim!`](crate::claim!).
pub fn claim(text: &str, holds: bool, paper: impl Quantity, ours: impl Quantity) -> Shown {
    let (paper, ours) = (paper.say(), ours.say());
    show_row(Verdict::of(holds), [text, &paper, &ours, ""]);
    place().send(&Message::Claim {
        text: text.to_string(),
        holds,
        ours,
        paper,
    });
    Shown
}

/// A figure of a paper beside ours, without a verdict, and why they may differ. Usually written with
/// [`finding!`](crate::finding!).
pub fn finding(text: &str, paper: impl Quantity, ours: impl Quantity, why: &str) -> Shown {
    let (paper, ours) = (paper.say(), ours.say());
    show_row(Verdict::Finding, [text, &paper, &ours, why]);
    place().send(&Message::Finding {
        text: text.to_string(),
        ours,
        paper,
        why: why.to_string(),
    });
    Shown
}

fn show_row(verdict: Verdict, row_text: [&str; 4]) {
    place().send(&Message::Display {
        id: None,
        data: row(verdict, row_text),
        metadata: MimeBundle::new(),
    });
}

/// A row as a line of text, of sentence, the paper's figure, ours, and the reason.
pub(super) fn plain_row(verdict: Verdict, [text, paper, ours, why]: [&str; 4]) -> String {
    let dash = if why.is_empty() { "" } else { ": " };
    let said = verdict.said();
    format!("[{said}] {text} (paper: {paper}; ours: {ours}){dash}{why}")
}

fn row(verdict: Verdict, row_text: [&str; 4]) -> MimeBundle {
    let [text_html, paper_html, ours_html, why_html] = row_text.map(escape_html);
    let reason = match row_text[3] {
        "" => String::new(),
        _ => format!("<br><span style=\"opacity:0.75\">{why_html}</span>"),
    };
    let (said, colour) = (verdict.said(), verdict.colour());
    let cell = "style=\"text-align:left;padding:4px 14px\"";
    let html = format!(
        "<table style=\"border-left:4px solid {colour};margin:4px 0\"><tr>\
         <td {cell}><b style=\"color:{colour}\">{said}</b></td>\
         <td {cell}>{text_html}{reason}</td>\
         <td {cell}>paper: {paper_html}</td><td {cell}>ours: {ours_html}</td></tr></table>"
    );
    bundle_of("text/html", html, plain_row(verdict, row_text))
}

/// Checks a sentence of a paper against a measurement.
///
/// ```
/// use rebit::prelude::*;
/// let (base, lts) = (91.4, 91.2);
/// claim!("LTS keeps accuracy within 1.5 points", lts >= base - 1.5, paper: "on par", ours: lts - base);
/// ```
#[macro_export]
macro_rules! claim {
    ($text:expr, $holds:expr, paper: $paper:expr, ours: $ours:expr $(,)?) => {
        $crate::show::claim(&$text, $holds, $paper, $ours)
    };
    ($text:expr, $holds:expr, ours: $ours:expr, paper: $paper:expr $(,)?) => {
        $crate::show::claim(&$text, $holds, $paper, $ours)
    };
}

/// Puts a figure of a paper beside ours without a verdict, and says why.
///
/// ```
/// use rebit::prelude::*;
/// finding!("MobileNetV2 gains 5 points at 2 bit", paper: 5.05, ours: spread(0.3, 0.4),
///     "not reproduced: 20 epochs instead of 200");
/// ```
#[macro_export]
macro_rules! finding {
    ($text:expr, paper: $paper:expr, ours: $ours:expr, $why:expr $(,)?) => {
        $crate::show::finding(&$text, $paper, $ours, &$why)
    };
    ($text:expr, ours: $ours:expr, paper: $paper:expr, $why:expr $(,)?) => {
        $crate::show::finding(&$text, $paper, $ours, &$why)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::place::plain_text;

    #[test]
    fn numbers_are_shown_with_four_significant_digits() {
        let shown = [
            0.0,
            -0.2,
            61.98765,
            0.00012346,
            1234567.0,
            1.5e9,
            2e-7,
            f64::NAN,
        ];
        let texts = [
            "0",
            "-0.2",
            "61.99",
            "0.0001235",
            "1234567",
            "1.500e9",
            "2.000e-7",
            "NaN",
        ];
        assert_eq!(shown.map(four_digits), texts);
        assert_eq!(0.1f32.say(), "0.1");
    }

    #[test]
    fn a_row_says_verdict_sentence_and_both_figures() {
        let bundle = row(Verdict::Holds, ["a < b & c", "1", "2", ""]);
        assert_eq!(
            plain_text(&bundle).unwrap(),
            "[holds] a < b & c (paper: 1; ours: 2)"
        );
        let html = bundle["text/html"].as_str().unwrap();
        assert!(
            html.contains("a &lt; b &amp; c") && !html.contains("<br>"),
            "{html}"
        );
    }

    #[test]
    fn a_finding_says_why() {
        let bundle = row(Verdict::Finding, ["gain", "5", "0.3", "20 epochs"]);
        let text = "[finding] gain (paper: 5; ours: 0.3): 20 epochs";
        assert_eq!(plain_text(&bundle).unwrap(), text);
        assert!(bundle["text/html"].as_str().unwrap().contains("20 epochs"));
    }

    #[test]
    fn the_macros_take_text_numbers_and_spreads_in_either_order() {
        let name = String::from("LTS");
        crate::claim!(format!("{name} holds"), 1 + 1 == 2, paper: "on par", ours: 0.5f32);
        crate::claim!("and so", true, ours: &name, paper: 3usize,);
        crate::finding!("gain", paper: 5.05, ours: spread(0.3, 0.4), format!("{} epochs", 20));
    }
}
