//! The claims and findings of a section as one table.

use rebit_wire::Message;

use super::claims::{Quantity, Verdict, plain_row};
use super::{MimeBundle, Show, bundle_of, escape_html, place};

/// Claims and findings below each other; see [`claims`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    verdict: Verdict,
    text: String,
    paper: String,
    ours: String,
    why: String,
}

/// A table of claims and findings, for the end of a section. Each counts when it is added, as those of
/// [`claim!`](crate::claim!) and [`finding!`](crate::finding!) do; the table is shown when it ends a cell.
///
/// ```
/// use rebit::prelude::*;
/// let (base, lts) = (91.4, 91.2);
/// let table = show::claims()
///     .claim("LTS keeps accuracy within 1.5 points", lts >= base - 1.5, "on par", lts - base)
///     .finding("gain of MobileNetV2", "+5.05", spread(0.3, 0.4), "20 epochs instead of 200");
/// assert_eq!(table.failed(), 0);
/// ```
pub fn claims() -> Claims {
    Claims::default()
}

impl Claims {
    /// Adds a sentence of the paper, or a direct consequence, that may fail.
    #[must_use = "a table of claims is shown when it ends a cell"]
    pub fn claim(
        mut self,
        text: impl Into<String>,
        holds: bool,
        paper: impl Quantity,
        ours: impl Quantity,
    ) -> Self {
        let row = Row {
            verdict: Verdict::of(holds),
            text: text.into(),
            paper: paper.say(),
            ours: ours.say(),
            why: String::new(),
        };
        place().send(&Message::Claim {
            text: row.text.clone(),
            holds,
            ours: row.ours.clone(),
            paper: row.paper.clone(),
        });
        self.rows.push(row);
        self
    }

    /// Adds a claim that a quick run is too small to judge: a finding at [`Budget::Quick`](super::Budget::Quick), which
    /// says so, and a claim at the other budgets.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let table = show::claims().claim_beyond_quick("a longer run is better", false, "+0.7 dB", -0.1);
    /// assert_eq!(table.failed(), usize::from(budget() != Budget::Quick));
    /// ```
    #[must_use = "a table of claims is shown when it ends a cell"]
    pub fn claim_beyond_quick(
        self,
        text: impl Into<String>,
        holds: bool,
        paper: impl Quantity,
        ours: impl Quantity,
    ) -> Self {
        match super::budget() {
            super::Budget::Quick => self.finding(text, paper, ours, "not judged at this budget"),
            _ => self.claim(text, holds, paper, ours),
        }
    }

    /// Adds a figure without a verdict, and why it may differ.
    #[must_use = "a table of claims is shown when it ends a cell"]
    pub fn finding(
        mut self,
        text: impl Into<String>,
        paper: impl Quantity,
        ours: impl Quantity,
        why: impl Into<String>,
    ) -> Self {
        let row = Row {
            verdict: Verdict::Finding,
            text: text.into(),
            paper: paper.say(),
            ours: ours.say(),
            why: why.into(),
        };
        place().send(&Message::Finding {
            text: row.text.clone(),
            ours: row.ours.clone(),
            paper: row.paper.clone(),
            why: row.why.clone(),
        });
        self.rows.push(row);
        self
    }

    /// How many claims do not hold.
    pub fn failed(&self) -> usize {
        let failed = self.rows.iter().filter(|r| r.verdict == Verdict::Fails);
        failed.count()
    }

    fn html(&self) -> String {
        let mut html = String::from("<table style=\"margin:4px 0\"><thead><tr>");
        for head in ["", "claim", "paper", "ours"] {
            html += &format!("<th style=\"text-align:left;padding:3px 12px\">{head}</th>");
        }
        html += "</tr></thead><tbody>";
        for row in &self.rows {
            let why = match row.why.as_str() {
                "" => String::new(),
                why => format!(
                    "<br><span style=\"opacity:0.75\">{}</span>",
                    escape_html(why)
                ),
            };
            let [text, paper, ours] = [&row.text, &row.paper, &row.ours].map(|t| escape_html(t));
            let (said, colour) = (row.verdict.said(), row.verdict.colour());
            let cell = "<td style=\"text-align:left;padding:3px 12px\">";
            html += &format!(
                "<tr><td style=\"text-align:left;padding:3px 12px;white-space:nowrap\">\
                 <b style=\"color:{colour}\">{said}</b></td>\
                 {cell}{text}{why}</td>{cell}{paper}</td>{cell}{ours}</td></tr>"
            );
        }
        html + "</tbody></table>"
    }

    /// A line for each row, as a terminal shows it.
    fn text(&self) -> String {
        let lines = self.rows.iter();
        lines
            .map(|r| plain_row(r.verdict, [&r.text, &r.paper, &r.ours, &r.why]) + "\n")
            .collect()
    }
}

impl Show for Claims {
    fn bundle(&self) -> MimeBundle {
        bundle_of("text/html", self.html(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_each_other_in_both_forms() {
        let table = claims()
            .claim("a < b", true, "yes", 1.5)
            .claim("b < a", false, "no", 2u32)
            .finding("gain", "5", 0.3, "20 epochs");
        assert_eq!(table.failed(), 1);
        let bundle = table.bundle();
        assert_eq!(
            bundle["text/plain"].as_str(),
            Some(
                "[holds] a < b (paper: yes; ours: 1.5)\n\
                 [does not hold] b < a (paper: no; ours: 2)\n\
                 [finding] gain (paper: 5; ours: 0.3): 20 epochs\n"
            )
        );
        let html = bundle["text/html"].as_str().unwrap_or_default();
        assert_eq!(
            (html.matches("<tr>").count(), html.matches("<td").count()),
            (4, 12)
        );
        assert!(
            html.contains("a &lt; b") && html.contains("20 epochs"),
            "{html}"
        );
    }
}
