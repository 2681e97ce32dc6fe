//! A cell as the user wrote it, and as it is compiled.
//!
//! The value of the last expression is shown by one call that fits every type, so that one compilation
//! suffices (evcxr tries `evcxr_display` first and Debug in a second compilation), and standard output
//! is flushed at the end, so that `print!` shows in its own cell.

mod read;
mod typed;

use std::path::Path;

use evcxr::CompilationError;

use super::constants::Constants;
use super::history::History;
use super::in_the_way::InTheWay;
use super::made;
use super::statement::Variable;
use super::text::{Edit, Text, byte_of, inside, place_of};
use super::unnamed::{Block, Blocks};
use crate::language::commands::{Kind, code_start, head};
use crate::workshop::session_files::GONE;

pub use typed::TypesAre;

/// A cell, ready for evcxr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// As the user wrote it.
    pub user: String,
    /// Variables that the cell binds at its top level.
    pub bound: Vec<Variable>,
    /// Items (functions, types, imports, macros) as they stand in the cell.
    pub items: Vec<Part>,
    /// Its other statements.
    pub statements: Vec<Part>,
    /// Lines `:dep ...`.
    pub dependencies: Vec<String>,
    /// Why a command in it cannot be followed.
    pub refusal: Option<String>,
    /// Commands that begin the session anew, with the commands before each.
    pub resets: Vec<(String, Reset)>,
    /// How values are shown from this cell on.
    pub shown: ShownAs,
    /// Of a cell with a line for a shell the same cell where that line is Rust, if it can be.
    pub as_code: Option<Box<Cell>>,
    /// What patterns of later cells mean by the names that it defines.
    pub constants: Constants,
    /// Macros that it defines.
    pub macros: Vec<(String, made::Kind)>,
    /// What its reader must know once it has run.
    pub notes: Vec<String>,
    /// What evcxr must be told beside the cell.
    told: String,
    /// What is changed in any case.
    edits: Vec<Edit>,
    /// What is changed where the cell runs, and where rustc is only asked about it.
    run: Vec<Edit>,
    ask: Vec<Edit>,
    blocks: Vec<Block>,
    /// The blocks of all cells after it.
    known_blocks: Blocks,
    names: Vec<String>,
    /// Macros and imports that it brings.
    brings: Vec<String>,
    /// Macros of ours that make its items.
    pub made: Vec<String>,
    start: usize,
    is_broken: bool,
}

/// A piece of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Byte of the cell where it begins.
    pub at: usize,
    /// Its text.
    pub text: String,
    /// What is compiled in its place, where that is something else.
    sent: Option<Text>,
}

impl Part {
    fn new(at: usize, text: &str) -> Part {
        Part {
            at,
            text: text.to_string(),
            sent: None,
        }
    }

    fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// The byte of the cell that a byte of the generated source is, when that lies in this piece.
    pub fn byte(&self, generated: &str, byte: usize) -> Option<usize> {
        let sent = self.sent.as_ref();
        let text = sent.map_or(self.text.as_str(), |sent| sent.source.as_str());
        let inside = inside(generated, text, byte)?;
        Some(self.at + sent.map_or(inside, |sent| sent.user_byte(inside)))
    }
}

/// How values are shown that have only their `Debug` form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownAs {
    /// `:fmt`.
    pub format: String,
    /// `:types`.
    pub with_type: bool,
}

impl Default for ShownAs {
    fn default() -> ShownAs {
        ShownAs {
            format: "{:?}".to_string(),
            with_type: false,
        }
    }
}

/// What a cell is read with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// The cells before it.
    pub history: Option<&'a History>,
    /// Where the cells run.
    pub folder: Option<&'a Path>,
    /// How values are shown so far.
    pub shown: Option<&'a ShownAs>,
}

/// Commands that end what the session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// `:clear`: variables, items and dependencies.
    Everything,
    /// `:restart`: the process that runs the cells, with the variables.
    Process,
}

impl Cell {
    /// Reads a cell by itself.
    #[cfg(test)]
    pub fn new(cell: &str) -> Cell {
        Cell::read(cell, &Reading::default())
    }

