//! A training that is killed without warning continues to the same bits.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rebit::papers::lts::{self, Lts, LtsConfig, LtsReport, Selection};
use rebit::prelude::*;
use rebit::train::EpochRecord;

/// Set for the process that is killed: where it keeps its state.
const STATE: &str = "REBIT_TEST_STATE";
/// Steps of an epoch, and the step in the middle of the third epoch at which the process waits to be killed.
const PER_EPOCH: usize = 6;
const WAITS_AT: usize = 2 * PER_EPOCH + 4;

fn images_of_three_shades(n: usize, seed: u64) -> Dataset {
    use rand::Rng as _;
    let mut rng = rng(seed);
    let labels: Vec<u8> = (0..n).map(|i| (i % 3) as u8).collect();
    let pixel = |l: u8, rng: &mut Rng| 80 * l + rng.random_range(0..60);
    let images = labels
        .iter()
        .flat_map(|&l| [l; 3 * 64])
        .collect::<Vec<u8>>();
    Dataset {
        name: "shades".into(),
        images: images.into_iter().map(|l| pixel(l, &mut rng)).collect(),
        labels,
        classes: ["dark", "grey", "light"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    }
}

/// LTS that says where it is and waits there, when it is the process to be killed.
struct Waiting(Lts, bool);

impl Observer for Waiting {
    fn before_step(&mut self, step: Step, net: &Net) -> Result<()> {
        if self.1 && step.iteration == WAITS_AT {
            println!("waiting");
            std::thread::sleep(std::time::Duration::from_secs(120));
        }
        self.0.before_step(step, net)
    }

    fn after_step(&mut self, step: Step, net: &Net, loss: f32) -> Result<()> {
        self.0.after_step(step, net, loss)
    }

    fn after_epoch(&mut self, record: &EpochRecord, net: &Net) -> Result<()> {
        self.0.after_epoch(record, net)
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.0.save()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.0.restore(state)
    }
}

fn config(selection: Selection) -> LtsConfig {
    LtsConfig {
        selection,
        ..LtsConfig::default()
    }
}

/// Bits of all parameters and what LTS saw, after a run of five epochs.
fn run(
    lts: LtsConfig,
    state: Option<PathBuf>,
    wait: bool,
    seed: u64,
) -> Result<(Vec<u32>, LtsReport)> {
    let net = rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 3, rng(seed))?;
    let mut lts = Waiting(lts::quantise(&net, lts)?, wait);
    let config = TrainConfig {
        epochs: 5,
        batch_size: 16,
        lr: 0.05,
        normalize: Normalize::UNIT,
        checkpoint: state,
        checkpoint_steps: 3,
        show: false,
        ..TrainConfig::default()
    };
    let (train_set, test_set) = (images_of_three_shades(96, 1), images_of_three_shades(48, 2));
    train_with(&net, &train_set, &test_set, &config, &mut lts)?;
    let bits = net.parameters().into_iter().flat_map(|p| p.to_vec());
    Ok((bits.map(f32::to_bits).collect(), lts.0.report()))
}

/// Not a test of its own: the process that the test below starts and kills.
#[test]
#[ignore = "started by the test that kills it"]
fn the_process_that_is_killed() -> Result<()> {
    let Some(state) = std::env::var_os(STATE) else {
        return Ok(());
    };
    let path = PathBuf::from(state);
    let random = path.ends_with("random.safetensors");
    let selection = if random {
        Selection::Random
    } else {
        Selection::Nearest
    };
    run(config(selection), Some(path), true, 1).map(|_| ())
}

fn start_and_kill(state: &Path) {
    let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "the_process_that_is_killed",
        ])
        .env(STATE, state)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test can be started");
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    let waits = said
        .lines()
        .map_while(Result::<_, std::io::Error>::ok)
        .any(|l| l.ends_with("waiting"));
    // On Unix this is SIGKILL: no handler, no destructor, no last write.
    child.kill().expect("the child runs");
    let ended = child.wait().expect("the child ends");
    assert!(
        waits && !ended.success(),
        "the child ended by itself: {ended}"
    );
}

#[test]
fn a_killed_run_continues_to_the_bits_of_the_whole_run() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, selection) in [
        ("nearest.safetensors", Selection::Nearest),
        ("random.safetensors", Selection::Random),
    ] {
        let state = folder.path().join(name);
        start_and_kill(&state);
        assert!(state.exists(), "two epochs and a half were on disk");
        // Other initial weights: everything comes from the file.
        let resumed = run(config(selection), Some(state), false, 9)?;
        let whole = run(config(selection), None, false, 1)?;
        assert_eq!(resumed.0, whole.0, "weights, bounds and statistics");
        assert_eq!(resumed.1, whole.1, "masks, distances and savings");
        assert!(
            whole.1.frozen_share[WAITS_AT] > 0.1,
            "weights were frozen at the kill"
        );
    }
    Ok(())
}
