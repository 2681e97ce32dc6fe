//! People to learn from, people to be tested on, and everything that is compared.

use std::ops::Range;

use super::run::made;
use super::score::Judge;
use super::supervision::RealTextures;
use super::{
    PhotoSet, Reid, Scores, Supervision, TextureConfig, TexturePrior, TextureRun, UNIT,
    back_projection, mean_texture, train,
};
use crate::data::{Texture, World, WorldConfig};
use crate::{Error, Result};

/// Which people a [`Workbench`] has.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkbenchConfig {
    /// The world.
    pub world: WorldConfig,
    /// People to learn from.
    pub train: Range<u32>,
    /// Pictures of each.
    pub train_views: u64,
    /// People to be tested on.
    pub test: Range<u32>,
    /// Pictures of each: one for the network, the others to compare with.
    pub test_views: u64,
    /// People whose textures are known, for faces and hands.
    pub real: Range<u32>,
}

impl Default for WorkbenchConfig {
    fn default() -> Self {
        WorkbenchConfig {
            world: WorldConfig::default(),
            train: 0..200,
            train_views: 8,
            test: 300..350,
            test_views: 6,
            real: 1000..1200,
        }
    }
}

/// People to learn from and people to be tested on, with two frozen re-ID networks: `a` teaches, `b` only judges.
pub struct Workbench {
    world: World,
    photos: PhotoSet,
    test: PhotoSet,
    views: usize,
    real: RealTextures,
    /// The mean of the real textures, by which faces are measured.
    face: Texture,
    a: Reid,
    b: Reid,
}

impl Workbench {
    /// Makes the pictures.
    ///
    /// # Errors
    /// [`Error::Invalid`] without people, for people who are in two of the sets, and for a single test picture a person;
    /// those of [`World::new`]; [`Error::Interrupted`].
    pub fn new(config: &WorkbenchConfig, a: Reid, b: Reid) -> Result<Workbench> {
        let sets = [
            ("train", &config.train),
            ("test", &config.test),
            ("real", &config.real),
        ];
        for (k, (name, one)) in sets.iter().enumerate() {
            for (other_name, other) in &sets[..k] {
                if one.start < other.end && other.start < one.end {
                    let what = format!("people {one:?} ({name}) and {other:?} ({other_name})");
                    return Err(Error::invalid(what, "overlap; take others"));
                }
            }
        }
        if config.test_views < 2 {
            let what = format!("{} test pictures a person", config.test_views);
            return Err(Error::invalid(
                what,
                "leave none to compare with; take 2 or more",
            ));
        }
        let world = World::new(config.world.clone())?;
        let of = |id: u32| world.identity(id).texture;
        let real: Vec<Texture> = config.real.clone().map(of).collect();
        let structure = world.body().structure();
        let real = RealTextures::new(&real, &structure)?;
        let face = Texture::from_images(&real.mean()?, UNIT)?.remove(0);
        Ok(Workbench {
            photos: PhotoSet::of(&world, config.train.clone(), 0..config.train_views)?,
            test: PhotoSet::of(&world, config.test.clone(), 0..config.test_views)?,
            views: config.test_views as usize,
            world,
            real,
            face,
            a,
            b,
        })
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Pictures to learn from.
    pub fn photos(&self) -> &PhotoSet {
        &self.photos
    }

    /// Pictures to be tested on, those of a person behind each other, the network's first.
    pub fn test(&self) -> &PhotoSet {
        &self.test
    }

    /// Real textures.
    pub fn real(&self) -> &RealTextures {
        &self.real
    }

    /// The re-ID network that teaches.
    pub fn teacher(&self) -> &Reid {
        &self.a
    }

    /// The one that only judges.
    pub fn judge(&self) -> &Reid {
        &self.b
    }

    /// The pictures that networks make the test people's textures of.
    pub fn inputs(&self) -> Vec<usize> {
        (0..self.test.len()).step_by(self.views).collect()
    }

    /// Trains a U-Net with the teacher.
    ///
    /// # Errors
    /// As [`train`].
    pub fn train(&self, config: &TextureConfig) -> Result<TextureRun> {
        self.train_with(&self.a, config)
    }

    /// Trains a U-Net with another frozen network in the teacher's place.
    ///
    /// # Errors
    /// As [`train`].
    pub fn train_with(&self, reid: &Reid, config: &TextureConfig) -> Result<TextureRun> {
        let pictures = matches!(
            config.supervision,
            Supervision::Pixels | Supervision::Texture
        );
        let reid = (!pictures).then_some(reid);
        train(&self.photos, reid, Some(&self.real), config)
    }

    /// The textures of the test people that a training has learned to make.
    ///
    /// # Errors
    /// As [`textures`](super::textures).
    pub fn textures(&self, run: &TextureRun, config: &TextureConfig) -> Result<Vec<Texture>> {
        made(&run.net, &self.test, &self.inputs(), config.blind)
    }

    /// Scores a texture for each test person.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of textures or textures of another size.
    pub fn score(&self, textures: &[Texture]) -> Result<Scores> {
        let structure = self.real.structure();
        let judge = Judge {
            photos: &self.test,
            views: self.views,
            elsewhere: &self.photos,
            real: &self.face,
            structure: &structure,
            a: &self.a,
            b: &self.b,
        };
        judge.score(textures)
    }

    /// What the test people really wear.
    pub fn truth(&self) -> Vec<Texture> {
        let crops = self.test.crops();
        let worn = self.inputs().into_iter();
        worn.map(|i| crops[i].texture.clone()).collect()
    }

    /// What the people to learn from wear: known to oracles only.
    fn known(&self) -> Vec<Texture> {
        let mut known: Vec<(u32, Texture)> = Vec::new();
        for crop in self.photos.crops() {
            if known.last().is_none_or(|k| k.0 != crop.identity) {
                known.push((crop.identity, crop.texture.clone()));
            }
        }
        known.into_iter().map(|k| k.1).collect()
    }

    /// The mean of the real textures, for everybody.
    pub fn mean(&self) -> Vec<Texture> {
        vec![self.face.clone(); self.inputs().len()]
    }

    /// The pictures laid back on the bodies in their estimated poses, the rest filled from the other side and the mean.
    ///
    /// # Errors
    /// As [`back_projection`].
    pub fn back_projections(&self) -> Result<Vec<Texture>> {
        let each = self.inputs().into_iter();
        each.map(|i| {
            let (crop, map) = (&self.test.crops()[i], &self.test.estimated()[i]);
            back_projection(crop, map, self.world.body(), &self.face)
        })
        .collect()
    }

    /// The most probable textures by `count` principal components of the true textures of the people to learn from: an
    /// oracle.
    ///
    /// # Errors
    /// As [`TexturePrior::of`].
    pub fn priors(&self, count: usize) -> Result<Vec<Texture>> {
        let prior = TexturePrior::of(&self.known(), count)?;
        let each = self.inputs().into_iter();
        each.map(|i| prior.fit(&self.test.crops()[i], &self.test.estimated()[i], 0.3))
            .collect()
    }

    /// The mean of the true textures of the people to learn from.
    ///
    /// # Errors
    /// As [`mean_texture`].
    pub fn mean_of_known(&self) -> Result<Texture> {
        mean_texture(&self.known())
    }
}
