//! Rebit's side of `tests/peers/run zeroshot`, one JSON object a run.
//!
//! ```text
//! bench_zeroshot prepare FOLDER                          networks and batches for everybody to start from
//! bench_zeroshot synthesis FOLDER IMAGES whole|parts STEPS   an IntraQ step: losses, seconds, new memory, peak
//! bench_zeroshot training FOLDER STEPS                   a training step of the same network, batch 128
//! bench_zeroshot student FOLDER STEPS                    a W3A3 student's step, its teacher included
//! bench_zeroshot generator FOLDER STEPS                  a step of FDDA's generator
//! ```

use std::path::Path;

use rand::Rng as _;
use rebit::nn::{CifarResnetConfig, NormInfo, cifar_resnet_with};
use rebit::papers::fdda::{
    Centres, Distortion, Drawn, GeneratorLosses, GeneratorShape, SingleClass, generator,
    generator_loss,
};
use rebit::papers::intraq::{
    IntraqConfig, Margins, Parts, PixelSchedule, Start, marginal_distance_loss,
    soft_inception_loss, synthesise,
};
use rebit::prelude::*;
use rebit::ptq::{StudentLevels, student, student_loss};
use serde_json::{Value, json};

#[path = "support/counting.rs"]
mod counting;
#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/timed.rs"]
mod timed;
#[path = "support/training.rs"]
mod training;

use exchange::{Named, Steps};
use timed::timed;

/// Images of a synthesis: those of the bars on time and on memory.
const SYNTHESES: [usize; 2] = [128, 256];
const STUDENT_BATCH: usize = 64;
const GENERATOR_BATCH: usize = 16;
const CLASSES: usize = 10;
const FEATURES: usize = 64;
const SIDE: usize = 32;
/// Bytes of an image's smallest map in the network, 64 channels of 8x8 pixels.
const SMALLEST_MAP: usize = 4 * 64 * 8 * 8;
/// Bytes from which memory counts as a buffer: statistics of a norm and what a tape notes are smaller.
const BUFFER: usize = 64 << 10;
const MARGINS: Margins = Margins {
    lower: 0.05,
    upper: 0.8,
};
/// alpha and T of both papers' students.
const DISTILLATION: (f32, f32) = (20.0, 20.0);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |n: &str| n.parse::<usize>().expect("a number");
    let result = match args.as_slice() {
        ["prepare", folder] => prepare(Path::new(folder))?,
        [
            "synthesis",
            folder,
            images,
            kind @ ("whole" | "parts"),
            steps,
        ] => synthesis(
            Path::new(folder),
            (number(images), *kind == "parts"),
            number(steps),
        )?,
        ["training", folder, steps] => own_training(Path::new(folder), number(steps))?,
        ["student", folder, steps] => student_steps(Path::new(folder), number(steps))?,
        ["generator", folder, steps] => generator_steps(Path::new(folder), number(steps))?,
        _ => panic!("usage: bench_zeroshot prepare|synthesis|training|student|generator ..."),
    };
    println!("{result}");
    Ok(())
}

/// ResNet-20 with places for activation quantisers behind every ReLU.
fn network() -> Result<Net> {
    let config = CifarResnetConfig {
        sites: true,
        ..CifarResnetConfig::default()
    };
    cifar_resnet_with(&config, rng(0))
}

fn loaded(net: Net, file: &Path) -> Result<Net> {
    net.load(file)?;
    Ok(net)
}

fn teacher(folder: &Path) -> Result<Net> {
    Ok(loaded(network()?, &folder.join("network.safetensors"))?.frozen())
}

fn config(count: usize) -> IntraqConfig {
    IntraqConfig {
        images: count,
        batch: count,
        iterations: 1,
        show: false,
        ..IntraqConfig::default()
    }
}

