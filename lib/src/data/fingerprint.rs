//! What tells one set of data from another: a run that continues must see what it began with.

use super::{ImageSource, Normalize, Scene};
use crate::Result;

/// Images of a source that are looked at.
const LOOKED_AT: usize = 64;

/// A hash of numbers in their order (FNV-1a by words): not for secrets, but any difference is noticed.
///
/// ```
/// use rebit::data::Fingerprint;
/// let of = |values: &[f32]| Fingerprint::new().numbers(values).to_string();
/// assert_eq!(of(&[1.0, 2.0]), of(&[1.0, 2.0]));
/// assert_ne!(of(&[1.0, 2.0]), of(&[2.0, 1.0]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Of nothing yet.
    pub fn new() -> Self {
        Fingerprint::default()
    }

    /// With a further whole number.
    pub fn word(self, word: u64) -> Self {
        Fingerprint((self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// With further bytes.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |f, byte| f.word((*byte).into()))
    }

    /// With further numbers, by their bits.
    pub fn numbers(self, numbers: &[f32]) -> Self {
        let bits = numbers.iter().map(|n| n.to_bits().into());
        bits.fold(self, Fingerprint::word)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What tells a set of images from another: their number, and the pixels and labels of up to 64 of them that lie evenly
/// among all.
///
/// ```
/// use rebit::data::{FloatImages, images_fingerprint};
/// use rebit::prelude::*;
/// let set = |seed| FloatImages::new("noise", &images(2, 3, 4, 4, &mut rng(seed)), vec![0, 1]);
/// let of = |seed| images_fingerprint(&set(seed)?, &Normalize::UNIT);
/// assert_eq!(of(1)?, of(1)?);
/// assert_ne!(of(1)?, of(2)?);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`ImageSource::fill`].
pub fn images_fingerprint(images: &dyn ImageSource, normalize: &Normalize) -> Result<String> {
    let (count, each) = (images.len(), images.extent().iter().product());
    let mut values = vec![0.0; each];
    let mut found = Fingerprint::new();
    let looks = count.min(LOOKED_AT);
    for i in (0..looks).map(|i| i * count / looks) {
        let labels = images.fill(&[i], None, normalize, &mut values)?;
        found = found.numbers(&values).word(labels[0].into());
    }
    Ok(format!("{count} images {found}"))
}

/// What tells one set of scenes from another: pixels, annotated boxes and identities of all of them.
pub fn scenes_fingerprint(scenes: &[Scene]) -> String {
    let all = scenes.iter().fold(Fingerprint::new(), |found, scene| {
        let found = found.bytes(&scene.image.rgb);
        let found = scene.annotated.iter().fold(found, |f, b| f.numbers(b));
        let ids = scene
            .identities
            .iter()
            .map(|id| id.map_or(u64::MAX, u64::from));
        ids.fold(found, Fingerprint::word)
    });
    format!("{} scenes {all}", scenes.len())
}
