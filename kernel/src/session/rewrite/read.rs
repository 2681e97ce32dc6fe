//! How a cell is read: its commands, its items, what it binds, and what is put around its last value.

use std::path::Path;

use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Item, Stmt};

use super::{Cell, Part, Reading, Reset, ShownAs};
use crate::language::commands::{Kind, head};
use crate::language::lexer;
use crate::session::constants::Constants;
use crate::session::history::History;
use crate::session::statement::{Binder, is_plain, is_value, written_types};
use crate::session::text::{Edit, Text};
use crate::session::unnamed::{self, Block};
use crate::session::{commands, in_the_way, made, sources};

/// What stands at the end of a cell that runs something.
const END: &str = "\n::rebit::cell::end();";

impl Cell {
    pub(super) fn read_from(cell: &str, start: usize, with: &Reading<'_>) -> Cell {
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
        let mut binder = Binder::new(part.end(), refutable, &known);
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
        let at = part.end();
        self.edits.push(Edit::insert(at, format!("{end} }} }}")));
        self.made.push(name);
        self.items.push(part.clone());
        true
    }

    /// Notes what is compiled in the place of pieces that are changed inside.
    fn note_what_is_sent(&mut self) {
        for part in self.statements.iter_mut().chain(&mut self.items) {
            let end = part.end();
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
            Item::Impl(item) => self.names.push(unnamed::header(item)),
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
}
