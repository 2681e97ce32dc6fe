//! The number of threads changes how long a training takes, and no bit of what comes out.

use std::process::Command;

use rebit::papers::lts::{self, LtsConfig};
use rebit::prelude::*;

/// Set for the processes that train.
const CHILD: &str = "REBIT_TEST_THREADS_CHILD";

/// Loss of each step and a sum over the bits of every parameter after twelve steps, eight of them with frozen weights.
#[test]
#[ignore = "run by the other test, in processes with different numbers of threads"]
fn child() -> Result<()> {
    if std::env::var_os(CHILD).is_none() {
        return Ok(());
    }
    let n = 96;
    let data = Dataset {
        name: "noise".into(),
        images: (0..n * 3 * 256).map(|k| (k * 7919 % 251) as u8).collect(),
        labels: (0..n).map(|k| (k % 3) as u8).collect(),
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        channels: 3,
        height: 16,
        width: 16,
    };
    let net = rebit::nn::cifar_resnet(3, 16, [16, 32, 64], 1, 3, rng(1))?;
    let mut observer = lts::quantise(
        &net,
        LtsConfig {
            ema: 0.3,
            ..LtsConfig::default()
        },
    )?;
    let config = TrainConfig {
        epochs: 4,
        batch_size: 32,
        show: false,
        ..TrainConfig::default()
    };
    let history = train_with(&net, &data, &data, &config, &mut observer)?;
    for epoch in &history.epochs {
        println!("RESULT loss {:08x}", epoch.loss.to_bits());
    }
    println!("RESULT frozen {:08x}", observer.frozen_share().to_bits());
    for p in net.parameters() {
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for v in p.to_vec() {
            sum = (sum ^ u64::from(v.to_bits())).wrapping_mul(0x0100_0000_01b3);
        }
        println!("RESULT {} {sum:016x}", p.name);
    }
    Ok(())
}

fn trained_on(threads: usize) -> Vec<String> {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("REBIT_THREADS", threads.to_string())
        .env(CHILD, "1")
        .output()
        .expect("this test starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once("RESULT ").map(|(_, rest)| rest.to_string()))
        .collect();
    assert!(lines.len() > 20, "{text}");
    lines
}

#[test]
fn a_training_with_frozen_weights_gives_the_same_bits_on_any_number_of_threads() {
    let one = trained_on(1);
    assert!(
        !one.iter().any(|line| line == "frozen 00000000"),
        "something must freeze: {one:?}"
    );
    for threads in [2, 3] {
        let other = trained_on(threads);
        assert_eq!(one.len(), other.len());
        for (a, b) in one.iter().zip(&other) {
            assert_eq!(a, b, "on {threads} threads");
        }
    }
}

/// Prints how many threads work when the first thing that a process asks for is no tensor.
#[test]
#[ignore = "run by the other test, in a process for each"]
fn first() -> Result<()> {
    let Ok(what) = std::env::var(CHILD) else {
        return Ok(());
    };
    let data = Dataset {
        name: "grey".into(),
        images: vec![128; 4 * 3 * 64],
        labels: vec![0, 1, 0, 1],
        classes: ["a", "b"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    };
    match what.as_str() {
        "pooled" => drop(data.mean_pooled(2)?),
        "world" => drop(World::new(WorldConfig::default())?.scenes(0..2)?),
        what => panic!("{what}"),
    }
    println!("RESULT threads {}", rayon::current_num_threads());
    Ok(())
}

#[test]
fn as_many_threads_work_as_are_asked_for_whatever_comes_first() {
    for what in ["pooled", "world"] {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "first", "--ignored", "--nocapture"])
            .env("REBIT_THREADS", "3")
            .env_remove("RAYON_NUM_THREADS")
            .env(CHILD, what)
            .output()
            .expect("this test starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("RESULT threads 3"), "{what}: {text}");
    }
}