/// The trained network, a student of it with its ranges, a generator, and a batch for each.
fn prepare(folder: &Path) -> Result<Value> {
    std::fs::create_dir_all(folder).expect("the folder to exchange files in");
    let net = network()?;
    net.copy_parameters(&pretrained_resnet20()?)?;
    net.save(folder.join("network.safetensors"), &[])?;
    // Images that have begun to look like the network's own: noise would leave most of a student's levels unused.
    let made = synthesise(
        &net,
        &IntraqConfig {
            iterations: 30,
            reinforcement: None,
            ..config(STUDENT_BATCH)
        },
    )?;
    let mut values = vec![0.0; STUDENT_BATCH * 3 * SIDE * SIDE];
    let all: Vec<usize> = (0..STUDENT_BATCH).collect();
    let labels = made
        .images
        .fill(&all, None, &Normalize::UNIT, &mut values)?;
    let x = data::images_from_nhwc(&values, [STUDENT_BATCH, SIDE, SIDE, 3])?;
    let features = net.predict_matrices(&[&x], &["global_avg_pool"])?;
    let centres = class_means(&read(&features[0]), &labels);

    for count in SYNTHESES {
        let config = config(count);
        let Start {
            pixels,
            labels,
            targets,
        } = config.start(&net, 0)?;
        check_loop(&net, &config)?;
        let parts = (0..)
            .find_map(|step| config.parts(&pixels, 0, step).transpose())
            .expect("every second step shows parts")?;
        let tensors = [
            images_named("pixels", &pixels),
            numbers_named("labels", &as_numbers(&labels)),
            numbers_named("targets", &targets),
            ("centres".into(), vec![CLASSES, FEATURES], centres.concat()),
            ("boxes".into(), vec![count, 4], read(&parts.boxes)),
        ];
        exchange::write(
            &folder.join(format!("synthesis-{count}.safetensors")),
            &tensors,
        );
    }

    let q = student(&net, StudentLevels::bits(3))?;
    q.observe_ranges(&x)?;
    q.freeze_ranges();
    q.save(folder.join("student.safetensors"), &[])?;
    let batch = [
        images_named("images", &x),
        numbers_named("labels", &as_numbers(&labels)),
    ];
    exchange::write(&folder.join("student-batch.safetensors"), &batch);

    let g = generator(GeneratorShape::small(), net.input_extent(), CLASSES, rng(1))?;
    g.save(folder.join("generator.safetensors"), &[])?;
    let centres = Centres::of(&net, &made.images, &Normalize::UNIT)?;
    let drawn = Drawn::new(
        &g,
        (GENERATOR_BATCH, CLASSES),
        Some((&centres, Distortion::default())),
        &mut rng(2),
    )?;
    exchange::write(
        &folder.join("generator-batch.safetensors"),
        &drawn_tensors(&drawn),
    );
    Ok(json!({ "threads": rayon::current_num_threads() }))
}

fn class_means(features: &[f32], labels: &[u32]) -> [[f32; FEATURES]; CLASSES] {
    let (mut sums, mut counts) = ([[0.0; FEATURES]; CLASSES], [0.0; CLASSES]);
    for (row, label) in features.chunks_exact(FEATURES).zip(labels) {
        counts[*label as usize] += 1.0;
        for (sum, f) in sums[*label as usize].iter_mut().zip(row) {
            *sum += f;
        }
    }
    assert!(counts.iter().all(|n| *n > 0.0), "a class without an image");
    for (sum, n) in sums.iter_mut().zip(counts) {
        sum.iter_mut().for_each(|s| *s /= n);
    }
    sums
}

fn as_numbers(labels: &[u32]) -> Vec<f32> {
    labels.iter().map(|l| *l as f32).collect()
}

fn as_labels(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|l| *l as u32).collect()
}

fn images_named(name: &str, x: &Images) -> Named {
    let (n, c, h, w) = *x.shape();
    (name.into(), vec![n, c, h, w], read(x))
}

fn numbers_named(name: &str, values: &[f32]) -> Named {
    (name.into(), vec![values.len()], values.to_vec())
}

/// What a step of the pixels works with.
struct Synthesis {
    net: Net,
    norms: Vec<NormInfo>,
    labels: Vec<u32>,
    targets: Vec<f32>,
    /// The centre of each image's class.
    centres: Option<Vec<Option<Vec<f32>>>>,
    parts: Option<Parts>,
}

