//! The library's public names with their signatures and documentation, read from its sources.
//!
//! It answers completion and help at once, long before the analyser is ready, and without any part of
//! the toolchain's sources.

use std::path::Path;
use std::sync::OnceLock;

use super::declared::{Declared, visible};

/// What a name stands for, in Jupyter's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function, an associated function or a method.
    Function,
    /// A struct, enum, trait or type alias.
    Class,
    /// A macro.
    Macro,
    /// A constant, a static, an enum's variant or a field.
    Instance,
    /// A module.
    Module,
}

impl Kind {
    /// The word front ends choose an icon by.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Function => "function",
            Kind::Class => "class",
            Kind::Macro => "magic",
            Kind::Instance => "instance",
            Kind::Module => "module",
        }
    }
}

/// A public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name itself.
    pub name: String,
    /// The modules it lies in, `rebit::quant` for instance.
    pub module: String,
    /// The type or trait it belongs to, for methods, fields and variants.
    pub owner: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// Its declaration without body.
    pub signature: String,
    /// Its documentation, Markdown.
    pub docs: String,
    /// Whether values of this type are copied where they are used.
    pub is_copy: bool,
}

/// All names that a library lets others see.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The names; one that can be seen in several modules is there for each.
    pub entries: Vec<Entry>,
}

static LIBRARY: OnceLock<Index> = OnceLock::new();

/// The index of the library that sessions load, where it has been read already.
pub fn library_if_read() -> Option<&'static Index> {
    LIBRARY.get()
}

/// Reads the index of the library while nothing else has to be done.
pub fn read_library() {
    std::thread::spawn(|| {
        crate::priority::yield_to_others();
        library();
    });
}

/// The index of the library that sessions load; read once, in up to a second.
pub fn library() -> &'static Index {
    LIBRARY.get_or_init(|| {
        // A thread of its own gives back what the lexer keeps for its spans.
        let read = || Index::read("rebit", &crate::folders::library_folder().join("src"));
        std::thread::scope(|scope| scope.spawn(read).join().unwrap_or_default())
    })
}

impl Index {
    /// Reads the crate `name` whose `lib.rs` lies in `src`; files that cannot be read or parsed are
    /// left out.
    pub fn read(name: &str, src: &Path) -> Index {
        let mut declared = Declared::default();
        declared.file(&src.join("lib.rs"), src, name);
        declared.expand();
        Index {
            entries: visible(&declared, name),
        }
    }

    /// Names that a cell can use as they are: those of the prelude, and the modules and macros beside it.
    pub fn free(&self) -> impl Iterator<Item = &Entry> {
        let free = self.entries.iter().filter(|entry| entry.owner.is_none());
        free.filter(|entry| entry.module.ends_with("::prelude"))
    }

