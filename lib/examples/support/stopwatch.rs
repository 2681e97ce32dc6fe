//! A stopwatch for the benchmarks.

use std::time::Instant;

/// Seconds that mean something on a busy machine too: with `RAYON_NUM_THREADS=1` on Linux the processor time of all
/// threads of this process, elsewhere the time on the wall.
pub fn seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    if std::env::var("RAYON_NUM_THREADS").as_deref() != Ok("1") {
        return wall;
    }
    processor_seconds().unwrap_or(wall)
}

/// Sum over the threads of the nanoseconds they ran, as the scheduler counts them.
fn processor_seconds() -> Option<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += stat.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(sum * 1e-9)
}

/// Best seconds of one call of `f`.
pub fn best(mut f: impl FnMut()) -> f64 {
    f();
    let start = seconds();
    let (mut best, mut calls) = (f64::INFINITY, 0);
    while calls < 5 || seconds() - start < 0.2 {
        let before = seconds();
        f();
        best = best.min(seconds() - before);
        calls += 1;
    }
    best
}
