//! What macros do with a variable that they are given.

use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, Token};

use super::names::mentions;
use super::uses::{Fate, Use, Watched};

/// Macros that borrow what they are given.
const LOOKING: [&str; 14] = [
    "println",
    "print",
    "eprintln",
    "eprint",
    "format",
    "write",
    "writeln",
    "panic",
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "format_args",
];

impl Watched<'_> {
    /// The call of a macro, in a place that is `sure` to be run once.
    pub fn macro_call(&self, call: &syn::Macro, sure: bool) -> Fate {
        if !mentions(call.tokens.clone(), self.name) {
            return Fate::Kept;
        }
        let Some(name) = call.path.get_ident().map(ToString::to_string) else {
            return Fate::Unsure;
        };
        if (self.reader.has_macro)(&name) {
            return Fate::Unsure;
        }
        let parse = Punctuated::<Argument, Token![,]>::parse_terminated;
        let Ok(arguments) = parse.parse2(call.tokens.clone()) else {
            return Fate::Unsure;
        };
        let exprs = || arguments.iter().map(|argument| &argument.0);
        match name.as_str() {
            name if LOOKING.contains(&name) => self.all(exprs(), Use::Look, sure),
            "claim" | "finding" => {
                let (text, rest) = (exprs().take(1), exprs().skip(1));
                let text = self.all(text, Use::Look, sure);
                text.max(self.all(rest, Use::Value, sure))
            }
            "vec" => self.all(exprs(), Use::Value, sure),
            _ => Fate::Unsure,
        }
    }
}

/// An argument of a macro, with or without its name.
struct Argument(Expr);

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Argument> {
        let is_named = input.peek(syn::Ident)
            && (input.peek2(Token![=]) && !input.peek2(Token![==])
                || input.peek2(Token![:]) && !input.peek2(Token![::]));
        if is_named {
            input.parse::<syn::Ident>()?;
            match input.peek(Token![=]) {
                true => drop(input.parse::<Token![=]>()?),
                false => drop(input.parse::<Token![:]>()?),
            }
        }
        input.parse().map(Argument)
    }
}
