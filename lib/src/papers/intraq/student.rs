//! The low-bit copy of a network, trained on images with the network as its teacher.

use std::path::PathBuf;

use crate::data::{
    Augment, BatchPlan, Epoch, ImageSource, Normalize, images_fingerprint, images_from_nhwc,
};
use crate::nn::{Mode, Net};
use crate::ptq::{StudentLevels, StudentRun, student, student_loss};
use crate::show::check_interrupt;
use crate::train::{Loss, Schedule, Sgd, Shown, Step, StepLosses, Task, Trainer, try_accuracy};
use crate::{Error, Result};

/// Settings of [`finetune`].
#[derive(Clone, Debug, PartialEq)]
pub struct StudentConfig {
    /// Name of the run in figures and messages.
    pub label: String,
    /// Bits of all weights and activations.
    pub bits: u32,
    /// Batches that activation ranges are read off, before training; they are fixed then.
    pub range_batches: usize,
    /// Images of a step.
    pub batch: usize,
    /// Steps.
    pub steps: usize,
    /// Learning rate of SGD with Nesterov momentum 0.9 and weight decay 1e-4 on everything.
    pub lr: f32,
    /// How it falls.
    pub schedule: Schedule,
    /// Weight of the distillation loss, alpha.
    pub alpha: f32,
    /// Its temperature.
    pub temperature: f32,
    /// Random parts of the images that the student trains on; ranges are read off whole ones.
    pub augment: Option<Augment>,
    /// Seed of the batches.
    pub seed: u64,
    /// Steps between two measurements on the test images; 0 measures before and after training.
    pub eval_every: usize,
    /// Where the run's state is written at each measurement, and continued from.
    pub checkpoint: Option<PathBuf>,
    /// Live progress.
    pub show: bool,
}

impl StudentConfig {
    /// The authors' settings for CIFAR-10: 147 epochs of 200 steps, batch 256, learning rate 1e-4 that falls to a tenth
    /// after 16, 36 and 56 of them.
    ///
    /// The authors read activation ranges off a generator's images; here they are read off the images that are given.
    pub fn bits(bits: u32) -> Self {
        StudentConfig {
            label: format!("{bits} bits"),
            bits,
            range_batches: 100,
            batch: 256,
            steps: 147 * 200,
            lr: 1e-4,
            schedule: Schedule::Steps {
                factor: 0.1,
                at: [16.0, 36.0, 56.0].map(|epoch| epoch / 147.0).to_vec(),
            },
            alpha: 20.0,
            temperature: 20.0,
            augment: Some(Augment::ResizedCrop {
                min_area: 0.5,
                flip: true,
            }),
            seed: 0,
            eval_every: 0,
            checkpoint: None,
            show: true,
        }
    }

    /// For small networks and two processor cores: 300 steps of 64 images with a cosine, a choice of this library.
    pub fn small(bits: u32) -> Self {
        StudentConfig {
            batch: 64,
            steps: 300,
            schedule: Schedule::Cosine { warmup: 0.0 },
            ..StudentConfig::bits(bits)
        }
    }
}

/// The low-bit copy that [`finetune`] trains, on the same number of bits everywhere: [`student`](crate::ptq::student()).
///
/// # Errors
/// As [`student`](crate::ptq::student()).
pub fn quantised(net: &Net, bits: u32) -> Result<Net> {
    student(net, StudentLevels::bits(bits))
}

/// Quantises a copy of `net` and trains it on `images` with `net` as its teacher; accuracies are those on `test`.
///
/// The loss is [`student_loss`]. Both networks run on the teacher's running statistics; weights, biases, scales and shifts are trained. `images` are as
/// [`synthesise`](super::synthesise) gives them, normalised; `normalize` is that of the test images.
///
/// Source: arXiv:2111.09136.
///
/// # Errors
/// [`Error::Invalid`] without an image, for settings that mean nothing and for a loss that is no longer a number (lower
/// the learning rate); as [`student()`] and [`Trainer::run`].
pub fn finetune(
    net: &Net,
    images: &dyn ImageSource,
    (test, normalize): (&dyn ImageSource, &Normalize),
    config: &StudentConfig,
) -> Result<StudentRun> {
    if images.len() < config.batch || config.batch == 0 {
        return Err(Error::invalid(
            format!("{} images for batches of {}", images.len(), config.batch),
            "must fill a batch of at least one",
        ));
    }
    let student = quantised(net, config.bits)?;
    read_ranges(&student, images, config)?;
    let mut task = Distil {
        teacher: net.clone().frozen(),
        images,
        test: (test, normalize),
        config,
        epoch: None,
        pass: 0,
        values: Vec::new(),
    };
    let score = |task: &mut Distil| task.score(&student).map(Option::unwrap_or_default);
    let ranges_only = score(&mut task)?;
    let mut losses = StepLosses::default();
    let optimiser = Sgd::new(config.lr)
        .nesterov(0.9)
        .decay(1e-4)
        .over(&student)?;
    let history = Trainer::new(1, optimiser)
        .label(&config.label)
        .schedule(config.schedule.clone(), config.lr)
        .observe(&mut losses)
        .evaluate(1, config.eval_every)
        .checkpoint(
            config.checkpoint.clone(),
            config.eval_every,
            format!(
                "{:?}",
                StudentConfig {
                    checkpoint: None,
                    ..config.clone()
                }
            ),
        )
        .show(match config.show {
            true => Shown::Progress,
            false => Shown::Nothing,
        })
        .run(&student, &mut task)?;
    let measured = history.tests.iter().map(|(_, score)| *score);
    let scores: Vec<f32> = std::iter::once(ranges_only).chain(measured).collect();
    Ok(StudentRun::of(student, &scores, losses.0))
}