    /// The best entry for a bare name: what a cell can use rather than what lies deeper, and never a module
    /// where something else has the name.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        let named = self.entries.iter().filter(|entry| entry.name == name);
        named.min_by_key(|entry| {
            let depth = entry.module.matches("::").count();
            let free = entry.module.ends_with("::prelude");
            (
                entry.kind == Kind::Module,
                entry.owner.is_some(),
                !free,
                depth,
            )
        })
    }

    /// What belongs to the type or trait `owner`.
    pub fn of(&self, owner: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.owner.as_deref() == Some(owner))
    }

    /// The names in the module that a path ends with (`quant`, `rebit::quant`).
    pub fn within(&self, module: &str) -> impl Iterator<Item = &Entry> {
        let end = format!("::{module}");
        let free = self.entries.iter().filter(|entry| entry.owner.is_none());
        free.filter(move |entry| entry.module == end[2..] || entry.module.ends_with(&end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write(
            "lib.rs",
            "pub mod quant;\nmod inner;\npub use inner::Matrix;\npub mod prelude {\n\
             pub use crate::{claim, quant::{self, round, Range as Alias}};\npub use serde::*;\n}\n\
             #[cfg(test)]\nmod tests { pub fn t() {} }",
        );
        write("quant/mod.rs", "pub mod round;\npub use round::*;");
        write(
            "quant/round.rs",
            "/// Rounds.\n///\n/// Half to even.\n/// ```\n/// # hidden();\n/// ```\npub fn round(x: f32) -> f32 { x }\nfn hidden() {}\n\
             /// A range.\n#[derive(Debug, Clone, Copy)]\npub struct Range {\n    /// Lower end.\n    pub low: f32,\n    \
             high: f32,\n}\nimpl Range {\n    /// Its width.\n    pub fn width(&self) -> f32 { 0.0 }\n}\n\
             #[macro_export]\nmacro_rules! claim { () => {} }\npub enum Side { Left, Right(u8) }\nimpl Copy for Side {}\n\
             #[derive(Clone)] pub struct Made;\nmacro_rules! methods { () => { pub fn x(self) -> Self { self } fn y() {} } }\n\
             impl Made { pub fn own(&self) {} methods!(); }\n\
             #[cfg(feature = \"gpu\")]\npub struct OnGpu;",
        );
        write(
            "inner.rs",
            "pub use super::quant::*;\npub type Matrix<T = u8> = Vec<T>;\npub struct Unseen;\n\
             impl Unseen { pub fn unseen_method(&self) {} }",
        );
        Index::read("demo", folder.path())
    }

    #[test]
    fn public_names_are_found_with_signature_and_documentation() {
        let index = index();
        let round = index.named("round").unwrap();
        assert_eq!(round.signature, "fn round(x: f32) -> f32");
        assert_eq!(round.docs, "Rounds.\n\nHalf to even.\n```\n```");
        assert_eq!(round.module, "demo::prelude");
        let of_range: Vec<_> = index.of("Range").map(|e| e.signature.as_str()).collect();
        assert_eq!(of_range, ["low: f32", "fn width(&self) -> f32"]);
        let sides: Vec<_> = index.of("Side").map(|e| e.signature.as_str()).collect();
        assert_eq!(sides, ["Left", "Right(u8)"]);
        assert_eq!(index.named("Range").unwrap().signature, "pub struct Range");
        let is_copy = |name: &str| index.named(name).unwrap().is_copy;
        assert!(is_copy("Range") && is_copy("Side") && !is_copy("Made"));
        // Methods that a macro writes into an implementation.
        let of_made: Vec<_> = index.of("Made").map(|e| e.signature.as_str()).collect();
        assert_eq!(of_made, ["fn own(&self)", "fn x(self) -> Self"]);
    }

    #[test]
    fn names_are_where_they_can_be_used() {
        let index = index();
        let of =
            |module: &str| -> Vec<&str> { index.within(module).map(|e| e.name.as_str()).collect() };
        assert_eq!(of("quant"), ["round", "round", "Range", "Side", "Made"]);
        assert_eq!(of("demo"), ["quant", "prelude", "claim", "Matrix"]);
        let free: Vec<_> = index.free().map(|e| e.name.as_str()).collect();
        assert_eq!(free, ["claim", "quant", "round", "round", "Alias"]);
        for hidden in ["hidden", "t", "Unseen", "unseen_method", "OnGpu", "inner"] {
            assert!(index.named(hidden).is_none(), "{hidden}");
        }
    }

    #[test]
    fn a_function_goes_before_the_module_of_its_name() {
        let index = index();
        assert_eq!(index.named("round").unwrap().kind, Kind::Function);
        assert_eq!(index.named("quant").unwrap().kind, Kind::Module);
    }

    #[test]
    fn the_library_itself_is_read() {
        for (name, kind) in [
            ("cross_entropy", Kind::Function),
            ("linear", Kind::Function),
            ("conv2d", Kind::Function),
            ("relu", Kind::Function),
            ("fake_quant", Kind::Function),
            ("matmul", Kind::Function),
            ("Net", Kind::Class),
            ("claim", Kind::Macro),
            ("plot", Kind::Module),
        ] {
            let found = library().free().find(|e| e.name == name && e.kind == kind);
            assert!(found.is_some(), "{name}");
            assert_eq!(library().named(name).unwrap().kind, kind, "{name}");
        }
        assert!(library().of("Net").any(|e| e.name == "predict"));
    }
}
