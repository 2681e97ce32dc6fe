//! What a texture is told: losses on the rendered person, and on the texture itself.

use dfdx::prelude::{HasShape, PutTape, SplitTape};
use rand::Rng as _;

use super::answers::{answer_error, hardest_distance};
use super::photos::masks;
use super::reid::{Kept, Reid};
use super::{Background, PhotoSet, Supervision, TextureConfig, UNIT};
use crate::data::Texture;
use crate::nn::{Activations, CosineDistance};
use crate::ops::composite::try_composite;
use crate::ops::resize::{Filter, try_resize_by};
use crate::ops::texture_render::{TexelMap, try_texture_render};
use crate::train::{Deviation, try_masked_error, try_total};
use crate::{Error, Images, Result, Rng, Scalar, Taped, from_vec, read};

/// Textures of other people, to which faces and hands are drawn.
#[derive(Clone, Debug)]
pub struct RealTextures {
    /// Numbers of all textures, one after the other.
    values: Vec<f32>,
    count: usize,
    side: usize,
    mask: Images,
}

impl RealTextures {
    /// Textures, and where in them faces, hair and hands are.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a texture; [`Error::Shape`] for textures of different sizes and for a mask of another.
    pub fn new(textures: &[Texture], structure: &[bool]) -> Result<RealTextures> {
        if textures.is_empty() {
            let why = "holds none; the loss on faces and hands needs at least one";
            return Err(Error::invalid("a set of real textures", why));
        }
        let values = read(&Texture::batch(textures, UNIT)?);
        let (count, side) = (textures.len(), textures[0].side);
        if structure.len() != side * side {
            let expected = format!("a mask of {side}x{side} texels");
            return Err(Error::shape("real textures", expected, structure.len()));
        }
        let mask = structure.iter().map(|m| f32::from(*m)).collect();
        Ok(RealTextures {
            values,
            count,
            side,
            mask: from_vec(mask, (1, 1, side, side))?,
        })
    }

    /// Where faces, hair and hands are.
    pub fn structure(&self) -> Vec<bool> {
        read(&self.mask).iter().map(|m| *m != 0.0).collect()
    }

    /// The mean of the textures, `(1, 3, S, S)`, from -1 to 1.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn mean(&self) -> Result<Images> {
        let len = self.values.len() / self.count;
        let each = |k: usize| self.values.iter().skip(k).step_by(len);
        let sum = |k: usize| each(k).map(|v| f64::from(*v)).sum::<f64>();
        let mean = (0..len).map(|k| (sum(k) / self.count as f64) as f32);
        from_vec(mean.collect(), (1, 3, self.side, self.side))
    }

    /// `count` of them, drawn at random.
    fn draw(&self, count: usize, rng: &mut Rng) -> Result<Images> {
        let len = self.values.len() / self.count;
        let chosen = (0..count).map(|_| rng.random_range(0..self.count));
        let drawn = chosen.flat_map(|i| self.values[i * len..][..len].iter().copied());
        from_vec(drawn.collect(), (count, 3, self.side, self.side))
    }

    /// `mean over all numbers of ((T - T_real) m)^2`, each with a real texture of its own.
    fn error(&self, textures: Images<Taped>, rng: &mut Rng) -> Result<Scalar<Taped>> {
        let real = self.draw(textures.shape().0, rng)?;
        try_masked_error(textures, &real, &self.mask, Deviation::Square)
    }
}

/// A person as a re-ID network is shown it: the texture `(N, 3, S, S)` on the body, before a background `(N, 3, H, W)`; all
/// from -1 to 1.
///
/// ```
/// use rebit::data::{Lookup, Texture};
/// use rebit::papers::reid_texture::{UNIT, render_before};
/// use rebit::prelude::*;
/// let crop = World::new(WorldConfig::default())?.crop(3, 0);
/// let texture = Texture::batch([&crop.texture], UNIT)?;
/// let grey: Images = from_vec(vec![0.0; 3 * 64 * 32], (1, 3, 64, 32))?;
/// let picture = render_before(texture.leaky_trace(), &[crop.texels.map(Lookup::Nearest)], &grey)?;
/// assert_eq!(picture.shape(), &(1, 3, 64, 32));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for textures and maps that do not fit, and for a background of another shape.
pub fn render_before(
    textures: Images<Taped>,
    maps: &[TexelMap],
    background: &Images,
) -> Result<Images<Taped>> {
    // Light is a factor of colours from 0.
    let person = try_texture_render(textures * 0.5 + 0.5, maps)?;
    let person = person * 2.0 - 1.0;
    try_composite(person, &masks(maps)?, background)
}

