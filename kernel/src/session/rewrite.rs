//! A cell as the user wrote it, and as it is compiled.
//!
//! The value of the last expression is shown by one call that fits every type, so that one compilation
//! suffices (evcxr tries `evcxr_display` first and Debug in a second compilation), and standard output
//! is flushed at the end, so that `print!` shows in its own cell.

use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Item, Stmt};

use super::commands;
use super::statement::{Binder, Variable, is_value};
use super::text::{Edit, Text, byte_of, inside, place_of};
use super::unnamed::{Block, Blocks};
use crate::language::commands::code_start;

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
    /// What evcxr must be told beside the cell.
    told: String,
    /// What is changed in any case.
    edits: Vec<Edit>,
    /// What is changed where the cell runs, and where rustc is only asked about it.
    run: Vec<Edit>,
    ask: Vec<Edit>,
    blocks: Vec<Block>,
    names: Vec<String>,
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
    /// Reads a cell; one that does not parse is left as it is, for rustc to complain about.
    pub fn new(cell: &str) -> Cell {
        let start = code_start(cell);
        let code = &cell[start..];
        let mut this = Cell {
            user: cell.to_string(),
            start,
            ..Cell::default()
        };
        this.read_commands();
        let Ok(statements) = syn::Block::parse_within.parse_str(code) else {
            // Without its brackets in order nothing can be put around it.
            this.is_broken = code.parse::<proc_macro2::TokenStream>().is_ok();
            return this;
        };
        let mut has_code = false;
        for statement in &statements {
            let span = statement.span().byte_range();
            let part = Part {
                at: start + span.start,
                text: code[span].to_string(),
            };
            match statement {
                Stmt::Item(item) => this.read_item(item, part),
                Stmt::Macro(stmt) if stmt.mac.path.is_ident("macro_rules") => {
                    this.items.push(part);
                }
                statement => {
                    has_code = true;
                    if let Stmt::Local(local) = statement {
                        let end = part.at + part.text.len();
                        let bound = &mut this.bound;
                        Binder { bound, end }.visit_pat(&local.pat);
                    }
                    this.statements.push(part);
                }
            }
        }
        if has_code {
            this.surround(statements.last().expect("has code"));
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

    fn read_commands(&mut self) {
        let mut at = 0;
        let mut begin = 0;
        for line in self.user[..self.start].split_inclusive('\n') {
            let word = line.trim();
            self.refusal = self.refusal.take().or_else(|| commands::refusal(word));
            let reset = match word {
                ":clear" => Some(Reset::Everything),
                ":restart" => Some(Reset::Process),
                _ => None,
            };
            if let Some(reset) = reset {
                self.resets.push((self.user[begin..at].to_string(), reset));
                begin = at + line.trim_end_matches('\n').len();
                if reset == Reset::Everything {
                    self.dependencies.clear();
                }
            } else if word.starts_with(":dep") {
                self.dependencies.push(word.to_string());
            }
            at += line.len();
        }
        if begin > 0 {
            // Lines stay where they are.
            let lines = self.user[..begin].matches('\n').count();
            let text = "\n".repeat(lines);
            self.edits.push(Edit { at: 0..begin, text });
        }
    }

    fn read_item(&mut self, item: &Item, part: Part) {
        let code = &self.user[self.start..];
        if let Some(block) = Block::of(item, code) {
            self.edits.push(Edit::insert(part.at, block.marker()));
            self.blocks.push(block);
        }
        let name = match item {
            Item::Struct(item) => item.ident.to_string(),
            Item::Enum(item) => item.ident.to_string(),
            Item::Union(item) => item.ident.to_string(),
            Item::Trait(item) => item.ident.to_string(),
            Item::Type(item) => item.ident.to_string(),
            Item::Fn(item) => item.sig.ident.to_string(),
            Item::Mod(item) => item.ident.to_string(),
            Item::Static(item) => item.ident.to_string(),
            Item::Impl(item) => super::unnamed::header(item),
            _ => String::new(),
        };
        if !name.is_empty() {
            self.names.push(name);
        }
        self.items.push(part);
    }

    /// Decides what stands around the last statement.
    fn surround(&mut self, last: &Stmt) {
        let end = "\n::rebit::cell::end();";
        let span = last.span().byte_range();
        let (from, to) = (self.start + span.start, self.start + span.end);
        match last {
            statement if is_value(statement) => {
                let show = ") { rebit_value => { ::rebit::cell::value(); \
                            rebit_value.evcxr_display(); ::rebit::cell::value_end(); } };";
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

    /// Takes into account what earlier cells have defined; returns what is defined after this one.
    pub fn after(&mut self, blocks: &Blocks) -> Blocks {
        let (blocks, told) = blocks.after(&self.blocks, &self.names);
        self.told = told;
        blocks
    }

    /// Where a place of the generated source (line and column from 1) stands in the cell.
    pub fn place(&self, generated: &str, place: (usize, usize)) -> Option<(usize, usize)> {
        let byte = byte_of(generated, place.0, place.1);
        // Statements stand behind all items, and an item of an earlier cell may hold the same words.
        let parts = self.statements.iter().chain(&self.items);
        parts
            .filter_map(|part| {
                let inside = inside(generated, &part.text, byte)?;
                Some((part.text.len(), part.at + inside))
            })
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
            if let Some((name, of)) = types.iter().find(|(name, _)| *name == variable.name) {
                let mutable = if variable.mutable { "mut " } else { "" };
                let binding = format!(" let {mutable}{name}: {of} = {name};");
                edits.push(Edit::insert(variable.end, binding));
            }
        }
        edits.extend(self.run.iter().cloned());
        self.text(&edits)
    }

    /// The cell followed by one deliberate type error for each variable: rustc answers with its type.
    pub fn type_question(&self) -> Text {
        let questions = self.bound.iter().map(|variable| {
            let question = format!("\nlet () = {};", variable.name);
            Edit::insert(self.user.len(), question)
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
        let question = cell.type_question().source;
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
    fn an_implementation_is_given_a_name() {
        let text = source("impl F {\n fn f() {} }");
        assert!(text.starts_with("const REBIT_BLOCK_"), "{text}");
        assert!(
            text.ends_with(": () = (); impl F {\n fn f() {} }"),
            "{text}"
        );
        let mut cell = Cell::new("impl F { fn g() {} fn f() {} }");
        let known = Cell::new("impl F { fn f() {} }").after(&Blocks::default());
        cell.after(&known);
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
