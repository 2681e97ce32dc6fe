//! Data sets of real people, read from their own files: scenes and pictures of single persons in the types of the
//! [made world](super::world), so that everything runs on them unchanged.
//!
//! [`motchallenge`], [`cuhk_sysu`] and [`prw`] give scenes, [`market1501`] pictures of single persons. Nothing is fetched:
//! the data sets have terms of their own, and come as a folder. [`photo_batch`], [`cut_people`] and [`PersonSampler`] make of
//! scenes, made or real, what networks read.

mod cuhk_sysu;
mod cut;
mod market1501;
mod mat;
mod motchallenge;
mod prw;
mod sampler;

use std::path::{Path, PathBuf};

pub use cuhk_sysu::{CuhkSysu, cuhk_sysu};
pub use cut::{CutConfig, PIXELS, cut_out, cut_people, jittered, photo_batch};
pub use market1501::{Market1501, MarketName, market1501};
pub use motchallenge::motchallenge;
pub use prw::{Prw, prw};
pub use sampler::PersonSampler;

use super::Photo;
use super::world::Scene;
use crate::boxes::BoxXyxy;
use crate::error::{Error, Result};

/// A picture on disk, and who is where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneFile {
    /// The picture.
    pub path: PathBuf,
    /// The camera; 0 where the data set does not say.
    pub camera: u32,
    /// The annotated boxes.
    pub boxes: Vec<BoxXyxy>,
    /// Who they are; `None` for somebody nobody knows.
    pub identities: Vec<Option<u32>>,
    /// The share of each that is seen; 1 where the data set does not say.
    pub visible: Vec<f32>,
}

/// Pictures on disk, read when they are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneFiles {
    /// What it is, for titles and messages.
    pub name: String,
    /// The pictures.
    pub files: Vec<SceneFile>,
}

/// A person who is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonQuery {
    /// Who it is.
    pub identity: u32,
    /// The scene out of which the person is cut, an index into the test scenes.
    pub scene: usize,
    /// Where.
    pub at: BoxXyxy,
}

impl SceneFile {
    /// The picture with its people. The annotated boxes are all that is known: they are the tight ones too.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Data`] for a picture that cannot be read.
    pub fn read(&self) -> Result<Scene> {
        Ok(Scene {
            image: Photo::read(&self.path)?,
            camera: self.camera,
            boxes: self.boxes.clone(),
            annotated: self.boxes.clone(),
            identities: self.identities.clone(),
            visible: self.visible.clone(),
        })
    }
}

impl SceneFiles {
    /// The number of scenes.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The scenes, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<Scene>> {
        self.files.iter().map(SceneFile::read)
    }
}

/// Files of pictures in a folder, by name.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(folder, e);
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if ["jpg", "jpeg", "png"].contains(&ending.as_str()) {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// The name of a file without folder and ending.
fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests;
