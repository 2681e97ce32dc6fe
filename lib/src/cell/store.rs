//! The variables of a session, between its cells.
//!
//! evcxr writes such a store as source text into every cell that has variables, and rustc compiles a hash
//! map of boxes each time: about a quarter of a small cell's compilation. The kernel lets cells use this
//! one instead, which is compiled with the library. Names and lines that evcxr looks for are its own.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

pub use super::failed;

/// A value, and what was known of its type's definition when it was stored.
struct Stored {
    value: Box<dyn Any>,
    /// Fingerprint of the user's definitions that its type stands on; 0 for none.
    definition: u64,
}

/// Variables by name.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Stored>,
    /// Runtimes and the like, one of each type, by the name that evcxr gives them.
    shared: HashMap<(String, TypeId), Box<dyn Any>>,
}

/// An empty store, for the first cell that has variables; it lives as long as the process.
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::default())
}

impl VariableStore {
    /// Whether the variable is of type `T` or absent. One of another type is lost, and evcxr is told so.
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, TypeId::of::<T>(), 0)
    }

    /// The same for a type that stands on the user's own definitions, which have this fingerprint. All cells are one
    /// crate, in which types of one name have one [`TypeId`] whatever they are made of.
    pub fn check_variable_defined<T: 'static>(&mut self, definition: u64, name: &str) -> bool {
        self.check(name, TypeId::of::<T>(), definition)
    }

    /// Leaves a variable where it is that the cell binds anew and does not look at; one whose type `T` has become another
    /// one ends here. True: nothing is lost that anybody could have read.
    pub fn keep_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.keep_variable_defined::<T>(0, name)
    }

    /// The same for a type of the user's, as in [`VariableStore::check_variable_defined`].
    pub fn keep_variable_defined<T: 'static>(&mut self, definition: u64, name: &str) -> bool {
        let fits = |stored: &Stored| {
            stored.definition == definition && (*stored.value).type_id() == TypeId::of::<T>()
        };
        if self.variables.get(name).is_some_and(|stored| !fits(stored)) {
            self.variables.remove(name);
        }
        true
    }

    /// Takes the variable out.
    ///
    /// # Panics
    /// When there is none of this type: the cell has not checked it.
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast() {
            Ok(value) => *value,
            Err(_) => wrong_type(name),
        }
    }

    /// Puts a variable in, in the place of one of the same name.
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        self.put(name, Box::new(value), 0);
    }

    /// The same for a type of the user's, as in [`VariableStore::check_variable_defined`].
    pub fn put_variable_defined<T: 'static>(&mut self, definition: u64, name: &str, value: T) {
        self.put(name, Box::new(value), definition);
    }

    /// Puts a variable back that the cell was to bind anew, unless it has done so.
    pub fn put_back<T: 'static>(&mut self, name: &str, value: T) {
        self.put_back_defined(0, name, value);
    }

    /// The same for a type of the user's, as in [`VariableStore::check_variable_defined`].
    pub fn put_back_defined<T: 'static>(&mut self, definition: u64, name: &str, value: T) {
        if !self.variables.contains_key(name) {
            self.put(name, Box::new(value), definition);
        }
    }

    /// Says to the kernel, in the cell's source, that an old value is where it was unless the cell has a new one.
    pub fn put_back_unread(&mut self, _name: &str) {}

    /// The shared value of this name and type, made at its first use (the runtime of asynchronous cells; one of another
    /// copy of its crate is another type).
    pub fn lazy_arc<T: 'static>(&mut self, name: &str, create: impl FnOnce() -> T) -> Arc<T> {
        let key = (name.to_string(), TypeId::of::<Arc<T>>());
        let value = self
            .shared
            .entry(key)
            .or_insert_with(|| Box::new(Arc::new(create())));
        let known = value.downcast_ref();
        Arc::clone(known.unwrap_or_else(|| wrong_type(name)))
    }

    fn check(&mut self, name: &str, wanted: TypeId, definition: u64) -> bool {
        let Some(stored) = self.variables.get(name) else {
            return true;
        };
        let same = stored.definition == definition;
        let fits = same && (*stored.value).type_id() == wanted;
        if !fits {
            let reason = match same {
                false => "its type was defined again",
                // A value of a crate of a `:dep` line, of which there is another copy now.
                true => "the crate of its type was compiled anew",
            };
            eprintln!("The variable `{name}` is lost: {reason}.");
            super::say(&format!("lost {name}"));
        }
        fits
    }

    fn take(&mut self, name: &str) -> Box<dyn Any> {
        let stored = self.variables.remove(name);
        let stored =
            stored.unwrap_or_else(|| panic!("the variable `{name}` is not in the session"));
        stored.value
    }

    fn put(&mut self, name: &str, value: Box<dyn Any>, definition: u64) {
        let stored = Stored { value, definition };
        self.variables.insert(name.to_string(), stored);
    }
}

#[cold]
fn wrong_type(name: &str) -> ! {
    panic!("the variable `{name}` has another type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_goes_from_cell_to_cell() {
        let mut store = VariableStore::default();
        assert!(
            store.check_variable::<Vec<i32>>("v"),
            "absent is no conflict"
        );
        store.put_variable("v", vec![1, 2]);
        store.put_variable("v", vec![3]);
        assert!(store.check_variable::<Vec<i32>>("v"));
        assert_eq!(store.take_variable::<Vec<i32>>("v"), [3]);
    }

    #[test]
    fn a_variable_whose_type_changed_is_noticed() {
        let mut store = VariableStore::default();
        store.put_variable("v", 1u8);
        assert!(!store.check_variable::<i8>("v"));
    }

    #[test]
    fn a_type_that_was_defined_again_is_noticed() {
        struct F;
        let mut store = VariableStore::default();
        store.put_variable_defined(1, "f", F);
        assert!(store.check_variable_defined::<F>(1, "f"));
        assert!(!store.check_variable_defined::<F>(2, "f"));
    }

    #[test]
    fn what_is_bound_anew_stays_while_its_type_does() {
        struct F;
        let mut store = VariableStore::default();
        store.put_variable("v", 1u8);
        store.put_variable_defined(1, "f", F);
        assert!(store.keep_variable::<u8>("v") && store.keep_variable_defined::<F>(1, "f"));
        assert_eq!(store.take_variable::<u8>("v"), 1);
        assert!(store.keep_variable_defined::<F>(2, "f"));
        assert!(!store.variables.contains_key("f"));
    }

    #[test]
    #[should_panic = "`v` is not in the session"]
    fn a_variable_can_be_taken_once() {
        let mut store = VariableStore::default();
        store.put_variable("v", 1u8);
        store.take_variable::<u8>("v");
        store.take_variable::<u8>("v");
    }

    #[test]
    fn a_shared_value_is_made_once() {
        let mut store = VariableStore::default();
        let first = store.lazy_arc("runtime", || 7);
        let second = store.lazy_arc("runtime", || 8);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*second, 7);
        assert_eq!(
            *store.lazy_arc("runtime", || "another type"),
            "another type"
        );
    }
}
