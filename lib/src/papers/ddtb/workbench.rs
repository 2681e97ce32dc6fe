//! One teacher, one set of patches, one set of test photographs, many quantised runs.

use super::{DdtbConfig, DdtbRun, quantised_edsr, train};
use crate::data::{Patches, SrPair};
use crate::nn::{EdsrConfig, Net};
use crate::show::Spread;
use crate::train::{SrScore, evaluate_sr};
use crate::{Error, Result};

/// The outcome of one run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was tried.
    pub method: String,
    /// Its settings.
    pub config: DdtbConfig,
    /// Score on the photographs held out.
    pub held_out: SrScore,
    /// Score on the benchmark, where there is one.
    pub benchmark: Option<SrScore>,
}

/// Trains quantised networks from one teacher and remembers their scores.
pub struct Workbench {
    /// The full-precision network.
    pub teacher: Net,
    /// Its size.
    pub size: EdsrConfig,
    /// What is trained on.
    pub patches: Patches,
    /// Photographs held out.
    pub test: Vec<SrPair>,
    /// A benchmark such as Set5; may be empty.
    pub benchmark: Vec<SrPair>,
    /// Every run so far.
    pub trials: Vec<Trial>,
}

impl Workbench {
    /// Trains one quantised network and notes its scores under `method`.
    ///
    /// # Errors
    /// As [`train`].
    pub fn run(&mut self, method: &str, config: DdtbConfig) -> Result<DdtbRun> {
        let student = quantised_edsr(&self.teacher, &self.size)?;
        let run = train(&student, &self.teacher, &self.patches, &self.test, &config)?;
        let there_is_one = !self.benchmark.is_empty();
        let benchmark = there_is_one.then(|| evaluate_sr(&student, &self.benchmark));
        self.trials.push(Trial {
            method: method.to_string(),
            config,
            held_out: run.score,
            benchmark: benchmark.transpose()?,
        });
        Ok(run)
    }

    /// The trials of a method at a bit width, in the order they ran.
    pub fn of(&self, method: &str, bits: u32) -> Vec<&Trial> {
        let wanted = |t: &&Trial| t.method == method && t.config.bits == bits;
        self.trials.iter().filter(wanted).collect()
    }

    /// Mean PSNR on the photographs held out.
    ///
    /// # Errors
    /// [`Error::Invalid`] when nothing of that name was run.
    pub fn psnr(&self, method: &str, bits: u32) -> Result<f32> {
        Ok(self.spread(method, bits)?.mean as f32)
    }

    /// Mean PSNR on the benchmark; `None` without one.
    pub fn benchmark_psnr(&self, method: &str, bits: u32) -> Option<f32> {
        let trials = self.of(method, bits).into_iter();
        let psnr: Option<Vec<f32>> = trials.map(|t| Some(t.benchmark?.psnr)).collect();
        let psnr = psnr.filter(|found| !found.is_empty())?;
        Some(Spread::of(psnr).mean as f32)
    }

    /// Mean SSIM on the photographs held out.
    ///
    /// # Errors
    /// As [`psnr`](Self::psnr).
    pub fn ssim(&self, method: &str, bits: u32) -> Result<f32> {
        let trials = self.some(method, bits)?;
        Ok(Spread::of(trials.iter().map(|t| t.held_out.ssim)).mean as f32)
    }

    /// Mean PSNR and its standard deviation over the seeds (not known for one).
    ///
    /// # Errors
    /// As [`psnr`](Self::psnr).
    pub fn spread(&self, method: &str, bits: u32) -> Result<Spread> {
        let trials = self.some(method, bits)?;
        Ok(Spread::of(trials.iter().map(|t| t.held_out.psnr)))
    }

    /// PSNR of `method` less that of `other` at a bit width: the mean over the seeds that both were run with, and its
    /// standard error.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no seed was run with both.
    pub fn lead(&self, method: &str, other: &str, bits: u32) -> Result<Spread> {
        let others = self.some(other, bits)?;
        let pair = |t: &&Trial| {
            let same = |o: &&&Trial| o.config.seed == t.config.seed;
            let found = others.iter().find(same)?;
            Some(t.held_out.psnr - found.held_out.psnr)
        };
        let pairs: Vec<f32> = self.some(method, bits)?.iter().filter_map(pair).collect();
        if pairs.is_empty() {
            let what = format!("{method:?} and {other:?} at {bits} bits");
            return Err(Error::invalid(what, "were not run with the same seed"));
        }
        Ok(Spread::of_mean(pairs))
    }

    fn some(&self, method: &str, bits: u32) -> Result<Vec<&Trial>> {
        let trials = self.of(method, bits);
        if trials.is_empty() {
            let what = format!("{method:?} at {bits} bits");
            return Err(Error::invalid(what, "has not been run on this workbench"));
        }
        Ok(trials)
    }
}