    /// Reads a cell; one that does not parse is left as it is, for rustc to complain about.
    pub fn read(cell: &str, with: &Reading<'_>) -> Cell {
        let mut this = Cell::read_from(cell, code_start(cell), with);
        // `!flag` may be a command of a shell, or the contrary of `flag`.
        let lines = head(cell);
        let shell = lines.iter().find(|line| line.kind == Kind::Shell);
        if let Some(at) = shell.map(|line| line.at.start) {
            let mut code = Cell::read_from(cell, at, with);
            let parses = !code.statements.is_empty();
            // A mark in front of the line would make it a shell's to evcxr too.
            code.edits.push(Edit::insert(at, " "));
            this.as_code = parses.then(|| Box::new(code));
        }
        this
    }

    /// Code of ours, which nothing is put around.
    pub fn as_is(code: &str) -> Cell {
        Cell {
            user: code.to_string(),
            ..Cell::default()
        }
    }

    /// The names of the items that the cell defines, and of the types that it implements.
    pub fn defined_names(&self) -> &[String] {
        &self.names
    }

    /// Whether the session forgets its items and dependencies before the cell.
    pub fn forgets(&self) -> bool {
        let mut resets = self.resets.iter();
        resets.any(|(_, reset)| *reset == Reset::Everything)
    }

    /// Takes into account what earlier cells have defined.
    pub fn after(&mut self, blocks: &Blocks) {
        (self.known_blocks, self.told) = blocks.after(&self.blocks, &self.names);
    }

    /// The blocks of all cells after this one.
    pub fn known_blocks(&self) -> &Blocks {
        &self.known_blocks
    }

    /// What of earlier cells these errors say to be in its way, when they were about this source.
    pub fn in_the_way(&self, errors: &[CompilationError], source: &str) -> InTheWay {
        let blocks = || self.blocks.iter().map(Block::name);
        let is_own = |name: &str| {
            let mut names = self.names.iter().chain(&self.brings);
            names.any(|own| own == name) || blocks().any(|own| own == name)
        };
        InTheWay::of(errors, &self.made, &is_own, source)
    }

    /// Takes out of evcxr's memory what is in the way of the cell; whether there was anything.
    pub fn make_way(&mut self, found: &InTheWay) -> bool {
        let mut told = String::new();
        for name in &found.calls {
            told += &format!("\nmacro_rules! {name} {{ () => {{}} }}");
        }
        for name in &found.items {
            told += &format!("\nmacro_rules! {name} {{ () => {{ {GONE} }} }}");
        }
        for (name, member) in &found.blocks {
            told += &self.known_blocks.take(name, member.as_deref());
        }
        self.told += &told;
        !told.is_empty()
    }

    /// Where a place of the generated source (line and column from 1) stands in the cell.
    pub fn place(&self, generated: &str, place: (usize, usize)) -> Option<(usize, usize)> {
        let byte = byte_of(generated, place.0, place.1);
        // Statements stand behind all items, and an item of an earlier cell may hold the same words.
        let parts = self.statements.iter().chain(&self.items);
        parts
            .filter_map(|part| Some((part.text.len(), part.byte(generated, byte)?)))
            .max()
            .map(|(_, byte)| place_of(&self.user, byte))
    }

    fn text(&self, further: &[Edit]) -> Text {
        let told = Edit::insert(self.user.len(), self.told.as_str());
        let edits = self.edits.iter().chain(further).cloned();
        let edits: Vec<Edit> = edits.chain([told]).collect();
        Text::new(&self.user, &edits)
    }

    /// What evcxr gets.
    pub fn source(&self) -> Text {
        self.text(&self.run)
    }

    /// For a cell that does not parse: the same inside a function, which evcxr leaves as it is.
    ///
    /// Of a statement that it does not understand (`let = 1;`) evcxr passes nothing on, and rustc has nothing
    /// to complain about.
    pub fn syntax_question(&self) -> Option<Text> {
        if !self.is_broken {
            return None;
        }
        let head = Edit {
            at: 0..self.start,
            text: "fn rebit_cell() {\n".to_string(),
        };
        let end = Edit::insert(self.user.len(), "\n}");
        Some(Text::new(&self.user, &[head, end]))
    }

    /// The cell as rustc is asked whether it compiles.
    pub fn question(&self) -> Text {
        self.text(&self.ask)
    }
}

#[cfg(test)]
mod tests;
