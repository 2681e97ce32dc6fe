//! Fashion-MNIST: 70,000 grey pictures of clothes, 28 x 28 pixels, in ten classes (Xiao, Rasul and
//! Vollgraf, 2017; MIT licence).

use std::fs;
use std::path::{Path, PathBuf};

use super::idx::{find_idx, read_idx};
use super::{Dataset, fetch};
use crate::error::{Error, Result};

const CLASSES: [&str; 10] = [
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];
/// Names without `.gz`, and the SHA-256 of the compressed files.
const FILES: [(&str, &str); 4] = [
    (
        "train-images-idx3-ubyte",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    ),
    (
        "train-labels-idx1-ubyte",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    ),
    (
        "t10k-images-idx3-ubyte",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    ),
    (
        "t10k-labels-idx1-ubyte",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
];
const FOLDER: &str = "fashion-mnist";
const PACKAGE: &str = "dataset-fashion-mnist";
/// Where the Debian package puts its files when it is installed.
const INSTALLED: &str = "/usr/share/datasets/fashion-mnist";
/// What to do about a fetched file with another checksum.
const DAMAGED: &str = "The download is damaged or the package has changed: try again, or set REBIT_DATA to a folder \
                       that holds the original files";
const INSTEAD: &str = "Or install the Debian package dataset-fashion-mnist, or set REBIT_DATA to a folder that \
                       holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                       t10k-labels-idx1-ubyte, each plain or with .gz";

/// Both parts of Fashion-MNIST.
#[derive(Debug, Clone)]
pub struct FashionMnist {
    /// 60,000 images to learn from.
    pub train: Dataset,
    /// 10,000 images to judge with.
    pub test: Dataset,
}

/// Fashion-MNIST, fetched on first use.
///
/// Looked for in [`data_folder`](super::data_folder), in its folder `fashion-mnist`, and where the Debian
/// package `dataset-fashion-mnist` puts it: four idx files, plain or with `.gz`. Otherwise that package
/// (31 MB) is fetched with `apt-get download`, unpacked without being installed, and checked.
///
/// # Errors
/// [`Error::Data`] naming the file and the remedy for one that is missing, truncated or damaged,
/// [`Error::Invalid`] when a client is missing or cannot fetch, [`Error::Io`] for the file system.
pub fn fashion_mnist() -> Result<FashionMnist> {
    let root = fetch::data_folder()?;
    let cached = root.join(FOLDER);
    let places = [root, cached.clone(), PathBuf::from(INSTALLED)];
    let holds_any = |folder: &&PathBuf| FILES.iter().any(|(f, _)| find_idx(folder, f).is_some());
    if let Some(folder) = places.iter().find(holds_any) {
        return FashionMnist::read(folder);
    }
    fetch::make_folder_once(&cached, fetch_and_unpack)?;
    FashionMnist::read(&cached)
}

impl FashionMnist {
    /// Reads a folder with the four idx files, of any number of images.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is missing, truncated or damaged, or does not fit the others.
    pub fn read(folder: impl AsRef<Path>) -> Result<FashionMnist> {
        let folder = folder.as_ref();
        let part = |name: &str, images: &str, labels: &str| -> Result<Dataset> {
            let find = |stem: &str| {
                let missing = || Error::data(folder.join(stem), "this file is missing", INSTEAD);
                find_idx(folder, stem).ok_or_else(missing)
            };
            let labels_path = find(labels)?;
            let ([n, height, width], images) = read_idx::<3>(&find(images)?)?;
            let ([labelled], labels) = read_idx::<1>(&labels_path)?;
            let wrong = labels
                .iter()
                .find(|&&label| label as usize >= CLASSES.len());
            let why = match wrong {
                _ if n != labelled => format!("{labelled} labels for {n} images"),
                Some(label) => format!("a label is {label}, and the labels are 0 to 9"),
                None => {
                    return Ok(Dataset {
                        name: name.to_string(),
                        images,
                        labels,
                        classes: CLASSES.map(String::from).to_vec(),
                        channels: 1,
                        height,
                        width,
                    });
                }
            };
            Err(Error::data(labels_path, why, INSTEAD))
        };
        Ok(FashionMnist {
            train: part("Fashion-MNIST train", FILES[0].0, FILES[1].0)?,
            test: part("Fashion-MNIST test", FILES[2].0, FILES[3].0)?,
        })
    }
}

fn fetch_and_unpack(finished: &Path) -> Result<()> {
    let scratch = fetch::scratch_beside(finished)?;
    let what = "Fashion-MNIST (31 MB, once)";
    fetch::run_client(
        "apt-get",
        &["download", PACKAGE],
        scratch.path(),
        what,
        INSTEAD,
    )?;
    let entries = fs::read_dir(scratch.path()).map_err(|e| Error::io(scratch.path(), e))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|e| e == "deb");
    let package = entries.flatten().map(|entry| entry.path()).find(is_package);
    let package = package.ok_or_else(|| {
        let why = format!("it left no package file. {INSTEAD}");
        Error::invalid(format!("apt-get download {PACKAGE}"), why)
    })?;
    let arguments = ["-x", &package.to_string_lossy(), "unpacked"];
    fetch::run_client("dpkg-deb", &arguments, scratch.path(), what, INSTEAD)?;
    let unpacked = scratch.path().join("unpacked").join(&INSTALLED[1..]);
    for (stem, sha256) in FILES {
        let name = format!("{stem}.gz");
        let path = unpacked.join(&name);
        fetch::check_sha256(&path, sha256, DAMAGED)?;
        let target = finished.join(&name);
        fs::rename(&path, &target).map_err(|e| Error::io(&target, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        shape.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes| fs::write(folder.path().join(name), bytes).unwrap();
        write(
            FILES[0].0,
            idx(&[3, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        );
        write(FILES[1].0, idx(&[3], &[9, 0, 4]));
        write(FILES[2].0, idx(&[1, 2, 2], &[0, 0, 0, 255]));
        write(FILES[3].0, idx(&[1], &[5]));
        folder
    }

    #[test]
    fn images_and_labels_of_a_folder_belong_together() {
        let folder = folder();
        let data = FashionMnist::read(folder.path()).unwrap();
        assert_eq!(data.train.pixels(1), [5, 6, 7, 8]);
        assert_eq!(data.train.class_of(0), "ankle boot");
        assert_eq!((data.test.len(), data.test.channels), (1, 1));
        assert_eq!(data.test.class_of(0), "sandal");
    }

    #[test]
    fn a_missing_file_or_labels_that_do_not_fit_are_named() {
        let folder = folder();
        let labels = folder.path().join(FILES[1].0);
        let read = || FashionMnist::read(folder.path()).unwrap_err().to_string();
        fs::write(&labels, idx(&[2], &[9, 0])).unwrap();
        assert!(
            read().contains("train-labels-idx1-ubyte: 2 labels for 3 images"),
            "{}",
            read()
        );
        fs::write(&labels, idx(&[3], &[9, 0, 10])).unwrap();
        assert!(read().contains("a label is 10"), "{}", read());
        fs::remove_file(&labels).unwrap();
        assert!(read().contains("this file is missing"), "{}", read());
    }
}
