//! The variables of a session, between its cells.
//!
//! evcxr writes such a store as source text into every cell that has variables, and rustc compiles a hash
//! map of boxes each time: about a quarter of a small cell's compilation. The kernel lets cells use this
//! one instead, which is compiled with the library. Names and lines that evcxr looks for are its own.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// What a cell prints when a `?` has ended it.
pub const USER_ERROR_OCCURRED: super::Word = super::Word("failed");

/// Variables by name.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Box<dyn Any>>,
}

/// An empty store, for the first cell that has variables; it lives as long as the process.
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::default())
}

impl VariableStore {
    /// Whether the variable is of type `T` or absent. One of another type (its `struct` was defined again)
    /// is lost, and evcxr is told so.
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, TypeId::of::<T>())
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
        self.put(name, Box::new(value));
    }

    /// The shared value of this name, made at its first use (the runtime of asynchronous cells).
    ///
    /// # Panics
    /// When the value of this name has another type.
    pub fn lazy_arc<T: 'static>(&mut self, name: &str, create: impl FnOnce() -> T) -> Arc<T> {
        if !self.variables.contains_key(name) {
            self.put(name, Box::new(Arc::new(create())));
        }
        let known = self.variables.get(name).and_then(|v| v.downcast_ref());
        Arc::clone(known.unwrap_or_else(|| wrong_type(name)))
    }

    fn check(&mut self, name: &str, wanted: TypeId) -> bool {
        let fits = self
            .variables
            .get(name)
            .is_none_or(|value| (**value).type_id() == wanted);
        if !fits {
            eprintln!("The variable `{name}` is lost: its type was defined again.");
            super::say(&format!("lost {name}"));
        }
        fits
    }

    fn take(&mut self, name: &str) -> Box<dyn Any> {
        let value = self.variables.remove(name);
        value.unwrap_or_else(|| panic!("the variable `{name}` is not in the session"))
    }

    fn put(&mut self, name: &str, value: Box<dyn Any>) {
        self.variables.insert(name.to_string(), value);
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
    }
}
