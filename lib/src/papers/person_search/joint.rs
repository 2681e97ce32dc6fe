//! Detector and re-ID network in one loss.

use dfdx::prelude::{Backward, Trace};

use super::proposals::{clipped, proposals};
use super::state::State;
use super::{PersonSearchConfig, Proposals, Proxies};
use crate::boxes::BoxXyxy;
use crate::data::people::{CutConfig, cut_people, photo_batch};
use crate::data::{FloatImages, ImageSource, Scene, scenes_fingerprint};
use crate::nn::detector::{BOXES, cell_boxes};
use crate::nn::reid::{FEATURE, IDENTITIES, features, identities, identity_loss};
use crate::nn::{Activations, Mode, Net};
use crate::ops::l2_normalise::try_l2_normalise;
use crate::ops::roi_transform::{RoiTransform, try_roi_transform};
use crate::ops::triplet::{ProxyTable, try_proxy_triplet};
use crate::show::{Progress, check_interrupt};
use crate::train::{
    Adam, Groups, Optimiser, RunFile, detection_loss, norms_fingerprint, scene_batch, try_total,
};
use crate::{Error, Images, Matrix, Result, Scalar, Taped, from_vec, read};

/// What each step came to, a number a step; 0 for a loss that was not computed.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PersonSearchTrace {
    /// `L_det`.
    pub detection: Vec<f32>,
    /// `L_id`.
    pub identity: Vec<f32>,
    /// `L_tp`.
    pub proxy: Vec<f32>,
    /// Boxes that were cut out.
    pub boxes: Vec<usize>,
    /// Boxes that could not be, in all.
    pub dropped: usize,
}

/// What a joint training leaves.
#[derive(Clone)]
pub struct PersonSearchRun {
    /// The refined detector.
    pub detector: Net,
    /// The re-ID network: as it was, unless it was trained.
    pub reid: Net,
    /// The proxies, where there were any.
    pub proxies: Option<ProxyTable>,
    /// The losses.
    pub trace: PersonSearchTrace,
}

/// Trains copies of a detector and of a re-ID network on scenes by `L_det + lambda (L_id + L_tp)`.
///
/// In each step the detector's surest boxes on annotated people ([`proposals`]) are cut out of the scenes by the ROI
/// transform layer and read by the re-ID network, which is to name the people; identities are classes of the re-ID
/// network. Both networks run on their running statistics. The networks that are given are not changed. The same settings
/// give the same networks, also after an interruption when there is a [`checkpoint`](PersonSearchConfig::checkpoint).
///
/// ```
/// use rebit::nn::{DetectorConfig, ReidNetConfig, detector, reid};
/// use rebit::papers::person_search::{PersonSearchConfig, joint};
/// use rebit::prelude::*;
/// let scenes = World::new(WorldConfig::default())?.scenes(0..3)?;
/// let (det, id) = (detector(&DetectorConfig::default(), rng(0))?, reid(&ReidNetConfig::light(100), rng(1))?);
/// let config = PersonSearchConfig { steps: 2, scenes: 2, show: false, ..PersonSearchConfig::default() };
/// let run = joint(&det, &id, &scenes, &config)?;
/// assert_eq!(run.trace.detection.len(), 2);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: arXiv:1909.08580; see the [module](super) for what is the paper's and what is ours.
///
/// # Errors
/// [`Error::Invalid`] for settings that mean nothing, networks of other kinds, no scenes, an identity beyond the re-ID
/// network's and a loss that is no longer a number; [`Error::Shape`] for scenes of different sizes; [`Error::Data`] for a
/// checkpoint of another run; [`Error::Interrupted`].
pub fn joint(
    detector: &Net,
    reid: &Net,
    scenes: &[Scene],
    config: &PersonSearchConfig,
) -> Result<PersonSearchRun> {
    let mut run = Run::new(detector, reid, scenes, config)?;
    run.go(config.steps)?;
    Ok(PersonSearchRun {
        detector: run.detector,
        reid: run.reid,
        proxies: run.proxies,
        trace: run.trace,
    })
}

/// Version of the format of a run's file.
const FORMAT: &str = "rebit person search 2";

/// A run under way.
pub(super) struct Run<'a> {
    pub detector: Net,
    pub reid: Net,
    pub optimisers: [Groups; 2],
    pub proxies: Option<ProxyTable>,
    identities: usize,
    scenes: &'a [Scene],
    config: &'a PersonSearchConfig,
    file: RunFile,
    pub trace: PersonSearchTrace,
    pub done: usize,
}

