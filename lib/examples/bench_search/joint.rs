//! A step of the joint training, from the bytes of the scenes to the moved detector.

use rebit::data::Scene;
use rebit::data::people::photo_batch;
use rebit::nn::detector::{BOXES, cell_boxes};
use rebit::nn::reid::{IDENTITIES, identities, identity_loss};
use rebit::nn::{pretrained_detector, pretrained_reid_a};
use rebit::papers::person_search::{PersonSearchConfig, clipped, joint, proposals};
use rebit::prelude::*;
use rebit::train::{detection_loss, scene_batch};
use serde_json::{Value, json};

use super::exchange::Steps;
use super::{ANNOTATION, FOCAL, Folder, SCENES, scenes, timed};

/// The library's settings at a learning rate that stays.
fn config() -> PersonSearchConfig {
    PersonSearchConfig {
        schedule: Schedule::Constant,
        show: false,
        ..PersonSearchConfig::default()
    }
}

/// The committed networks.
pub fn prepare(folder: &Folder) -> Result<()> {
    pretrained_detector(ANNOTATION)?.save(folder.file("trained-detector"), &[])?;
    pretrained_reid_a()?.save(folder.file("trained-reid"), &[])?;
    check()
}

/// What moves in a run.
struct Run {
    detector: Net,
    reid: Net,
    identities: usize,
    adam: Groups,
    config: PersonSearchConfig,
}

/// What a step came to.
#[derive(Default)]
struct Losses {
    detection: f32,
    identity: f32,
    boxes: usize,
}

impl Run {
    fn new() -> Result<Run> {
        let (detector, reid) = (pretrained_detector(ANNOTATION)?, pretrained_reid_a()?);
        let config = config();
        Ok(Run {
            identities: identities(&reid)?,
            adam: Adam::new(config.lr).over(&detector)?,
            reid: reid.frozen(),
            detector,
            config,
        })
    }

    fn step(&mut self, scenes: &[&Scene]) -> Result<Losses> {
        let images = photo_batch(scenes.iter().map(|s| &s.image))?;
        let mut pass = self.detector.run(&images, Mode::Eval)?;
        let annotated: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.annotated.clone()).collect();
        let detection = detection_loss(&mut pass, &annotated, FOCAL)?;
        let found = proposals(&pass, scenes, self.identities, &self.config)?;
        let (count, extent) = (found.cells.len(), self.reid.input_extent());
        let boxes = cell_boxes(pass.images(BOXES)?, &found.cells)?;
        let boxes = clipped(boxes, self.config.lambda * self.config.clip / count as f32)?;
        let how = RoiTransform {
            images: found.cells.iter().map(|c| c.image as u32).collect(),
            out: (extent.height, extent.width),
            supersample: false,
            constant_images: true,
        };
        let crops = try_roi_transform(images.leaky_trace(), boxes, how)?;
        let mut read_by = self.reid.trace_on(crops, Mode::Eval)?;
        let answers = read_by.matrix(IDENTITIES)?;
        let identity = identity_loss(answers, &found.labels, self.identities)?;
        let losses = Losses {
            detection: read(&detection)[0],
            identity: read(&identity)[0],
            boxes: count,
        };
        let loss = try_total(vec![(1.0, detection), (self.config.lambda, identity)])?;
        self.adam.step(&mut loss.backward())?;
        Ok(losses)
    }
}

/// The step here is the library's: three of them have the losses of [`joint`], to the bit.
fn check() -> Result<()> {
    let (scenes, steps) = (scenes(SCENES)?, 3);
    let config = PersonSearchConfig { steps, ..config() };
    let wanted = joint(
        &pretrained_detector(ANNOTATION)?,
        &pretrained_reid_a()?,
        &scenes,
        &config,
    )?;
    let mut run = Run::new()?;
    for step in 0..steps {
        let order = scene_batch(scenes.len(), SCENES, config.seed, step);
        let batch: Vec<&Scene> = order.into_iter().map(|k| &scenes[k]).collect();
        let losses = run.step(&batch)?;
        assert_eq!(losses.detection, wanted.trace.detection[step]);
        assert_eq!(losses.identity, wanted.trace.identity[step]);
        assert_eq!(losses.boxes, wanted.trace.boxes[step]);
    }
    Ok(())
}

pub fn run(steps: usize) -> Result<Value> {
    let scenes = scenes(SCENES)?;
    let scenes: Vec<&Scene> = scenes.iter().collect();
    let mut run = Run::new()?;
    let (mut told, mut parts) = (Steps::default(), Vec::new());
    for _ in 0..steps {
        timed(&mut told, || {
            let losses = run.step(&scenes)?;
            let sum = losses.detection + run.config.lambda * losses.identity;
            parts.push(losses);
            Ok(sum)
        })?;
    }
    let mut told = told.describe();
    told["detection"] = json!(parts.iter().map(|l| l.detection).collect::<Vec<_>>());
    told["identity"] = json!(parts.iter().map(|l| l.identity).collect::<Vec<_>>());
    told["boxes"] = json!(parts.iter().map(|l| l.boxes).collect::<Vec<_>>());
    Ok(told)
}
