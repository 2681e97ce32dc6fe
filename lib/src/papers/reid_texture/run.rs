//! Training a network that makes textures of pictures.

use dfdx::prelude::HasShape;
use rand::seq::SliceRandom;

use super::supervision::{RealTextures, Supervisor};
use super::{PhotoSet, Reid, TextureConfig, UNIT};
use crate::data::{Fingerprint, Texture, epoch_rng};
use crate::nn::{Mode, Net, unet};
use crate::train::{Adam, History, Loss, Schedule, Shown, Step, Task, Trainer};
use crate::{Error, Images, Result, Rng, from_vec, rng};

/// Pictures that a network sees at once when it only makes textures.
const AT_ONCE: usize = 32;
/// The most steps of what the trainer counts as an epoch.
const EPOCH: usize = 50;

/// What a training leaves.
pub struct TextureRun {
    /// The network.
    pub net: Net,
    /// Its losses, and how long it took.
    pub history: History,
}

/// Trains a U-Net to make textures of pictures.
///
/// In each step it makes textures of some people's pictures; bodies in the estimated poses are rendered under them and
/// compared with the pictures as [`TextureConfig::supervision`] says. The same settings give the same network, also after
/// an interruption when there is a [`checkpoint`](TextureConfig::checkpoint).
///
/// ```
/// use rebit::papers::reid_texture::{PhotoSet, Supervision, TextureConfig, textures, train};
/// use rebit::prelude::*;
/// let photos = PhotoSet::of(&World::new(WorldConfig::default())?, 0..3, 0..2)?;
/// let config = TextureConfig {
///     supervision: Supervision::Pixels,
///     steps: 2,
///     batch: (2, 2),
///     face: 0.0,
///     show: false,
///     ..TextureConfig::small()
/// };
/// let run = train(&photos, None, None, &config)?;
/// assert_eq!(textures(&run.net, &photos, &[0, 5])?.len(), 2);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for settings that mean nothing, without a re-ID network or real textures where the settings need
/// them, for fewer people than a batch has, and for a loss that is no longer a number; [`Error::Shape`] for pictures or
/// textures of another size than the networks'; [`Error::Data`] for a checkpoint of another run; [`Error::Interrupted`].
pub fn train(
    photos: &PhotoSet,
    reid: Option<&Reid>,
    real: Option<&RealTextures>,
    config: &TextureConfig,
) -> Result<TextureRun> {
    train_until(photos, (reid, real), config, None)
}

/// [`train`], ended as if by an interrupt before step `stop`.
pub(super) fn train_until(
    photos: &PhotoSet,
    (reid, real): (Option<&Reid>, Option<&RealTextures>),
    config: &TextureConfig,
    stop: Option<usize>,
) -> Result<TextureRun> {
    config.check()?;
    let (height, width) = photos.size();
    if config.net.input != (height, width) {
        let (h, w) = config.net.input;
        let expected = format!("pictures of {h}x{w}, which the U-Net is for");
        return Err(Error::shape(
            "texture training",
            expected,
            format!("{height}x{width}"),
        ));
    }
    let side = photos.estimated()[0].side();
    if config.net.output != (side, side) {
        let (h, w) = config.net.output;
        let expected = format!("a U-Net for textures of {side}x{side}");
        return Err(Error::shape(
            "texture training",
            expected,
            format!("{h}x{w}"),
        ));
    }
    let net = unet(&config.net, rng(config.seed))?;
    let per_epoch = (1..=EPOCH.min(config.steps))
        .rev()
        .find(|n| config.steps.is_multiple_of(*n))
        .unwrap_or(1);
    let mut task = Textures {
        supervisor: Supervisor::new(photos, reid, real, config)?,
        of: by_person(photos, config.batch.0)?,
        photos,
        config,
        per_epoch,
        at: 0,
        stop,
    };
    let schedule = match config.fall < 1.0 {
        true => Schedule::Steps {
            factor: 0.2,
            at: vec![config.fall],
        },
        false => Schedule::Constant,
    };
    let settings = format!(
        "{}, photos {}, re-ID {}",
        config.settings(),
        fingerprint(photos),
        reid.map(Reid::fingerprint).unwrap_or_default()
    );
    let adam = Adam::new(config.lr).decay(config.decay).over(&net)?;
    let trainer = Trainer::new(config.steps / per_epoch, adam)
        .label(format!("{:?}", config.supervision))
        .schedule(schedule, config.lr)
        .checkpoint(config.checkpoint.clone(), config.save_every, settings)
        .show(if config.show {
            Shown::Progress
        } else {
            Shown::Nothing
        });
    let history = trainer.run(&net, &mut task)?;
    Ok(TextureRun { net, history })
}