/// The losses of a training, with what they need of its pictures.
pub(super) struct Supervisor<'a> {
    photos: &'a PhotoSet,
    reid: Option<&'a Reid>,
    real: Option<&'a RealTextures>,
    config: &'a TextureConfig,
    /// Features of all pictures, computed once.
    kept: Option<Kept>,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        photos: &'a PhotoSet,
        reid: Option<&'a Reid>,
        real: Option<&'a RealTextures>,
        config: &'a TextureConfig,
    ) -> Result<Self> {
        use Supervision::{Pixels, Texture};
        let needs = !matches!(config.supervision, Pixels | Texture);
        if needs && reid.is_none() {
            let what = format!("{:?}", config.supervision);
            return Err(Error::invalid(what, "needs a re-ID network"));
        }
        if config.face > 0.0 && real.is_none() {
            let what = format!("face weight {}", config.face);
            return Err(Error::invalid(what, "needs real textures; 0 does without"));
        }
        let all: Vec<usize> = (0..photos.len()).collect();
        let kept = match reid.filter(|_| needs) {
            Some(reid) => Some(reid.keep(&photos.pictures(&all)?)?),
            None => None,
        };
        Ok(Supervisor {
            photos,
            reid,
            real: real.filter(|_| config.face > 0.0),
            config,
            kept,
        })
    }

    /// The loss of textures, from -1 to 1, for the pictures of a batch.
    pub fn loss(
        &self,
        textures: Images<Taped>,
        batch: &[usize],
        rng: &mut Rng,
    ) -> Result<Scalar<Taped>> {
        let (textures, tape) = textures.split_tape();
        let mut terms = Vec::new();
        if let Some(real) = self.real {
            let face = real.error(textures.clone().put_tape(Taped::default()), rng)?;
            terms.push((self.config.face, face));
        }
        let textures = textures.put_tape(tape);
        terms.extend(self.supervise(textures, batch, rng)?);
        try_total(terms)
    }

    fn supervise(
        &self,
        textures: Images<Taped>,
        batch: &[usize],
        rng: &mut Rng,
    ) -> Result<Vec<(f32, Scalar<Taped>)>> {
        let whole = |n: usize, h: usize, w: usize| from_vec(vec![1.0; n * h * w], (n, 1, h, w));
        if self.config.supervision == Supervision::Texture {
            let (n, _, h, w) = *textures.shape();
            let truth = self.photos.textures(batch)?;
            let error = try_masked_error(textures, &truth, &whole(n, h, w)?, Deviation::Absolute)?;
            return Ok(vec![(1.0, error)]);
        }
        let own = batch.iter().map(|&i| self.photos.estimated()[i].clone());
        let mut maps: Vec<TexelMap> = own.collect();
        if self.config.other_pose {
            // Everybody in the pose of the next picture.
            maps.rotate_left(1);
        }
        let around = self.background(batch, rng)?;
        let shown = render_before(textures, &maps, &around)?;
        let pictures = || self.photos.pictures(batch);
        match self.config.supervision {
            Supervision::Pixels => {
                let error = pixels(shown, &pictures()?, &maps)?;
                Ok(vec![(1.0, error)])
            }
            Supervision::LayersAndPixels => {
                let (shown, tape) = shown.split_tape();
                let error = pixels(
                    shown.clone().put_tape(Taped::default()),
                    &pictures()?,
                    &maps,
                )?;
                let mut terms = self.features(shown.put_tape(tape), batch, &maps)?;
                terms.push((1.0, error));
                Ok(terms)
            }
            _ => self.features(shown, batch, &maps),
        }
    }

    fn background(&self, batch: &[usize], rng: &mut Rng) -> Result<Images> {
        match self.config.background {
            Background::Random | Background::Masked => {
                self.photos.random_surroundings(batch.len(), rng)
            }
            Background::Own => {
                let own: Vec<(usize, bool)> = batch.iter().map(|&i| (i, false)).collect();
                self.photos.surroundings(&own)
            }
            Background::Black => {
                let (h, w) = self.photos.size();
                from_vec(
                    vec![UNIT.0; batch.len() * 3 * h * w],
                    (batch.len(), 3, h, w),
                )
            }
        }
    }

    /// What the re-ID network makes of the composites, against what it makes of the pictures.
    fn features(
        &self,
        shown: Images<Taped>,
        batch: &[usize],
        maps: &[TexelMap],
    ) -> Result<Vec<(f32, Scalar<Taped>)>> {
        let (Some(reid), Some(kept)) = (self.reid, &self.kept) else {
            return Err(Error::invalid(
                "a loss on features",
                "needs a re-ID network",
            ));
        };
        let feature = || kept.of(reid.feature(), batch);
        let mut pass = reid.look(shown)?;
        let pooled = |pass: &mut Activations| -> Result<_> {
            let loss = CosineDistance::new(feature()?);
            Ok((1.0, pass.loss(reid.feature(), loss)?))
        };
        let small = match self.config.background {
            Background::Masked => Some(at_layers(reid, maps)?),
            _ => None,
        };
        let layers = |pass: &mut Activations| reid.distance(pass, (kept, batch), small.as_deref());
        match self.config.supervision {
            Supervision::Pooled => Ok(vec![pooled(&mut pass)?]),
            Supervision::LayersAndPooled => {
                let mut terms = layers(&mut pass)?;
                terms.push(pooled(&mut pass)?);
                Ok(terms)
            }
            Supervision::Softmax => {
                let (name, identities) = reid.answers()?;
                let target = kept.of(name, batch)?;
                let loss = answer_error(pass.matrix(name)?, target, identities)?;
                Ok(vec![(1.0, loss)])
            }
            Supervision::Triplet { margin } => {
                let crops = self.photos.crops();
                let labels: Vec<u32> = batch.iter().map(|&i| crops[i].identity).collect();
                let found = pass.matrix(reid.feature())?;
                let loss = hardest_distance(found, feature()?, labels, margin)?;
                Ok(vec![(1.0, loss)])
            }
            _ => layers(&mut pass),
        }
    }
}

/// The mean absolute difference within the silhouettes, over all numbers.
fn pixels(shown: Images<Taped>, pictures: &Images, maps: &[TexelMap]) -> Result<Scalar<Taped>> {
    try_masked_error(shown, pictures, &masks(maps)?, Deviation::Absolute)
}

/// The silhouettes at the sizes of the layers: the share of a pixel that is covered.
fn at_layers(reid: &Reid, maps: &[TexelMap]) -> Result<Vec<Vec<f32>>> {
    let whole = masks(maps)?;
    let sizes = reid.layer_sizes().into_iter();
    sizes
        .map(|size| Ok(read(&try_resize_by(whole.clone(), size, Filter::Area)?)))
        .collect()
}
