//! The type of an expression, where signatures tell it.

use std::collections::HashMap;

use syn::{BinOp, Expr, Lit, UnOp};

use super::kind::{Home, Type};
use super::names::{Meaning, Names, split};
use super::written::Scope;
use crate::language::index::Kind;

/// Variables and their types; `None` where a type is not known.
pub type Variables = HashMap<String, Option<Type>>;

/// Functions of plain types of the standard library that return a value of the type itself.
const MAKERS: [&str; 8] = [
    "new",
    "from",
    "now",
    "with_capacity",
    "from_secs",
    "from_millis",
    "from_secs_f32",
    "from_secs_f64",
];

/// What expressions are read with.
pub struct Reader<'a> {
    /// What names mean.
    pub names: &'a Names<'a>,
    /// What variables are.
    pub variables: &'a Variables,
    /// Macros of the user's.
    pub has_macro: &'a dyn Fn(&str) -> bool,
}

impl Reader<'_> {
    /// The type of an expression; `None` where it is not sure.
    pub fn of(&self, expr: &Expr) -> Option<Type> {
        match expr {
            Expr::Paren(inner) => self.of(&inner.expr),
            Expr::Group(inner) => self.of(&inner.expr),
            Expr::Lit(lit) => literal(&lit.lit),
            Expr::Path(path) if path.qself.is_none() => self.path(&path.path),
            Expr::Call(call) => self.call(call),
            Expr::MethodCall(call) => self.method(call),
            Expr::Field(field) => {
                let of = self.of(&field.base)?;
                match (&field.member, of) {
                    (syn::Member::Unnamed(at), Type::Tuple(parts)) => {
                        parts.get(at.index as usize).cloned()
                    }
                    (syn::Member::Unnamed(at), of) => self.names.field(&of, &at.index.to_string()),
                    (syn::Member::Named(name), of) => self.names.field(&of, &name.to_string()),
                }
            }
            Expr::Try(tried) => self.of(&tried.expr)?.inside(),
            Expr::Struct(literal) if literal.qself.is_none() => self.made(&literal.path),
            Expr::Tuple(tuple) => {
                let parts = tuple.elems.iter().map(|part| self.of(part));
                parts.collect::<Option<_>>().map(Type::Tuple)
            }
            Expr::Array(array) => {
                let of = self.of(array.elems.first()?)?;
                let mut rest = array.elems.iter().skip(1);
                let all = rest.all(|part| self.of(part).as_ref() == Some(&of));
                all.then(|| Type::Array(Box::new(of), array.elems.len()))
            }
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) => match unary.op {
                UnOp::Neg(_) => self
                    .of(&unary.expr)
                    .filter(|of| of.is_number() || matches!(of, Type::Open(_))),
                UnOp::Not(_) => self.of(&unary.expr).filter(Type::is_primitive),
                _ => None,
            },
            Expr::Cast(cast) => {
                let of = self.names.read(&cast.ty, Scope::Cell(None))?;
                of.is_primitive().then_some(of)
            }
            Expr::Macro(call) => self.macro_call(&call.mac),
            _ => None,
        }
    }

    fn path(&self, path: &syn::Path) -> Option<Type> {
        let (last, before) = split(path)?;
        let name = last.ident.to_string();
        if !last.arguments.is_none() {
            return None;
        }
        if before.is_empty() {
            if let Some(of) = self.variables.get(&name) {
                return of.clone().filter(Type::is_whole);
            }
            // Constants are no functions, and found where functions are asked for all the same.
            let Meaning::Own(item) = self.names.meaning(&name, Kind::Function)? else {
                return None;
            };
            return match item {
                syn::Item::Const(item) => self.names.read(&item.ty, Scope::Cell(None)),
                syn::Item::Struct(item) if matches!(item.fields, syn::Fields::Unit) => {
                    self.names.read_path(path, Scope::Cell(None))
                }
                _ => None,
            };
        }
        let of = self.names.read_path(&parent(path), Scope::Cell(None))?;
        self.names.has_variant(&of, &name, true).then_some(of)
    }

    fn call(&self, call: &syn::ExprCall) -> Option<Type> {
        let Expr::Path(function) = &*call.func else {
            return None;
        };
        let (last, before) = split(&function.path)?;
        if function.qself.is_some() {
            return None;
        }
        let name = last.ident.to_string();
        if before.is_empty() {
            // A closure has the name.
            if self.variables.contains_key(&name) {
                return None;
            }
            if name == "Some" && call.args.len() == 1 {
                let of = self.of(&call.args[0]).filter(Type::is_whole)?;
                return Type::std("Option", vec![of]);
            }
            return self.names.function(&name)?.returns;
        }
        if before == ["std", "env"] && name == "temp_dir" {
            return Type::std("PathBuf", Vec::new());
        }
        if let Some(of) = self
            .names
            .read_path(&parent(&function.path), Scope::Cell(None))
        {
            if let Some(member) = self.names.member(&of, &name) {
                return member.returns;
            }
            let is_maker = match &of {
                Type::Named {
                    home: Home::Std,
                    args,
                    ..
                } => args.is_empty() && !of.is_primitive() && MAKERS.contains(&name.as_str()),
                _ => self.names.has_variant(&of, &name, false),
            };
            return (is_maker || name == "default").then_some(of);
        }
        let module = self.names.module(&before)?;
        self.names.function_in(&module, &name)?.returns
    }

    fn method(&self, call: &syn::ExprMethodCall) -> Option<Type> {
        let of = self.of(&call.receiver)?;
        let name = call.method.to_string();
        if let Some(member) = self.names.member(&of, &name) {
            return member.returns;
        }
        let std = of.as_std();
        match name.as_str() {
            "clone" => Some(of).filter(|of| !matches!(of, Type::Other(_) | Type::Open(_))),
            "to_string" => Type::std("String", Vec::new()),
            "unwrap" | "expect" | "unwrap_or" | "unwrap_or_default" | "unwrap_or_else" => {
                of.inside()
            }
            "is_some" | "is_none" | "is_ok" | "is_err" if of.inside().is_some() => {
                Some(Type::primitive("bool"))
            }
            "len" if matches!(std, Some(("Vec" | "String", _))) => Some(Type::primitive("usize")),
            "is_empty" if matches!(std, Some(("Vec" | "String", _))) => {
                Some(Type::primitive("bool"))
            }
            "join" | "with_extension" if matches!(std, Some(("PathBuf", _))) => Some(of),
            "elapsed" if matches!(std, Some(("Instant", _))) => Type::std("Duration", Vec::new()),
            "as_secs_f64" if matches!(std, Some(("Duration", _))) => Some(Type::primitive("f64")),
            "as_secs_f32" if matches!(std, Some(("Duration", _))) => Some(Type::primitive("f32")),
            _ => None,
        }
    }

    /// What a literal with fields makes: a struct, or a variant of an enum.
    fn made(&self, path: &syn::Path) -> Option<Type> {
        let scope = Scope::Cell(None);
        if let Some(of) = self.names.read_path(path, scope) {
            return Some(of);
        }
        let of = self.names.read_path(&parent(path), scope)?;
        let name = path.segments.last()?.ident.to_string();
        self.names.has_variant(&of, &name, false).then_some(of)
    }

    fn binary(&self, binary: &syn::ExprBinary) -> Option<Type> {
        use BinOp::*;
        match binary.op {
            Eq(_) | Ne(_) | Lt(_) | Le(_) | Gt(_) | Ge(_) | And(_) | Or(_) => {
                Some(Type::primitive("bool"))
            }
            Add(_) | Sub(_) | Mul(_) | Div(_) | Rem(_) => {
                match (self.of(&binary.left)?, self.of(&binary.right)?) {
                    (left, right) if left == right && left.is_number() => Some(left),
                    (Type::Open(left), Type::Open(right)) if left == right => {
                        Some(Type::Open(left))
                    }
                    (of, Type::Open(_)) | (Type::Open(_), of) if of.is_number() => Some(of),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn macro_call(&self, call: &syn::Macro) -> Option<Type> {
        let name = call.path.get_ident()?.to_string();
        if (self.has_macro)(&name) {
            return None;
        }
        match name.as_str() {
            "format" => Type::std("String", Vec::new()),
            "matches" => Some(Type::primitive("bool")),
            "vec" => {
                use syn::parse::Parser;
                let list = |input: syn::parse::ParseStream<'_>| {
                    let first: Expr = input.parse()?;
                    input.parse::<proc_macro2::TokenStream>()?;
                    Ok(first)
                };
                let first = list.parse2(call.tokens.clone()).ok()?;
                let of = self.of(&first).filter(Type::is_whole)?;
                Type::std("Vec", vec![of])
            }
            _ => None,
        }
    }
}

/// A path without its last part.
fn parent(path: &syn::Path) -> syn::Path {
    let mut path = path.clone();
    path.segments.pop();
    // What is left ends without a separator.
    if let Some(last) = path.segments.pop() {
        path.segments.push(last.into_value());
    }
    path
}

fn literal(lit: &Lit) -> Option<Type> {
    match lit {
        Lit::Str(_) => Some(Type::Text),
        Lit::Bool(_) => Some(Type::primitive("bool")),
        Lit::Char(_) => Some(Type::primitive("char")),
        Lit::Int(number) => Some(match number.suffix() {
            "" => Type::Open("i32"),
            suffix => Type::primitive(suffix),
        }),
        Lit::Float(number) => Some(match number.suffix() {
            "" => Type::Open("f64"),
            suffix => Type::primitive(suffix),
        }),
        _ => None,
    }
}
