//! Training a network that tells people apart.

use std::path::PathBuf;

use super::{Adam, History, Loss, Schedule, Step, Task, Trainer, try_total};
use crate::data::people::PersonSampler;
use crate::data::{Augment, FloatImages, ImageSource, Normalize, epoch_rng, images_fingerprint};
use crate::metrics::{Detection, GalleryScene, Person, SearchConfig, SearchQuery, search};
use crate::nn::reid::{FEATURE, IDENTITIES, features, identities, identity_loss};
use crate::nn::{Extent, Mode, Net};
use crate::ops::l2_normalise::try_l2_normalise;
use crate::ops::triplet::try_triplet;
use crate::{Error, Result, from_vec, read};

/// Settings of [`train_reid`].
#[derive(Clone, Debug, PartialEq)]
pub struct TrainReidConfig {
    /// Name of the run in figures and messages.
    pub label: String,
    /// Steps.
    pub steps: usize,
    /// People of a step.
    pub people: usize,
    /// Pictures of each of them.
    pub pictures: usize,
    /// Adam's learning rate.
    pub lr: f32,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// Weight of the batch-hard triplet loss beside the cross entropy; 0 for none.
    pub triplet: f32,
    /// Its margin, a distance of features of unit length.
    pub margin: f32,
    /// Random crops and flips.
    pub augment: Option<Augment>,
    /// Seed of the batches.
    pub seed: u64,
    /// Steps between two measurements on the test pictures; 0 measures at the end only.
    pub eval_every: usize,
    /// Where the run's state is written at each measurement, and continued from.
    pub checkpoint: Option<PathBuf>,
    /// Live progress.
    pub show: bool,
}

impl Default for TrainReidConfig {
    fn default() -> Self {
        TrainReidConfig {
            label: "re-ID".into(),
            steps: 700,
            people: 12,
            pictures: 4,
            lr: 1e-3,
            schedule: Schedule::cosine(0.05),
            triplet: 0.0,
            margin: 0.3,
            augment: Some(Augment::PaddedCrop {
                padding: 2,
                flip: true,
            }),
            seed: 1,
            eval_every: 0,
            checkpoint: None,
            show: true,
        }
    }
}

impl TrainReidConfig {
    fn settings(&self) -> String {
        let bare = TrainReidConfig {
            label: String::new(),
            checkpoint: None,
            show: false,
            ..self.clone()
        };
        format!("{bare:?}")
    }
}

struct Telling<'a> {
    people: &'a FloatImages,
    test: Option<&'a FloatImages>,
    sampler: PersonSampler,
    identities: usize,
    config: &'a TrainReidConfig,
    images: Vec<f32>,
}

impl Task for Telling<'_> {
    fn data(&self) -> Result<String> {
        images_fingerprint(self.people, &Normalize::UNIT)
    }

    fn steps(&self) -> usize {
        self.config.steps
    }

    fn start(&mut self, _: usize, _: usize) -> Result<()> {
        Ok(())
    }

    fn loss(&mut self, net: &Net, step: Step) -> Result<Loss> {
        let config = self.config;
        let mut rng = epoch_rng(config.seed, step.iteration as u64);
        let batch = self.sampler.draw(&mut rng);
        let [channels, height, width] = self.people.extent();
        self.images
            .resize(batch.len() * channels * height * width, 0.0);
        let augment = config.augment.as_ref().map(|a| (a, &mut rng));
        let labels = self
            .people
            .fill(&batch, augment, &Normalize::UNIT, &mut self.images)?;
        let extent = Extent::new(channels, height, width);
        let mut pass = net.run_channels_last(&self.images, extent, Mode::Train)?;
        let said = pass.matrix(IDENTITIES)?;
        let mut terms = vec![(1.0, identity_loss(said, &labels, self.identities)?)];
        if config.triplet > 0.0 {
            let feature = try_l2_normalise(pass.matrix(FEATURE)?)?;
            terms.push((
                config.triplet,
                try_triplet(feature, &labels, config.margin)?,
            ));
        }
        Ok(Loss {
            samples: labels.len(),
            ..try_total(terms)?.into()
        })
    }

    fn score(&mut self, net: &Net) -> Result<Option<f32>> {
        let Some(test) = self.test else {
            return Ok(None);
        };
        Ok(Some(100.0 * crop_map(net, test)? as f32))
    }

    fn score_name(&self) -> String {
        "mAP among test pictures, %".into()
    }
}

