//! 37 photographs that every Debian or Ubuntu system can fetch: desktop backgrounds under free licences.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::photos_list::{Listed, PACKAGES, PHOTOS};
use super::{Photo, fetch, photos};
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;
use crate::show::check_interrupt;

const FOLDER: &str = "debian-photos";
/// Photographs are shrunk until their longer side is at most this long, and by half at least: that removes the
/// traces of JPEG.
const LONGEST: usize = 1280;
/// Kept away from training, one kind of motif each.
const HELD_OUT: [&str; 6] = [
    "aitzgorri",
    "dragonfly",
    "colorfulcups",
    "path",
    "freshflower",
    "bridge",
];
const DAMAGED: &str = "The download is damaged or the package has changed: try again, or give a folder of your own \
                       photographs to data::photos";
const INSTEAD: &str = "Or give a folder of your own photographs to data::photos";

/// Photographs to learn from and others to judge with.
#[derive(Clone, Debug)]
pub struct DebianPhotos {
    /// 31 photographs.
    pub train: Vec<Photo>,
    /// 6 photographs that are not among them.
    pub test: Vec<Photo>,
}

/// Photographs from three Debian packages of desktop backgrounds, fetched on first use.
///
/// Looked for in the folder `debian-photos` of [`data_folder`](super::data_folder). Otherwise the packages
/// `lomiri-wallpapers-16.04`, `plasma-workspace-wallpapers` and `mate-backgrounds` (156 MB) are fetched with
/// `apt-get download`, unpacked without being installed, checked file by file, shrunk to at most 1280 pixels and
/// kept as PNG (about 50 MB).
///
/// # Errors
/// [`Error::Invalid`] when a client is missing or cannot fetch, [`Error::Data`] for a file with another checksum
/// or a cache that lacks photographs, [`Error::Io`] for the file system.
pub fn debian_photos() -> Result<DebianPhotos> {
    let folder = fetch::data_folder()?.join(FOLDER);
    fetch::make_folder_once(&folder, fetch_and_shrink)?;
    let all = photos(&folder)?;
    if all.len() != PHOTOS.len() {
        return Err(Error::data(
            &folder,
            format!(
                "holds {} photographs instead of {}",
                all.len(),
                PHOTOS.len()
            ),
            "Delete the folder, so that it is made again",
        ));
    }
    let held_out = |photo: &Photo| HELD_OUT.contains(&photo.name.as_str());
    let (test, train) = all.into_iter().partition(held_out);
    Ok(DebianPhotos { train, test })
}

fn fetch_and_shrink(finished: &Path) -> Result<()> {
    start_threads();
    let scratch = fetch::scratch_beside(finished)?;
    for (index, package) in PACKAGES.iter().enumerate() {
        let folder = scratch.path().join(package);
        fs::create_dir(&folder).map_err(|e| Error::io(&folder, e))?;
        let what = format!("photographs, package {} of {}", index + 1, PACKAGES.len());
        fetch::run_client("apt-get", &["download", package], &folder, &what, INSTEAD)?;
        let file = package_file(&folder, package)?;
        let arguments = ["-x", &file.to_string_lossy(), "unpacked"];
        fetch::run_client("dpkg-deb", &arguments, &folder, &what, INSTEAD)?;
        let of_package: Vec<&Listed> = PHOTOS.iter().filter(|p| p.package == index).collect();
        let unpacked = folder.join("unpacked");
        of_package
            .par_iter()
            .try_for_each(|listed| shrink(listed, &unpacked, finished))?;
        fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    }
    Ok(())
}

fn package_file(folder: &Path, package: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|e| e == "deb");
    let found = entries.flatten().map(|e| e.path()).find(is_package);
    found.ok_or_else(|| {
        let why = format!("it left no package file. {INSTEAD}");
        Error::invalid(format!("apt-get download {package}"), why)
    })
}

fn shrink(listed: &Listed, unpacked: &Path, finished: &Path) -> Result<()> {
    check_interrupt()?;
    let path = unpacked.join(listed.path);
    fetch::check_sha256(&path, listed.sha256, DAMAGED)?;
    let photo = Photo::read(&path)?;
    let factor = photo.width.max(photo.height).div_ceil(LONGEST).max(2);
    let small = photo.shrunk(factor)?;
    small.save(finished.join(format!("{}.png", listed.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_photograph_once_and_those_held_out() {
        let mut names: Vec<&str> = PHOTOS.iter().map(|p| p.name).collect();
        assert!(HELD_OUT.iter().all(|name| names.contains(name)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PHOTOS.len());
        assert!(
            PHOTOS
                .iter()
                .all(|p| p.package < PACKAGES.len() && p.sha256.len() == 64)
        );
    }
}
