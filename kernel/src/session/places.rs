//! Where in the cells something happened that the running one reports.

use std::path::PathBuf;
use std::sync::Arc;

use super::history::History;
use super::rewrite::Cell;
use super::stream::Place;
use crate::workshop::session_files::GENERATED;
use crate::workshop::shim;

/// The name of a cell's source when it is compiled.
pub const SOURCE: &str = "src/lib.rs";

/// A place in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// What the cell is called.
    pub name: String,
    /// The cell as the user wrote it.
    pub user: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A running cell, the cells before it, and the session's folder.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The session's folder.
    pub folder: PathBuf,
    /// The cell.
    pub cell: Cell,
    /// The cells before it.
    pub history: Arc<History>,
}

impl Places {
    /// Where the reader finds a reported place: itself, or the call that led to it.
    pub fn spot(&self, place: &Place) -> Option<Spot> {
        if place.file == SOURCE {
            return self.in_generated((place.line, place.column));
        }
        let calls = place.calls.iter();
        let calls: Vec<_> = calls
            .map(|call| (call.file.as_path(), call.address))
            .collect();
        let found = shim::lines_of(&self.folder, &calls);
        found.into_iter().find_map(|place| self.in_generated(place))
    }

    /// The same in words.
    pub fn words(&self, place: &Place) -> String {
        match self.spot(place) {
            Some(spot) => format!("{}:{}:{}", spot.name, spot.line, spot.column),
            None if place.file == SOURCE || place.file.is_empty() => "an unknown place".to_string(),
            None => format!("{}:{}:{}", place.file, place.line, place.column),
        }
    }

    /// Where a place of what evcxr generated stands in a cell.
    fn in_generated(&self, place: (usize, usize)) -> Option<Spot> {
        let generated = std::fs::read_to_string(self.folder.join(GENERATED)).ok()?;
        if let Some((line, column)) = self.cell.place(&generated, place) {
            return Some(Spot {
                name: "cell".to_string(),
                user: self.cell.user.clone(),
                line,
                column,
            });
        }
        let found = self.history.place(&generated, place, &self.cell)?;
        Some(Spot {
            name: format!("cell {}", found.number),
            user: found.user,
            line: found.line,
            column: found.column,
        })
    }
}
