//! Which way is the quicker one: measured once for each shape on the machine at hand.
//!
//! Where the two ways meet depends on the processor's units and caches, so no share of frozen entries is right everywhere.
//! The first call with a shape therefore runs both ways a few times and keeps the share at which they take equally long.
//! `REBIT_TUNE=off` takes a fixed rule instead. The bits of a gradient are the same whatever is chosen.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::remembered::{Limits, processor};
use super::{FreezeMask, Method, grad_weight_by};
use crate::error::Result;
use crate::files::cache_folder;
use crate::ops::conv2d::ConvShape;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::{Input, Level, WeightGrads, grad_weight};

/// Share of free entries from which on nothing but the dense gradient is considered.
const MOST: f64 = 0.95;
/// Share of free entries up to which the fixed rule takes them one by one, if no lane is idle.
const FIXED: f64 = 0.5;
/// Shares of free entries at which that way is timed; between them its time is a straight line.
const SHARES: [f64; 2] = [1.0 / 16.0, 0.5];
/// The dense gradient stays unless the other way saves this much: clocks are noisy.
const MARGIN: f64 = 0.02;
/// Fewest and most rounds of a measurement, and after how long it ends between them.
const ROUNDS: (usize, usize) = (3, 12);
const LONG_ENOUGH: Duration = Duration::from_millis(8);

/// Shapes whose limit a process measures; a program that makes ever new ones gets the fixed rule.
const SHAPES: usize = 256;

/// The quicker way to the free entries.
pub(crate) fn choose(
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
) -> Result<Method> {
    let share = frozen.free() as f64 / frozen.len() as f64;
    let limit = match limits() {
        _ if share > MOST => 0.0,
        Some(limits) => known(limits, level, s, input, dy)?,
        None => fixed(level, s),
    };
    Ok(if share <= limit {
        Method::Lanes
    } else {
        Method::Dense
    })
}

/// The limit of a shape, measured where nobody has.
fn known(
    limits: &Mutex<Limits>,
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
) -> Result<f64> {
    // Not locked while it is measured: that runs on all threads, and they may come here themselves.
    let lock = || limits.lock().unwrap_or_else(PoisonError::into_inner);
    let key = key(level, s, input.quant.is_some());
    let (found, measured) = {
        let limits = lock();
        (limits.get(&key), limits.measured())
    };
    if let Some(limit) = found {
        return Ok(limit);
    }
    if measured >= SHAPES {
        return Ok(fixed(level, s));
    }
    let limit = measure(level, s, input, dy)?;
    lock().put(key, limit);
    Ok(limit)
}

/// What was measured so far, unless measuring is off.
fn limits() -> Option<&'static Mutex<Limits>> {
    static LIMITS: OnceLock<Option<Mutex<Limits>>> = OnceLock::new();
    let open = || {
        let off = std::env::var("REBIT_TUNE").is_ok_and(|v| v == "off");
        // Tests leave nothing in the user's folders.
        let file = (cache_folder().filter(|_| !cfg!(test))).map(|f| f.join("masked-gradient.json"));
        (!off).then(|| Mutex::new(Limits::open(file, processor())))
    };
    LIMITS.get_or_init(open).as_ref()
}

/// Everything that a limit depends on, but for the processor.
fn key(level: Level, s: &ConvShape, quantised: bool) -> String {
    let ConvShape {
        batch,
        in_h,
        in_w,
        in_channels,
        out_channels,
        kernel: (kh, kw),
        stride,
        padding,
        dilation,
        groups,
    } = s;
    format!(
        "{batch}x{in_h}x{in_w}x{in_channels} to {out_channels}, kernel {kh}x{kw}, stride {stride}, padding {padding}, \
         dilation {dilation}, groups {groups}, quantised {quantised}, lanes {}, threads {}",
        level.lanes(),
        rayon::current_num_threads()
    )
}