/// Moves the activation ranges by batches of whole images, and fixes them.
fn read_ranges(student: &Net, images: &dyn ImageSource, config: &StudentConfig) -> Result<()> {
    let plan = plan(config, None);
    let (mut values, mut done, extent) = (Vec::new(), 0, student.input_extent());
    for pass in 0.. {
        let mut epoch = plan.epoch(images, pass);
        while done < config.range_batches
            && let Some(labels) = epoch.try_fill(&mut values)?
        {
            check_interrupt()?;
            let shape = [labels.len(), extent.height, extent.width, extent.channels];
            student.observe_ranges(&images_from_nhwc(&values, shape)?)?;
            done += 1;
        }
        if done == config.range_batches {
            break;
        }
    }
    student.freeze_ranges();
    Ok(())
}

fn plan(config: &StudentConfig, augment: Option<Augment>) -> BatchPlan {
    let plan = BatchPlan::new(config.batch)
        .normalized(Normalize::UNIT)
        .shuffled(config.seed)
        .drop_last();
    match augment {
        Some(augment) => plan.augmented(augment),
        None => plan,
    }
}

/// Cross entropy and distillation on the images; accuracy on the test images.
struct Distil<'a> {
    teacher: Net,
    images: &'a dyn ImageSource,
    test: (&'a dyn ImageSource, &'a Normalize),
    config: &'a StudentConfig,
    epoch: Option<Epoch<'a>>,
    /// Passes over the images that have begun.
    pass: u64,
    values: Vec<f32>,
}

impl Distil<'_> {
    /// The labels of the next batch, whose pixels go to `values`; passes over the images follow one another.
    fn next(&mut self) -> Result<Vec<u32>> {
        for _ in 0..2 {
            if let Some(epoch) = &mut self.epoch
                && let Some(labels) = epoch.try_fill(&mut self.values)?
            {
                return Ok(labels);
            }
            self.begin(self.pass, 0);
        }
        Err(Error::invalid("images", "do not fill a batch"))
    }

    fn begin(&mut self, pass: u64, batches: usize) {
        let mut epoch = plan(self.config, self.config.augment).epoch(self.images, pass);
        epoch.skip_batches(batches);
        (self.epoch, self.pass) = (Some(epoch), pass + 1);
    }
}

impl Task for Distil<'_> {
    fn data(&self) -> Result<String> {
        let (test, normalize) = self.test;
        let images = images_fingerprint(self.images, normalize)?;
        let test = images_fingerprint(test, normalize)?;
        Ok(format!("{images}, test {test}"))
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn start(&mut self, _: usize, step: usize) -> Result<()> {
        let per_pass = (self.images.len() / self.config.batch).max(1);
        self.begin((step / per_pass) as u64, step % per_pass);
        Ok(())
    }

    fn loss(&mut self, student: &Net, _: Step) -> Result<Loss> {
        let labels = self.next()?;
        let extent = student.input_extent();
        let wanted = self.teacher.predict_channels_last(&self.values, extent)?;
        let mut out = student.run_channels_last(&self.values, extent, Mode::Eval)?;
        let weights = (self.config.alpha, self.config.temperature);
        Ok(student_loss(&mut out, &wanted, &labels, weights)?.into())
    }

    fn score(&mut self, net: &Net) -> Result<Option<f32>> {
        let (test, normalize) = self.test;
        match test.is_empty() {
            true => Ok(None),
            false => try_accuracy(net, test, normalize).map(Some),
        }
    }

    fn score_name(&self) -> String {
        "accuracy on test images, %".into()
    }
}
