//! Training and judging networks that enlarge photographs.

use std::path::PathBuf;

use super::{Adam, Loss, Schedule, Step, StepLosses, Task, Trainer};
use crate::data::{PatchBatch, Patches, Photo, SrPair};
use crate::metrics::{Plane, psnr, ssim};
use crate::nn::{Activations, Extent, MeanAbsoluteError, Mode, Net};
use crate::show::check_interrupt;
use crate::{Error, Result, Rng, Scalar, Taped, rng};

/// Settings of [`train_sr`].
#[derive(Clone, Debug)]
pub struct SrConfig {
    /// Name of the run in figures and messages.
    pub label: String,
    /// Updates.
    pub iterations: usize,
    /// Patches of an update.
    pub batch: usize,
    /// Adam's learning rate.
    pub lr: f32,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// Seed of the patches.
    pub seed: u64,
    /// Updates between two measurements on the test pairs; 0 measures at the end only.
    pub eval_every: usize,
    /// Where the run's state is written at each measurement, and continued from.
    pub checkpoint: Option<PathBuf>,
    /// Live progress.
    pub show: bool,
}

impl Default for SrConfig {
    fn default() -> Self {
        SrConfig {
            label: "super-resolution".into(),
            iterations: 1000,
            batch: 16,
            lr: 1e-4,
            schedule: Schedule::halved(3),
            seed: 1,
            eval_every: 0,
            checkpoint: None,
            show: true,
        }
    }
}

impl SrConfig {
    /// What two runs must agree on to be the same run.
    fn settings(&self) -> String {
        let SrConfig {
            iterations,
            batch,
            lr,
            schedule,
            seed,
            ..
        } = self;
        format!("{iterations} updates of {batch} patches, {lr} {schedule:?}, seed {seed}")
    }
}

/// Mean PSNR and SSIM on the luminance, without a border of `scale` pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SrScore {
    /// In dB.
    pub psnr: f32,
    /// At most 1.
    pub ssim: f32,
}

/// What a run left behind.
#[derive(Clone, Debug, Default)]
pub struct SrHistory {
    /// Name of the run.
    pub label: String,
    /// Mean absolute error of each update, in grey levels.
    pub loss: Vec<f32>,
    /// Updates done and the score at that time.
    pub scores: Vec<(usize, SrScore)>,
}

impl SrHistory {
    /// The last score.
    ///
    /// # Panics
    /// Before the first one.
    pub fn final_score(&self) -> SrScore {
        self.scores
            .last()
            .expect("a finished run has been measured")
            .1
    }
}

/// The mean absolute error on patches that a generator draws, for a [`Task`] on a network that enlarges photographs.
pub struct PatchError<'a> {
    patches: &'a Patches,
    batch: usize,
    first: Rng,
    rng: Rng,
}

impl<'a> PatchError<'a> {
    /// So many patches at a time.
    pub fn new(patches: &'a Patches, batch: usize, rng: Rng) -> Self {
        PatchError {
            patches,
            batch,
            first: rng.clone(),
            rng,
        }
    }

    /// What tells the patches from others: [`Task::data`].
    pub fn data(&self) -> String {
        self.patches.fingerprint()
    }

    /// Goes to where `step` batches have been drawn: [`Task::start`].
    pub fn start(&mut self, step: usize) {
        self.rng = self.first.clone();
        (0..step).for_each(|_| drop(self.patches.draw(self.batch, &mut self.rng)));
    }

    /// The next batch.
    pub fn draw(&mut self) -> PatchBatch {
        self.patches.draw(self.batch, &mut self.rng)
    }

    /// The error of a network that trains on a batch, in grey levels, and the pass that it comes from.
    ///
    /// # Errors
    /// As [`Net::run`].
    pub fn of(&self, net: &Net, batch: PatchBatch) -> Result<(Scalar<Taped>, Activations)> {
        let size = self.patches.size();
        let mut out = net.run_channels_last(&batch.low, Extent::new(3, size, size), Mode::Train)?;
        let error = out.loss(&net.output_name(), MeanAbsoluteError::new(batch.high))?;
        Ok((error, out))
    }
}

/// The mean absolute error on patches; PSNR on test pairs.
struct Enlarging<'a> {
    error: PatchError<'a>,
    test: &'a [SrPair],
    config: &'a SrConfig,
    scores: Vec<SrScore>,
}

impl Task for Enlarging<'_> {
    fn data(&self) -> Result<String> {
        Ok(self.error.data())
    }

    fn steps(&self) -> usize {
        self.config.iterations
    }

    fn start(&mut self, _: usize, step: usize) -> Result<()> {
        self.error.start(step);
        Ok(())
    }

    fn loss(&mut self, net: &Net, _: Step) -> Result<Loss> {
        let batch = self.error.draw();
        let (error, _) = self.error.of(net, batch)?;
        Ok(error.into())
    }

    fn score(&mut self, net: &Net) -> Result<Option<f32>> {
        let score = evaluate_sr(net, self.test)?;
        self.scores.push(score);
        Ok(Some(score.psnr))
    }

    fn score_name(&self) -> String {
        "PSNR on test photographs, dB".into()
    }
}