/// Trains a [`reid`](crate::nn::reid()) network on pictures of people, whose labels are its identities, in batches of P
/// people with K pictures each ([`PersonSampler`]); cross entropy of each stripe, perhaps a triplet loss; Adam. The score is
/// [`crop_map`] of `test`, pictures of other people.
///
/// ```
/// use rebit::data::people::{CutConfig, cut_people};
/// use rebit::nn::{ReidNetConfig, reid};
/// use rebit::prelude::*;
/// use rebit::train::{TrainReidConfig, train_reid};
/// let scenes = World::new(WorldConfig { identities: 0..5, ..WorldConfig::default() })?.scenes(0..6)?;
/// let boxes: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.boxes.clone()).collect();
/// let people = cut_people(&scenes, &boxes, &CutConfig::default())?;
/// let net = reid(&ReidNetConfig::light(5), rng(0))?;
/// let config = TrainReidConfig { steps: 2, people: 3, pictures: 2, show: false, ..TrainReidConfig::default() };
/// let history = train_reid(&net, &people, Some(&people), &config)?;
/// assert!(history.final_accuracy() > 0.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a label beyond the network's identities and for fewer people than a batch asks for;
/// [`Error::Shape`] for pictures of another size; as [`Trainer::run`].
pub fn train_reid(
    net: &Net,
    people: &FloatImages,
    test: Option<&FloatImages>,
    config: &TrainReidConfig,
) -> Result<History> {
    let identities = identities(net)?;
    let expected = net.input_extent();
    for pictures in [Some(people), test].into_iter().flatten() {
        let [channels, height, width] = pictures.extent();
        let found = Extent::new(channels, height, width);
        if found != expected {
            return Err(Error::shape(
                "train_reid",
                format!("pictures of {expected}"),
                found,
            ));
        }
    }
    if let Some(label) = people.labels().iter().find(|l| **l as usize >= identities) {
        let why = format!("the network knows the identities 0..{identities}");
        return Err(Error::invalid(format!("label {label}"), why));
    }
    let mut task = Telling {
        people,
        test,
        sampler: PersonSampler::new(people.labels(), config.people, config.pictures)?,
        identities,
        config,
        images: Vec::new(),
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

/// The mean average precision when each picture is looked for among all others: how well features tell people apart,
/// whatever the boxes. From 0 to 1.
///
/// # Errors
/// As [`features`]; [`Error::Invalid`] when nobody is in two pictures.
pub fn crop_map(net: &Net, pictures: &FloatImages) -> Result<f64> {
    let [channels, height, width] = pictures.extent();
    let at = [0.0, 0.0, width as f32, height as f32];
    let (mut scenes, mut queries) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..pictures.len()).collect();
    for part in all.chunks(64) {
        crate::show::check_interrupt()?;
        let values: Vec<f32> = part
            .iter()
            .flat_map(|&k| pictures.values(k).unwrap_or_default())
            .copied()
            .collect();
        let x = from_vec(values, (part.len(), channels, height, width))?;
        let rows = read(&features(net, &x)?);
        for (row, &k) in rows.chunks(rows.len() / part.len()).zip(part) {
            let identity = pictures.labels()[k];
            // Each picture is a scene of its own.
            scenes.push(GalleryScene {
                people: vec![Person {
                    identity: Some(identity),
                    at,
                }],
                detections: vec![Detection { at, score: 1.0 }],
                features: row.to_vec(),
                ..GalleryScene::default()
            });
            queries.push(SearchQuery {
                identity,
                scene: k,
                feature: row.to_vec(),
            });
        }
    }
    let report = search(&scenes, &queries, &SearchConfig::default())?;
    match report.absent == queries.len() {
        true => Err(Error::invalid(
            "pictures",
            "of which no two show one person cannot be searched",
        )),
        false => Ok(report.map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::people::{CutConfig, cut_people};
    use crate::data::{World, WorldConfig};
    use crate::nn::{ReidNetConfig, reid};
    use crate::{images, rng};

    fn people(seeds: std::ops::Range<u64>) -> FloatImages {
        let config = WorldConfig {
            identities: 0..6,
            ..WorldConfig::default()
        };
        let scenes = World::new(config).unwrap().scenes(seeds).unwrap();
        let boxes: Vec<_> = scenes.iter().map(|s| s.boxes.clone()).collect();
        cut_people(&scenes, &boxes, &CutConfig::default()).unwrap()
    }

    fn small() -> Net {
        let config = ReidNetConfig {
            widths: [8, 8, 16, 16],
            embedding: 8,
            ..ReidNetConfig::light(6)
        };
        reid(&config, rng(1)).unwrap()
    }

    fn config(steps: usize) -> TrainReidConfig {
        TrainReidConfig {
            steps,
            people: 4,
            pictures: 3,
            lr: 3e-3,
            augment: None,
            show: false,
            ..TrainReidConfig::default()
        }
    }

    #[test]
    fn it_learns_the_people_with_and_without_a_triplet_loss() {
        let (train, test) = (people(0..16), people(100..112));
        let before = crop_map(&small(), &test).unwrap();
        for triplet in [0.0, 1.0] {
            let net = small();
            let config = TrainReidConfig {
                triplet,
                ..config(60)
            };
            let history = train_reid(&net, &train, Some(&test), &config).unwrap();
            let after = f64::from(history.final_accuracy()) / 100.0;
            assert!(after > before + 0.1, "{before} {after}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let train = people(0..6);
        let net = small();
        let many = TrainReidConfig {
            people: 7,
            ..config(1)
        };
        let error = train_reid(&net, &train, None, &many).unwrap_err();
        assert!(error.to_string().contains("7 people"), "{error}");
        let x = images(2, 3, 64, 32, &mut rng(0));
        let outside = FloatImages::new("x", &x, vec![0, 6]).unwrap();
        let error = train_reid(&net, &outside, None, &config(1)).unwrap_err();
        assert!(error.to_string().contains("label 6"), "{error}");
        let x = images(2, 3, 32, 32, &mut rng(0));
        let flat = FloatImages::new("x", &x, vec![0, 1]).unwrap();
        assert!(train_reid(&net, &flat, None, &config(1)).is_err());
        let x = images(2, 3, 64, 32, &mut rng(0));
        let alone = FloatImages::new("x", &x, vec![0, 1]).unwrap();
        assert!(crop_map(&net, &alone).is_err());
    }
}
