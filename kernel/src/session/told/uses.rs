//! Whether a cell takes a variable away that it has bound: the type of one that stays must be known, one that goes is not
//! kept, and where neither is sure rustc is asked.

use quote::ToTokens;
use syn::{Expr, Pat, Stmt};

use super::expr::Reader;
use super::kind::Type;
use super::names::mentions;

/// What a piece of code does with a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It stays.
    Kept,
    /// It is gone.
    Moved,
    /// Neither is sure.
    Unsure,
}

/// How the value of an expression is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is taken.
    Value,
    /// It is borrowed.
    Place,
    /// It is written out by a macro, or made into another number.
    Look,
}

/// One variable, and what is known.
pub struct Watched<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub of: Option<&'a Type>,
    /// What is known of all others.
    pub reader: &'a Reader<'a>,
}

impl Watched<'_> {
    /// What the statements behind its binding do with it.
    pub fn fate(&self, statements: &[Stmt]) -> Fate {
        let mut fate = Fate::Kept;
        if self.is_copied(self.of) {
            return fate;
        }
        for (at, statement) in statements.iter().enumerate() {
            if let Stmt::Expr(Expr::Assign(assign), _) = statement
                && is_name(&assign.left, self.name)
            {
                // Whatever was there before, it has a value now.
                fate = self.walk(&Expr::Assign(assign.clone()), Use::Value, true);
                if fate == Fate::Unsure {
                    return fate;
                }
                continue;
            }
            // A part of what is gone may be there again.
            if fate == Fate::Moved && self.mentioned(statement) {
                return Fate::Unsure;
            }
            let is_last = at + 1 == statements.len();
            fate = fate.max(self.statement(statement, true, is_last));
            if fate == Fate::Unsure {
                return fate;
            }
        }
        fate
    }

    /// Whether it is there whatever is done with it.
    pub fn is_copied(&self, of: Option<&Type>) -> bool {
        let whole = of.filter(|of| of.is_whole());
        whole.is_some_and(|of| self.reader.names.is_copy(of) == Some(true))
    }

    fn mentioned(&self, code: &impl ToTokens) -> bool {
        mentions(code.to_token_stream(), self.name)
    }

    /// `sure` while the code runs whenever the cell comes to its end, and once.
    fn statement(&self, statement: &Stmt, sure: bool, is_last: bool) -> Fate {
        match statement {
            Stmt::Local(local) => {
                let Some(init) = &local.init else {
                    return Fate::Kept;
                };
                if let Some((_, diverge)) = &init.diverge
                    && self.mentioned(diverge)
                {
                    return Fate::Unsure;
                }
                let how = match &local.pat {
                    Pat::Wild(_) => Use::Place,
                    pat if is_simple(pat) => Use::Value,
                    _ if self.root_is_watched(&init.expr) => return Fate::Unsure,
                    _ => Use::Value,
                };
                self.walk(&init.expr, how, sure)
            }
            // The value of a cell is shown by reference.
            Stmt::Expr(expr, None) if is_last && sure => self.walk(expr, Use::Place, sure),
            Stmt::Expr(expr, _) => self.walk(expr, Use::Value, sure),
            Stmt::Macro(call) => self.macro_call(&call.mac, sure),
            Stmt::Item(_) => Fate::Kept,
        }
    }

    fn block(&self, statements: &[Stmt]) -> Fate {
        let all = statements.iter().map(|s| self.statement(s, false, false));
        all.max().unwrap_or(Fate::Kept)
    }

    pub fn all<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>, how: Use, sure: bool) -> Fate {
        let fates = exprs.into_iter().map(|expr| self.walk(expr, how, sure));
        fates.max().unwrap_or(Fate::Kept)
    }

    fn walk(&self, expr: &Expr, how: Use, sure: bool) -> Fate {
        if !self.mentioned(expr) {
            return Fate::Kept;
        }
        match expr {
            Expr::Path(path) if path.path.is_ident(self.name) => {
                self.used(self.of.cloned(), how, sure)
            }
            Expr::Paren(inner) => self.walk(&inner.expr, how, sure),
            Expr::Group(inner) => self.walk(&inner.expr, how, sure),
            Expr::Reference(inner) => self.walk(&inner.expr, Use::Place, sure),
            Expr::Unary(unary) => match unary.op {
                syn::UnOp::Deref(_) if how != Use::Value => self.walk(&unary.expr, how, sure),
                syn::UnOp::Deref(_) if self.root_is_watched(&unary.expr) => Fate::Unsure,
                _ => self.walk(&unary.expr, Use::Value, sure),
            },
            Expr::Field(field) if self.root_is_watched(&field.base) => {
                let inside = self.walk(&field.base, Use::Place, sure);
                inside.max(self.used(self.reader.of(expr), how, sure))
            }
            Expr::Field(field) => self.walk(&field.base, Use::Place, sure),
            Expr::Index(index) => {
                // What cannot be copied cannot be taken out either.
                let base = self.walk(&index.expr, Use::Place, sure);
                base.max(self.walk(&index.index, Use::Value, sure))
            }
            Expr::MethodCall(call) => {
                let args = self.all(&call.args, Use::Value, sure);
                let receiver = match self.root_is_watched(&call.receiver) {
                    false => self.walk(&call.receiver, Use::Value, sure),
                    true => match self.looks(call) {
                        Some(true) => self.walk(&call.receiver, Use::Place, sure),
                        Some(false) => self.walk(&call.receiver, Use::Value, sure),
                        None => Fate::Unsure,
                    },
                };
                args.max(receiver)
            }
            Expr::Call(call) => {
                let function = match &*call.func {
                    Expr::Path(_) => Fate::Kept,
                    other => self.walk(other, Use::Value, sure),
                };
                let is_watched = is_name(&call.func, self.name);
                let args = self.all(&call.args, Use::Value, sure);
                if is_watched {
                    Fate::Unsure
                } else {
                    function.max(args)
                }
            }
            Expr::Binary(binary) => {
                use syn::BinOp::*;
                let (left, right) = (&binary.left, &binary.right);
                match binary.op {
                    Eq(_) | Ne(_) | Lt(_) | Le(_) | Gt(_) | Ge(_) => {
                        self.all([&**left, &**right], Use::Place, sure)
                    }
                    And(_) | Or(_) => {
                        let left = self.walk(left, Use::Value, sure);
                        left.max(self.walk(right, Use::Value, false))
                    }
                    AddAssign(_) | SubAssign(_) | MulAssign(_) | DivAssign(_) | RemAssign(_) => {
                        let left = self.walk(left, Use::Place, sure);
                        left.max(self.walk(right, Use::Value, sure))
                    }
                    _ => self.all([&**left, &**right], Use::Value, sure),
                }
            }
            Expr::Assign(assign) if is_name(&assign.left, self.name) => {
                // What is moved into its own new value is there again.
                match self.walk(&assign.right, Use::Value, sure) {
                    Fate::Unsure if !self.returns_to_itself(&assign.right) => Fate::Unsure,
                    _ => Fate::Kept,
                }
            }
            // `_ = v;` takes nothing.
            Expr::Assign(assign) if matches!(*assign.left, Expr::Infer(_)) => {
                self.walk(&assign.right, Use::Place, sure)
            }
            Expr::Assign(assign) => {
                let left = self.walk(&assign.left, Use::Place, sure);
                left.max(self.walk(&assign.right, Use::Value, sure))
            }
            Expr::Tuple(tuple) => self.all(&tuple.elems, Use::Value, sure),
            Expr::Array(array) => self.all(&array.elems, Use::Value, sure),
            Expr::Struct(literal) => {
                let fields = literal.fields.iter().map(|field| &field.expr);
                let fields = self.all(fields, Use::Value, sure);
                let rest = literal.rest.as_deref();
                let rest = rest.map_or(Fate::Kept, |rest| match self.root_is_watched(rest) {
                    // Which of its fields are taken is not written there.
                    true => match self.of.and_then(|of| self.reader.names.is_copy(of)) {
                        Some(true) => Fate::Kept,
                        _ => Fate::Unsure,
                    },
                    false => self.walk(rest, Use::Value, sure),
                });
                fields.max(rest)
            }
            Expr::Range(range) => {
                let ends = [&range.start, &range.end].into_iter().flatten();
                self.all(ends.map(|end| &**end), Use::Value, sure)
            }
            Expr::Try(tried) => self.walk(&tried.expr, Use::Value, sure),
            Expr::Cast(cast) => self.walk(&cast.expr, Use::Look, sure),
            Expr::Macro(call) => self.macro_call(&call.mac, sure),
            Expr::If(branch) => {
                let condition = self.walk(&branch.cond, Use::Value, false);
                let then = self.block(&branch.then_branch.stmts);
                let other = branch.else_branch.as_ref();
                let other = other.map_or(Fate::Kept, |(_, e)| self.walk(e, Use::Value, false));
                condition.max(then).max(other)
            }
            Expr::Let(condition) if !self.root_is_watched(&condition.expr) => {
                self.walk(&condition.expr, Use::Value, false)
            }
            Expr::ForLoop(each) => {
                let of = self.walk(&each.expr, Use::Value, sure);
                of.max(self.block(&each.body.stmts))
            }
            Expr::While(each) => {
                let condition = self.walk(&each.cond, Use::Value, false);
                condition.max(self.block(&each.body.stmts))
            }
            Expr::Loop(each) => self.block(&each.body.stmts),
            Expr::Block(block) => self.block(&block.block.stmts),
            Expr::Match(choice) if !self.root_is_watched(&choice.expr) => {
                let of = self.walk(&choice.expr, Use::Value, sure);
                let arms = choice.arms.iter().flat_map(|arm| {
                    let guard = arm.guard.as_ref().map(|(_, guard)| &**guard);
                    guard.into_iter().chain([&*arm.body])
                });
                of.max(self.all(arms, Use::Value, false))
            }
            Expr::Closure(closure) if closure.capture.is_none() => {
                self.walk(&closure.body, Use::Value, false)
            }
            _ => Fate::Unsure,
        }
    }

    /// Whether `v = v.next(..)` is all that takes it: then it is there again, wherever that stands.
    fn returns_to_itself(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Try(tried) => self.returns_to_itself(&tried.expr),
            Expr::MethodCall(call) => {
                let args = self.all(&call.args, Use::Value, false) == Fate::Kept;
                args && self.returns_to_itself(&call.receiver)
            }
            Expr::Call(call) => {
                let (own, others): (Vec<&Expr>, Vec<&Expr>) =
                    call.args.iter().partition(|arg| is_name(arg, self.name));
                own.len() == 1 && self.all(others, Use::Value, false) == Fate::Kept
            }
            expr => is_name(expr, self.name),
        }
    }

    /// A use of the variable, or of a part of it that has this type.
    fn used(&self, of: Option<Type>, how: Use, sure: bool) -> Fate {
        // Each use may decide what a number is.
        if of.as_ref().is_some_and(|of| !of.is_whole()) && how != Use::Look {
            return Fate::Unsure;
        }
        if how != Use::Value {
            return Fate::Kept;
        }
        match of.and_then(|of| self.reader.names.is_copy(&of)) {
            Some(true) => Fate::Kept,
            Some(false) if sure => Fate::Moved,
            _ => Fate::Unsure,
        }
    }

    /// Whether a place is the variable, or lies in it.
    fn root_is_watched(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Paren(inner) => self.root_is_watched(&inner.expr),
            Expr::Field(field) => self.root_is_watched(&field.base),
            Expr::Index(index) => self.root_is_watched(&index.expr),
            Expr::Unary(unary) => {
                matches!(unary.op, syn::UnOp::Deref(_)) && self.root_is_watched(&unary.expr)
            }
            expr => is_name(expr, self.name),
        }
    }
}

/// Whether an expression is a variable and nothing else.
pub fn is_name(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Path(path) if path.path.is_ident(name))
}

/// Whether a pattern takes the whole value.
fn is_simple(pat: &Pat) -> bool {
    match pat {
        Pat::Ident(ident) => ident.by_ref.is_none() && ident.subpat.is_none(),
        Pat::Type(typed) => is_simple(&typed.pat),
        Pat::Paren(inner) => is_simple(&inner.pat),
        _ => false,
    }
}
