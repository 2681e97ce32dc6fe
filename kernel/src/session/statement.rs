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
    /// Byte of the cell where its `let` statement ends.
    pub end: usize,
}

/// Whether the last statement is an expression whose value is shown.
pub fn is_value(statement: &Stmt) -> bool {
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
                && !is_silent(expr)
        }
        Stmt::Macro(stmt) => stmt.semi_token.is_none() && !is_silent_path(&stmt.mac.path),
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

fn is_silent(expr: &Expr) -> bool {
    matches!(expr, Expr::Macro(mac) if is_silent_path(&mac.mac.path))
}

fn is_silent_path(path: &syn::Path) -> bool {
    path.segments
        .last()
        .is_some_and(|segment| SILENT.iter().any(|name| segment.ident == name))
}

/// Collects the names that a pattern binds.
pub struct Binder<'a> {
    /// Where they go; a name bound again is there once.
    pub bound: &'a mut Vec<Variable>,
    /// Where the statement ends.
    pub end: usize,
}

impl<'ast> Visit<'ast> for Binder<'_> {
    fn visit_pat(&mut self, pat: &'ast Pat) {
        if let Pat::Ident(ident) = pat {
            let name = ident.ident.to_string();
            self.bound.retain(|old| old.name != name);
            self.bound.push(Variable {
                name,
                mutable: ident.mutability.is_some(),
                end: self.end,
            });
        }
        syn::visit::visit_pat(self, pat);
    }

    fn visit_expr(&mut self, _: &'ast Expr) {}
}
