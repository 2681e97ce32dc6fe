//! A cell as the user wrote it, and as it is compiled.
//!
//! The value of the last expression is shown by one call that fits every type, so that one compilation
//! suffices (evcxr tries `evcxr_display` first and Debug in a second compilation), and standard output
//! is flushed at the end, so that `print!` shows in its own cell.

use std::path::Path;

use evcxr::CompilationError;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Item, Stmt};

use super::constants::Constants;
use super::history::History;
use super::in_the_way::{self, InTheWay};
use super::statement::{Binder, Variable, is_plain, is_value, written_types};
use super::text::{Edit, Text, byte_of, inside, place_of};
use super::unnamed::{Block, Blocks};
use super::{commands, made, sources, types};
use crate::language::commands::{Kind, code_start, head};
use crate::language::lexer;
use crate::workshop::hidden::Hider;
use crate::workshop::session_files::GONE;

/// What stands at the end of a cell that runs something.
const END: &str = "\n::rebit::cell::end();";

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

/// How the types of a cell's variables are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypesAre {
    /// They are written in the cell.
    Written,
    /// evcxr's analyser is quick to tell them, and right; or there are none.
    Guessed,
    /// rustc is asked.
    Asked,
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

    fn read_from(cell: &str, start: usize, with: &Reading<'_>) -> Cell {
        let code = &cell[start..];
        let mut this = Cell {
            user: cell.to_string(),
            start,
            shown: with.shown.cloned().unwrap_or_default(),
            ..Cell::default()
        };
        this.read_commands(with.folder);
        this.edits.extend(sources::edits(cell, start, with.folder));
        let Ok(statements) = syn::Block::parse_within.parse_str(code) else {
            // Without its brackets in order nothing can be put around it; what is open at the end takes in all that is.
            let is_open = lexer::tokens(code)
                .last()
                .is_some_and(|token| token.is_open());
            this.is_broken = is_open || code.parse::<proc_macro2::TokenStream>().is_ok();
            return this;
        };
        for statement in &statements {
            if let Stmt::Item(item) = statement {
                this.constants.read(item);
            }
        }
        let mut has_code = false;
        let mut ends_with_code = false;
        for statement in &statements {
            ends_with_code = false;
            let span = statement.span().byte_range();
            let part = Part::new(start + span.start, &code[span]);
            match statement {
                Stmt::Item(item) => this.read_item(item, part),
                Stmt::Macro(stmt) if stmt.mac.path.is_ident("macro_rules") => {
                    this.items.push(part);
                }
                statement if this.read_made(statement, &part, with) => {}
                statement => {
                    (has_code, ends_with_code) = (true, true);
                    if let Stmt::Local(local) = statement {
                        this.read_local(local, &part, with);
                    }
                    this.statements.push(part);
                }
            }
        }
        let end = this.statements.last().map_or(0, Part::end);
        for variable in &mut this.bound {
            variable.end = variable.end.min(end);
        }
        if has_code && !ends_with_code {
            this.run = vec![Edit::insert(cell.len(), END)];
        } else if has_code {
            let own = |name: &str| {
                this.macros.iter().any(|(own, _)| own == name)
                    || with.history.is_some_and(|history| history.has_macro(name))
            };
            let last = statements.last().expect("has code");
            let is_value = is_value(last, &own);
            this.surround(last, is_value);
        }
        this.note_what_is_sent();
        this
    }

    /// Names that a `let` binds, and those in its pattern that are constants, which are named by a path: evcxr would take
    /// them for variables.
    fn read_local(&mut self, local: &syn::Local, part: &Part, with: &Reading<'_>) {
        let refutable = local
            .init
            .as_ref()
            .is_some_and(|init| init.diverge.is_some());
        let known = |name: &str| {
            let constants = [Some(&self.constants), with.history.map(History::constants)];
            Constants::path(name, &constants)
        };
        let mut binder = Binder::new(part.at + part.text.len(), refutable, &known);
        binder.visit_pat(&local.pat);
        let (bound, constants) = (binder.bound, binder.constants);
        let written = match local.init {
            Some(_) => written_types(&local.pat, None, &self.user[self.start..]),
            None => Vec::new(),
        };
        let init = local.init.as_ref();
        let is_plain = init.is_some_and(|init| init.diverge.is_none() && is_plain(&init.expr));
        for mut variable in bound {
            variable.at += self.start;
            variable.is_plain = is_plain;
            let of = written.iter().find(|(name, _)| *name == variable.name);
            variable.of = of.map(|(_, of)| of.clone());
            if local.init.is_none() {
                variable.end = usize::MAX;
            }
            self.bound.retain(|old| old.name != variable.name);
            self.bound.push(variable);
        }
        for (at, path) in constants {
            self.edits.push(Edit::insert(self.start + at, path));
        }
    }

    /// Whether a statement is the call of a macro that makes items, which is then one of the cell's items.
    fn read_made(&mut self, statement: &Stmt, part: &Part, with: &Reading<'_>) -> bool {
        let (call, ends) = match statement {
            Stmt::Macro(stmt) => (&stmt.mac, stmt.semi_token.is_some()),
            Stmt::Expr(syn::Expr::Macro(expr), semicolon) => (&expr.mac, semicolon.is_some()),
            _ => return false,
        };
        if sources::is_shared(call) {
            let names = sources::shared_names(&part.text);
            let has_names = !names.is_empty();
            if has_names {
                self.names.extend(names);
                self.items.push(part.clone());
                return true;
            }
        }
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        let kind = name.and_then(|name| {
            let own = self.macros.iter().rev().find(|(own, _)| *own == name);
            let own = own.map(|(_, kind)| *kind);
            own.or_else(|| with.history?.macro_kind(&name))
        });
        let kind = kind.unwrap_or_default();
        if !made::is_made(call, kind) || part.text.contains('$') {
            return false;
        }
        if kind.has_statics || made::has_statics(call.tokens.clone()) {
            self.notes.push(made::note(call));
        }
        let name = made::name(call);
        let is_brace = matches!(call.delimiter, syn::MacroDelimiter::Brace(_));
        let end = if ends || is_brace { "" } else { ";" };
        let begin = format!("macro_rules! {name} {{ () => {{ ");
        self.edits.push(Edit::insert(part.at, begin));
        let at = part.at + part.text.len();
        self.edits.push(Edit::insert(at, format!("{end} }} }}")));
        self.made.push(name);
        self.items.push(part.clone());
        true
    }

    /// Notes what is compiled in the place of pieces that are changed inside.
    fn note_what_is_sent(&mut self) {
        for part in self.statements.iter_mut().chain(&mut self.items) {
            let end = part.at + part.text.len();
            // What is put in at its ends stands beside it.
            let inside = self.edits.iter().filter(|edit| {
                let at = &edit.at;
                let replaces = !at.is_empty() || (part.at < at.start && at.start < end);
                part.at <= at.start && at.end <= end && replaces
            });
            let edits: Vec<Edit> = inside
                .map(|edit| Edit {
                    at: edit.at.start - part.at..edit.at.end - part.at,
                    text: edit.text.clone(),
                })
                .collect();
            if !edits.is_empty() {
                part.sent = Some(Text::new(&part.text, &edits));
            }
        }
    }

    /// Code of ours, which nothing is put around.
    pub fn as_is(code: &str) -> Cell {
        Cell {
            user: code.to_string(),
            ..Cell::default()
        }
    }

    fn read_commands(&mut self, folder: Option<&Path>) {
        let user = self.user.clone();
        let mut begin = 0;
        let mut before = String::new();
        let lines = head(&user[..self.start]);
        let last = lines
            .iter()
            .rposition(|line| line.is_command())
            .unwrap_or(0);
        for (number, line) in lines.iter().enumerate() {
            let text = user[line.at.clone()].trim_end_matches('\n');
            if !line.is_command() {
                // Where a command follows, evcxr would take it for the first line of code.
                if number < last && line.kind == Kind::Comment {
                    self.edits.push(Edit::blank(&user, line.at.clone()));
                }
                continue;
            }
            let word = text.trim();
            self.refusal = self.refusal.take().or_else(|| commands::refusal(word));
            let reset = match word {
                ":clear" => Some(Reset::Everything),
                ":restart" => Some(Reset::Process),
                _ => None,
            };
            let Some(reset) = reset else {
                let path = folder.and_then(|folder| {
                    let is_dependency = word.starts_with(":dep");
                    is_dependency.then(|| sources::dependency_path(text, folder))?
                });
                let sent = Text::new(text, path.as_slice()).source;
                self.read_command(sent.trim());
                before += &sent;
                before.push('\n');
                self.edits.extend(path.map(|path| Edit {
                    at: path.at.start + line.at.start..path.at.end + line.at.start,
                    ..path
                }));
                continue;
            };
            self.resets.push((std::mem::take(&mut before), reset));
            begin = line.at.start + text.len();
            if reset == Reset::Everything {
                self.dependencies.clear();
            }
        }
        if begin > 0 {
            self.edits.retain(|edit| edit.at.start >= begin);
            self.edits.push(Edit::blank(&user, 0..begin));
        }
    }

    fn read_command(&mut self, line: &str) {
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        match (word, argument.trim()) {
            (":dep", _) => self.dependencies.push(line.to_string()),
            (":fmt", "") => self.shown.format = ShownAs::default().format,
            (":fmt", format) => self.shown.format = format.to_string(),
            (":types", _) => self.shown.with_type = !self.shown.with_type,
            _ => {}
        }
    }

    fn read_item(&mut self, item: &Item, part: Part) {
        let code = &self.user[self.start..];
        if let Item::Macro(item) = item
            && let Some(name) = &item.ident
        {
            let kind = made::Kind::of(&item.mac.tokens);
            self.macros.push((name.to_string(), kind));
        }
        if let Some(block) = Block::of(item, code) {
            self.edits.push(Edit::insert(part.at, block.marker()));
            self.blocks.push(block);
        }
        match item {
            Item::Impl(item) => self.names.push(super::unnamed::header(item)),
            Item::Macro(_) | Item::Use(_) => self.brings.extend(in_the_way::names(item)),
            item => self.names.extend(in_the_way::names(item)),
        }
        self.items.push(part);
    }

    /// Decides what stands around the last statement.
    fn surround(&mut self, last: &Stmt, is_value: bool) {
        let end = END;
        let span = last.span().byte_range();
        let (from, to) = (self.start + span.start, self.start + span.end);
        match last {
            _ if is_value => {
                let ShownAs { format, with_type } = &self.shown;
                let begin = match self.shown == ShownAs::default() {
                    true => "value()".to_string(),
                    false => format!("value_as({format:?}, {with_type})"),
                };
                let show = format!(
                    ") {{ rebit_value => {{ ::rebit::cell::{begin}; \
                     rebit_value.evcxr_display(); ::rebit::cell::value_end(); }} }};"
                );
                self.run = vec![
                    Edit::insert(from, "match &("),
                    Edit::insert(to, format!("{show}{end}")),
                ];
                self.ask = vec![Edit::insert(from, "let _ = "), Edit::insert(to, ";")];
            }
            // Everything behind it is white space and comments, and may hold the only semicolon's place.
            Stmt::Expr(_, None)
            | Stmt::Macro(syn::StmtMacro {
                semi_token: None, ..
            }) => {
                self.run = vec![Edit::insert(to, format!(";{end}"))];
                self.ask = vec![Edit::insert(to, ";")];
            }
            _ => self.run = vec![Edit::insert(self.user.len(), end)],
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

    /// The cell with each named variable bound a second time, with its type.
    ///
    /// The second binding stands directly behind the first, so that later uses see it.
    pub fn with_types(&self, types: &[(String, String)]) -> Text {
        let mut edits: Vec<Edit> = Vec::new();
        for variable in &self.bound {
            if let Some((_, of)) = types.iter().find(|(name, _)| *name == variable.name) {
                edits.push(variable.bound_again(of));
            }
        }
        // What ends with the last statement stands in front of it.
        let last = self.statements.last().map_or(0, Part::end);
        edits.sort_by_key(|edit| edit.at.start == last);
        let at = edits.partition_point(|edit| edit.at.start != last);
        edits.splice(at..at, self.run.iter().cloned());
        self.text(&edits)
    }

    /// How the types of its variables are learned.
    pub fn types_are(&self) -> TypesAre {
        let is_known = |variable: &Variable| variable.of.is_some();
        match &self.bound[..] {
            [] => TypesAre::Guessed,
            bound if bound.iter().all(is_known) => TypesAre::Written,
            bound
                if bound
                    .iter()
                    .all(|variable| is_known(variable) || variable.is_plain) =>
            {
                TypesAre::Guessed
            }
            _ => TypesAre::Asked,
        }
    }

    /// The cell with each variable that it keeps bound a second time, with its type, and with all else hidden from
    /// evcxr's analyser; `None` where a type is not known. Of a variable that is not kept evcxr never hears.
    pub fn with_all_types(
        &self,
        types: &[(String, String)],
        is_kept: impl Fn(&str) -> bool,
        hider: &Hider,
    ) -> Option<Text> {
        let mut parts: Vec<&Part> = self.statements.iter().chain(&self.items).collect();
        parts.sort_by_key(|part| part.at);
        let stand_apart = parts.windows(2).all(|two| two[0].end() < two[1].at);
        if !stand_apart {
            return None;
        }
        let (mut opens, mut closes, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
        for part in &self.statements {
            opens.push(Edit::insert(part.at, hider.begin.as_str()));
            closes.push(Edit::insert(part.end(), hider.end.as_str()));
        }
        for variable in self.bound.iter().filter(|variable| is_kept(&variable.name)) {
            let told = types.iter().find(|(name, _)| *name == variable.name);
            let of = variable.of.as_ref().or(told.map(|(_, of)| of))?;
            bindings.push(variable.bound_again(of));
        }
        let told = Edit::insert(self.user.len(), self.told.as_str());
        // At one place what begins stands in this order, and what ends.
        let edits = opens.iter().chain(&self.edits).chain(&self.run);
        let edits = edits.chain(&closes).chain(&bindings).chain([&told]);
        let edits: Vec<Edit> = edits.cloned().collect();
        Some(Text::new(&self.user, &edits))
    }

    /// The cell followed by one deliberate error for each of some variables: rustc answers with its type.
    pub fn type_question(&self, how: types::Question, is_asked: impl Fn(&str) -> bool) -> Text {
        let asked = self
            .bound
            .iter()
            .filter(|variable| is_asked(&variable.name));
        let questions = asked.map(|variable| {
            Edit::insert(self.user.len(), format!("\n{}", how.about(&variable.name)))
        });
        let edits: Vec<Edit> = self.ask.iter().cloned().chain(questions).collect();
        self.text(&edits)
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
mod tests {
    use super::*;

    fn source(code: &str) -> String {
        Cell::new(code).source().source
    }

    #[test]
    fn the_last_value_is_shown_once() {
        let cell = Cell::new("let a = 1;\na + 1 // next\n");
        let text = cell.source().source;
        assert!(
            text.starts_with("let a = 1;\nmatch &(a + 1) { rebit_value =>"),
            "{text}"
        );
        assert!(text.ends_with("::rebit::cell::end(); // next\n"), "{text}");
        let question = cell
            .type_question(types::Question::Pattern, |_| true)
            .source;
        assert_eq!(
            question,
            "let a = 1;\nlet _ = a + 1; // next\n\nlet () = a;"
        );
        assert_eq!(cell.bound[0].name, "a");
        assert_eq!(cell.bound[0].end, 10);
    }

    #[test]
    fn places_are_mapped_back() {
        let text = Cell::new("let a = 1; a + b").source();
        assert_eq!(text.original(1, 5), (1, 5));
        assert_eq!(text.original(1, 24), (1, 16));
        assert_eq!(text.original(9, 1), (1, 17));
        let two = Cell::new("let a = 1;\n  foo(\n  c)").source();
        assert_eq!(two.original(2, 12), (2, 4));
        assert_eq!(two.original(3, 3), (3, 3));
        let types = [("a".to_string(), "i32".to_string())];
        let typed = Cell::new("let a = 1; a + b").with_types(&types);
        assert!(
            typed
                .source
                .starts_with("let a = 1; let a: i32 = a; match &(a + b)")
        );
        assert_eq!(typed.original(1, 40), (1, 16));
    }

    #[test]
    fn types_are_written_guessed_or_asked() {
        for (code, wanted) in [
            ("1 + 1", TypesAre::Guessed),
            (
                "let a = -1.5; let (b, c) = (\"x\", [1, 2]);",
                TypesAre::Guessed,
            ),
            ("let a: u8 = f()?; let b = 1;", TypesAre::Guessed),
            ("let mut a: Vec<u8> = f()?;", TypesAre::Written),
            (
                "let (a, (b, mut c)): (u8, (A<3>, &str)) = f();",
                TypesAre::Written,
            ),
            ("let a: Vec<_> = f();", TypesAre::Asked),
            ("let a: [u8; _] = f();", TypesAre::Asked),
            ("let (a, ..): (u8, u8) = f();", TypesAre::Asked),
            ("let ref a: u8 = f();", TypesAre::Asked),
            ("let a: u8; a = f();", TypesAre::Asked),
            ("let a = f();", TypesAre::Asked),
            ("let Some(a) = 5 else { return };", TypesAre::Asked),
        ] {
            assert_eq!(Cell::new(code).types_are(), wanted, "{code}");
        }
    }

    #[test]
    fn all_but_the_types_is_hidden() {
        let hider = Hider::of(Path::new("h"));
        let types = [
            ("a".to_string(), "A".to_string()),
            ("late".to_string(), "u8".to_string()),
        ];
        let typed = |code: &str, moved: &str| {
            let cell = Cell::new(code);
            cell.with_all_types(&types, |name| name != moved, &hider)
        };
        let code = "let late;\nlet mut a = f()?; use x::y;\nlate = 1; g(a)";
        let text = typed(code, "").unwrap();
        let wanted = "rebit_hidden_h!{let late;/*rebit_hidden_h*/};\n\
             rebit_hidden_h!{let mut a = f()?;/*rebit_hidden_h*/}; let mut a: A = a; use x::y;\n\
             rebit_hidden_h!{late = 1;/*rebit_hidden_h*/}; rebit_hidden_h!{match &(g(a)) ";
        assert!(text.source.starts_with(wanted), "{}", text.source);
        let end = "::rebit::cell::end();/*rebit_hidden_h*/}; let late: u8 = late;";
        assert!(text.source.ends_with(end), "{}", text.source);
        let revealed = hider.revealed(&text.source);
        let column = revealed.lines().nth(2).unwrap().find("g(a)").unwrap() + 1;
        assert_eq!(text.original(3, column), (3, 11));
        let moved = typed(code, "a").unwrap().source;
        assert!(!moved.contains("let mut a: A"), "{moved}");
        // Its type is not known, or it stands too close to the next.
        for code in ["let b = f();", "let a = f();g()"] {
            assert_eq!(typed(code, ""), None, "{code}");
        }
        let all = Cell::new("let late; let a = f(); late = g(a)").with_types(&types);
        let wanted = "let late; let a = f(); let a: A = a; late = g(a);\n\
             ::rebit::cell::end(); let late: u8 = late;";
        assert_eq!(all.source, wanted);
    }

    #[test]
    fn statements_and_loops_show_nothing() {
        for code in [
            "x = 1",
            "x += 1",
            "for i in 0..3 { f(i) }",
            "println!(\"a\")",
            "loop { }",
        ] {
            assert_eq!(source(code), format!("{code};\n::rebit::cell::end();"));
        }
        assert_eq!(source("let x = 1;"), "let x = 1;\n::rebit::cell::end();");
    }

    #[test]
    fn values_of_blocks_and_macros_are_shown() {
        for code in [
            "vec![1, 2]",
            "if a { 1 } else { 2 }",
            "f()?",
            "{ 3 }",
            "a == b",
        ] {
            assert!(source(code).starts_with("match &("), "{code}");
        }
    }

    #[test]
    fn items_alone_run_nothing() {
        let code = "use std::fmt;\nfn f() {}\nmacro_rules! m { () => {} }";
        assert_eq!(source(code), code);
        assert_eq!(Cell::new(code).items.len(), 3);
    }

    #[test]
    fn calls_that_make_items_are_items() {
        let cell =
            Cell::new("macro_rules! make { ($n:ident) => { struct $n; } } let a = 1; make!(Foo)");
        let text = cell.source().source;
        assert!(
            text.contains("let a = 1; macro_rules! rebit_made_"),
            "{text}"
        );
        assert!(
            text.ends_with(" { () => { make!(Foo); } }\n::rebit::cell::end();"),
            "{text}"
        );
        assert_eq!((cell.items.len(), cell.statements.len()), (2, 1));
        let cell = Cell::new("thread_local! { static A: u8 = 1; }");
        assert!(
            cell.source()
                .source
                .starts_with("static A: ::std::thread::LocalKey<u8> = {")
        );
        assert_eq!(cell.defined_names(), ["A"]);
    }

    #[test]
    fn what_is_in_the_way_is_taken_out() {
        let mut cell = Cell::new("let v = make(); make!(Foo, struct)");
        assert!(!cell.make_way(&InTheWay::default()));
        let found = InTheWay {
            calls: ["rebit_made_1".to_string()].into(),
            items: ["Foo".to_string()].into(),
            ..InTheWay::default()
        };
        assert!(cell.make_way(&found));
        let question = cell.type_question(types::Question::Pattern, |_| true);
        for text in [cell.source(), question, cell.with_types(&[])] {
            let text = text.source;
            assert!(
                text.contains("\nmacro_rules! rebit_made_1 { () => {} }\nmacro_rules! Foo {"),
                "{text}"
            );
        }
    }

    #[test]
    fn statics_that_are_not_shared_are_told() {
        for (code, told) in [
            (
                "macro_rules! m { ($n:ident) => { static $n: u8 = 1; } } m!(A);",
                true,
            ),
            (
                "macro_rules! m { ($n:ident) => { struct $n; } } m!(A);",
                false,
            ),
            ("m! { static A: u8 = 1; }", true),
            ("lazy_static! { static ref A: Vec<u8> = vec![]; }", false),
            ("thread_local! { static A: u8 = 1; }", false),
            ("static A: u8 = 1;", false),
        ] {
            assert_eq!(!Cell::new(code).notes.is_empty(), told, "{code}");
        }
    }

    #[test]
    fn a_line_for_a_shell_may_be_rust() {
        let cell = Cell::new(":opt 0\n!flag");
        assert_eq!(cell.source().source, ":opt 0\n!flag");
        let code = cell.as_code.unwrap().source().source;
        assert!(code.starts_with(":opt 0\n match &(!flag) {"), "{code}");
        assert!(Cell::new("!ls *.rs").as_code.is_none());
    }

    #[test]
    fn comments_in_front_of_commands_are_not_sent() {
        let table = [
            ("  // note\n:vars", "\n:vars"),
            ("/* a\nb */\n:opt 0\n  // c\n1;", "\n\n:opt 0\n  // c\n1;"),
            ("// a\n1;", "// a\n1;"),
        ];
        for (cell, wanted) in table {
            let text = Cell::new(cell).source().source;
            assert!(text.starts_with(wanted), "{text}");
        }
    }

    #[test]
    fn constants_in_patterns_are_named_by_paths() {
        let cell = Cell::new(
            "const N: u8 = 1; let (N, None, Some(a), B) = x else { return }; let C = y else { return };",
        );
        let text = cell.source().source;
        assert!(
            text.contains("let (self::N, ::core::option::Option::None, Some(a), B) = x"),
            "{text}"
        );
        assert!(text.contains("let self::C = y"), "{text}");
        let bound: Vec<&str> = cell.bound.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(bound, ["a", "B"]);
        assert_eq!(&cell.user[cell.bound[1].at..][..1], "B");
    }

    #[test]
    fn an_implementation_is_given_a_name() {
        let text = source("impl F {\n fn f() {} }");
        assert!(text.starts_with("const REBIT_BLOCK_"), "{text}");
        assert!(
            text.ends_with(": () = (); impl F {\n fn f() {} }"),
            "{text}"
        );
        let mut cell = Cell::new("impl F { fn g() {} fn f() {} }");
        let mut before = Cell::new("impl F { fn f() {} }");
        before.after(&Blocks::default());
        cell.after(before.known_blocks());
        assert_eq!(
            cell.source().source.matches("const REBIT_BLOCK_").count(),
            2
        );
    }

    #[test]
    fn commands_stay_in_front() {
        let cell = Cell::new(":dep rand = \"0.9\"\n// note\n\n1 + 1");
        assert!(
            cell.source()
                .source
                .starts_with(":dep rand = \"0.9\"\n// note\n\nmatch &(1 + 1")
        );
        assert_eq!(cell.dependencies, [":dep rand = \"0.9\""]);
        assert_eq!(source(":vars"), ":vars");
        assert_eq!(source(""), "");
    }

    #[test]
    fn what_begins_anew_is_told_apart() {
        let cell = Cell::new(":dep a = \"1\"\n:clear\n:dep b = \"1\"\nlet x = 1;");
        let before = ":dep a = \"1\"\n".to_string();
        assert_eq!(cell.resets, [(before, Reset::Everything)]);
        assert_eq!(cell.dependencies, [":dep b = \"1\""]);
        let text = cell.source();
        assert!(
            text.source.starts_with("\n\n:dep b = \"1\"\nlet x = 1;"),
            "{text:?}"
        );
        assert_eq!(text.original(4, 5), (4, 5));
    }

    #[test]
    fn broken_code_is_left_alone() {
        for code in ["let x = ", "fn (", "\"", "let s = 5"] {
            assert_eq!(source(code), code);
        }
    }

    #[test]
    fn broken_code_is_asked_about_as_it_stands() {
        let cell = Cell::new(":dep a = \"1\"\n\nlet = 1;\nf()");
        let question = cell.syntax_question().unwrap();
        assert_eq!(question.source, "fn rebit_cell() {\nlet = 1;\nf()\n}");
        assert_eq!(question.original(2, 5), (3, 5));
        assert!(Cell::new("let x = 1;").syntax_question().is_none());
        assert!(Cell::new("f(").syntax_question().is_none());
    }

    #[test]
    fn patterns_bind_their_names() {
        let cell =
            Cell::new("let (mut a, [b, ..]) = f(); let P { c, d: Some(e) } = p else { return };");
        let names: Vec<_> = cell
            .bound
            .iter()
            .map(|v| (v.name.as_str(), v.mutable))
            .collect();
        assert_eq!(
            names,
            [("a", true), ("b", false), ("c", false), ("e", false)]
        );
    }
}
