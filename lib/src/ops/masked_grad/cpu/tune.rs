//! Which way is the quicker one: measured once for each shape on the machine at hand.
//!
//! Where the ways meet depends on the processor's units and caches, so no share of frozen entries is right everywhere. The
//! first call with a shape therefore runs each a few times, and what they took beside the dense gradient is kept. On a machine
//! that is too busy to tell, the fixed rule decides, and the next process measures again.
//! `REBIT_TUNE=off` takes a fixed rule instead. The bits of a gradient are the same whatever is chosen.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::remembered::{Remembered, Times, processor};
use super::{FreezeMask, Method, grad_weight_by};
use crate::error::Result;
use crate::files::cache_folder;
use crate::ops::conv2d::ConvShape;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::{Input, Level, WeightGrads, grad_weight};

/// Share of free entries from which on nothing but the dense gradient is considered.
const MOST: f64 = 0.9;
/// Share of free entries up to which the fixed rule takes them one by one, if no lane is idle.
const FIXED: f64 = 0.45;
/// The same where they can be brought together by permutations.
const FIXED_GATHERED: f64 = 0.3;
/// Shares of free entries at which a way is timed; its time is taken for a straight line.
const SHARES: [f64; 2] = [1.0 / 16.0, 0.4];
/// The dense gradient stays unless another way saves this much: clocks are noisy.
const MARGIN: f64 = 0.05;
/// Fewest rounds that count and most that are tried, and after how long a measurement ends between them.
const ROUNDS: (usize, usize) = (3, 12);
/// How far apart two dense gradients of a round may be, as a share of the shorter.
const DISTURBED: f64 = 0.1;
const LONG_ENOUGH: Duration = Duration::from_millis(8);
/// Shapes that a process measures; a program that makes ever new ones gets the fixed rule.
const SHAPES: usize = 256;

/// The quickest way to the free entries.
pub(crate) fn choose(
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
) -> Result<Method> {
    let share = frozen.free() as f64 / frozen.len() as f64;
    if share > MOST {
        return Ok(Method::Dense);
    }
    let times = match remembered() {
        Some(remembered) => times(remembered, level, s, input, dy)?,
        None => None,
    };
    Ok(times.map_or_else(|| fixed(level, s, share), |times| quickest(times, share)))
}

/// What was measured so far, unless measuring is off.
fn remembered() -> Option<&'static Mutex<Remembered>> {
    static REMEMBERED: OnceLock<Option<Mutex<Remembered>>> = OnceLock::new();
    let open = || {
        let off = std::env::var("REBIT_TUNE").is_ok_and(|v| v == "off");
        // Tests leave nothing in the user's folders.
        let file = (cache_folder().filter(|_| !cfg!(test))).map(|f| f.join("masked-gradient.json"));
        (!off).then(|| Mutex::new(Remembered::open(file, processor())))
    };
    REMEMBERED.get_or_init(open).as_ref()
}

/// The times of a shape, measured where nobody has; none on a busy machine, and for one shape too many.
fn times(
    remembered: &Mutex<Remembered>,
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
) -> Result<Option<Times>> {
    // Not locked while it is measured: that runs on all threads, and they may come here themselves.
    let lock = || remembered.lock().unwrap_or_else(PoisonError::into_inner);
    let key = key(level, s, input.quant.is_some());
    let (found, settled) = {
        let remembered = lock();
        let settled = remembered.is_unclear(&key) || remembered.measured() >= SHAPES;
        (remembered.get(&key), settled)
    };
    if found.is_some() || settled {
        return Ok(found);
    }
    let times = measure(level, s, input, dy)?;
    match times {
        Some(times) => lock().put(key, times),
        None => lock().leave(key),
    }
    Ok(times)
}

/// Everything that times depend on, but for the processor.
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

/// The way without measuring: idle lanes cost as much as others.
fn fixed(level: Level, s: &ConvShape, share: f64) -> Method {
    let lanes = level.lanes();
    let chunks = grad_weight::chunks(&Plan::forward(s), lanes).count;
    let fill = chunks as f64 / chunks.next_multiple_of(lanes) as f64;
    match gathers(level) {
        true if share <= FIXED_GATHERED => Method::Gathered,
        false if share <= FIXED * fill => Method::Lanes,
        _ => Method::Dense,
    }
}

