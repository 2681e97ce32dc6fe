//! Training steps of the small U-Net, under a frozen re-ID network, and of the paper's.

use rebit::data::Texture;
use rebit::nn::{CosineDistance, UNetConfig, pretrained_reid_a, unet};
use rebit::papers::reid_texture::{
    Background, PhotoSet, RealTextures, Reid, Supervision, TextureConfig, UNIT, render_before,
    train,
};
use rebit::prelude::*;
use rebit::train::{Deviation, try_masked_error};
use serde_json::{Value, json};

use super::exchange::{Named, Steps};
use super::{Folder, named, reads, timed};

/// People of a step, and pictures of each.
const BATCH: (usize, usize) = (4, 4);
const PICTURES: usize = BATCH.0 * BATCH.1;
/// Somebody whose face and hands are drawn to.
const REAL: u32 = 1000;

/// The library's settings, with all that is drawn at random left out, so that every step is the same for everybody.
fn config() -> TextureConfig {
    TextureConfig {
        supervision: Supervision::Layers,
        background: Background::Own,
        fall: 2.0,
        batch: BATCH,
        show: false,
        ..TextureConfig::small()
    }
}

fn world() -> Result<World> {
    World::new(WorldConfig::default())
}

fn new_unet(config: &UNetConfig) -> Result<Net> {
    unet(config, rng(0))
}

/// What every step works with.
struct Batch {
    photos: PhotoSet,
    pictures: Images,
    around: Images,
    real: Images,
    structure: Images,
    reid: Reid,
    /// Name, weight and target of each layer.
    layers: Vec<(String, f32, Vec<f32>)>,
    config: TextureConfig,
}

impl Batch {
    fn new() -> Result<Batch> {
        let (world, config) = (world()?, config());
        let photos = PhotoSet::of(&world, 0..BATCH.0 as u32, 0..BATCH.1 as u64)?;
        let all: Vec<usize> = (0..PICTURES).collect();
        let own: Vec<(usize, bool)> = all.iter().map(|&i| (i, false)).collect();
        let pictures = photos.pictures(&all)?;
        let reid = Reid::part_based(&pretrained_reid_a()?)?;
        let seen = read(&pictures).iter().map(|v| 2.0 * v).collect();
        let seen: Images = from_vec(seen, *pictures.shape())?;
        let pass = reid.net().run(&seen, Mode::Eval)?;
        let target =
            |(name, weight): &(String, f32)| Ok((name.clone(), *weight, pass.channels_last(name)?));
        let layers = reid.layers().0.iter().map(target).collect::<Result<_>>()?;
        let texture = world.identity(REAL).texture;
        let real = Texture::batch(vec![&texture; PICTURES], UNIT)?;
        let structure = world.body().structure().into_iter().map(f32::from);
        Ok(Batch {
            around: photos.surroundings(&own)?,
            structure: from_vec(structure.collect(), (1, 1, 64, 64))?,
            photos,
            pictures,
            real,
            reid,
            layers,
            config,
        })
    }

    fn step(&self, net: &Net, adam: &mut Groups) -> Result<f32> {
        let (made, tape) = net.run(&self.pictures, Mode::Train)?.output()?.split_tape();
        let face = made.clone().put_tape(Taped::default());
        let face = try_masked_error(face, &self.real, &self.structure, Deviation::Square)?;
        let mut terms = vec![(self.config.face, face)];
        let shown = render_before(made.put_tape(tape), self.photos.estimated(), &self.around)?;
        let mut pass = self.reid.look(shown)?;
        for (name, weight, target) in &self.layers {
            terms.push((
                *weight,
                pass.loss(name, CosineDistance::new(target.clone()))?,
            ));
        }
        let loss = try_total(terms)?;
        let value = read(&loss)[0];
        adam.step(&mut loss.backward())?;
        Ok(value)
    }

    fn adam(&self, net: &Net) -> Result<Groups> {
        Adam::new(self.config.lr).decay(self.config.decay).over(net)
    }
}

pub fn prepare(folder: &Folder) -> Result<()> {
    let batch = Batch::new()?;
    new_unet(&UNetConfig::small())?.save(folder.file("small"), &[])?;
    new_unet(&UNetConfig::default())?.save(folder.file("paper"), &[])?;
    pretrained_reid_a()?.save(folder.file("reid"), &[])?;
    let weights = batch.layers.iter().map(|l| l.1).collect();
    let mut tensors: Vec<Named> = vec![
        named("pictures", &batch.pictures),
        named("around", &batch.around),
        named("real", &batch.real),
        named("structure", &batch.structure),
        ("layers".into(), vec![batch.layers.len()], weights),
    ];
    tensors.extend(reads(batch.photos.estimated()));
    folder.write("training", &tensors);
    let mut rng = rng(3);
    let (x, target) = (
        images(4, 3, 128, 64, &mut rng),
        images(4, 3, 64, 64, &mut rng),
    );
    folder.write("unet", &[named("pictures", &x), named("target", &target)]);
    check(&batch)
}

/// The step here is the library's: [`train`] has the same losses on these pictures, whose order it draws.
fn check(batch: &Batch) -> Result<()> {
    // So many steps are an epoch each, with a loss of its own.
    let steps = 53;
    let world = world()?;
    let real = RealTextures::new(&[world.identity(REAL).texture], &world.body().structure())?;
    let config = TextureConfig {
        steps,
        ..batch.config.clone()
    };
    let run = train(&batch.photos, Some(&batch.reid), Some(&real), &config)?;
    let net = new_unet(&UNetConfig::small())?;
    let mut adam = batch.adam(&net)?;
    for (k, tolerance) in [1e-5, 1e-3].into_iter().enumerate() {
        let (wanted, found) = (run.history.epochs[k].loss, batch.step(&net, &mut adam)?);
        assert!(
            (wanted - found).abs() <= tolerance * wanted,
            "step {k}: a loss of {found}, the library's {wanted}"
        );
    }
    Ok(())
}

/// U-Net, body, background, re-ID network, the losses of layers, faces and hands, backward, AdamW.
pub fn training(folder: &Folder, steps: usize) -> Result<Value> {
    let batch = Batch::new()?;
    let net = new_unet(&UNetConfig::small())?;
    net.load(folder.file("small"))?;
    let mut adam = batch.adam(&net)?;
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || batch.step(&net, &mut adam))?;
    }
    let mut told = told.describe();
    told["activation_bytes"] = json!(net.peak_activation_bytes());
    Ok(told)
}

/// Forward, mean absolute error, backward, AdamW, on four pictures of 128x64.
pub fn unet_alone(folder: &Folder, steps: usize) -> Result<Value> {
    let net = new_unet(&UNetConfig::default())?;
    net.load(folder.file("paper"))?;
    let found = folder.read("unet");
    let x: Images = from_vec(found["pictures"].clone(), (4, 3, 128, 64))?;
    let target: Images = from_vec(found["target"].clone(), (4, 3, 64, 64))?;
    let whole: Images = from_vec(vec![1.0; 64 * 64], (1, 1, 64, 64))?;
    let config = TextureConfig::paper();
    let mut adam = Adam::new(config.lr).decay(config.decay).over(&net)?;
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || {
            let made = net.run(&x, Mode::Train)?.output()?;
            let loss = try_masked_error(made, &target, &whole, Deviation::Absolute)?;
            let value = read(&loss)[0];
            adam.step(&mut loss.backward())?;
            Ok(value)
        })?;
    }
    Ok(told.describe())
}
