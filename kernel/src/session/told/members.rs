//! What belongs to a name: what functions return, methods, fields and variants of types.

use quote::ToTokens;
use syn::{Item, ItemImpl, Signature};

use super::kind::{Home, Type};
use super::names::{Meaning, Names, mentions, one};
use super::written::{Scope, own_type};
use crate::language::index::{Entry, Kind};

/// A function or a method, and how it takes what it is called on.
pub struct Callee {
    /// What it returns, where that is sure.
    pub returns: Option<Type>,
    /// Whether it only looks at `self`; `None` without one.
    pub looks: Option<bool>,
}

impl Names<'_> {
    /// A function by its name alone.
    pub fn function(&self, name: &str) -> Option<Callee> {
        match self.meaning(name, Kind::Function)? {
            Meaning::Own(item) => match item {
                Item::Fn(item) => Some(self.callee(&item.sig, Scope::Cell(None))),
                Item::Struct(_) => Some(Callee {
                    returns: own_type(item, name),
                    looks: None,
                }),
                _ => None,
            },
            Meaning::Library(entry) => self.of_entry(entry, &entry.module, None),
            Meaning::Std(_) => None,
        }
    }

    /// A function of a module of the library.
    pub fn function_in(&self, module: &str, name: &str) -> Option<Callee> {
        let entry = self.within(module, name, Kind::Function)?;
        self.of_entry(entry, &entry.module, None)
    }

    fn of_entry(&self, entry: &Entry, module: &str, owner: Option<&Type>) -> Option<Callee> {
        let signature: Signature = syn::parse_str(&entry.signature).ok()?;
        Some(self.callee(&signature, Scope::Library(module, owner)))
    }

    fn callee(&self, signature: &Signature, scope: Scope<'_>) -> Callee {
        Callee {
            returns: self.returns(signature, scope),
            looks: looks(signature),
        }
    }

    fn returns(&self, signature: &Signature, scope: Scope<'_>) -> Option<Type> {
        if signature.asyncness.is_some() {
            return None;
        }
        let syn::ReturnType::Type(_, of) = &signature.output else {
            return Some(Type::Tuple(Vec::new()));
        };
        let own = signature.generics.params.iter().map(|param| match param {
            syn::GenericParam::Type(param) => param.ident.to_string(),
            syn::GenericParam::Const(param) => param.ident.to_string(),
            syn::GenericParam::Lifetime(param) => param.lifetime.ident.to_string(),
        });
        let mentions = |name: &str| mentions(of.to_token_stream(), name);
        if own.into_iter().any(|name| mentions(&name)) {
            return None;
        }
        self.read(of, scope)
    }

    /// What belongs to a type under a name: functions and methods of all its implementations.
    pub fn member(&self, of: &Type, name: &str) -> Option<Callee> {
        let Type::Named {
            home,
            name: own,
            args,
        } = of
        else {
            return None;
        };
        match home {
            Home::Std => None,
            Home::Own => {
                let mut of_trait = None;
                for item in self.with_word(name) {
                    let Some(Item::Impl(block)) = item else {
                        continue;
                    };
                    let Some(signature) = method(block, own, name) else {
                        continue;
                    };
                    let callee = self.callee(signature, Scope::Cell(Some(of)));
                    if block.trait_.is_none() {
                        return Some(callee);
                    }
                    of_trait = of_trait.or(Some(callee));
                }
                of_trait
            }
            Home::Library(module) => {
                let mut members = self.index.of(own).filter(|entry| entry.name == *name);
                let first = members.next()?;
                let is_one = members.all(|entry| entry.signature == first.signature);
                let is_method = first.kind == Kind::Function && args.is_empty();
                (is_one && is_method)
                    .then(|| self.of_entry(first, module, Some(of)))
                    .flatten()
            }
        }
    }

    /// Whether a method of a trait of the library only looks at what it is called on; `None` where several disagree.
    pub fn of_traits(&self, name: &str) -> Option<bool> {
        let is_trait = |owner: &String| {
            let mut named = self.index.entries.iter().filter(|e| e.name == *owner);
            named.any(|entry| entry.signature.starts_with("pub trait "))
        };
        let members = self.index.entries.iter().filter(|e| e.name == name);
        let members = members.filter(|entry| entry.owner.as_ref().is_some_and(is_trait));
        let mut all = members.map(|entry| looks(&syn::parse_str(&entry.signature).ok()?));
        let first = all.next()??;
        all.all(|looks| looks == Some(first)).then_some(first)
    }

    /// The type of a field.
    pub fn field(&self, of: &Type, name: &str) -> Option<Type> {
        let Type::Named {
            home,
            name: own,
            args,
        } = of
        else {
            return None;
        };
        if !args.is_empty() {
            return None;
        }
        match home {
            Home::Std => None,
            Home::Own => {
                let Meaning::Own(Item::Struct(item)) = self.meaning(own, Kind::Class)? else {
                    return None;
                };
                let mut fields = item.fields.iter().enumerate();
                let is_it = |(at, field): &(usize, &syn::Field)| match &field.ident {
                    Some(ident) => ident == name,
                    None => at.to_string() == name,
                };
                let (_, field) = fields.find(is_it)?;
                self.read(&field.ty, Scope::Cell(Some(of)))
            }
            Home::Library(module) => {
                let fields = self.index.of(own).filter(|entry| entry.name == name);
                let entry = one(fields.filter(|entry| entry.kind == Kind::Instance))?;
                let (_, text) = entry.signature.split_once(": ")?;
                self.read(
                    &syn::parse_str(text).ok()?,
                    Scope::Library(module, Some(of)),
                )
            }
        }
    }

    /// Whether a type has a variant of this name; without fields, if it stands alone.
    pub fn has_variant(&self, of: &Type, name: &str, alone: bool) -> bool {
        let Type::Named {
            home, name: own, ..
        } = of
        else {
            return false;
        };
        match home {
            Home::Std => false,
            Home::Own => match self.meaning(own, Kind::Class) {
                Some(Meaning::Own(item)) => {
                    matches!(item, Item::Enum(item) if item.variants.iter()
                    .any(|variant| variant.ident == name
                        && alone == matches!(variant.fields, syn::Fields::Unit)))
                }
                _ => false,
            },
            Home::Library(_) => self.index.of(own).any(|entry| {
                // Behind its documentation it is indented.
                let signature = entry.signature.trim();
                let is_variant = signature.starts_with(name) && !signature.contains("fn ");
                entry.name == name
                    && entry.kind == Kind::Instance
                    && is_variant
                    && alone == (signature == name)
            }),
        }
    }

    /// Whether values of a type are copied where they are used; `None` where that is not sure.
    pub fn is_copy(&self, of: &Type) -> Option<bool> {
        let all = |parts: &[Type]| {
            let mut all = Some(true);
            for part in parts {
                match self.is_copy(part) {
                    Some(false) => return Some(false),
                    is_copy => all = all.and(is_copy),
                }
            }
            all
        };
        match of {
            Type::Text | Type::Open(_) => Some(true),
            Type::Tuple(parts) => all(parts),
            Type::Array(of, _) => self.is_copy(of),
            Type::Other(_) => None,
            Type::Named { home, name, args } => match home {
                Home::Std => match name.as_str() {
                    "String" | "Vec" | "PathBuf" => Some(false),
                    "Option" | "Result" => all(args),
                    _ => Some(true),
                },
                Home::Library(module) => {
                    let entry = self.within(module, name, Kind::Class)?;
                    let is_defined = ["pub struct ", "pub enum "];
                    let is_defined = is_defined.iter().any(|w| entry.signature.starts_with(w));
                    is_defined.then_some(entry.is_copy)
                }
                Home::Own => match self.meaning(name, Kind::Class)? {
                    Meaning::Own(item) => self.is_own_copy(item, name),
                    _ => None,
                },
            },
        }
    }

    fn is_own_copy(&self, item: &Item, name: &str) -> Option<bool> {
        let attributes = match item {
            Item::Struct(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            _ => return None,
        };
        // Others may make implementations.
        let known = ["derive", "doc", "allow", "repr"];
        let is_known = |a: &syn::Attribute| known.iter().any(|name| a.path().is_ident(name));
        let derives = attributes.iter().filter(|a| a.path().is_ident("derive"));
        let derives = derives.map(|a| a.to_token_stream());
        let by_hand = self.with_word("Copy").any(|item| match item {
            Some(Item::Impl(block)) => mentions(block.self_ty.to_token_stream(), name),
            Some(Item::Mod(_)) | None => true,
            Some(_) => false,
        });
        let is_derived = derives.into_iter().any(|list| mentions(list, "Copy"));
        match is_derived {
            true => Some(true),
            false => (!by_hand && attributes.iter().all(is_known)).then_some(false),
        }
    }
}

/// Whether a method only looks at what it is called on.
fn looks(signature: &Signature) -> Option<bool> {
    let receiver = signature.receiver()?;
    let by_reference = receiver.reference.is_some() && receiver.colon_token.is_none();
    (by_reference || receiver.colon_token.is_none()).then_some(by_reference)
}

/// A method in an implementation for a type of the user's.
fn method<'a>(block: &'a ItemImpl, of: &str, name: &str) -> Option<&'a Signature> {
    let syn::Type::Path(path) = &*block.self_ty else {
        return None;
    };
    let is_of = path.path.is_ident(of) && block.generics.params.is_empty();
    let mut methods = block.items.iter().filter_map(|item| match item {
        syn::ImplItem::Fn(item) => Some(&item.sig),
        _ => None,
    });
    methods.find(|sig| is_of && sig.ident == name)
}
