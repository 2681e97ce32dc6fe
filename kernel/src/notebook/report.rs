//! What a run of a notebook found: as a table for people, as JSON for programs.

use serde::Serialize;

use crate::output::{Claim, Finding};

/// One code cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellReport {
    /// Number among the notebook's code cells, from 1.
    pub index: usize,
    /// Seconds it took, compilation included.
    pub seconds: f64,
    /// `ok`, `expected error` (its tag says so), `error`, `skipped` (its tag says so) or `not run`.
    pub status: &'static str,
}

/// One notebook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The notebook as named on the command line.
    pub notebook: String,
    /// `quick`, `standard` or `full`.
    pub budget: String,
    /// Seconds in all.
    pub seconds: f64,
    /// Every code cell.
    pub cells: Vec<CellReport>,
    /// Every claim, in order.
    pub claims: Vec<Claim>,
    /// Every finding, in order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every cell ran and every claim holds.
    pub fn holds(&self) -> bool {
        let as_meant = ["ok", "expected error", "skipped"];
        self.cells
            .iter()
            .all(|cell| as_meant.contains(&cell.status))
            && self.claims.iter().all(|c| c.holds)
    }

    /// The claims and findings as a table; empty when there are none.
    pub fn table(&self) -> String {
        let mut rows = Vec::new();
        for claim in &self.claims {
            let verdict = if claim.holds { "holds" } else { "FAILS" };
            rows.push([verdict, &claim.text, &claim.ours, &claim.paper, ""]);
        }
        for finding in &self.findings {
            let Finding {
                text,
                ours,
                paper,
                why,
            } = finding;
            rows.push(["finding", text, ours, paper, why]);
        }
        if rows.is_empty() {
            return String::new();
        }
        let head = ["", "claim", "ours", "paper", ""];
        let width = |column: usize| {
            rows.iter()
                .chain([&head])
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2), width(3)];
        let line = |row: &[&str; 5]| {
            let mut line = String::new();
            for (text, width) in row.iter().zip(widths) {
                line += &format!("  {text:width$}");
            }
            line += &format!("  {}", row[4]);
            line.trim_end().to_string() + "\n"
        };
        let rule = ["-------", "-----", "----", "-----", ""];
        std::iter::once(line(&head))
            .chain(std::iter::once(line(&rule)))
            .chain(rows.iter().map(line))
            .collect()
    }
}

/// The report file: one object for one notebook, a list for several.
pub fn json(reports: &[Report]) -> Vec<u8> {
    let mut text = match reports {
        [one] => serde_json::to_vec_pretty(one),
        many => serde_json::to_vec_pretty(many),
    }
    .expect("plain data");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            notebook: "a.ipynb".into(),
            budget: "quick".into(),
            seconds: 1.5,
            cells: vec![CellReport {
                index: 1,
                seconds: 0.5,
                status: "ok",
            }],
            claims: vec![Claim {
                text: "é holds".into(),
                holds: true,
                ours: "1".into(),
                paper: "2".into(),
            }],
            findings: vec![Finding {
                text: "gain".into(),
                ours: "0.3".into(),
                paper: "5.05".into(),
                why: "20 epochs".into(),
            }],
        }
    }

    #[test]
    fn the_json_has_exactly_these_fields() {
        let value: serde_json::Value = serde_json::from_slice(&json(&[report()])).unwrap();
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "budget", "cells", "claims", "findings", "notebook", "seconds"
            ]
        );
        assert_eq!(
            value["claims"][0],
            serde_json::json!({"text": "é holds", "holds": true, "ours": "1", "paper": "2"})
        );
        assert_eq!(value["cells"][0]["status"], "ok");
        assert_eq!(value["findings"][0]["why"], "20 epochs");
    }

    #[test]
    fn one_failing_claim_or_cell_fails_the_run() {
        assert!(report().holds());
        let mut failing = report();
        failing.claims[0].holds = false;
        assert!(!failing.holds());
        let mut failing = report();
        failing.cells[0].status = "not run";
        assert!(!failing.holds());
    }

    #[test]
    fn the_table_is_aligned() {
        let table = report().table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        let column = |line: &str, word: &str| {
            line.find(word)
                .map(|at| line[..at].chars().count())
                .unwrap()
        };
        assert_eq!(column(lines[0], "ours"), column(lines[3], "0.3"));
        assert_eq!(column(lines[0], "ours"), column(lines[2], "1"));
    }
}
