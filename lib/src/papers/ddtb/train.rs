//! The whole recipe: calibration, static phase, active phase.

use std::sync::{Arc, Mutex, MutexGuard};

use super::{AttentionTransfer, Ddtb, DdtbConfig, Phase, quantise};
use crate::data::{Patches, SrPair};
use crate::nn::{EdsrConfig, Extent, FEATURES, MeanAbsoluteError, Mode, Net, Role, edsr};
use crate::train::{
    Adam, Loss, Observer, Schedule, Shown, SrConfig, SrHistory, SrScore, Step, Task, Trainer,
    evaluate_sr, from_bytes, to_bytes, train_sr, try_total,
};
use crate::{Result, Rng, read, rng};

/// Points of the curves that a run records.
const POINTS: usize = 100;

/// A quantised network and how it came about.
pub struct DdtbRun {
    /// The network.
    pub net: Net,
    /// Its quantisers, in their last phase.
    pub quantisers: Ddtb,
    /// Score on the test pairs at the end.
    pub score: SrScore,
    /// Mean absolute error of each update, in grey levels.
    pub loss: Vec<f32>,
    /// Update and `[lower, upper]` of every site, about a hundred times.
    pub bounds: Vec<(usize, Vec<[f32; 2]>)>,
}

/// Trains `student`, a network with sites that has the teacher's weights, in the bits of `config`.
///
/// The loss is the mean absolute error in grey levels, plus the attention-transfer loss against the full-precision
/// `teacher` at the layer `features`, plus the mean squared logit of the gates until they become active.
///
/// # Errors
/// Settings that contradict each other, sizes that do not fit, an interruption, a loss that is no longer a number.
pub fn train(
    student: &Net,
    teacher: &Net,
    patches: &Patches,
    test: &[SrPair],
    config: &DdtbConfig,
) -> Result<DdtbRun> {
    let mut quantisers = quantise(student, config)?;
    let mut rng = rng(config.seed);
    quantisers.calibrate(student, patches, &mut rng)?;
    quantisers.begin(student)?;
    let course = Course::default();
    let mut task = Transfer {
        teacher,
        patches,
        config,
        seeded: rng.clone(),
        rng,
        course: course.clone(),
    };
    let mut phases = Phases {
        quantisers: &mut quantisers,
        warmup: config.warmup_iterations(),
        every: config.iterations.div_ceil(POINTS).max(1),
        course: course.clone(),
    };
    let adam = Adam::new(config.lr).over(student)?;
    let settings = DdtbConfig {
        checkpoint: None,
        ..config.clone()
    };
    Trainer::new(1, adam.group(Role::Bound, Adam::new(config.bound_lr)))
        .label(format!("{} bits", config.bits))
        .schedule(Schedule::halved(config.halvings), config.lr)
        .observe(&mut phases)
        .checkpoint(
            config.checkpoint.clone(),
            config.iterations.div_ceil(POINTS).max(1),
            format!("{settings:?}"),
        )
        .show(match config.show {
            true => Shown::Progress,
            false => Shown::Nothing,
        })
        .run(student, &mut task)?;
    quantisers.set_phase(Phase::Active);
    let score = evaluate_sr(student, test)?;
    let Noted { loss, bounds } = course.lock().clone();
    Ok(DdtbRun {
        net: student.clone(),
        quantisers,
        score,
        loss,
        bounds,
    })
}

/// What a run notes on its way, shared by the task and its observer.
#[derive(Clone, Default)]
struct Course(Arc<Mutex<Noted>>);

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Noted {
    loss: Vec<f32>,
    bounds: Vec<(usize, Vec<[f32; 2]>)>,
}

impl Course {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The mean absolute error, and the attention-transfer loss against a teacher.
struct Transfer<'a> {
    teacher: &'a Net,
    patches: &'a Patches,
    config: &'a DdtbConfig,
    /// The generator behind calibration.
    seeded: Rng,
    rng: Rng,
    course: Course,
}

impl Task for Transfer<'_> {
    fn data(&self) -> Result<String> {
        Ok(self.patches.fingerprint())
    }

    fn steps(&self) -> usize {
        self.config.iterations
    }

    fn start(&mut self, _: usize, step: usize) -> Result<()> {
        self.rng = self.seeded.clone();
        (0..step).for_each(|_| drop(self.patches.draw(self.config.batch, &mut self.rng)));
        Ok(())
    }

    fn loss(&mut self, student: &Net, _: Step) -> Result<Loss> {
        let count = self.config.batch;
        let batch = self.patches.draw(count, &mut self.rng);
        let size = self.patches.size();
        let mut out =
            student.run_channels_last(&batch.low, Extent::new(3, size, size), Mode::Train)?;
        let low = batch.low_images(count)?;
        let l1 = out.loss(&student.output_name(), MeanAbsoluteError::new(batch.high))?;
        self.course.lock().loss.push(read(&l1)[0]);
        if self.config.attention == 0.0 {
            return Ok(l1.into());
        }
        let target = self.teacher.predict_nodes(&[&low], &[FEATURES])?;
        let attention = out.loss(FEATURES, AttentionTransfer::new(&target[0])?)?;
        let terms = vec![(1.0, l1), (self.config.attention, attention)];
        try_total(terms).map(Loss::from)
    }
}

/// Leads the quantisers from the static to the active phase and notes their bounds.
struct Phases<'a> {
    quantisers: &'a mut Ddtb,
    warmup: usize,
    every: usize,
    course: Course,
}

impl Observer for Phases<'_> {
    fn before_step(&mut self, step: Step, _: &Net) -> Result<()> {
        self.quantisers
            .set_phase(match step.iteration < self.warmup {
                true => Phase::Static,
                false => Phase::Active,
            });
        Ok(())
    }

    fn after_step(&mut self, step: Step, net: &Net, _: f32) -> Result<()> {
        let done = step.iteration + 1;
        if step.iteration.is_multiple_of(self.every) || done == step.total {
            let bounds = self.quantisers.bounds(net)?;
            self.course.lock().bounds.push((done, bounds));
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(&*self.course.lock())
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        *self.course.lock() = from_bytes(state)?;
        self.quantisers.bounds_are_set();
        Ok(())
    }
}

/// An EDSR with sites that has the weights of `teacher`.
///
/// # Errors
/// As [`edsr`].
pub fn quantised_edsr(teacher: &Net, config: &EdsrConfig) -> Result<Net> {
    let student = edsr(
        &EdsrConfig {
            sites: true,
            ..*config
        },
        rng(0),
    )?;
    student.copy_parameters(teacher)?;
    Ok(student)
}

/// The control without a body: head, long skip and tail of `teacher`, no residual block, trained on in full precision.
///
/// What a quantised network scores below this, its body costs rather than brings.
///
/// # Errors
/// As [`train_sr`].
pub fn fine_tune_without_body(
    teacher: &Net,
    config: &EdsrConfig,
    patches: &Patches,
    test: &[SrPair],
    run: &SrConfig,
) -> Result<SrHistory> {
    let bare = edsr(
        &EdsrConfig {
            blocks: 0,
            ..*config
        },
        rng(0),
    )?;
    bare.copy_parameters(teacher)?;
    train_sr(&bare, patches, test, run)
}
