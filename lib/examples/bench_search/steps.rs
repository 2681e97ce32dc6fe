//! A step of a detector's training and one of a re-ID network's.

use rebit::data::people::photo_batch;
use rebit::nn::reid::{IDENTITIES, identity_loss};
use rebit::nn::{DetectorConfig, ReidNetConfig};
use rebit::prelude::*;
use rebit::train::detection_loss;
use serde_json::Value;

use super::exchange::Steps;
use super::{
    CROP, CROPS, FOCAL, Folder, SCENES, annotations, bytes, loaded, people, scenes, timed,
};

/// People that the re-ID network tells apart.
const IDENTITIES_KNOWN: usize = 300;

fn new_detector() -> Result<Net> {
    rebit::nn::detector(&DetectorConfig::default(), rng(1))
}

fn new_reid() -> Result<Net> {
    rebit::nn::reid(&ReidNetConfig::light(IDENTITIES_KNOWN), rng(1))
}

/// Networks before their training, scenes and crops.
pub fn prepare(folder: &Folder) -> Result<()> {
    new_detector()?.save(folder.file("detector"), &[])?;
    new_reid()?.save(folder.file("reid"), &[])?;
    let scenes = scenes(SCENES)?;
    folder.write("scenes", &[bytes(&scenes), annotations(&scenes)]);
    let people = people()?;
    let values = (0..CROPS).filter_map(|k| people.values(k));
    let values: Vec<f32> = values.flatten().copied().collect();
    let labels = people.labels()[..CROPS].iter().map(|l| *l as f32);
    folder.write(
        "crops",
        &[
            ("images".into(), vec![CROPS, 3, CROP.0, CROP.1], values),
            ("labels".into(), vec![CROPS], labels.collect()),
        ],
    );
    Ok(())
}

/// Forward, the two losses of the boxes and scores, backward, Adam, as `train_detector` does them.
pub fn detector(folder: &Folder, steps: usize) -> Result<Value> {
    let net = loaded(new_detector()?, &folder.file("detector"))?;
    let scenes = scenes(SCENES)?;
    let images = photo_batch(scenes.iter().map(|s| &s.image))?;
    let annotated: Vec<Vec<BoxXyxy>> = scenes.iter().map(|s| s.annotated.clone()).collect();
    let mut adam = Adam::new(1e-3).over(&net)?;
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || {
            let mut pass = net.run(&images, Mode::Train)?;
            let loss = detection_loss(&mut pass, &annotated, FOCAL)?;
            let value = read(&loss)[0];
            adam.step(&mut loss.backward())?;
            Ok(value)
        })?;
    }
    Ok(told.describe())
}

/// Forward, the cross entropy of each stripe, backward, Adam, as `train_reid` does them.
pub fn reid(folder: &Folder, steps: usize) -> Result<Value> {
    let net = loaded(new_reid()?, &folder.file("reid"))?;
    let found = folder.read("crops");
    let images: Images = from_vec(found["images"].clone(), (CROPS, 3, CROP.0, CROP.1))?;
    let labels: Vec<u32> = found["labels"].iter().map(|l| *l as u32).collect();
    let mut adam = Adam::new(1e-3).over(&net)?;
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || {
            let mut pass = net.run(&images, Mode::Train)?;
            let loss = identity_loss(pass.matrix(IDENTITIES)?, &labels, IDENTITIES_KNOWN)?;
            let value = read(&loss)[0];
            adam.step(&mut loss.backward())?;
            Ok(value)
        })?;
    }
    Ok(told.describe())
}
