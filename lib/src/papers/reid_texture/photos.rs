//! Pictures of people with what an estimator of poses makes of them.

use std::ops::Range;

use rand::Rng as _;

use crate::data::{Crop, Lookup, Texture, World};
use crate::ops::texture_render::TexelMap;
use crate::{Error, Images, Result, Rng, from_vec};

/// The range of the numbers of pictures and textures, dark to bright, as networks of this paper see them.
pub const UNIT: (f32, f32) = (-1.0, 1.0);

/// Pictures of people, each with the texels that a body in its estimated pose shows, and in its true one.
///
/// ```
/// use rebit::papers::reid_texture::PhotoSet;
/// use rebit::prelude::*;
/// let world = World::new(WorldConfig::default())?;
/// let photos = PhotoSet::of(&world, 0..2, 0..3)?;
/// assert_eq!(photos.len(), 6);
/// assert_eq!(photos.pictures(&[4, 0])?.shape(), &(2, 3, 64, 32));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PhotoSet {
    crops: Vec<Crop>,
    estimated: Vec<TexelMap>,
    exact: Vec<TexelMap>,
}

impl PhotoSet {
    /// `views` pictures of each of these persons, person by person, with poses as far off as the world's configuration says.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a picture; [`Error::Interrupted`].
    pub fn of(world: &World, identities: Range<u32>, views: Range<u64>) -> Result<PhotoSet> {
        let crops = world.crops(identities, views)?;
        PhotoSet::new(world, crops)
    }

    /// Of pictures that a world has made.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn new(world: &World, crops: Vec<Crop>) -> Result<PhotoSet> {
        use rayon::prelude::*;
        if crops.is_empty() {
            return Err(Error::invalid("a set of photographs", "holds none"));
        }
        let map = |crop: &Crop| {
            let size = (crop.image.height, crop.image.width);
            let texels = world.texels(&crop.estimated_pose, &crop.viewpoint, size);
            texels.map(Lookup::Nearest)
        };
        let estimated = crops.par_iter().map(map).collect();
        let exact = crops.par_iter().map(|c| c.texels.map(Lookup::Nearest));
        Ok(PhotoSet {
            exact: exact.collect(),
            estimated,
            crops,
        })
    }

    /// How many pictures.
    pub fn len(&self) -> usize {
        self.crops.len()
    }

    /// Whether there is none; never.
    pub fn is_empty(&self) -> bool {
        self.crops.is_empty()
    }

    /// The pictures and how they came about.
    pub fn crops(&self) -> &[Crop] {
        &self.crops
    }

    /// Texels under the light, in estimated poses.
    pub fn estimated(&self) -> &[TexelMap] {
        &self.estimated
    }

    /// Texels under the light, in true poses.
    pub fn exact(&self) -> &[TexelMap] {
        &self.exact
    }

    /// Height and width of the pictures.
    pub fn size(&self) -> (usize, usize) {
        (self.crops[0].image.height, self.crops[0].image.width)
    }

    /// Some of the pictures as a batch, in [`UNIT`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for an index that is not there, [`Error::Shape`] for pictures of different sizes.
    pub fn pictures(&self, indices: &[usize]) -> Result<Images> {
        let (height, width) = self.size();
        let mut planes = Planes::new((height, width));
        for &i in indices {
            let crop = self.crop(i)?;
            let found = (crop.image.height, crop.image.width);
            if found != (height, width) {
                let expected = format!("pictures of {height}x{width}, as the first is");
                let found = format!("picture {i} of {}x{}", found.0, found.1);
                return Err(Error::shape("pictures", expected, found));
            }
            let bytes = crop.image.rgb.chunks_exact(3);
            planes.push(bytes.map(|p| [0, 1, 2].map(|c| f32::from(p[c]) / 255.0)));
        }
        planes.images(UNIT)
    }

    /// What stands around the people of some pictures, as a batch in [`UNIT`]; mirrored where `mirrored` says so.
    ///
    /// # Errors
    /// As [`pictures`](Self::pictures).
    pub fn surroundings(&self, chosen: &[(usize, bool)]) -> Result<Images> {
        let (height, width) = self.size();
        let mut planes = Planes::new((height, width));
        for &(i, mirrored) in chosen {
            let around = &self.crop(i)?.surroundings;
            let at = |p: usize| match mirrored {
                true => p / width * width + width - 1 - p % width,
                false => p,
            };
            planes.push((0..height * width).map(|p| around[at(p)]));
        }
        planes.images(UNIT)
    }

    /// Surroundings of pictures drawn at random, half of them mirrored.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn random_surroundings(&self, count: usize, rng: &mut Rng) -> Result<Images> {
        let draw = |_| (rng.random_range(0..self.len()), rng.random_bool(0.5));
        let chosen: Vec<(usize, bool)> = (0..count).map(draw).collect();
        self.surroundings(&chosen)
    }

    /// Where the bodies of some pictures are, in their estimated poses: `(N, 1, H, W)` of 0 and 1.
    ///
    /// # Errors
    /// As [`pictures`](Self::pictures).
    pub fn masks(&self, indices: &[usize]) -> Result<Images> {
        let maps = indices
            .iter()
            .map(|&i| self.crop(i).map(|_| self.estimated[i].clone()));
        masks(&maps.collect::<Result<Vec<_>>>()?)
    }

    /// What the people of some pictures wear, as a batch in [`UNIT`].
    ///
    /// # Errors
    /// As [`pictures`](Self::pictures).
    pub fn textures(&self, indices: &[usize]) -> Result<Images> {
        let worn = indices.iter().map(|&i| self.crop(i).map(|c| &c.texture));
        Texture::batch(worn.collect::<Result<Vec<_>>>()?, UNIT)
    }

    /// Who is on each picture.
    pub fn identities(&self) -> Vec<u32> {
        self.crops.iter().map(|c| c.identity).collect()
    }

    fn crop(&self, i: usize) -> Result<&Crop> {
        self.crops.get(i).ok_or_else(|| {
            let why = format!("there are {}", self.crops.len());
            Error::invalid(format!("picture {i}"), why)
        })
    }
}

/// The silhouettes of maps, `(N, 1, H, W)` of 0 and 1.
pub(super) fn masks(maps: &[TexelMap]) -> Result<Images> {
    let (height, width) = maps.first().map_or((0, 0), |m| m.image());
    let values = maps
        .iter()
        .flat_map(TexelMap::mask)
        .map(f32::from)
        .collect();
    from_vec(values, (maps.len(), 1, height, width))
}

/// A batch of images, put together pixel by pixel.
struct Planes {
    size: (usize, usize),
    count: usize,
    values: Vec<f32>,
}

impl Planes {
    fn new(size: (usize, usize)) -> Self {
        Planes {
            size,
            count: 0,
            values: Vec::new(),
        }
    }

    /// A further image, of colours from 0 to 1.
    fn push(&mut self, pixels: impl Iterator<Item = [f32; 3]>) {
        let plane = self.size.0 * self.size.1;
        let start = self.values.len();
        self.values.resize(start + 3 * plane, 0.0);
        for (p, colour) in pixels.enumerate().take(plane) {
            for (c, v) in colour.into_iter().enumerate() {
                self.values[start + c * plane + p] = v;
            }
        }
        self.count += 1;
    }

    fn images(mut self, (low, high): (f32, f32)) -> Result<Images> {
        self.values
            .iter_mut()
            .for_each(|v| *v = low + (high - low) * *v);
        from_vec(self.values, (self.count, 3, self.size.0, self.size.1))
    }
}
