//! What a statement of a cell is to its reader: a value to show, or names to keep.

use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Expr, Pat, Stmt};

use super::text::Edit;

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
    /// Byte of the cell where its `let` statement ends; where it gets its value later, where the last statement does.
    pub end: usize,
    /// Its type, where that is written in full.
    pub of: Option<String>,
    /// It is bound to a literal or to what is made of literals alone.
    pub is_plain: bool,
}

impl Variable {
    /// Binds it a second time, with its type, behind where it is bound.
    pub fn bound_again(&self, of: &str) -> Edit {
        let mutable = if self.mutable { "mut " } else { "" };
        let name = &self.name;
        Edit::insert(self.end, format!(" let {mutable}{name}: {of} = {name};"))
    }
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

/// The names in a pattern of this type whose own types are written in full, with these.
pub fn written_types(pat: &Pat, of: Option<&syn::Type>, code: &str) -> Vec<(String, String)> {
    match (pat, of) {
        (Pat::Type(typed), _) => written_types(&typed.pat, Some(&typed.ty), code),
        (Pat::Paren(inner), of) => written_types(&inner.pat, of, code),
        (Pat::Ident(ident), Some(of)) if ident.by_ref.is_none() && is_full(of) => {
            let of = code[of.span().byte_range()].to_string();
            vec![(ident.ident.to_string(), of)]
        }
        (Pat::Tuple(pats), Some(syn::Type::Tuple(types)))
            if pats.elems.len() == types.elems.len()
                && !pats.elems.iter().any(|pat| matches!(pat, Pat::Rest(_))) =>
        {
            let pairs = pats.elems.iter().zip(&types.elems);
            pairs
                .flat_map(|(pat, of)| written_types(pat, Some(of), code))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Whether nothing is left to infer in a type.
fn is_full(of: &syn::Type) -> bool {
    struct Open(bool);
    impl<'ast> Visit<'ast> for Open {
        fn visit_type_infer(&mut self, _: &'ast syn::TypeInfer) {
            self.0 = true;
        }
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
        fn visit_expr_infer(&mut self, _: &'ast syn::ExprInfer) {
            self.0 = true;
        }
        fn visit_type_macro(&mut self, _: &'ast syn::TypeMacro) {
            self.0 = true;
        }
    }
    let mut open = Open(false);
    open.visit_type(of);
    !open.0
}

/// Whether an expression is made of literals alone.
pub fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) => true,
        Expr::Unary(expr) => is_plain(&expr.expr),
        Expr::Paren(expr) => is_plain(&expr.expr),
        Expr::Reference(expr) => is_plain(&expr.expr),
        Expr::Binary(expr) => is_plain(&expr.left) && is_plain(&expr.right),
        Expr::Tuple(expr) => expr.elems.iter().all(is_plain),
        Expr::Array(expr) => expr.elems.iter().all(is_plain),
        _ => false,
    }
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
            of: None,
            is_plain: false,
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
