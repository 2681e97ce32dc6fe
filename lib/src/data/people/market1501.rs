//! Market-1501: pictures of single persons, named by who it is.

use std::path::{Path, PathBuf};

use super::{pictures, stem};
use crate::data::Photo;
use crate::data::world::Sighting;
use crate::error::{Error, Result};

/// What the name of a picture says: `PPPP_cCsS_FFFFFF_DD.jpg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketName {
    /// The person; -1 for junk, 0 for a distractor.
    pub person: i32,
    /// The camera, from 1 on.
    pub camera: u32,
    /// The sequence.
    pub sequence: u32,
    /// The frame.
    pub frame: u32,
    /// Which detection.
    pub detection: u32,
}

impl MarketName {
    /// Reads a name, with or without its ending.
    ///
    /// ```
    /// use rebit::data::people::MarketName;
    /// let name = MarketName::parse("0112_c1s1_019001_00.jpg").unwrap();
    /// assert_eq!((name.person, name.camera, name.frame), (112, 1, 19001));
    /// assert_eq!(MarketName::parse("-1_c3s2_000001_03.jpg").unwrap().person, -1);
    /// assert!(MarketName::parse("Thumbs.db").is_none());
    /// ```
    pub fn parse(name: &str) -> Option<MarketName> {
        let mut parts = name.split('.').next()?.split('_');
        let person = parts.next()?.parse().ok().filter(|p| *p >= -1)?;
        let (camera, sequence) = parts.next()?.strip_prefix('c')?.split_once('s')?;
        let out = MarketName {
            person,
            camera: camera.parse().ok()?,
            sequence: sequence.parse().ok()?,
            frame: parts.next()?.parse().ok()?,
            detection: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(out)
    }
}

/// A folder of Market-1501, read picture by picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Market1501 {
    /// The pictures without junk, by name.
    pub files: Vec<(PathBuf, MarketName)>,
    /// How many pictures are junk (person -1).
    pub junk: usize,
}

/// The pictures of one folder of Market-1501: `bounding_box_train`, `query` or `bounding_box_test`.
///
/// Junk is left out; distractors are persons nobody knows. Files that are no pictures are passed over.
///
/// ```no_run
/// use rebit::data::people::market1501;
/// let train = market1501("Market-1501-v15.09.15/bounding_box_train")?;
/// for sighting in train.iter() {
///     println!("{:?}", sighting?.identity);
/// }
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read, [`Error::Data`] for one without pictures and for a picture whose name
/// is not of this form.
pub fn market1501(folder: impl AsRef<Path>) -> Result<Market1501> {
    let folder = folder.as_ref();
    let mut out = Market1501 {
        files: Vec::new(),
        junk: 0,
    };
    for path in pictures(folder)? {
        match MarketName::parse(&stem(&path)) {
            Some(name) if name.person < 0 => out.junk += 1,
            Some(name) => out.files.push((path, name)),
            None => {
                let remedy = "Names are PPPP_cCsS_FFFFFF_DD.jpg, as 0112_c1s1_019001_00.jpg";
                return Err(Error::data(
                    path,
                    "is not named as Market-1501's pictures are",
                    remedy,
                ));
            }
        }
    }
    if out.files.is_empty() {
        let remedy = "Give bounding_box_train, query or bounding_box_test";
        return Err(Error::data(folder, "holds no pictures", remedy));
    }
    Ok(out)
}

impl Market1501 {
    /// The pictures, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sighting>> {
        self.files.iter().map(|(path, name)| {
            Ok(Sighting {
                image: Photo::read(path)?,
                identity: (name.person > 0).then_some(name.person as u32),
                camera: name.camera,
            })
        })
    }
}
