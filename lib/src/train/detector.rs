//! Training a detector of people.

use std::path::PathBuf;

use dfdx::prelude::HasShape;
use rand::seq::SliceRandom;

use super::{Adam, History, Loss, Schedule, Step, Task, Trainer, try_total};
use crate::boxes::{BoxXyxy, area, usable};
use crate::data::people::photo_batch;
use crate::data::{Scene, epoch_rng, scenes_fingerprint};
use crate::metrics::{DetectionConfig, detection};
use crate::nn::detector::{BOXES, Cell, DetectConfig, SCORE, STRIDE, cell_boxes, found_in};
use crate::nn::{Activations, Mode, Net};
use crate::ops::focal::{Focal, try_focal};
use crate::ops::giou_loss::try_giou_loss;
use crate::{Error, Result, Scalar, Taped};

/// Settings of [`train_detector`].
#[derive(Clone, Debug, PartialEq)]
pub struct TrainDetectorConfig {
    /// Name of the run in figures and messages.
    pub label: String,
    /// Steps.
    pub steps: usize,
    /// Scenes of a step.
    pub scenes: usize,
    /// Adam's learning rate.
    pub lr: f32,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// The loss of the scores.
    pub focal: Focal,
    /// Seed of the batches.
    pub seed: u64,
    /// Steps between two measurements on the test scenes; 0 measures at the end only.
    pub eval_every: usize,
    /// Where the run's state is written at each measurement, and continued from.
    pub checkpoint: Option<PathBuf>,
    /// Live progress.
    pub show: bool,
}

impl Default for TrainDetectorConfig {
    fn default() -> Self {
        TrainDetectorConfig {
            label: "detector".into(),
            steps: 700,
            scenes: 8,
            lr: 1e-3,
            schedule: Schedule::cosine(0.1),
            focal: Focal {
                alpha: 0.5,
                gamma: 2.0,
            },
            seed: 1,
            eval_every: 0,
            checkpoint: None,
            show: true,
        }
    }
}

impl TrainDetectorConfig {
    fn settings(&self) -> String {
        let bare = TrainDetectorConfig {
            label: String::new(),
            checkpoint: None,
            show: false,
            ..self.clone()
        };
        format!("{bare:?}")
    }
}

/// What the cells of a batch should say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellTargets {
    /// Whether each cell should see a person, image by image and row by row.
    pub positive: Vec<bool>,
    /// Those that should.
    pub cells: Vec<Cell>,
    /// The box that each of them should say.
    pub boxes: Vec<BoxXyxy>,
    /// Boxes that were left out: without a finite, positive area of 4 pixels in each direction within the image.
    pub dropped: usize,
}

impl CellTargets {
    /// The cells in the central half of each box, of several boxes the smallest one's; a box between all centres has the
    /// cell that holds its own. `maps` are rows and columns of the detector's maps, `size` is height and width of the images.
    ///
    /// Source: after Tian et al., arXiv:1904.01355, section 3.1; the central half is a choice of this library.
    ///
    /// ```
    /// use rebit::train::CellTargets;
    /// let targets = CellTargets::of(&[vec![[0.0, 0.0, 16.0, 32.0]]], (4, 4), (32, 32));
    /// // Columns 0 and 1, rows 1 and 2.
    /// assert_eq!(targets.cells.len(), 4);
    /// assert!(targets.positive[4] && targets.positive[9] && !targets.positive[0]);
    /// ```
    pub fn of(
        annotated: &[Vec<BoxXyxy>],
        maps: (usize, usize),
        size: (usize, usize),
    ) -> CellTargets {
        let (rows, columns) = maps;
        let mut targets = CellTargets {
            positive: vec![false; annotated.len() * rows * columns],
            ..CellTargets::default()
        };
        for (image, boxes) in annotated.iter().enumerate() {
            let usable = usable(boxes, size, 4.0);
            targets.dropped += usable.dropped;
            let mut owner: Vec<Option<BoxXyxy>> = vec![None; rows * columns];
            let mut boxes: Vec<BoxXyxy> = usable.kept.iter().map(|&k| boxes[k]).collect();
            // The smallest last, so that it keeps its cells.
            boxes.sort_by(|a, b| area(*b).total_cmp(&area(*a)));
            for b in boxes {
                let centre = [(b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0];
                let quarter = [(b[2] - b[0]) / 4.0, (b[3] - b[1]) / 4.0];
                let within = |k: &usize| {
                    let at = Cell::number(*k, maps).centre();
                    (0..2).all(|axis| (at[axis] - centre[axis]).abs() <= quarter[axis])
                };
                let mut cells: Vec<usize> = (0..rows * columns).filter(within).collect();
                if cells.is_empty() {
                    let cell = |v: f32, most: usize| {
                        ((v / STRIDE as f32).max(0.0) as usize).min(most.saturating_sub(1))
                    };
                    cells.push(cell(centre[1], rows) * columns + cell(centre[0], columns));
                }
                cells.into_iter().for_each(|k| owner[k] = Some(b));
            }
            for (k, b) in owner.into_iter().enumerate() {
                let Some(b) = b else { continue };
                targets.positive[image * rows * columns + k] = true;
                targets.cells.push(Cell {
                    image,
                    ..Cell::number(k, maps)
                });
                targets.boxes.push(b);
            }
        }
        targets
    }
}

/// The loss of a detector's pass on a batch of scenes with these annotated boxes:
///
/// ```text
/// L_det = focal loss of the scores, by the number of positive cells + mean of 1 - GIoU over the positive cells
/// ```
///
/// ```
/// use rebit::data::people::photo_batch;
/// use rebit::nn::{DetectorConfig, detector};
/// use rebit::prelude::*;
/// use rebit::train::detection_loss;
/// let scene = World::new(WorldConfig::default())?.scene(0);
/// let net = detector(&DetectorConfig::default(), rng(0))?;
/// let mut pass = net.run(&photo_batch([&scene.image])?, Mode::Train)?;
/// let loss = detection_loss(&mut pass, &[scene.annotated.clone()], Focal::default())?;
/// loss.backward();
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there are boxes for each image, and as [`Activations::images`].
pub fn detection_loss(
    pass: &mut Activations,
    annotated: &[Vec<BoxXyxy>],
    focal: Focal,
) -> Result<Scalar<Taped>> {
    let scores = pass.images(SCORE)?;
    let (count, _, rows, columns) = *scores.shape();
    if annotated.len() != count {
        let expected = format!("boxes for each of {count} images");
        return Err(Error::shape("detection_loss", expected, annotated.len()));
    }
    let size = (rows * STRIDE, columns * STRIDE);
    let targets = CellTargets::of(annotated, (rows, columns), size);
    let score = try_focal(scores, &targets.positive, focal)?;
    let maps = pass.images(BOXES)?;
    let boxes = cell_boxes(maps, &targets.cells)?;
    let place = try_giou_loss(boxes, &targets.boxes)?;
    try_total(vec![(1.0, score), (1.0, place)])
}

/// `count` different scenes for step `step`, by their numbers; all of them, in some order, where there are fewer.
pub fn scene_batch(scenes: usize, count: usize, seed: u64, step: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scenes).collect();
    let (drawn, _) = order.partial_shuffle(&mut epoch_rng(seed, step as u64), count);
    drawn.to_vec()
}

