//! Types as far as signatures tell them.

use std::fmt::{self, Display, Formatter};

/// Types without parameters, or with as many as here, that every cell knows.
const STD: [(&str, &str, usize); 7] = [
    ("String", "std::string::String", 0),
    ("Vec", "std::vec::Vec", 1),
    ("Option", "std::option::Option", 1),
    ("Result", "std::result::Result", 2),
    ("PathBuf", "std::path::PathBuf", 0),
    ("Duration", "std::time::Duration", 0),
    ("Instant", "std::time::Instant", 0),
];
/// Of those, the ones that every module knows by their last name.
const PRELUDE: usize = 4;
/// Primitive types, all of them `Copy`.
const PRIMITIVE: [&str; 16] = [
    "bool", "char", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "u128", "i128", "usize",
    "isize", "f32", "f64",
];

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A name, and what stands between its angle brackets.
    Named {
        /// Where the name is from.
        home: Home,
        /// Its last part.
        name: String,
        /// Its arguments.
        args: Vec<Type>,
    },
    /// A tuple; the unit type is one of nothing.
    Tuple(Vec<Type>),
    /// An array.
    Array(Box<Type>, usize),
    /// `&'static str`.
    Text,
    /// What a number without a suffix becomes where nothing else decides.
    Open(&'static str),
    /// Any other, as it is written.
    Other(String),
}

/// Where the name of a type is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// The language, or its standard library.
    Std,
    /// This module of the library.
    Library(String),
    /// The user's cells.
    Own,
}

impl Type {
    /// A type of the standard library or a primitive one, by its last name.
    pub fn std(name: &str, args: Vec<Type>) -> Option<Type> {
        let mut known = STD.iter();
        let is_known = known.any(|(known, _, count)| *known == name && *count == args.len())
            || (args.is_empty() && PRIMITIVE.contains(&name));
        is_known.then(|| Type::Named {
            home: Home::Std,
            name: name.to_string(),
            args,
        })
    }

    /// The same, of those that need no import.
    pub fn std_prelude(name: &str, args: Vec<Type>) -> Option<Type> {
        let is_imported = STD[PRELUDE..].iter().any(|(known, ..)| *known == name);
        Type::std(name, args).filter(|_| !is_imported)
    }

    /// A primitive type.
    pub fn primitive(name: &str) -> Type {
        Type::std(name, Vec::new()).unwrap_or_else(|| Type::Other(name.to_string()))
    }

    /// Its name and arguments, if it is of the standard library.
    pub fn as_std(&self) -> Option<(&str, &[Type])> {
        match self {
            Type::Named {
                home: Home::Std,
                name,
                args,
            } => Some((name, args)),
            _ => None,
        }
    }

    /// Whether it is a primitive number.
    pub fn is_number(&self) -> bool {
        self.as_std()
            .is_some_and(|(name, _)| PRIMITIVE[2..].contains(&name))
    }

    /// Whether it is primitive.
    pub fn is_primitive(&self) -> bool {
        self.as_std()
            .is_some_and(|(name, _)| PRIMITIVE.contains(&name))
    }

    /// What `?`, `unwrap` and `expect` leave of it.
    pub fn inside(&self) -> Option<Type> {
        match self {
            Type::Named { home, name, args } if *home != Home::Own => match name.as_str() {
                "Result" | "Option" => args.first().cloned(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether nothing of it is left open.
    pub fn is_whole(&self) -> bool {
        match self {
            Type::Named { args, .. } => args.iter().all(Type::is_whole),
            Type::Tuple(parts) => parts.iter().all(Type::is_whole),
            Type::Array(of, _) => of.is_whole(),
            Type::Text | Type::Other(_) => true,
            Type::Open(_) => false,
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, parts: &[Type]| {
            for (i, part) in parts.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                write!(f, "{comma}{part}")?;
            }
            Ok(())
        };
        match self {
            Type::Named { home, name, args } => {
                let path = STD.iter().find(|(known, ..)| known == name);
                match (home, path) {
                    (Home::Std, Some((_, path, _))) => f.write_str(path)?,
                    (Home::Library(module), _) => write!(f, "{module}::{name}")?,
                    _ => f.write_str(name)?,
                }
                if !args.is_empty() {
                    f.write_str("<")?;
                    list(f, args)?;
                    f.write_str(">")?;
                }
                Ok(())
            }
            Type::Tuple(parts) => {
                f.write_str("(")?;
                list(f, parts)?;
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
            Type::Array(of, count) => write!(f, "[{of}; {count}]"),
            Type::Text => f.write_str("&'static str"),
            Type::Open(fallback) => f.write_str(fallback),
            Type::Other(text) => f.write_str(text),
        }
    }
}