impl Synthesis {
    /// One step: statistics of every norm, class and distance, the gradient of the pixels, Adam.
    fn step(&self, pixels: &Leaf, adam: &mut Groups) -> Result<f32> {
        let x = pixels.as_images()?;
        let mut pass = match &self.parts {
            Some(Parts { boxes, sampling }) => {
                let seen = try_sample(x.leaky_trace(), boxes.clone(), sampling.clone())?;
                self.net.trace_on(seen, Mode::Eval)?
            }
            None => self.net.trace(&x, Mode::Eval)?,
        };
        let share = 1.0 / self.norms.len() as f32;
        let mut terms = Vec::with_capacity(self.norms.len() + 2);
        for norm in &self.norms {
            terms.push((share, try_moments_loss(pass.moments(norm)?, norm)?));
        }
        let class = soft_inception_loss(pass.matrix("fc")?, &self.labels, &self.targets)?;
        terms.push((1.0, class));
        if let Some(centres) = &self.centres {
            let features = pass.matrix("global_avg_pool")?;
            terms.push((1.0, marginal_distance_loss(features, centres, MARGINS)?));
        }
        let loss = try_total(terms)?;
        let value = read(&loss)[0];
        adam.step(&mut loss.backward())?;
        Ok(value)
    }
}

/// The loop here is the library's: its losses are those of [`synthesise`], whose first batch has no centres.
fn check_loop(net: &Net, config: &IntraqConfig) -> Result<()> {
    let config = IntraqConfig {
        iterations: 3,
        reinforcement: None,
        schedule: PixelSchedule::Cosine { lowest: config.lr },
        ..config.clone()
    };
    let Start {
        pixels,
        labels,
        targets,
    } = config.start(net, 0)?;
    let own = Synthesis {
        norms: net.norms(),
        net: net.clone().frozen(),
        labels,
        targets,
        centres: None,
        parts: None,
    };
    let pixels = Leaf::images(pixels);
    let mut adam = Adam::new(config.lr).over(&pixels)?;
    let losses = (0..3).map(|_| own.step(&pixels, &mut adam));
    let losses = losses.collect::<Result<Vec<_>>>()?;
    assert_eq!(losses, synthesise(net, &config)?.traces[0].total);
    Ok(())
}

fn synthesis(folder: &Path, (count, in_parts): (usize, bool), steps: usize) -> Result<Value> {
    let net = teacher(folder)?;
    let batch = exchange::read(&folder.join(format!("synthesis-{count}.safetensors")));
    let labels = as_labels(&batch["labels"]);
    let centre = |l: &u32| {
        Some(
            batch["centres"]
                .chunks_exact(FEATURES)
                .nth(*l as usize)?
                .into(),
        )
    };
    let parts = Parts {
        boxes: from_vec(batch["boxes"].clone(), (count, 4))?,
        sampling: Sampling {
            images: (0..count as u32).collect(),
            out: (SIDE, SIDE),
            border: Border::Clamp,
            constant_images: false,
        },
    };
    let of = Synthesis {
        norms: net.norms(),
        centres: Some(labels.iter().map(centre).collect()),
        targets: batch["targets"].clone(),
        parts: in_parts.then_some(parts),
        labels,
        net,
    };
    let pixels = from_vec(batch["pixels"].clone(), (count, 3, SIDE, SIDE))?;
    let pixels = Leaf::images(pixels);
    let mut adam = Adam::new(config(count).lr).over(&pixels)?;
    let (mut told, mut taken) = (Steps::default(), Vec::new());
    counting::start([count * SMALLEST_MAP, BUFFER]);
    for _ in 0..steps {
        timed(&mut told, || of.step(&pixels, &mut adam))?;
        taken.push(counting::taken());
    }
    let mut told = told.describe();
    for (k, what) in ["maps", "buffers"].into_iter().enumerate() {
        let of_kind = taken.iter().map(|both| both[k]);
        let (counts, bytes): (Vec<usize>, Vec<usize>) = of_kind.unzip();
        told[format!("new_{what}")] = json!(counts);
        told[format!("new_{what}_bytes")] = json!(bytes);
    }
    told["activation_bytes"] = of.net.peak_activation_bytes().into();
    Ok(told)
}

/// The step that `tests/peers/run training` compares, from the same weights as the synthesis.
fn own_training(folder: &Path, steps: usize) -> Result<Value> {
    let net = loaded(network()?, &folder.join("network.safetensors"))?;
    let (mut rng, batch) = (rng(0), SYNTHESES[0]);
    let pixels = (0..batch * 3 * SIDE * SIDE).map(|_| rng.random()).collect();
    let labels = (0..batch).map(|k| (k % CLASSES) as u8).collect();
    Ok(training::repeat(&net, pixels, labels, steps)?.describe())
}

