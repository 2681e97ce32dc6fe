//! Rendered sets on disk, under a hash of all that they depend on.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{Crop, Scene, World};
use crate::data::data_folder;
use crate::error::Result;
use crate::files;

/// Changes whenever the same configuration gives other pictures, or the file another layout.
const MAGIC: &[u8; 16] = b"rebit world 0001";

impl World {
    /// [`World::scenes`], kept in [`data_folder`]`/worlds` under a hash of the configuration, the bodies, the backgrounds
    /// and the numbers. A file that is cut short or damaged is made again.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when the folder cannot be written; [`crate::Error::Interrupted`].
    pub fn kept_scenes(&self, seeds: Range<u64>) -> Result<Vec<Scene>> {
        let folder = data_folder()?.join("worlds");
        let name = self.file_name("scenes", &seeds);
        kept(&folder, &name, || self.scenes(seeds))
    }

    /// [`World::crops`], kept in the same way.
    ///
    /// # Errors
    /// As [`World::kept_scenes`].
    pub fn kept_crops(&self, identities: Range<u32>, views: Range<u64>) -> Result<Vec<Crop>> {
        let folder = data_folder()?.join("worlds");
        let name = self.file_name("crops", &(&identities, &views));
        kept(&folder, &name, || self.crops(identities, views))
    }

    fn file_name(&self, what: &str, numbers: &impl Serialize) -> String {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        let parts = (what, &self.config, self.body.name(), numbers);
        hash.update(postcard::to_stdvec(&parts).expect("numbers and names"));
        for photo in self.photos.iter() {
            hash.update((photo.height as u64).to_le_bytes());
            hash.update((photo.width as u64).to_le_bytes());
            hash.update(&photo.rgb);
        }
        let hash: String = hash.finalize()[..12]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        format!("{what}-{hash}.bin")
    }
}

fn kept<T: Serialize + DeserializeOwned>(
    folder: &Path,
    name: &str,
    make: impl FnOnce() -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let path = folder.join(name);
    if let Some(found) = std::fs::read(&path).ok().as_deref().and_then(whole) {
        return Ok(found);
    }
    let made = make()?;
    let data = postcard::to_stdvec(&made).expect("plain data");
    files::save(&path, &files::sealed(MAGIC, &data))?;
    Ok(made)
}

/// What a file holds, if it is all there and unchanged.
fn whole<T: DeserializeOwned>(file: &[u8]) -> Option<T> {
    postcard::from_bytes(files::unsealed(MAGIC, file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::data::{Photo, WorldConfig};

    fn world(config: WorldConfig) -> World {
        World::new(config).unwrap()
    }

    #[test]
    fn a_kept_set_is_read_and_a_damaged_one_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(WorldConfig::default());
        let name = world.file_name("scenes", &(0u64..3));
        let first = kept(folder.path(), &name, || world.scenes(0..3)).unwrap();
        let read = |what: &str| {
            kept(folder.path(), &name, || -> Result<Vec<Scene>> {
                Err(Error::invalid(what, "made again"))
            })
        };
        assert!(read("whole").unwrap() == first);
        let path = folder.path().join(&name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read("half").is_err());
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(read("changed").is_err());
        assert!(kept(folder.path(), &name, || world.scenes(0..3)).unwrap() == first);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn every_setting_has_a_name_of_its_own() {
        let plain = WorldConfig::default();
        let worlds = [
            world(plain.clone()),
            world(WorldConfig {
                seed: 1,
                ..plain.clone()
            }),
            world(WorldConfig {
                annotation: 0.12,
                ..plain.clone()
            }),
            world(WorldConfig {
                identities: 0..99,
                ..plain.clone()
            }),
            world(plain)
                .with_backgrounds(vec![Photo {
                    name: String::new(),
                    height: 1,
                    width: 1,
                    rgb: vec![1, 2, 3],
                }])
                .unwrap(),
        ];
        let mut names: Vec<String> = worlds
            .iter()
            .map(|w| w.file_name("scenes", &(0u64..3)))
            .collect();
        names.push(worlds[0].file_name("scenes", &(0u64..4)));
        names.push(worlds[0].file_name("crops", &(0u64..3)));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 7);
    }
}