/// Trains `net` by the mean absolute error on patches; Adam.
///
/// # Errors
/// As [`Trainer::run`].
pub fn train_sr(
    net: &Net,
    patches: &Patches,
    test: &[SrPair],
    config: &SrConfig,
) -> Result<SrHistory> {
    let mut task = Enlarging {
        error: PatchError::new(patches, config.batch, rng(config.seed)),
        test,
        config,
        scores: Vec::new(),
    };
    let mut losses = StepLosses::default();
    let history = Trainer::new(1, Adam::new(config.lr).over(net)?)
        .label(&config.label)
        .schedule(config.schedule.clone(), config.lr)
        .observe(&mut losses)
        .evaluate(1, config.eval_every)
        .checkpoint(
            config.checkpoint.clone(),
            config.eval_every,
            config.settings(),
        )
        .show(config.show)
        .run(net, &mut task)?;
    let done = |at: f32| (at * config.iterations as f32).round() as usize;
    let tests = history.tests.iter().map(|(at, _)| done(*at));
    Ok(SrHistory {
        label: config.label.clone(),
        loss: losses.0,
        scores: tests.zip(task.scores).collect(),
    })
}

/// The network's answer to a small photograph, in bytes.
///
/// # Errors
/// As [`Net::predict_images`].
pub fn enlarge(net: &Net, photo: &Photo) -> Result<Photo> {
    let name = &photo.name;
    Photo::from_images(name, &net.predict_images(&photo.to_images())?)
}

/// Score of `images` that stand for the large photographs of `pairs`.
///
/// # Errors
/// [`Error::Shape`] when sizes or numbers differ, [`Error::Invalid`] without a pair.
pub fn score_images(images: &[Photo], pairs: &[SrPair]) -> Result<SrScore> {
    if images.len() != pairs.len() || pairs.is_empty() {
        let expected = format!("{} images, at least one", pairs.len());
        return Err(Error::shape("score", expected, images.len()));
    }
    let mut sum = SrScore::default();
    for (image, pair) in images.iter().zip(pairs) {
        let border = pair.scale();
        let (a, b) = (
            Plane::luma(image, border)?,
            Plane::luma(&pair.high, border)?,
        );
        sum.psnr += psnr(&a, &b)?;
        sum.ssim += ssim(&a, &b)?;
    }
    let n = pairs.len() as f32;
    Ok(SrScore {
        psnr: sum.psnr / n,
        ssim: sum.ssim / n,
    })
}

/// Mean score of a network over test pairs.
///
/// # Errors
/// As [`enlarge`] and [`score_images`]; [`Error::Interrupted`].
pub fn evaluate_sr(net: &Net, pairs: &[SrPair]) -> Result<SrScore> {
    let images = pairs.iter().map(|pair| {
        check_interrupt()?;
        enlarge(net, &pair.low)
    });
    score_images(&images.collect::<Result<Vec<_>>>()?, pairs)
}

/// Mean score of bicubic enlargement.
///
/// # Errors
/// As [`score_images`].
pub fn evaluate_bicubic(pairs: &[SrPair]) -> Result<SrScore> {
    let images = pairs
        .iter()
        .map(|p| p.low.resized(p.high.height, p.high.width));
    score_images(&images.collect::<Result<Vec<_>>>()?, pairs)
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::nn::{EdsrConfig, edsr};

    fn photo() -> Photo {
        let mut rng = rng(3);
        let mut photo = Photo {
            name: "stripes".into(),
            height: 40,
            width: 48,
            rgb: Vec::new(),
        };
        for i in 0..40 * 48 * 3 {
            let (row, column) = (i / 3 / 48, i / 3 % 48);
            let wave = 100.0 + 60.0 * ((row + 2 * column) as f32 * 0.35).sin();
            photo.rgb.push((wave + rng.random_range(-4.0..4.0)) as u8);
        }
        photo
    }

    fn tiny() -> Net {
        let config = EdsrConfig {
            blocks: 1,
            channels: 16,
            ..EdsrConfig::default()
        };
        edsr(&config, rng(2)).unwrap()
    }

    #[test]
    fn a_short_run_learns_and_two_runs_are_the_same_bit_for_bit() -> Result<()> {
        let patches = Patches::new(&[photo()], 2, 8)?;
        let test = [SrPair::new(&photo(), 2)?];
        let config = SrConfig {
            iterations: 60,
            batch: 4,
            lr: 2e-3,
            eval_every: 30,
            ..SrConfig::default()
        };
        let run = || {
            let net = tiny();
            let before = evaluate_sr(&net, &test)?;
            Ok::<_, Error>((before, train_sr(&net, &patches, &test, &config)?))
        };
        let (before, history) = run()?;
        assert!(
            history.final_score().psnr > before.psnr + 3.0,
            "{before:?} {history:?}"
        );
        assert_eq!(history.scores.len(), 2);
        assert_eq!(run()?.1.loss, history.loss);
        Ok(())
    }

    #[test]
    fn networks_take_images_of_any_size_and_batches_agree_with_single_images() -> Result<()> {
        let net = tiny();
        let small = SrPair::new(&photo(), 2)?.low;
        let whole = net.predict_images(&small.to_images())?;
        let cut = net.predict_images(&small.crop(0, 0, 13, 15)?.to_images())?;
        // Beyond the reach of the cut's borders both see the same pixels.
        let (wide, narrow) = (crate::read(&whole), crate::read(&cut));
        assert!((wide[5 * 48 + 7] - narrow[5 * 30 + 7]).abs() < 1e-3);
        Ok(())
    }
}
