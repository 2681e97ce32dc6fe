//! The generator and the students, step by step.

use dfdx::prelude::Backward;

use super::centres::norms_of;
use super::state::State;
use super::student::{Batch, Given, Student, check_given, finite};
use super::{Centres, Drawn, FddaConfig, GeneratorLosses, RangesFrom, generator, generator_loss};
use crate::data::{ImageSource, Normalize, epoch_rng, images_fingerprint};
use crate::nn::Net;
use crate::ptq::StudentRun;
use crate::show::{Progress, check_interrupt};
use crate::train::{Adam, Groups, Optimiser, RunFile, norms_fingerprint};
use crate::{Error, Result, Rng, read, rng};

/// The generator's losses, a number a step; those of parts that were not asked for are empty.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FddaTrace {
    /// The weighted sum.
    pub total: Vec<f32>,
    /// Cross entropy of the mixed batch.
    pub class: Vec<f32>,
    /// `L_BNS`.
    pub statistics: Vec<f32>,
    /// Cross entropy of the batch of one class.
    pub single: Vec<f32>,
    /// `L_C`.
    pub centralised: Vec<f32>,
    /// `L_D`.
    pub distorted: Vec<f32>,
}

/// What a run leaves.
pub struct FddaRun {
    /// A low-bit network for each of the levels that were asked for.
    pub students: Vec<StudentRun>,
    /// The generator, where there was one.
    pub generator: Option<Net>,
    /// Its losses.
    pub trace: FddaTrace,
}

/// Quantises copies of `net` with the help of a few labelled images, one a class, and of a generator that learns from
/// them and from the network.
///
/// In each step the generator moves by [`generator_loss`]; after the warm-up each student then moves by
/// [`student_loss`](crate::ptq::student_loss) on calibration images and on the images of the generator's mixed batch, with
/// `net` as its teacher. All networks run on `net`'s running statistics; `net` is not changed. The same settings give the
/// same students, also after an interruption when there is a [`checkpoint`](FddaConfig::checkpoint).
///
/// `calibration` and `test` are normalised as `net` was trained; of a class's calibration images the first is its centre.
///
/// ```
/// use rebit::papers::fdda::{FddaConfig, RangesFrom, quantise};
/// use rebit::prelude::*;
/// let net = rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 2, rng(0))?;
/// let calibration = FloatImages::new("few", &images(8, 3, 8, 8, &mut rng(1)), vec![0, 1, 0, 1, 0, 1, 0, 1])?;
/// let config = FddaConfig { batch: 4, real: 4, warmup: 3, steps: 2, show: false,
///     ranges: RangesFrom::WarmedUp(3), ..FddaConfig::small(3).gdfq() };
/// let run = quantise(&net, &calibration, (&calibration, &Normalize::UNIT), &config)?;
/// assert_eq!((run.students.len(), run.trace.total.len()), (1, 5));
/// # Ok::<(), Error>(())
/// ```
///
/// Source: arXiv:2109.04186. Of the authors' code is left out that in the first epochs classes are drawn of which the
/// network does not recognise the image, with noise alone for targets.
///
/// # Errors
/// [`Error::Invalid`] for settings that mean nothing, a network without batch norms, a class without its image, labels that
/// are no class, and a loss that is no longer a number; [`Error::Shape`] for images of another size; [`Error::Data`] for a
/// checkpoint of another run; [`Error::Interrupted`].
pub fn quantise(
    net: &Net,
    calibration: &dyn ImageSource,
    (test, normalize): (&dyn ImageSource, &Normalize),
    config: &FddaConfig,
) -> Result<FddaRun> {
    let given = |images| Given { images, normalize };
    let mut run = Run::new(net, given(calibration), config)?;
    run.go(given(test), config.warmup + config.steps)?;
    Ok(FddaRun {
        students: run.students.into_iter().map(Student::finish).collect(),
        generator: run.generator.map(|made| made.net),
        trace: run.trace,
    })
}