struct Detecting<'a> {
    scenes: &'a [Scene],
    test: &'a [Scene],
    config: &'a TrainDetectorConfig,
}

impl Task for Detecting<'_> {
    fn data(&self) -> Result<String> {
        Ok(scenes_fingerprint(self.scenes))
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn start(&mut self, _: usize, _: usize) -> Result<()> {
        Ok(())
    }

    fn loss(&mut self, net: &Net, step: Step) -> Result<Loss> {
        let config = self.config;
        let (all, seed) = (self.scenes.len(), config.seed);
        let batch = scene_batch(all, config.scenes, seed, step.iteration);
        let batch: Vec<&Scene> = batch.into_iter().map(|k| &self.scenes[k]).collect();
        let images = photo_batch(batch.iter().map(|s| &s.image))?;
        let annotated: Vec<_> = batch.iter().map(|s| s.annotated.clone()).collect();
        let mut pass = net.run(&images, Mode::Train)?;
        detection_loss(&mut pass, &annotated, config.focal).map(Loss::from)
    }

    fn score(&mut self, net: &Net) -> Result<Option<f32>> {
        if self.test.is_empty() {
            return Ok(None);
        }
        let found = found_in(net, self.test, &DetectConfig::default())?;
        let report = detection(&found, &DetectionConfig::default())?;
        Ok(Some(100.0 * report.recall as f32))
    }

    fn score_name(&self) -> String {
        "people found in test scenes, %".into()
    }
}

/// Trains a [`detector`](crate::nn::detector()) on the annotated boxes of scenes by [`detection_loss`]; Adam. The score is the
/// share of the people of `test` that are found, at IoU 0.5 with their tight boxes; none without test scenes.
///
/// ```
/// use rebit::nn::{DetectorConfig, detector};
/// use rebit::prelude::*;
/// use rebit::train::{TrainDetectorConfig, train_detector};
/// let scenes = World::new(WorldConfig::default())?.scenes(0..4)?;
/// let net = detector(&DetectorConfig::default(), rng(0))?;
/// let config = TrainDetectorConfig { steps: 2, scenes: 2, show: false, ..TrainDetectorConfig::default() };
/// let history = train_detector(&net, &scenes, &scenes[..1], &config)?;
/// assert!(history.epochs[0].loss > 0.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] without scenes or with batches of none, [`Error::Shape`] for scenes of different sizes; as
/// [`Trainer::run`].
pub fn train_detector(
    net: &Net,
    scenes: &[Scene],
    test: &[Scene],
    config: &TrainDetectorConfig,
) -> Result<History> {
    if scenes.is_empty() || config.scenes == 0 {
        let what = format!("batches of {} of {} scenes", config.scenes, scenes.len());
        return Err(Error::invalid(what, "hold nothing to learn from"));
    }
    let mut task = Detecting {
        scenes,
        test,
        config,
    };
    Trainer::new(1, Adam::new(config.lr).over(net)?)
        .label(&config.label)
        .schedule(config.schedule.clone(), config.lr)
        .evaluate(1, config.eval_every)
        .checkpoint(
            config.checkpoint.clone(),
            config.eval_every,
            config.settings(),
        )
        .show(config.show)
        .run(net, &mut task)
}

