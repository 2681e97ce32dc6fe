//! Training and judging networks that enlarge photographs.

use std::path::PathBuf;

use super::{Adam, Schedule};
use crate::data::{PatchBatch, Patches, Photo, SrPair};
use crate::metrics::{Plane, psnr, ssim};
use crate::nn::{Mode, Net};
use crate::ops::l1_loss::L1LossKernel;
use crate::show::check_interrupt;
use crate::{Error, HostAccess, Result, dev, rng};

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
    /// Where the network is written at each measurement.
    pub checkpoint: Option<PathBuf>,
    /// Whether each measurement prints a line.
    pub log: bool,
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
            log: false,
        }
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

/// Trains `net` by the mean absolute error on patches; Adam.
///
/// # Errors
/// Sizes that do not fit, an interruption, a loss that is no longer a number.
pub fn train_sr(
    net: &Net,
    patches: &Patches,
    test: &[SrPair],
    config: &SrConfig,
) -> Result<SrHistory> {
    let mut rng = rng(config.seed);
    let mut adam = Adam::new(net, config.lr, config.lr);
    let mut history = SrHistory {
        label: config.label.clone(),
        ..SrHistory::default()
    };
    let mut progress = crate::show::Progress::new(&config.label, Some(config.iterations as u64));
    for iteration in 0..config.iterations {
        check_interrupt()?;
        let batch = patches.draw(config.batch, &mut rng);
        let loss = l1_step(net, patches.size(), &batch)?;
        check_loss(loss, iteration)?;
        let p = iteration as f32 / config.iterations as f32;
        adam.update(net, config.schedule.factor(p))?;
        history.loss.push(loss);
        progress.inc(1);
        let done = iteration + 1;
        let due = config.eval_every > 0 && done % config.eval_every == 0;
        if due || done == config.iterations {
            let score = evaluate_sr(net, test)?;
            history.scores.push((done, score));
            if config.log {
                let last = &history.loss[done.saturating_sub(config.eval_every.max(1))..];
                let mean = last.iter().sum::<f32>() / last.len() as f32;
                println!(
                    "{done:>6}  loss {mean:.3}  PSNR {:.3} dB  SSIM {:.4}",
                    score.psnr, score.ssim
                );
            }
            if let Some(path) = &config.checkpoint {
                net.save(path, &[("iterations", &done.to_string())])?;
            }
        }
    }
    Ok(history)
}

/// Forward and backward pass of the mean absolute error.
fn l1_step(net: &Net, size: usize, batch: &PatchBatch) -> Result<f32> {
    let mut inner = net.lock();
    inner.fit(size, size)?;
    let pass = inner.forward(&batch.low, Mode::Train, true)?;
    let output = inner.output;
    let y = pass.output(output);
    let mut dy = inner.pool.take(y.elements())?;
    let loss = dev().l1_loss(y, &batch.high, &mut dy)?;
    inner.backward(pass, dy, false)?;
    Ok(loss)
}

pub(crate) fn check_loss(loss: f32, iteration: usize) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    let what = format!("the loss of update {}", iteration + 1);
    let why = "is not a number: the run diverged; lower the learning rate";
    Err(Error::invalid(what, why))
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

    #[test]
    fn a_loss_that_is_no_number_says_where() {
        let error = check_loss(f32::NAN, 6).unwrap_err().to_string();
        assert!(
            error.contains("update 7") && error.contains("learning rate"),
            "{error}"
        );
    }
}