/// A generator, its optimiser and what it learns.
pub(super) struct Made {
    net: Net,
    pub adam: Groups,
    losses: GeneratorLosses,
    centres: Option<Centres>,
}

/// Version of the format of a run's file.
const FORMAT: &str = "rebit fdda 2";

/// A run under way.
pub(super) struct Run<'a> {
    teacher: Net,
    calibration: Given<'a>,
    config: &'a FddaConfig,
    file: RunFile,
    pub generator: Option<Made>,
    pub students: Vec<Student>,
    pub trace: FddaTrace,
    pub done: usize,
}

impl<'a> Run<'a> {
    pub fn new(net: &Net, calibration: Given<'a>, config: &'a FddaConfig) -> Result<Self> {
        config.check()?;
        let norms = norms_of(net)?;
        let (image, out) = (net.input_extent(), net.output_extent());
        if out.pixels() != 1 {
            return Err(Error::shape("FDDA", "a network with logits", out));
        }
        let found = calibration.images.extent();
        if found != [image.channels, image.height, image.width] {
            let expected = format!("calibration images of {image}");
            return Err(Error::shape("FDDA", expected, format!("{found:?}")));
        }
        check_given(calibration, out.channels)?;
        let make = |losses: GeneratorLosses| -> Result<Made> {
            let made = generator(config.shape, image, out.channels, rng(config.seed))?;
            let centres = match losses.of_one_class() {
                true => {
                    let Given { images, normalize } = calibration;
                    Some(Centres::of(net, images, normalize)?)
                }
                false => None,
            };
            let adam = Adam::new(config.generator_lr).betas(0.5, 0.999);
            Ok(Made {
                adam: adam.over(&made)?,
                net: made,
                losses,
                centres,
            })
        };
        let mut run = Run {
            teacher: net.frozen(),
            calibration,
            config,
            file: RunFile::new(config.checkpoint.clone(), FORMAT)
                .of("settings", config.settings())
                .of("network", norms_fingerprint(&norms))
                .of(
                    "calibration set",
                    images_fingerprint(calibration.images, calibration.normalize)?,
                ),
            generator: config.losses.map(make).transpose()?,
            students: Student::all(net, config)?,
            trace: FddaTrace::default(),
            done: 0,
        };
        match (run.file.read::<State>()?, config.ranges) {
            (Some(found), _) => found.put(&mut run)?,
            (None, RangesFrom::Calibration(batches)) => run.read_calibration(batches)?,
            (None, _) => {}
        }
        if run.done >= config.range_steps().end {
            run.freeze();
        }
        Ok(run)
    }

    /// Takes the run to its step `until`.
    pub fn go(&mut self, test: Given, until: usize) -> Result<()> {
        let (config, total) = (self.config, self.config.warmup + self.config.steps);
        let mut bar = config
            .show
            .then(|| Progress::new("FDDA", Some(total as u64)));
        for step in self.done..until {
            if let Err(stop) = check_interrupt() {
                self.save()?;
                return Err(stop);
            }
            if let Some(bar) = &mut bar {
                bar.set(step as u64);
            }
            self.step(step, test)?;
            self.done = step + 1;
            if self.done.is_multiple_of(config.save_every.max(1)) || self.done == total {
                self.save()?;
            }
        }
        if until == total && config.steps == 0 {
            self.measure(test)?;
        }
        if let Some(bar) = &mut bar {
            bar.finish();
        }
        Ok(())
    }

