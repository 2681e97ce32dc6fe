//! One texture from one picture, without a U-Net.

use dfdx::prelude::{Backward, Trace};

use super::reid::Reid;
use super::supervision::render_before;
use super::{PhotoSet, UNIT};
use crate::data::{Texture, epoch_rng};
use crate::ops::texture_render::TexelMap;
use crate::show::check_interrupt;
use crate::train::{Adam, Leaf, Optimiser, try_total};
use crate::{Error, Images, Result, Rng, Scalar, Taped, read};

/// Settings of [`fit_single`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitConfig {
    /// Steps of Adam.
    pub steps: usize,
    /// Its learning rate, for texels from -1 to 1.
    pub lr: f32,
    /// Backgrounds that a step sees the person before.
    pub backgrounds: usize,
    /// Seed of the backgrounds.
    pub seed: u64,
}

impl Default for FitConfig {
    fn default() -> Self {
        FitConfig {
            steps: 100,
            lr: 0.05,
            backgrounds: 4,
            seed: 0,
        }
    }
}

/// What a fit leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct FitRun {
    /// The texture.
    pub texture: Texture,
    /// The re-ID loss of each step, before backgrounds of its own.
    pub losses: Vec<f32>,
    /// The loss of the first texture before backgrounds that no step has seen.
    pub before: f32,
    /// That of the last.
    pub after: f32,
}

/// Moves the texels of `start` until a re-ID network takes the body under them for the person in a picture.
///
/// That the loss falls does not say that the back of somebody who is seen from the front is right: no texel that the pose
/// hides gets a gradient.
///
/// ```no_run
/// use rebit::papers::reid_texture::{FitConfig, PhotoSet, Reid, fit_single, mean_texture};
/// use rebit::prelude::*;
/// # fn pictures() -> Result<(PhotoSet, Reid)> { unimplemented!() }
/// let (photos, reid) = pictures()?;
/// let worn: Vec<_> = photos.crops().iter().map(|c| c.texture.clone()).collect();
/// let run = fit_single(&photos, 0, &reid, &mean_texture(&worn)?, &FitConfig::default())?;
/// assert!(run.after < run.before);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a picture that is not there, no steps or backgrounds, a learning rate that is not positive, and a
/// loss that is no longer a number; [`Error::Shape`] for a texture of another size; [`Error::Interrupted`].
pub fn fit_single(
    photos: &PhotoSet,
    picture: usize,
    reid: &Reid,
    start: &Texture,
    config: &FitConfig,
) -> Result<FitRun> {
    if config.steps == 0 || config.backgrounds == 0 {
        return Err(Error::invalid(
            format!("{config:?}"),
            "needs steps and backgrounds",
        ));
    }
    if !(config.lr > 0.0 && config.lr.is_finite()) {
        let what = format!("learning rate {}", config.lr);
        return Err(Error::invalid(what, "must be above 0 and finite"));
    }
    let fit = Fit {
        photos,
        reid,
        kept: reid.keep(&photos.pictures(&[picture])?)?,
        map: photos.estimated()[picture].clone(),
        count: config.backgrounds,
    };
    let texels = Leaf::images(Texture::batch([start], UNIT)?).named("texture");
    let mut adam = Adam::new(config.lr).over(&texels)?;
    // Backgrounds of another stream than those of the steps.
    let measure = || -> Result<f32> {
        let loss = fit.loss(texels.as_images()?, &mut epoch_rng(!config.seed, 0))?;
        Ok(read(&loss)[0])
    };
    let before = measure()?;
    let mut losses = Vec::with_capacity(config.steps);
    for step in 0..config.steps {
        check_interrupt()?;
        let loss = fit.loss(
            texels.as_images()?,
            &mut epoch_rng(config.seed, step as u64),
        )?;
        let value = read(&loss)[0];
        if !value.is_finite() {
            let what = format!("the loss of step {}", step + 1);
            return Err(Error::invalid(
                what,
                format!("is {value}: lower the learning rate"),
            ));
        }
        losses.push(value);
        adam.step(&mut loss.backward())?;
        // Colours stay colours.
        let texture: Vec<f32> = texels.to_vec();
        let kept: Vec<f32> = texture.iter().map(|v| v.clamp(UNIT.0, UNIT.1)).collect();
        texels.set(&kept)?;
    }
    let after = measure()?;
    let texture = Texture::from_images(&texels.as_images()?, UNIT)?.remove(0);
    Ok(FitRun {
        texture,
        losses,
        before,
        after,
    })
}

struct Fit<'a> {
    photos: &'a PhotoSet,
    reid: &'a Reid,
    kept: super::Kept,
    map: TexelMap,
    count: usize,
}

impl Fit<'_> {
    /// The mean over some backgrounds.
    fn loss(&self, texture: Images, rng: &mut Rng) -> Result<Scalar<Taped>> {
        let mut terms = Vec::new();
        for _ in 0..self.count {
            let around = self.photos.random_surroundings(1, rng)?;
            let maps = [self.map.clone()];
            let shown = render_before(texture.leaky_trace(), &maps, &around)?;
            let mut pass = self.reid.look(shown)?;
            terms.extend(self.reid.distance(&mut pass, (&self.kept, &[0]), None)?);
        }
        let share = 1.0 / self.count as f32;
        terms.iter_mut().for_each(|(weight, _)| *weight *= share);
        try_total(terms)
    }
}