/// The mean over all people of the largest IoU of a detection with their tight box; 0 for somebody whom none overlaps.
///
/// # Errors
/// [`Error::Invalid`] where there is nobody.
pub fn mean_overlap(found: &[crate::metrics::GalleryScene]) -> Result<f64> {
    let mut all = Vec::new();
    for scene in found {
        for person in &scene.people {
            let overlaps = scene.detections.iter();
            let overlaps = overlaps.map(|d| crate::boxes::iou(d.at, person.at));
            all.push(f64::from(overlaps.fold(0.0, f32::max)));
        }
    }
    match all.is_empty() {
        true => Err(Error::invalid(
            "scenes without people",
            "have no mean overlap",
        )),
        false => Ok(all.iter().sum::<f64>() / all.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{World, WorldConfig};
    use crate::metrics::{Detection, GalleryScene, Person};
    use crate::nn::{DetectorConfig, detector};
    use crate::{Images, from_vec, read, rng};

    #[test]
    fn the_smaller_box_keeps_its_cells_and_a_thin_one_gets_one() {
        let wide = [0.0, 0.0, 64.0, 64.0];
        let small = [24.0, 24.0, 40.0, 40.0];
        // Between the centres of columns 0 and 1.
        let thin = [5.5, 0.0, 10.5, 64.0];
        let targets = CellTargets::of(
            &[vec![wide, small], vec![], vec![thin, [f32::NAN; 4]]],
            (8, 8),
            (64, 64),
        );
        assert_eq!(targets.dropped, 1);
        let of = |b: BoxXyxy| targets.boxes.iter().filter(|c| **c == b).count();
        // Rows and columns 2 to 5 less 3 and 4.
        assert_eq!((of(small), of(wide)), (4, 12));
        assert_eq!(targets.cells.iter().filter(|c| c.image == 1).count(), 0);
        let last: Vec<&Cell> = targets.cells.iter().filter(|c| c.image == 2).collect();
        assert_eq!((last.len(), last[0].row, last[0].column), (1, 4, 1));
        assert_eq!(targets.positive.iter().filter(|p| **p).count(), 17);
    }

    #[test]
    fn it_learns_and_the_same_seed_gives_the_same_network() {
        let scenes = World::new(WorldConfig::default())
            .unwrap()
            .scenes(0..6)
            .unwrap();
        let small = DetectorConfig {
            widths: [8, 8, 16, 16],
            head: 8,
            ..DetectorConfig::default()
        };
        let train = |steps: usize| {
            let net = detector(&small, rng(1)).unwrap();
            let config = TrainDetectorConfig {
                steps,
                scenes: 3,
                show: false,
                ..TrainDetectorConfig::default()
            };
            let history = train_detector(&net, &scenes, &[], &config).unwrap();
            (net.state().unwrap(), history.epochs[0].loss)
        };
        let (short, long) = (train(2), train(40));
        assert!(long.1 < 0.8 * short.1, "{} {}", long.1, short.1);
        assert!(train(2) == short);
    }

    #[test]
    fn scenes_without_people_teach_that_there_is_nobody() {
        let net = detector(&DetectorConfig::default(), rng(1)).unwrap();
        let x: Images = from_vec(vec![0.1; 3 * 96 * 160], (1, 3, 96, 160)).unwrap();
        let mut pass = net.run(&x, Mode::Train).unwrap();
        let loss = detection_loss(&mut pass, &[vec![]], Focal::default()).unwrap();
        assert!(read(&loss)[0] > 0.0 && read(&loss)[0].is_finite());
        let mut pass = net.run(&x, Mode::Train).unwrap();
        assert!(detection_loss(&mut pass, &[], Focal::default()).is_err());
        let config = TrainDetectorConfig::default();
        assert!(train_detector(&net, &[], &[], &config).is_err());
    }

    #[test]
    fn overlaps_are_those_of_the_best_detection() {
        let at = [0.0, 0.0, 10.0, 10.0];
        let person = |at| Person { identity: None, at };
        let found = |at| Detection { at, score: 0.9 };
        let scene = GalleryScene {
            people: vec![person(at), person([50.0, 50.0, 60.0, 60.0])],
            detections: vec![found([0.0, 0.0, 10.0, 5.0]), found([0.0, 0.0, 10.0, 8.0])],
            ..GalleryScene::default()
        };
        assert!((mean_overlap(&[scene]).unwrap() - 0.4).abs() < 1e-6);
        assert!(mean_overlap(&[]).is_err());
    }
}