    fn step(&mut self, step: usize, test: Given) -> Result<()> {
        let config = self.config;
        let mut drawn = epoch_rng(config.seed, step as u64);
        let generated = match &mut self.generator {
            Some(made) => {
                Some(made.step((step, &self.teacher, config), &mut self.trace, &mut drawn)?)
            }
            None => None,
        };
        let ranges = config.range_steps();
        if let Some(batch) = generated.as_ref().filter(|_| ranges.contains(&step)) {
            let x = batch.images(&self.teacher)?;
            let each = self.students.iter();
            each.map(|s| s.net.observe_ranges(&x))
                .collect::<Result<Vec<_>>>()?;
        }
        if step + 1 == ranges.end {
            self.freeze();
        }
        let Some(step) = step.checked_sub(config.warmup) else {
            return Ok(());
        };
        let every = config.eval_every;
        if step == 0 || (every > 0 && step.is_multiple_of(every)) {
            self.measure(test)?;
        }
        // Students' images are drawn by themselves: the same for every generator.
        let mut drawn = epoch_rng(!config.seed, step as u64);
        let batch = self.students_batch(step, generated, &mut drawn)?;
        let wanted = self
            .teacher
            .predict_channels_last(&batch.values, self.teacher.input_extent())?;
        for student in &mut self.students {
            student.step((&batch, &wanted), (config, step))?;
        }
        match step + 1 == config.steps {
            true => self.measure(test),
            false => Ok(()),
        }
    }

    fn students_batch(
        &self,
        step: usize,
        generated: Option<Batch>,
        drawn: &mut Rng,
    ) -> Result<Batch> {
        let config = self.config;
        let mut batch = Batch::default();
        if config.real > 0 {
            let augment = config.augment.as_ref().map(|a| (a, &mut *drawn));
            let at = (step, config.real);
            batch = batch.and(self.calibration.batch(at, config.seed, augment)?);
        }
        if let Some(made) = generated {
            let augment = config.augment_generated.as_ref().map(|a| (a, drawn));
            let x = made.images(&self.teacher)?;
            batch = batch.and(Batch::generated(&x, &made.labels, augment)?);
        }
        Ok(batch)
    }

    fn measure(&mut self, test: Given) -> Result<()> {
        self.students.iter_mut().try_for_each(|s| s.measure(test))
    }

    fn read_calibration(&self, batches: usize) -> Result<()> {
        let config = self.config;
        let size = config.real.clamp(1, self.calibration.images.len().max(1));
        for number in 0..batches {
            check_interrupt()?;
            let batch = self.calibration.batch((number, size), config.seed, None)?;
            let x = batch.images(&self.teacher)?;
            for student in &self.students {
                student.net.observe_ranges(&x)?;
            }
        }
        Ok(())
    }

    fn freeze(&self) {
        self.students.iter().for_each(|s| s.net.freeze_ranges());
    }

    fn save(&self) -> Result<()> {
        self.file.write(|| State::of(self))
    }
}

impl Made {
    /// One step; the images of its mixed batch.
    fn step(
        &mut self,
        (step, teacher, config): (usize, &Net, &FddaConfig),
        trace: &mut FddaTrace,
        drawn: &mut Rng,
    ) -> Result<Batch> {
        let classes = teacher.output_extent().channels;
        let centres = self.centres.as_ref().map(|c| (c, self.losses.distortion));
        let drawn = Drawn::new(&self.net, (config.batch, classes), centres, drawn)?;
        let loss = generator_loss(&self.net, teacher, &drawn, &self.losses)?;
        let progress = step as f32 / (config.warmup + config.steps) as f32;
        let factor = config.generator_schedule.factor(progress);
        let total = read(&loss.total)[0];
        finite(
            "the generator's loss",
            total,
            step,
            config.generator_lr * factor,
        )?;
        trace.total.push(total);
        trace.class.push(loss.class);
        trace.statistics.push(loss.statistics);
        trace.single.extend(loss.single);
        trace.centralised.extend(loss.centralised);
        trace.distorted.extend(loss.distorted);
        let mut grads = loss.total.backward();
        self.adam.set_factor(factor);
        self.adam.step(&mut grads)?;
        Ok(Batch {
            values: loss.mixed,
            labels: drawn.labels,
        })
    }
}