/// What each way takes beside the dense gradient, in the middle one of the rounds that nothing disturbed: every round
/// begins and ends with the dense gradient, and counts where both took equally long. None where the machine is too busy.
fn measure(level: Level, s: &ConvShape, input: Input, dy: &[f32]) -> Result<Option<Times>> {
    let mut dw = vec![0.0; s.weight_len()];
    let masks = SHARES.map(|share| spread(s.weight_len(), share));
    let mut ways = vec![
        (Method::Dense, &masks[0]),
        (Method::Lanes, &masks[0]),
        (Method::Lanes, &masks[1]),
    ];
    if gathers(level) {
        ways.extend(masks.iter().map(|mask| (Method::Gathered, mask)));
    }
    ways.push(ways[0]);
    let mut rounds = Vec::new();
    let begin = Instant::now();
    for round in 0..ROUNDS.1 {
        if rounds.len() >= ROUNDS.0 && begin.elapsed() > LONG_ENOUGH {
            break;
        }
        let mut took = Vec::with_capacity(ways.len());
        for (method, mask) in &ways {
            let grads = WeightGrads {
                dw: &mut dw,
                dbias: None,
            };
            let start = Instant::now();
            grad_weight_by(*method, level, s, input, dy, mask, grads)?;
            took.push(start.elapsed().as_secs_f64());
        }
        // The first round warms the memory up.
        if round > 0 {
            rounds.extend(beside_dense(&took));
        }
    }
    if rounds.len() < ROUNDS.0 {
        return Ok(None);
    }
    let pair = |first: usize| {
        let of = |way: usize| median(rounds.iter().map(|round| round[way]).collect());
        [of(first), of(first + 1)]
    };
    Ok(Some(Times {
        lanes: pair(0),
        gathered: gathers(level).then(|| pair(2)),
    }))
}

/// The times between the first and the last, which are the dense gradient's, as shares of these; none unless both agree.
fn beside_dense(took: &[f64]) -> Option<Vec<f64>> {
    let [first, ways @ .., last] = took else {
        return None;
    };
    let (low, high) = (first.min(*last), first.max(*last));
    let agree = low > 0.0 && high <= low * (1.0 + DISTURBED);
    agree.then(|| ways.iter().map(|way| way / low).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The way that takes the shortest time at a share of free entries.
fn quickest(times: Times, share: f64) -> Method {
    let at =
        |[few, many]: [f64; 2]| few + (many - few) * (share - SHARES[0]) / (SHARES[1] - SHARES[0]);
    let lanes = at(times.lanes);
    let gathered = times.gathered.map_or(f64::INFINITY, at);
    if lanes.min(gathered) > 1.0 - MARGIN {
        Method::Dense
    } else if lanes <= gathered {
        Method::Lanes
    } else {
        Method::Gathered
    }
}

/// Whether entries can be brought together by permutations.
#[cfg(target_arch = "x86_64")]
fn gathers(level: Level) -> bool {
    super::gathered::available(level)
}

/// Whether entries can be brought together by permutations: only x86 has them here.
#[cfg(not(target_arch = "x86_64"))]
fn gathers(_: Level) -> bool {
    false
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
    fn the_quickest_way_is_taken() {
        let times = Times {
            lanes: [0.5, 0.8],
            gathered: Some([0.2, 1.0]),
        };
        let of = |share| quickest(times, share);
        assert_eq!(of(0.05), Method::Gathered);
        assert_eq!(of(0.38), Method::Lanes);
        assert_eq!(of(0.8), Method::Dense);
        let lanes = Times {
            gathered: None,
            ..times
        };
        assert_eq!(quickest(lanes, 0.05), Method::Lanes);
        assert_eq!(quickest(lanes, 0.8), Method::Dense);
    }

    #[test]
    fn a_round_that_was_disturbed_does_not_count() {
        assert_eq!(beside_dense(&[2.0, 1.0, 3.0, 2.1]), Some(vec![0.5, 1.5]));
        assert_eq!(beside_dense(&[2.0, 1.0, 3.0, 2.5]), None);
        assert_eq!(beside_dense(&[0.0, 1.0, 0.0]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
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
            assert_ne!(fixed(level, &full, 0.2), Method::Dense);
            assert_eq!(fixed(level, &full, 0.6), Method::Dense);
            if level.lanes() == 8 {
                assert_eq!(fixed(level, &full, 0.4), Method::Lanes);
                assert_eq!(fixed(level, &few, 0.4), Method::Dense);
            }
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
