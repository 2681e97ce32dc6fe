//! A cell as the user wrote it, and as it is compiled.
//!
//! The value of the last expression is shown by one call that fits every type, so that one compilation
//! suffices (evcxr tries `evcxr_display` first and Debug in a second compilation), and standard output
//! is flushed at the end, so that `print!` shows in its own cell.

use syn::Stmt;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::statement::{Binder, Variable, is_value};
use crate::language::commands::{code_start, commands};

/// A cell, ready for evcxr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What evcxr gets.
    pub source: String,
    /// The same without showing the value: for questions to rustc.
    pub plain: String,
    /// Variables that the cell binds at its top level.
    pub bound: Vec<Variable>,
    /// Items (functions, types, imports, macros) as they stand in the cell.
    pub items: Vec<String>,
    /// Lines `:dep ...`.
    pub dependencies: Vec<String>,
    /// Line (from 1) and column (characters, from 0) where the shown expression begins.
    moved: Option<(usize, usize)>,
    /// Lines of the source before the cell's first.
    shift: isize,
    lines: usize,
    is_broken: bool,
}

impl Cell {
    /// Reads a cell; one that does not parse is left as it is, for rustc to complain about.
    pub fn new(cell: &str) -> Cell {
        let start = code_start(cell);
        let code = &cell[start..];
        let mut this = Cell {
            source: cell.to_string(),
            plain: cell.to_string(),
            bound: Vec::new(),
            items: Vec::new(),
            dependencies: commands(cell)
                .filter(|line| line.starts_with(":dep"))
                .map(str::to_string)
                .collect(),
            moved: None,
            shift: 0,
            lines: cell.lines().count().max(1),
            is_broken: false,
        };
        let Ok(statements) = syn::Block::parse_within.parse_str(code) else {
            // Without its brackets in order nothing can be put around it.
            this.is_broken = code.parse::<proc_macro2::TokenStream>().is_ok();
            return this;
        };
        let text = |span: proc_macro2::Span| code[span.byte_range()].to_string();
        let mut has_code = false;
        for statement in &statements {
            match statement {
                Stmt::Item(item) => this.items.push(text(item.span())),
                Stmt::Local(local) => {
                    has_code = true;
                    let end = start + local.span().byte_range().end;
                    let bound = &mut this.bound;
                    Binder { bound, end }.visit_pat(&local.pat);
                }
                Stmt::Macro(stmt) if stmt.mac.path.is_ident("macro_rules") => {
                    this.items.push(text(stmt.span()));
                }
                _ => has_code = true,
            }
        }
        if !has_code {
            return this;
        }
        let end = "\n::rebit::cell::end();";
        let last = statements.last().expect("has code");
        let range = last.span().byte_range();
        let (before, shown) = (&cell[..start + range.start], &code[range.clone()]);
        match last {
            statement if is_value(statement) => {
                this.source = format!(
                    "{before}match &(\n{shown}\n) {{ value => {{ ::rebit::cell::value(); \
                     value.evcxr_display(); ::rebit::cell::value_end(); }} }};{end}"
                );
                this.plain = format!("{before}let _ = {shown};");
                let lines = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or("").chars().count();
                this.moved = Some((lines, column));
            }
            // Everything behind it is white space and comments, and may hold the only semicolon's place.
            Stmt::Expr(_, None)
            | Stmt::Macro(syn::StmtMacro {
                semi_token: None, ..
            }) => {
                let whole = &cell[..start + range.end];
                this.source = format!("{whole};{end}");
                this.plain = format!("{whole};");
            }
            _ => this.source = format!("{cell}{end}"),
        }
        this
    }

    /// The cell with each named variable bound a second time, with its type.
    ///
    /// The second binding stands directly behind the first, so that later uses see it and places in other
    /// lines do not move.
    pub fn with_types(&self, types: &[(String, String)]) -> String {
        let mut source = self.source.clone();
        for variable in self.bound.iter().rev() {
            if let Some((name, of)) = types.iter().find(|(name, _)| *name == variable.name) {
                let mutable = if variable.mutable { "mut " } else { "" };
                let binding = format!(" let {mutable}{name}: {of} = {name};");
                source.insert_str(variable.end, &binding);
            }
        }
        source
    }

