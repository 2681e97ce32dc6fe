//! MATLAB's files of version 5, as far as annotations need them: numbers, characters, cells and structures, compressed or
//! not.
//!
//! Format: "MAT-File Format" of The MathWorks, version 5 (little-endian). A file of version 7.3 is HDF5 and is refused.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Nested deeper than this is no annotation.
const DEEPEST: usize = 24;
/// More than this is not unpacked.
const LARGEST: u64 = 2 << 30;

/// A value of a file; the elements of arrays are in MATLAB's order, column by column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mat {
    Numbers {
        shape: Vec<usize>,
        values: Vec<f64>,
    },
    Text(String),
    Cells(Vec<Mat>),
    /// Names of the fields, and for each element its values in their order.
    Structs {
        fields: Vec<String>,
        elements: Vec<Vec<Mat>>,
    },
    /// An object, a function or a sparse matrix.
    Other,
}

/// The variables of a file.
#[derive(Debug)]
pub(super) struct MatFile {
    path: PathBuf,
    variables: Vec<(String, Mat)>,
}

type Found<T> = std::result::Result<T, String>;

impl MatFile {
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Data`] when it is something else, cut short or damaged.
    pub fn read(path: &Path) -> Result<MatFile> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let variables = variables(&bytes)
            .map_err(|why| Error::data(path, why, "Get the file again, as the data set has it"))?;
        Ok(MatFile {
            path: path.to_path_buf(),
            variables,
        })
    }

    /// A variable by its name.
    pub fn get(&self, name: &str) -> Result<&Mat> {
        self.find(name).ok_or_else(|| {
            let names: Vec<&str> = self.variables.iter().map(|v| v.0.as_str()).collect();
            self.wrong(format!("holds no variable `{name}`, only {names:?}"))
        })
    }

    /// The same where it may be missing.
    pub fn find(&self, name: &str) -> Option<&Mat> {
        let mut all = self.variables.iter();
        all.find(|v| v.0 == name).map(|v| &v.1)
    }

    /// What was expected of this file.
    pub fn wrong(&self, why: impl ToString) -> Error {
        Error::data(
            &self.path,
            why,
            "Get the file again, as the data set has it",
        )
    }
}

impl Mat {
    /// Numbers in MATLAB's order.
    pub fn numbers(&self) -> Found<&[f64]> {
        match self {
            Mat::Numbers { values, .. } => Ok(values),
            other => Err(format!("numbers expected, found {}", other.kind())),
        }
    }

    /// Rows of a matrix of `columns` columns; none for an empty one.
    pub fn rows(&self, columns: usize) -> Found<Vec<Vec<f64>>> {
        let values = self.numbers()?;
        if values.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Mat::Numbers { shape, .. } if shape.len() == 2 && shape[1] == columns => {
                let row = |r: usize| (0..columns).map(|c| values[c * shape[0] + r]).collect();
                Ok((0..shape[0]).map(row).collect())
            }
            Mat::Numbers { shape, .. } => Err(format!(
                "a matrix of {columns} columns expected, found {shape:?}"
            )),
            _ => unreachable!("`numbers` has looked"),
        }
    }

    /// Characters.
    pub fn text(&self) -> Found<&str> {
        match self {
            Mat::Text(text) => Ok(text),
            // An empty text may be stored as an empty matrix.
            Mat::Numbers { values, .. } if values.is_empty() => Ok(""),
            other => Err(format!("characters expected, found {}", other.kind())),
        }
    }

    /// Cells.
    pub fn cells(&self) -> Found<&[Mat]> {
        match self {
            Mat::Cells(cells) => Ok(cells),
            other => Err(format!("cells expected, found {}", other.kind())),
        }
    }

    /// The number of elements of a structure; an empty matrix has none.
    pub fn elements(&self) -> Found<usize> {
        match self {
            Mat::Structs { elements, .. } => Ok(elements.len()),
            Mat::Numbers { values, .. } if values.is_empty() => Ok(0),
            other => Err(format!("a structure expected, found {}", other.kind())),
        }
    }

    /// A field of one element of a structure.
    pub fn field(&self, element: usize, name: &str) -> Found<&Mat> {
        let Mat::Structs { fields, elements } = self else {
            let kind = self.kind();
            return Err(format!(
                "a structure with field `{name}` expected, found {kind}"
            ));
        };
        let field = fields.iter().position(|f| f == name);
        let field = field.ok_or_else(|| format!("no field `{name}` among {fields:?}"))?;
        let element = elements
            .get(element)
            .ok_or_else(|| format!("element {element} of {} expected", elements.len()))?;
        Ok(&element[field])
    }

    fn kind(&self) -> &'static str {
        match self {
            Mat::Numbers { .. } => "numbers",
            Mat::Text(_) => "characters",
            Mat::Cells(_) => "cells",
            Mat::Structs { .. } => "a structure",
            Mat::Other => "an object",
        }
    }
}

fn variables(bytes: &[u8]) -> Found<Vec<(String, Mat)>> {
    let header = bytes
        .get(..128)
        .ok_or("is shorter than the header of a MATLAB file")?;
    if header.starts_with(b"\x89HDF") || header.starts_with(b"MATLAB 7.3") {
        return Err("is of version 7.3 (HDF5); save it with `-v7` or an older version".into());
    }
    match &header[126..128] {
        b"IM" => {}
        b"MI" => return Err("is big-endian; save it anew on another machine".into()),
        _ => return Err("is no MATLAB file of version 5".into()),
    }
    let mut rest = Bytes(&bytes[128..]);
    let mut out = Vec::new();
    while !rest.0.is_empty() {
        let (kind, data) = rest.element()?;
        let unpacked;
        let data = match kind {
            15 => {
                unpacked = unpack(data)?;
                let mut inner = Bytes(&unpacked);
                match inner.element()? {
                    (14, data) => data,
                    (kind, _) => return Err(format!("packs an element of type {kind}")),
                }
            }
            14 => data,
            kind => {
                return Err(format!(
                    "has an element of type {kind} where a variable begins"
                ));
            }
        };
        out.push(matrix(data, 0)?);
    }
    Ok(out)
}

fn unpack(data: &[u8]) -> Found<Vec<u8>> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(data).take(LARGEST);
    let read = decoder.read_to_end(&mut out);
    read.map_err(|e| format!("is damaged or cut short: {e}"))?;
    Ok(out)
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Found<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| {
            format!(
                "is cut short: {n} bytes are announced, {} follow",
                self.0.len()
            )
        })?;
        self.0 = tail;
        Ok(head)
    }

    fn word(&mut self) -> Found<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four")))
    }

    /// The type and the data of the next element.
    fn element(&mut self) -> Found<(u32, &'a [u8])> {
        let tag = self.word()?;
        let (small, kind) = (tag >> 16, tag & 0xffff);
        if small > 0 {
            let data = self.take(4)?;
            let data = data.get(..small as usize);
            return Ok((
                kind,
                data.ok_or("has a short element of more than 4 bytes")?,
            ));
        }
        let length = self.word()? as usize;
        let data = self.take(length)?;
        // Elements begin at multiples of eight, but for packed ones; the last one may end where it ends.
        let padding = if kind == 15 { 0 } else { (8 - length % 8) % 8 };
        self.take(padding.min(self.0.len()))?;
        Ok((kind, data))
    }
}

/// The name and the value of a matrix.
fn matrix(data: &[u8], depth: usize) -> Found<(String, Mat)> {
    if data.is_empty() {
        let (shape, values) = (vec![0, 0], Vec::new());
        return Ok((String::new(), Mat::Numbers { shape, values }));
    }
    if depth > DEEPEST {
        return Err(format!("is nested deeper than {DEEPEST}"));
    }
    let mut rest = Bytes(data);
    let (_, flags) = rest.element()?;
    let class = *flags.first().ok_or("has a variable without a class")?;
    let (kind, shape) = rest.element()?;
    let shape: Vec<usize> = numbers(kind, shape)?
        .into_iter()
        .map(|v| {
            if v >= 0.0 {
                Ok(v as usize)
            } else {
                Err("has a negative size")
            }
        })
        .collect::<std::result::Result<_, _>>()?;
    let count = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    let count = count.ok_or("has a size beyond all memory")?;
    let name = latin(rest.element()?.1);
    let inner = |rest: &mut Bytes| match rest.element()? {
        (14, data) => Ok(matrix(data, depth + 1)?.1),
        (kind, _) => Err(format!("has an element of type {kind} inside `{name}`")),
    };
    // Each element takes eight bytes at least: no more than follow are made room for.
    let value = match class {
        1 => {
            let mut cells = Vec::with_capacity(count.min(rest.0.len() / 8));
            for _ in 0..count {
                cells.push(inner(&mut rest)?);
            }
            Mat::Cells(cells)
        }
        2 => {
            let (kind, length) = rest.element()?;
            let length = numbers(kind, length)?.first().map_or(0, |&v| v as usize);
            let names = rest.element()?.1;
            if length == 0 && !names.is_empty() {
                return Err("has fields with names of no length".into());
            }
            let fields: Vec<String> = names.chunks_exact(length.max(1)).map(latin).collect();
            let mut elements = Vec::with_capacity(count.min(rest.0.len() / 8));
            for _ in 0..count {
                let values = fields.iter().map(|_| inner(&mut rest));
                elements.push(values.collect::<Found<Vec<Mat>>>()?);
                if fields.is_empty() {
                    break;
                }
            }
            Mat::Structs { fields, elements }
        }
        4 => {
            let (kind, data) = rest.element()?;
            Mat::Text(characters(kind, data)?)
        }
        6..=15 => {
            let (kind, data) = rest.element()?;
            let values = numbers(kind, data)?;
            if values.len() != count {
                let found = values.len();
                return Err(format!("`{name}` of shape {shape:?} has {found} numbers"));
            }
            Mat::Numbers { shape, values }
        }
        _ => Mat::Other,
    };
    Ok((name, value))
}

/// Bytes as characters, up to a zero.
fn latin(bytes: &[u8]) -> String {
    let text = bytes.iter().take_while(|b| **b != 0);
    text.map(|b| *b as char).collect()
}

fn characters(kind: u32, data: &[u8]) -> Found<String> {
    Ok(match kind {
        1 | 2 | 16 => String::from_utf8_lossy(data).into_owned(),
        4 | 17 => {
            let units = data
                .chunks_exact(2)
                .map(|b| u16::from_le_bytes([b[0], b[1]]));
            char::decode_utf16(units)
                .map(|c| c.unwrap_or('\u{fffd}'))
                .collect()
        }
        6 | 18 => {
            let units = numbers(6, data)?.into_iter();
            units
                .map(|v| char::from_u32(v as u32).unwrap_or('\u{fffd}'))
                .collect()
        }
        kind => return Err(format!("has characters of type {kind}")),
    })
}

fn numbers(kind: u32, data: &[u8]) -> Found<Vec<f64>> {
    macro_rules! all {
        ($t:ty) => {
            data.chunks_exact(size_of::<$t>())
                .map(|b| <$t>::from_le_bytes(b.try_into().expect("as long")) as f64)
                .collect()
        };
    }
    Ok(match kind {
        1 => all!(i8),
        2 => all!(u8),
        3 => all!(i16),
        4 => all!(u16),
        5 => all!(i32),
        6 => all!(u32),
        7 => all!(f32),
        9 => all!(f64),
        12 => all!(i64),
        13 => all!(u64),
        kind => return Err(format!("has numbers of type {kind}")),
    })
}

#[cfg(test)]
mod tests;
