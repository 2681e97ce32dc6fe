//! What earlier cells have defined, and what they took: for messages whose cause lies in them.

use std::collections::HashMap;

use super::constants::Constants;
use super::made;
use super::rewrite::{Cell, Part};
use super::text::{byte_of, place_of};
use super::types::CRATES;

/// A cell whose items later cells contain.
#[derive(Clone, Debug)]
struct Past {
    number: usize,
    user: String,
    items: Vec<Part>,
    names: Vec<String>,
}

/// A place in an earlier cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The cell's number.
    pub number: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The whole cell.
    pub user: String,
}

/// The cells of a session so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    cells: Vec<Past>,
    moved: HashMap<String, usize>,
    constants: Constants,
    macros: HashMap<String, made::Kind>,
}

impl History {
    /// Notes a cell that ran.
    pub fn add(&mut self, number: usize, cell: &Cell) {
        self.constants.add(&cell.constants);
        self.macros.extend(cell.macros.iter().cloned());
        if !cell.items.is_empty() {
            self.cells.push(Past {
                number,
                user: cell.user.clone(),
                items: cell.items.clone(),
                names: cell.defined_names().to_vec(),
            });
        }
    }

    /// Notes which variables a cell took with it, and which there are.
    pub fn note_moved(&mut self, number: usize, gone: &[String], there: &[(String, String)]) {
        for name in gone {
            self.moved.insert(name.clone(), number);
        }
        self.moved
            .retain(|name, _| !there.iter().any(|(found, _)| found == name));
    }

    /// The cell that took a variable with it.
    pub fn mover(&self, name: &str) -> Option<usize> {
        self.moved.get(name).copied()
    }

    /// Whether a module of the user bears the name of a crate whose types have no other name.
    pub fn shadows_crates(&self, present: &Cell) -> bool {
        let parts = self.cells.iter().flat_map(|cell| &cell.items);
        parts.chain(&present.items).any(|item| {
            let text = item.text.as_str();
            CRATES.iter().any(|name| {
                let module = text.split_once("mod ").map(|(_, rest)| rest.trim_start());
                module.is_some_and(|rest| rest.starts_with(name))
            })
        })
    }

    /// What patterns mean by names of these cells.
    pub fn constants(&self) -> &Constants {
        &self.constants
    }

    /// Whether a cell has defined a macro of this name.
    pub fn has_macro(&self, name: &str) -> bool {
        self.macros.contains_key(name)
    }

    /// What is known of a macro of this name.
    pub fn macro_kind(&self, name: &str) -> Option<made::Kind> {
        self.macros.get(name).copied()
    }

    /// Whether a cell has defined a type of this name.
    pub fn defines(&self, name: &str) -> bool {
        let mut cells = self.cells.iter();
        cells.any(|cell| cell.names.iter().any(|own| own == name))
    }

    /// The items of all cells, oldest first.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        let items = self.cells.iter().flat_map(|cell| &cell.items);
        items.map(|item| item.text.as_str())
    }

    /// Where a place of the generated source stands in an earlier cell; `None` when it is in `present`, or in none.
    pub fn place(&self, generated: &str, place: (usize, usize), present: &Cell) -> Option<Place> {
        let byte = byte_of(generated, place.0, place.1);
        // The newest definition is the one that is compiled.
        for cell in self.cells.iter().rev() {
            for item in &cell.items {
                let Some(byte) = item.byte(generated, byte) else {
                    continue;
                };
                if present.items.iter().any(|own| own.text == item.text) {
                    return None;
                }
                let (line, column) = place_of(&cell.user, byte);
                return Some(Place {
                    number: cell.number,
                    line,
                    column,
                    user: cell.user.clone(),
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_the_cell_that_wrote_it() {
        let mut history = History::default();
        history.add(3, &Cell::new("let x = 1;\n  fn f() {\n    g() }"));
        history.add(4, &Cell::new("fn g() {}"));
        let generated = "fn g() {}\nfn f() {\n    g() }\nfn run() {}\n";
        let none = Cell::new("1");
        let found = history.place(generated, (3, 5), &none).unwrap();
        assert_eq!((found.number, found.line, found.column), (3, 3, 5));
        assert_eq!(history.place(generated, (1, 4), &none).unwrap().number, 4);
        assert_eq!(history.place(generated, (4, 1), &none), None);
        assert_eq!(
            history.place(generated, (1, 4), &Cell::new("fn g() {}")),
            None
        );
    }

    #[test]
    fn a_moved_variable_is_remembered_until_it_is_there_again() {
        let mut history = History::default();
        history.note_moved(12, &["v".to_string()], &[]);
        assert_eq!(history.mover("v"), Some(12));
        history.note_moved(13, &[], &[("v".to_string(), "u8".to_string())]);
        assert_eq!(history.mover("v"), None);
    }
}