/// The pictures of each person.
fn by_person(photos: &PhotoSet, people: usize) -> Result<Vec<Vec<usize>>> {
    let mut sorted: Vec<(u32, usize)> = photos.identities().into_iter().zip(0..).collect();
    sorted.sort_unstable();
    let of: Vec<Vec<usize>> = sorted
        .chunk_by(|a, b| a.0 == b.0)
        .map(|part| part.iter().map(|p| p.1).collect())
        .collect();
    if of.len() < people {
        let why = format!("there are only {} in the pictures; take fewer", of.len());
        return Err(Error::invalid(format!("batches of {people} people"), why));
    }
    Ok(of)
}

/// What tells a set of pictures, their poses included, from another.
fn fingerprint(photos: &PhotoSet) -> String {
    let mut found = Fingerprint::new();
    for (crop, map) in photos.crops().iter().zip(photos.estimated()) {
        found = found.bytes(&crop.image.rgb).word(crop.identity.into());
        let first = |p| map.reads(p).first().map_or(u64::MAX, |r| r.0.into());
        found = (0..map.pixels()).map(first).fold(found, Fingerprint::word);
    }
    format!("{} {found}", photos.len())
}

struct Textures<'a> {
    photos: &'a PhotoSet,
    supervisor: Supervisor<'a>,
    of: Vec<Vec<usize>>,
    config: &'a TextureConfig,
    per_epoch: usize,
    /// Steps that are done.
    at: usize,
    stop: Option<usize>,
}

impl Textures<'_> {
    /// People drawn without replacement, and pictures of each; of somebody with fewer, some come again.
    fn draw(&self, rng: &mut Rng) -> Vec<usize> {
        let (people, pictures) = self.config.batch;
        let mut persons: Vec<usize> = (0..self.of.len()).collect();
        let (drawn, _) = persons.partial_shuffle(rng, people);
        let mut batch = Vec::with_capacity(people * pictures);
        for person in drawn {
            let mut own = self.of[*person].clone();
            own.shuffle(rng);
            batch.extend((0..pictures).map(|k| own[k % own.len()]));
        }
        batch
    }
}

impl Task for Textures<'_> {
    fn steps(&self) -> usize {
        self.per_epoch
    }

    fn start(&mut self, epoch: usize, step: usize) -> Result<()> {
        self.at = epoch * self.per_epoch + step;
        Ok(())
    }

    fn loss(&mut self, net: &Net, _: Step) -> Result<Loss> {
        if self.stop == Some(self.at) {
            return Err(Error::Interrupted);
        }
        let mut rng = epoch_rng(self.config.seed, self.at as u64);
        self.at += 1;
        let batch = self.draw(&mut rng);
        let pictures = seen(self.photos.pictures(&batch)?, self.config.blind)?;
        let made = net.run(&pictures, Mode::Train)?.output()?;
        let value = self.supervisor.loss(made, &batch, &mut rng)?;
        Ok(Loss {
            samples: batch.len(),
            ..value.into()
        })
    }
}

/// Pictures as the network sees them.
fn seen(pictures: Images, blind: bool) -> Result<Images> {
    let shape = *pictures.shape();
    match blind {
        true => from_vec(vec![0.0; shape.0 * shape.1 * shape.2 * shape.3], shape),
        false => Ok(pictures),
    }
}

/// The textures that a network makes of some pictures.
///
/// # Errors
/// [`Error::Shape`] for pictures of another size, [`Error::Invalid`] for one that is not there.
pub fn textures(net: &Net, photos: &PhotoSet, indices: &[usize]) -> Result<Vec<Texture>> {
    made(net, photos, indices, false)
}

/// [`textures`], of a network that sees a grey picture always too.
pub(super) fn made(
    net: &Net,
    photos: &PhotoSet,
    indices: &[usize],
    blind: bool,
) -> Result<Vec<Texture>> {
    let mut out = Vec::with_capacity(indices.len());
    for part in indices.chunks(AT_ONCE) {
        let pictures = seen(photos.pictures(part)?, blind)?;
        out.extend(Texture::from_images(&net.predict_images(&pictures)?, UNIT)?);
    }
    Ok(out)
}