/// The losses of a step, on one tape, with their weights.
struct Losses {
    terms: Vec<(f32, Scalar<Taped>)>,
    /// Features of the boxes, for the proxies.
    seen: Option<(Matrix, Vec<u32>)>,
}

impl<'a> Run<'a> {
    pub fn new(
        detector: &Net,
        reid: &Net,
        scenes: &'a [Scene],
        config: &'a PersonSearchConfig,
    ) -> Result<Self> {
        config.check()?;
        if scenes.is_empty() {
            return Err(Error::invalid("0 scenes", "hold nothing to learn from"));
        }
        let file = RunFile::new(config.checkpoint.clone(), FORMAT)
            .of("settings", config.settings())
            .of("detector", norms_fingerprint(&detector.norms()))
            .of("re-ID network", norms_fingerprint(&reid.norms()))
            .of("set of scenes", scenes_fingerprint(scenes));
        // What is trained is the routing's to say, not that of the handles that were given.
        let (detector, reid) = (detector.duplicate()?.thawed(), reid.duplicate()?.thawed());
        let optimisers = [
            Adam::new(config.lr).over(&detector)?,
            Adam::new(config.reid_lr).over(&reid)?,
        ];
        let mut run = Run {
            identities: identities(&reid)?,
            proxies: None,
            detector,
            reid,
            optimisers,
            scenes,
            config,
            file,
            trace: PersonSearchTrace::default(),
            done: 0,
        };
        match (run.file.read::<State>()?, config.proxies) {
            (Some(found), _) => found.put(&mut run)?,
            (None, Some(proxies)) => run.proxies = Some(run.first_proxies(proxies)?),
            (None, None) => {}
        }
        Ok(run)
    }

    /// Takes the run to its step `until`.
    pub fn go(&mut self, until: usize) -> Result<()> {
        let config = self.config;
        let total = config.steps as u64;
        let mut bar = config
            .show
            .then(|| Progress::new("person search", Some(total)));
        for step in self.done..until {
            if let Err(stop) = check_interrupt() {
                self.save()?;
                return Err(stop);
            }
            if let Some(bar) = &mut bar {
                bar.set(step as u64);
            }
            self.step(step)?;
            self.done = step + 1;
            if self.done.is_multiple_of(config.save_every.max(1)) || self.done == config.steps {
                self.save()?;
            }
        }
        if let Some(bar) = &mut bar {
            bar.finish();
        }
        Ok(())
    }

    fn step(&mut self, step: usize) -> Result<()> {
        let config = self.config;
        let (detector_moves, reid_moves) = config.moves(step);
        let batch = scene_batch(self.scenes.len(), config.scenes, config.seed, step);
        let batch: Vec<&Scene> = batch.into_iter().map(|k| &self.scenes[k]).collect();
        let images = photo_batch(batch.iter().map(|s| &s.image))?;
        let detector = match detector_moves {
            true => self.detector.clone(),
            false => self.detector.frozen(),
        };
        let mut pass = detector.run(&images, Mode::Eval)?;
        let mut losses = Losses {
            terms: Vec::new(),
            seen: None,
        };
        let mut told = [0.0; 3];
        if detector_moves && config.routing.detection {
            let annotated: Vec<Vec<BoxXyxy>> = batch.iter().map(|s| s.annotated.clone()).collect();
            let loss = detection_loss(&mut pass, &annotated, config.focal)?;
            told[0] = number("the detection loss", &loss, step)?;
            losses.terms.push((1.0, loss));
        }
        let mut cut = 0;
        if config.lambda > 0.0 && (reid_moves || config.routing.boxes) {
            let found = proposals(&pass, &batch, self.identities, config)?;
            (cut, self.trace.dropped) = (found.cells.len(), self.trace.dropped + found.dropped);
            if cut > 0 {
                let from = (pass, images, detector_moves && config.routing.boxes);
                self.reid_losses(from, &found, (step, reid_moves), (&mut losses, &mut told))?;
            }
        }
        self.trace.detection.push(told[0]);
        self.trace.identity.push(told[1]);
        self.trace.proxy.push(told[2]);
        self.trace.boxes.push(cut);
        // A step without people, or with nothing on a tape, moves nobody.
        if losses.terms.is_empty() {
            return Ok(());
        }
        let mut grads = try_total(losses.terms)?.backward();
        let factor = config.schedule.factor(step as f32 / config.steps as f32);
        let [of_detector, of_reid] = &mut self.optimisers;
        of_detector.set_factor(factor);
        of_reid.set_factor(factor);
        if detector_moves {
            of_detector.step(&mut grads)?;
        }
        if reid_moves {
            of_reid.step(&mut grads)?;
        }
        if let (Some(table), Some((features, labels))) = (&mut self.proxies, losses.seen) {
            table.update(&features, &labels)?;
        }
        Ok(())
    }

