//! What a statement of a cell is to its reader: a value to show, or names to keep.

use syn::visit::Visit;
use syn::{Expr, Pat, Stmt};

/// Macros whose value nobody wants to see.
const SILENT: [&str; 14] = [
    "println",
    "print",
    "eprintln",
    "eprint",
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "panic",
    "todo",
    "unimplemented",
    "unreachable",
    "claim",
    "finding",
];

/// A variable that a cell binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether it was bound as `mut`.
    pub mutable: bool,
    /// Byte of the code where it stands.
    pub at: usize,
    /// Byte of the cell where its `let` statement ends.
    pub end: usize,
}

/// Whether the last statement is an expression whose value is shown.
///
/// A macro of the user's own (`own`) has a value whatever its name.
pub fn is_value(statement: &Stmt, own: &dyn Fn(&str) -> bool) -> bool {
    match statement {
        Stmt::Expr(expr, None) => {
            !matches!(
                expr,
                Expr::Assign(_)
                    | Expr::ForLoop(_)
                    | Expr::While(_)
                    | Expr::Loop(_)
                    | Expr::Return(_)
                    | Expr::Break(_)
                    | Expr::Continue(_)
                    | Expr::Let(_)
            ) && !is_compound_assignment(expr)
                && !is_silent(expr, own)
        }
        Stmt::Macro(stmt) => stmt.semi_token.is_none() && !is_silent_path(&stmt.mac.path, own),
        _ => false,
    }
}

fn is_compound_assignment(expr: &Expr) -> bool {
    use syn::BinOp::*;
    matches!(expr, Expr::Binary(binary) if matches!(
        binary.op,
        AddAssign(_) | SubAssign(_) | MulAssign(_) | DivAssign(_) | RemAssign(_) | BitXorAssign(_)
            | BitAndAssign(_) | BitOrAssign(_) | ShlAssign(_) | ShrAssign(_)
    ))
}

fn is_silent(expr: &Expr, own: &dyn Fn(&str) -> bool) -> bool {
    matches!(expr, Expr::Macro(mac) if is_silent_path(&mac.mac.path, own))
}

fn is_silent_path(path: &syn::Path, own: &dyn Fn(&str) -> bool) -> bool {
    path.segments.last().is_some_and(|segment| {
        let is_silent = SILENT.iter().any(|name| segment.ident == name);
        is_silent && !(path.segments.len() == 1 && own(&segment.ident.to_string()))
    })
}

/// Collects the names in the pattern of a `let`.
pub struct Binder<'a> {
    /// What it binds.
    pub bound: Vec<Variable>,
    /// Constants in it: where they stand, and the path in front of them.
    pub constants: Vec<(usize, &'static str)>,
    end: usize,
    /// The pattern need not fit, and this is all of it: a name alone would always fit.
    is_refutable: bool,
    known: &'a dyn Fn(&str) -> Option<&'static str>,
}

impl<'a> Binder<'a> {
    /// For a statement that ends at byte `end`; `known` gives the path of a name that is a constant.
    pub fn new(
        end: usize,
        is_refutable: bool,
        known: &'a dyn Fn(&str) -> Option<&'static str>,
    ) -> Binder<'a> {
        Binder {
            bound: Vec::new(),
            constants: Vec::new(),
            end,
            is_refutable,
            known,
        }
    }

    /// The path of a name that is a constant in a pattern.
    fn constant(&self, pat: &syn::PatIdent, is_all: bool) -> Option<&'static str> {
        let name = pat.ident.to_string();
        let is_plain = pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none();
        if !is_plain || !name.starts_with(char::is_uppercase) {
            return None;
        }
        let unknown = (self.is_refutable && is_all).then_some("self::");
        (self.known)(&name).or(unknown)
    }

    fn bind(&mut self, pat: &syn::PatIdent) {
        let name = pat.ident.to_string();
        self.bound.retain(|old| old.name != name);
        self.bound.push(Variable {
            name,
            mutable: pat.mutability.is_some(),
            at: pat.ident.span().byte_range().start,
            end: self.end,
        });
    }
}

impl<'ast> Visit<'ast> for Binder<'_> {
    fn visit_pat(&mut self, pat: &'ast Pat) {
        let is_all = self.is_refutable;
        if let Pat::Ident(ident) = pat {
            match self.constant(ident, is_all) {
                Some(path) => {
                    let at = ident.ident.span().byte_range().start;
                    self.constants.push((at, path));
                    return;
                }
                None => self.bind(ident),
            }
        }
        if !matches!(pat, Pat::Paren(_) | Pat::Type(_) | Pat::Or(_)) {
            self.is_refutable = false;
        }
        syn::visit::visit_pat(self, pat);
    }

    fn visit_field_pat(&mut self, field: &'ast syn::FieldPat) {
        match (&field.colon_token, &*field.pat) {
            // No path can stand in front of the name of a field.
            (None, Pat::Ident(ident)) => {
                if self.constant(ident, false).is_none() {
                    self.bind(ident);
                }
            }
            _ => syn::visit::visit_field_pat(self, field),
        }
    }

    fn visit_expr(&mut self, _: &'ast Expr) {}
}