    /// The cell followed by one deliberate type error for each variable: rustc answers with its type.
    pub fn type_question(&self) -> String {
        let mut question = self.plain.clone();
        for variable in &self.bound {
            question += &format!("\nlet () = {};", variable.name);
        }
        question
    }

    /// For a cell that does not parse: the same inside a function, which evcxr leaves as it is.
    ///
    /// Of a statement that it does not understand (`let = 1;`) evcxr passes nothing on, and rustc has nothing
    /// to complain about.
    pub fn syntax_question(&self) -> Option<Cell> {
        if !self.is_broken {
            return None;
        }
        let start = code_start(&self.source);
        let (head, code) = self.source.split_at(start);
        Some(Cell {
            source: format!("fn rebit_cell() {{\n{code}\n}}"),
            shift: 1 - head.matches('\n').count() as isize,
            ..self.clone()
        })
    }

    /// Where a place of [`Cell::source`] (line from 1, column from 1) stands in the user's cell.
    pub fn original(&self, line: usize, column: usize) -> (usize, usize) {
        let place = match self.moved {
            Some((at, shift)) if line == at + 1 => (at, column + shift),
            Some((at, _)) if line > at => (line - 1, column),
            _ => (line.saturating_add_signed(-self.shift), column),
        };
        (place.0.clamp(1, self.lines), place.1.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_shown_once() {
        let cell = Cell::new("let a = 1;\na + 1 // next\n");
        assert!(
            cell.source
                .starts_with("let a = 1;\nmatch &(\na + 1\n) { value =>")
        );
        assert!(cell.source.ends_with("::rebit::cell::end();"));
        assert_eq!(cell.plain, "let a = 1;\nlet _ = a + 1;");
        assert_eq!(cell.bound[0].name, "a");
        assert_eq!(cell.bound[0].end, 10);
    }

    #[test]
    fn places_are_mapped_back() {
        let cell = Cell::new("let a = 1; a + b");
        assert_eq!(cell.original(1, 5), (1, 5));
        assert_eq!(cell.original(2, 5), (1, 16));
        assert_eq!(cell.original(9, 1), (1, 1));
        let two = Cell::new("let a = 1;\n  foo(\n  c)");
        assert_eq!(two.original(3, 1), (2, 3));
        assert_eq!(two.original(4, 3), (3, 3));
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
            let cell = Cell::new(code);
            assert_eq!(cell.source, format!("{code};\n::rebit::cell::end();"));
        }
        let cell = Cell::new("let x = 1;");
        assert_eq!(cell.source, "let x = 1;\n::rebit::cell::end();");
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
            assert!(Cell::new(code).source.starts_with("match &("), "{code}");
        }
    }

    #[test]
    fn items_alone_run_nothing() {
        let code = "use std::fmt;\nfn f() {}\nmacro_rules! m { () => {} }";
        let cell = Cell::new(code);
        assert_eq!(cell.source, code);
        assert_eq!(cell.items.len(), 3);
    }

    #[test]
    fn commands_stay_in_front() {
        let cell = Cell::new(":dep rand = \"0.9\"\n// note\n\n1 + 1");
        assert!(
            cell.source
                .starts_with(":dep rand = \"0.9\"\n// note\n\nmatch &(\n1 + 1")
        );
        assert_eq!(cell.dependencies, [":dep rand = \"0.9\""]);
        assert_eq!(Cell::new(":vars").source, ":vars");
        assert_eq!(Cell::new("").source, "");
    }

    #[test]
    fn broken_code_is_left_alone() {
        for code in ["let x = ", "fn (", "\"", "let s = 5"] {
            assert_eq!(Cell::new(code).source, code);
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