    /// `L_id` and `L_tp` of the boxes of some cells.
    fn reid_losses(
        &self,
        (mut pass, images, to_boxes): (Activations, Images, bool),
        found: &Proposals,
        (step, reid_moves): (usize, bool),
        (losses, told): (&mut Losses, &mut [f32; 3]),
    ) -> Result<()> {
        let config = self.config;
        if !to_boxes && !reid_moves {
            return Ok(());
        }
        let extent = self.reid.input_extent();
        let how = RoiTransform {
            images: found.cells.iter().map(|c| c.image as u32).collect(),
            out: (extent.height, extent.width),
            supersample: false,
            constant_images: true,
        };
        let count = found.cells.len();
        let mut read_by = match to_boxes {
            true => {
                let boxes = cell_boxes(pass.images(BOXES)?, &found.cells)?;
                let boxes = clipped(boxes, config.lambda * config.clip / count as f32)?;
                let crops = try_roi_transform(images.leaky_trace(), boxes, how)?;
                match reid_moves {
                    true => self.reid.trace_on(crops, Mode::Eval)?,
                    false => self.reid.frozen().trace_on(crops, Mode::Eval)?,
                }
            }
            false => {
                let boxes: Matrix = from_vec(found.boxes.concat(), (count, 4))?;
                let crops = try_roi_transform(images, boxes, how)?;
                self.reid.run(&crops, Mode::Eval)?
            }
        };
        let answers = read_by.matrix(IDENTITIES)?;
        let identity = identity_loss(answers, &found.labels, self.identities)?;
        told[1] = number("the identity loss", &identity, step)?;
        losses.terms.push((config.lambda, identity));
        if let (Some(table), Some(proxies)) = (&self.proxies, config.proxies) {
            let feature = try_l2_normalise(read_by.matrix(FEATURE)?)?;
            let values: Matrix = from_vec(read(&feature), *shape_of(&feature))?;
            let loss = try_proxy_triplet(feature, &found.labels, table, proxies.margin)?;
            told[2] = number("the proxy triplet loss", &loss, step)?;
            losses.terms.push((config.lambda * proxies.weight, loss));
            losses.seen = Some((values, found.labels.clone()));
        }
        Ok(())
    }

    /// The mean of what the re-ID network says of each person's annotated boxes.
    fn first_proxies(&self, proxies: Proxies) -> Result<ProxyTable> {
        let extent = self.reid.input_extent();
        let boxes: Vec<Vec<BoxXyxy>> = self.scenes.iter().map(|s| s.annotated.clone()).collect();
        let config = CutConfig {
            size: (extent.height, extent.width),
            ..CutConfig::default()
        };
        let people = cut_people(self.scenes, &boxes, &config)?;
        let rows = all_features(&self.reid, &people)?;
        let columns = rows.len() / people.len();
        let mut table = ProxyTable::new(self.identities, columns, proxies.momentum)?;
        let rows: Matrix = from_vec(rows, (people.len(), columns))?;
        table.update(&rows, people.labels())?;
        Ok(table)
    }

    fn save(&self) -> Result<()> {
        self.file.write(|| State::of(self))
    }
}

fn shape_of(x: &Matrix<Taped>) -> &(usize, usize) {
    use dfdx::prelude::HasShape;
    x.shape()
}

/// A loss, which must be a number.
fn number(what: &str, loss: &Scalar<Taped>, step: usize) -> Result<f32> {
    let value = read(loss)[0];
    match value.is_finite() {
        true => Ok(value),
        false => Err(Error::invalid(
            format!("{what} of step {}", step + 1),
            format!("is {value}: the run diverged; lower lr, reid_lr or lambda"),
        )),
    }
}

/// The features of all pictures, one after the other.
fn all_features(reid: &Net, people: &FloatImages) -> Result<Vec<f32>> {
    let [channels, height, width] = people.extent();
    let mut rows = Vec::new();
    let all: Vec<usize> = (0..people.len()).collect();
    for part in all.chunks(64) {
        check_interrupt()?;
        let values = part.iter().filter_map(|&k| people.values(k));
        let values = values.flatten().copied().collect();
        let x = from_vec(values, (part.len(), channels, height, width))?;
        rows.extend(read(&features(reid, &x)?));
    }
    Ok(rows)
}
