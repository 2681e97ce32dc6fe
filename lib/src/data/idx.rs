//! The idx format of MNIST and its relatives, plain or compressed with gzip.
//!
//! Two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension as 32 bits
//! big-endian, then the values.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The values of an idx file of unsigned bytes with `D` dimensions, and their shape.
pub(super) fn read_idx<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>)> {
    let broken = |why: String| {
        let remedy = "Put the original file there, or delete the folder to have it fetched again";
        Error::data(path, why, remedy)
    };
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let file = BufReader::new(file);
    let mut reader: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let truncated = |e: std::io::Error| broken(format!("it ends too early or is damaged ({e})"));
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(truncated)?;
    if magic != [0, 0, 8, D as u8] {
        let why = format!("it begins with {magic:02x?} instead of [00, 00, 08, {D:02x}]");
        return Err(broken(
            why + ": not an idx file of bytes with that many dimensions",
        ));
    }
    let mut shape = [0; D];
    for dimension in &mut shape {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(truncated)?;
        *dimension = u32::from_be_bytes(bytes) as usize;
    }
    let total = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let total = total.filter(|&n| n < 1 << 40);
    let total = total.ok_or_else(|| broken(format!("its header says {shape:?} values")))?;
    // One more than announced, to notice what does not belong there; a header that lies costs nothing.
    let mut values = Vec::new();
    let most = total as u64 + 1;
    reader
        .take(most)
        .read_to_end(&mut values)
        .map_err(truncated)?;
    if values.len() != total {
        let found = match values.len() > total {
            true => "more".to_string(),
            false => values.len().to_string(),
        };
        return Err(broken(format!(
            "it has {found} values instead of the {total} of its header"
        )));
    }
    Ok((shape, values))
}

/// `folder/stem`, or `folder/stem.gz`, whichever is there.
pub(super) fn find_idx(folder: &Path, stem: &str) -> Option<PathBuf> {
    [stem.to_string(), format!("{stem}.gz")]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const HEADER: [u8; 12] = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3];

    fn read(name: &str, bytes: &[u8]) -> Result<([usize; 2], Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_idx(&path)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_compressed_files_give_shape_and_values() {
        let bytes = [&HEADER[..], &[1, 2, 3, 4, 5, 6]].concat();
        let expected = ([2, 3], vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(read("a", &bytes).unwrap(), expected);
        assert_eq!(read("a.gz", &gzip(&bytes)).unwrap(), expected);
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_is_wrong() {
        let bytes = [&HEADER[..], &[1, 2, 3, 4, 5, 6]].concat();
        let mut damaged = gzip(&bytes);
        let last = damaged.len() - 6;
        damaged[last] ^= 0xff;
        let huge = [0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255];
        let cases: [(&str, &[u8], &str); 8] = [
            ("a", &bytes[..17], "5 values instead of the 6"),
            (
                "a",
                &[&bytes[..], &[7]].concat(),
                "more values instead of the 6",
            ),
            ("a", &bytes[..7], "ends too early"),
            ("a", &[], "ends too early"),
            ("a", b"\x89PNG and more", "begins with"),
            ("a", &huge, "its header says"),
            ("a.gz", &damaged, "damaged"),
            ("a.gz", &bytes, "damaged"),
        ];
        for (name, bytes, says) in cases {
            let message = read(name, bytes).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
            assert!(message.contains("delete the folder"), "{message}");
        }
    }
}
