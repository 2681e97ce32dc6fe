//! The whole recipe: calibration, static phase, active phase.

use std::path::Path;

use super::attention::attention_loss_grad;
use super::{Ddtb, DdtbConfig, Phase, quantise};
use crate::data::{PatchBatch, Patches, SrPair};
use crate::nn::{EdsrConfig, FEATURES, Mode, Net, edsr};
use crate::ops::l1_loss::L1LossKernel;
use crate::show::{Progress, check_interrupt};
use crate::train::{
    Adam, Schedule, SrConfig, SrHistory, SrScore, check_loss, evaluate_sr, train_sr,
};
use crate::{HostAccess, Result, dev, rng};

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
    for net in [student, teacher] {
        let mut inner = net.lock();
        let features = inner.node(FEATURES)?;
        inner.watch(features);
    }
    let schedule = Schedule::halved(config.halvings);
    let warmup = config.warmup_iterations();
    let every = config.iterations.div_ceil(POINTS).max(1);
    let mut adam = Adam::new(student, config.lr, config.bound_lr);
    let (mut loss, mut bounds) = (Vec::new(), Vec::new());
    let label = format!("{} bits", config.bits);
    let mut progress = Progress::new(label, Some(config.iterations as u64));
    for iteration in 0..config.iterations {
        check_interrupt()?;
        if iteration == warmup {
            quantisers.set_phase(Phase::Active);
        }
        let batch = patches.draw(config.batch, &mut rng);
        let l1 = step(student, teacher, patches.size(), &batch, config)?;
        check_loss(l1, iteration)?;
        adam.update(
            student,
            schedule.factor(iteration as f32 / config.iterations as f32),
        )?;
        loss.push(l1);
        if iteration % every == 0 || iteration + 1 == config.iterations {
            bounds.push((iteration + 1, quantisers.bounds(student)?));
        }
        progress.inc(1);
    }
    progress.finish();
    quantisers.set_phase(Phase::Active);
    let score = evaluate_sr(student, test)?;
    Ok(DdtbRun {
        net: student.clone(),
        quantisers,
        score,
        loss,
        bounds,
    })
}

/// One forward and backward pass; returns the mean absolute error.
fn step(
    student: &Net,
    teacher: &Net,
    size: usize,
    batch: &PatchBatch,
    config: &DdtbConfig,
) -> Result<f32> {
    let samples = batch.low.len() / (size * size * 3);
    let target = {
        let mut inner = teacher.lock();
        inner.fit(size, size)?;
        let features = inner.node(FEATURES)?;
        let pass = inner.forward(&batch.low, Mode::Eval, false)?;
        let kept = pass.activation(features).expect("a watched layer");
        let kept = kept.view()?.into_owned();
        inner.recycle(pass);
        kept
    };
    let mut inner = student.lock();
    inner.fit(size, size)?;
    let (output, features) = (inner.output, inner.node(FEATURES)?);
    let channels = inner.nodes[features].extent[2];
    let pass = inner.forward(&batch.low, Mode::Train, true)?;
    let y = pass.output(output);
    let mut dy = inner.pool.take(y.elements())?;
    let l1 = dev().l1_loss(y, &batch.high, &mut dy)?;
    let mut tops = vec![(output, dy)];
    if config.attention > 0.0 {
        let ours = pass.activation(features).expect("everything is kept");
        let mut d = inner.pool.take(ours.elements())?;
        let ours = ours.view()?;
        d.edit(|d| attention_loss_grad((samples, channels), &ours, &target, config.attention, d))?;
        tops.push((features, d));
    }
    inner.backward_from(pass, tops, false)?;
    Ok(l1)
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

/// The full-precision EDSR x2 that quantisation starts from, and its size.
///
/// Trained by `cargo run --release -p rebit --example train_edsr`; recipe, log and scores lie beside the weights in
/// `lib/weights`.
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_edsr() -> Result<(Net, EdsrConfig)> {
    let config = EdsrConfig {
        blocks: 8,
        channels: 32,
        ..EdsrConfig::default()
    };
    let net = edsr(&config, rng(0))?;
    let bytes = include_bytes!("../../../weights/edsr_x2.safetensors");
    net.load_bytes(Path::new("weights/edsr_x2.safetensors"), bytes)?;
    Ok((net, config))
}
