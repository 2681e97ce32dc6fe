//! Where files are exchanged.

use std::collections::HashMap;
use std::path::PathBuf;

use super::exchange::{self, Named};

/// A folder of tensors by name.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes it, where it is not there.
    pub fn create(&self) {
        std::fs::create_dir_all(&self.0).expect("the folder to exchange files in");
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.safetensors"))
    }

    pub fn write(&self, name: &str, tensors: &[Named]) {
        exchange::write(&self.file(name), tensors);
    }

    pub fn read(&self, name: &str) -> HashMap<String, Vec<f32>> {
        exchange::read(&self.file(name))
    }
}