/// The limit without measuring: idle lanes cost as much as others.
fn fixed(level: Level, s: &ConvShape) -> f64 {
    let lanes = level.lanes();
    let chunks = grad_weight::chunks(&Plan::forward(s), lanes).count;
    FIXED * chunks as f64 / chunks.next_multiple_of(lanes) as f64
}

/// The share of free entries at which both ways take equally long, by the shortest times of some rounds in turn.
fn measure(level: Level, s: &ConvShape, input: Input, dy: &[f32]) -> Result<f64> {
    let mut dw = vec![0.0; s.weight_len()];
    let masks = SHARES.map(|share| spread(s.weight_len(), share));
    let ways = [
        (Method::Dense, &masks[0]),
        (Method::Lanes, &masks[0]),
        (Method::Lanes, &masks[1]),
    ];
    let mut shortest = [f64::INFINITY; 3];
    let begin = Instant::now();
    for round in 0..ROUNDS.1 {
        if round >= ROUNDS.0 && begin.elapsed() > LONG_ENOUGH {
            break;
        }
        for ((method, mask), shortest) in ways.iter().zip(&mut shortest) {
            let grads = WeightGrads {
                dw: &mut dw,
                dbias: None,
            };
            let start = Instant::now();
            grad_weight_by(*method, level, s, input, dy, mask, grads)?;
            // The first round warms the memory up.
            if round > 0 {
                *shortest = shortest.min(start.elapsed().as_secs_f64());
            }
        }
    }
    Ok(crossing(shortest))
}

/// Where the line through the times at both [`SHARES`] reaches the dense one.
fn crossing([dense, few, many]: [f64; 3]) -> f64 {
    let slope = ((many - few) / (SHARES[1] - SHARES[0])).max(0.0);
    let room = dense * (1.0 - MARGIN) - few;
    if room < 0.0 {
        return 0.0;
    }
    (SHARES[0] + room / slope.max(f64::MIN_POSITIVE)).clamp(0.0, MOST)
}

/// A mask with so large a share of free entries, spread without a pattern that a block of channels could have.
fn spread(len: usize, share: f64) -> FreezeMask {
    // The fractional parts of multiples of the golden ratio lie evenly in [0, 1).
    let frozen = |k: usize| (k as f64 * 0.618_033_988_749_895).fract() >= share;
    FreezeMask::from_bools(&(0..len).map(frozen).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_where_the_times_meet() {
        // 1 + 8 share, against 4: minus the margin.
        let limit = crossing([4.0 / (1.0 - MARGIN), 1.5, 5.0]);
        assert!((limit - 0.375).abs() < 1e-9, "{limit}");
        assert_eq!(crossing([1.0, 2.0, 9.0]), 0.0);
        assert_eq!(crossing([1.0, 0.1, 0.1]), MOST);
        assert_eq!(crossing([1.0, 0.2, 0.1]), MOST);
    }

    #[test]
    fn masks_that_are_measured_have_the_share() {
        for share in SHARES {
            let mask = spread(2304, share);
            let error = mask.free() as f64 / 2304.0 - share;
            assert!(error.abs() < 0.01, "{share}: {error}");
        }
    }

    #[test]
    fn idle_lanes_lower_the_fixed_limit() {
        let full = ConvShape::square(128, 32, (16, 16), 3, 1);
        let few = ConvShape::square(4, 8, (16, 16), 3, 1);
        for level in [Level::Native, Level::Avx2] {
            assert_eq!(fixed(level, &full), FIXED);
            assert!(level.lanes() <= 4 || fixed(level, &few) < FIXED);
        }
    }

    #[test]
    fn what_decides_is_in_the_key() {
        let s = ConvShape::square(128, 32, (16, 16), 3, 1);
        let mut wider = s;
        wider.dilation = 2;
        let keys = [
            key(Level::Native, &s, false),
            key(Level::Native, &s, true),
            key(Level::Scalar, &s, false),
            key(Level::Native, &wider, false),
        ];
        for (k, key) in keys.iter().enumerate() {
            assert!(!keys[..k].contains(key), "{key}");
        }
    }
}