fn student_steps(folder: &Path, steps: usize) -> Result<Value> {
    let net = teacher(folder)?;
    let q = student(&network()?, StudentLevels::bits(3))?;
    let q = loaded(q, &folder.join("student.safetensors"))?;
    q.freeze_ranges();
    let batch = exchange::read(&folder.join("student-batch.safetensors"));
    let labels = as_labels(&batch["labels"]);
    let (extent, pixels) = (net.input_extent(), channels_last(&batch["images"]));
    // FDDA's rate: at IntraQ's, 1e-4, a student diverges on a single batch.
    let mut sgd = Sgd::new(1e-6).nesterov(0.9).decay(1e-4).over(&q)?;
    let mut told = Steps::default();
    for _ in 0..steps {
        timed(&mut told, || -> Result<f32> {
            let wanted = net.predict_channels_last(&pixels, extent)?;
            let mut pass = q.run_channels_last(&pixels, extent, Mode::Eval)?;
            let loss = student_loss(&mut pass, &wanted, &labels, DISTILLATION)?;
            let value = read(&loss)[0];
            sgd.step(&mut loss.backward())?;
            Ok(value)
        })?;
    }
    Ok(told.describe())
}

/// Batches come out of the library's data sets in this order.
fn channels_last(x: &[f32]) -> Vec<f32> {
    let pixels = SIDE * SIDE;
    let sample =
        |x: &[f32]| -> Vec<f32> { (0..3 * pixels).map(|i| x[i % 3 * pixels + i / 3]).collect() };
    x.chunks_exact(3 * pixels).flat_map(sample).collect()
}

fn generator_steps(folder: &Path, steps: usize) -> Result<Value> {
    let net = teacher(folder)?;
    let g = generator(GeneratorShape::small(), net.input_extent(), CLASSES, rng(1))?;
    let g = loaded(g, &folder.join("generator.safetensors"))?;
    let drawn = drawn(&net, &folder.join("generator-batch.safetensors"))?;
    let mut adam = Adam::new(1e-3).betas(0.5, 0.999).over(&g)?;
    let (weights, mut told) = (GeneratorLosses::fdda(), Steps::default());
    for _ in 0..steps {
        timed(&mut told, || -> Result<f32> {
            let loss = generator_loss(&g, &net, &drawn, &weights)?.total;
            let value = read(&loss)[0];
            adam.step(&mut loss.backward())?;
            Ok(value)
        })?;
    }
    Ok(told.describe())
}

fn drawn_tensors(drawn: &Drawn) -> Vec<Named> {
    let single = drawn.single.as_ref().expect("a batch of one class");
    let mut tensors = vec![
        images_named("latent", &drawn.latent),
        numbers_named("labels", &as_numbers(&drawn.labels)),
        images_named("single.latent", &single.latent),
        numbers_named("single.class", &[single.class as f32]),
    ];
    for (what, norms) in [("centre", &single.centre), ("distorted", &single.distorted)] {
        for norm in norms {
            for (moment, of) in [("mean", &norm.mean), ("var", &norm.var)] {
                let name = format!("{what}.{}.{moment}", norm.name);
                tensors.push(numbers_named(&name, &read(of)));
            }
        }
    }
    tensors
}

fn drawn(net: &Net, file: &Path) -> Result<Drawn> {
    let found = exchange::read(file);
    let latent = |name: &str| {
        let values = found[name].clone();
        let width = values.len() / GENERATOR_BATCH;
        from_vec(values, (GENERATOR_BATCH, width, 1, 1))
    };
    let targets = |what: &str| -> Result<Vec<NormInfo>> {
        let mut deep = Vec::new();
        for norm in net.norms() {
            let of = |moment: &str| found.get(&format!("{what}.{}.{moment}", norm.name));
            if let (Some(mean), Some(var)) = (of("mean"), of("var")) {
                let (mean, var) = (vector(mean), vector(var));
                deep.push(NormInfo { mean, var, ..norm });
            }
        }
        Ok(deep)
    };
    Ok(Drawn {
        latent: latent("latent")?,
        labels: as_labels(&found["labels"]),
        single: Some(SingleClass {
            class: found["single.class"][0] as u32,
            latent: latent("single.latent")?,
            centre: targets("centre")?,
            distorted: targets("distorted")?,
        }),
    })
}
