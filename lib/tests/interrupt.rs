//! Interrupts, in a process of their own: the request is one flag for all threads.

use std::sync::{Mutex, MutexGuard};

use rebit::data::{Photo, SrPair};
use rebit::nn::{EdsrConfig, edsr};
use rebit::prelude::*;
use rebit::show::{interrupt, progress};
use rebit::train::evaluate_sr;

/// One test at a time asks for an interrupt.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Fails unless `work` is left when an interrupt was asked for before, and runs to its end afterwards.
#[track_caller]
fn is_left_at_once<T>(mut work: impl FnMut() -> Result<T>) {
    interrupt::request();
    let left = work().err().expect("an interrupt is an error");
    assert!(matches!(left, Error::Interrupted), "{left}");
    // The request is answered.
    work().expect("nothing stops the second run");
}

fn noise(n: usize) -> Dataset {
    Dataset {
        name: "noise".into(),
        images: (0..n * 3 * 64).map(|k| (k * 37 % 251) as u8).collect(),
        labels: (0..n).map(|k| (k % 2) as u8).collect(),
        classes: ["a", "b"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    }
}

fn small_net() -> Net {
    rebit::nn::cifar_resnet(3, 8, [4, 4, 4], 1, 2, rng(1)).expect("8x8 images")
}

#[test]
fn an_interrupt_ends_a_loop_under_a_bar_without_a_report() {
    let _alone = alone();
    let mut steps = 0;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for step in progress(0..100) {
            steps += 1;
            if step == 9 {
                interrupt::request();
            }
        }
    }));
    let said = ended.unwrap_err();
    assert_eq!(said.downcast_ref::<String>().unwrap(), "interrupted");
    assert_eq!(steps, 10);
    // The request is answered: the next loop runs.
    assert_eq!(progress(0..5).count(), 5);
}

/// Asks for an interrupt in one step and counts the steps that are still taken.
#[derive(Default)]
struct Interrupting {
    at: usize,
    taken: usize,
}

impl Observer for Interrupting {
    fn after_step(&mut self, step: Step, _: &Net, _: f32) -> Result<()> {
        self.taken += 1;
        if step.iteration == self.at {
            interrupt::request();
        }
        Ok(())
    }
}

#[test]
fn a_training_is_left_before_its_next_step_and_keeps_the_weights_it_has() -> Result<()> {
    let _alone = alone();
    let (net, data) = (small_net(), noise(64));
    let before = net.parameter("conv1.weight")?.to_vec();
    let config = TrainConfig {
        epochs: 3,
        batch_size: 8,
        augment: None,
        show: false,
        ..TrainConfig::default()
    };
    let mut observer = Interrupting {
        at: 11,
        ..Interrupting::default()
    };
    let left = rebit::train::train_with(&net, &data, &data, &config, &mut observer);
    assert!(matches!(left, Err(Error::Interrupted)));
    // Iterations count from 0: twelve steps of twenty-four.
    assert_eq!(observer.taken, 12);
    let after = net.parameter("conv1.weight")?.to_vec();
    assert_ne!(before, after);
    assert!(try_accuracy(&net, &data, &Normalize::CIFAR10)?.is_finite());
    Ok(())
}

#[test]
fn evaluations_and_readings_of_folders_are_left_between_two_images() -> Result<()> {
    let _alone = alone();
    let (net, data) = (small_net(), noise(20));
    is_left_at_once(|| try_accuracy(&net, &data, &Normalize::CIFAR10));
    let photo = Photo {
        name: "grey".into(),
        height: 16,
        width: 16,
        rgb: vec![90; 16 * 16 * 3],
    };
    let pairs = [SrPair::new(&photo, 2)?];
    let enlarger = edsr(
        &EdsrConfig {
            blocks: 1,
            channels: 4,
            ..EdsrConfig::default()
        },
        rng(1),
    )?;
    is_left_at_once(|| evaluate_sr(&enlarger, &pairs));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("class")).expect("a folder");
    for place in ["a.png", "class/b.png"] {
        let file = folder.path().join(place);
        image::RgbImage::from_pixel(8, 8, image::Rgb([1, 2, 3]))
            .save(file)
            .expect("a picture");
    }
    is_left_at_once(|| data::photos(folder.path()));
    is_left_at_once(|| data::image_folder(folder.path()));
    Ok(())
}

#[test]
fn learned_rounding_is_left_in_a_layer_and_goes_on_to_the_same_weights() -> Result<()> {
    use rebit::ptq::AdaRoundConfig;
    let _alone = alone();
    let (net, x) = (small_net(), images(32, 3, 8, 8, &mut rng(2)));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rounding.state");
    let config = |checkpoint| PtqConfig {
        rounding: Some(AdaRoundConfig {
            iterations: 300,
            rows: 64,
            checkpoint,
            ..AdaRoundConfig::default()
        }),
        ..PtqConfig::bits(2)
    };
    let whole = post_training(&net, &x, &config(None))?.0;
    let watched = file.clone();
    // The first finished layer is on disk: the second is under way.
    let watcher = std::thread::spawn(move || {
        while !watched.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        interrupt::request();
    });
    let left = post_training(&net, &x, &config(Some(file.clone())));
    watcher.join().expect("it watches");
    assert!(matches!(left, Err(Error::Interrupted)));
    let resumed = post_training(&net, &x, &config(Some(file)))?.0;
    assert_eq!(resumed.state()?, whole.state()?);
    is_left_at_once(|| sensitivity(&net, &x));
    Ok(())
}

#[test]
fn measures_that_compare_all_with_all_are_left() {
    let _alone = alone();
    let features = randn(600, 4, &mut rng(1));
    let labels: Vec<u32> = (0..600).map(|i| i % 3).collect();
    is_left_at_once(|| rebit::metrics::silhouette(&features, &labels));
    let boxes: Vec<[f32; 4]> = (0..600)
        .map(|i| [i as f32, 0.0, i as f32 + 0.5, 1.0])
        .collect();
    is_left_at_once(|| rebit::boxes::nms(&boxes, &vec![0.5; 600], 0.5));
}
