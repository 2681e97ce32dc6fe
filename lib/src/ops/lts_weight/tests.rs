//! The rules of arXiv:2211.08544 that must hold exactly, one test each.

use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::fake_quant::{Bounds, FakeQuantKernel};
use crate::ops::{assert_close, buffer, cpu, wave};
use crate::tensors::{CpuBuffer as Buffer, Scalar, Vector, dev, from_vec, read};

/// 2 bits over `[0, 1]`: levels 0, 1/3, 2/3, 1, `Delta = 1/3`, and `n` is the weight itself.
fn unit() -> FakeQuant {
    FakeQuant::weight(Bounds::new(0.0, 1.0), 2).unwrap()
}

const DELTA: f32 = 1.0 / 3.0;

fn watch(momentum: f32) -> Option<LtsStep> {
    Some(LtsStep {
        momentum,
        threshold: None,
    })
}

fn freeze(momentum: f32, rate: f32) -> Option<LtsStep> {
    Some(LtsStep {
        momentum,
        threshold: Some(rate),
    })
}

/// One layer under test.
struct Layer {
    state: LtsState<Buffer>,
    y: Buffer,
}

impl Layer {
    fn new(len: usize) -> Self {
        Layer {
            state: LtsState::new(&cpu(), len).unwrap(),
            y: buffer(&vec![0.0; len]),
        }
    }

    fn forward(&mut self, w: &[f32], step: Option<LtsStep>) -> LtsCounts {
        self.forward_with(w, unit(), step)
    }

    fn forward_with(&mut self, w: &[f32], f: FakeQuant, step: Option<LtsStep>) -> LtsCounts {
        cpu()
            .lts_weight_forward(&buffer(w), f, step, &mut self.state, &mut self.y)
            .unwrap()
    }

    fn gradient(&self, w: &[f32], f: FakeQuant, dy: &[f32]) -> (Vec<f32>, BoundGrad) {
        let mut dw = buffer(&vec![9.0; w.len()]);
        let bounds = cpu()
            .lts_weight_grad(&buffer(w), f, &self.state, &buffer(dy), &mut dw, false)
            .unwrap();
        (dw.to_vec(), bounds)
    }
}

#[test]
fn distance_is_one_level_step_right_after_a_flip() {
    let mut layer = Layer::new(2);
    layer.forward(&[0.30, 0.70], watch(0.9));
    layer.forward(&[0.30, 0.70], watch(0.9));
    assert!(layer.state.distance.iter().all(|&d| d < DELTA));
    // The first weight crosses from level 1/3 to 2/3, the second stays.
    let counts = layer.forward(&[0.55, 0.70], watch(0.9));
    assert_eq!(counts.flipped, 1);
    assert_eq!(layer.state.distance[0], DELTA);
    assert!(layer.state.distance[1] < DELTA);
}

#[test]
fn distance_forgets_a_flip_with_the_momentum() {
    // D = m^k Delta + (1 - m^k) d, k steps after the flip at a constant distance d.
    let (m, w) = (0.9f32, 0.38);
    let d = w - DELTA;
    let mut layer = Layer::new(1);
    layer.forward(&[0.9], watch(m));
    layer.forward(&[w], watch(m));
    assert_eq!(layer.state.distance[0], DELTA);
    for k in 1..=50 {
        layer.forward(&[w], watch(m));
        let expected = m.powi(k) * DELTA + (1.0 - m.powi(k)) * d;
        assert!(
            (layer.state.distance[0] - expected).abs() < 1e-6,
            "step {k}"
        );
    }
}

#[test]
fn an_entry_never_seen_counts_as_just_flipped() {
    let mut layer = Layer::new(3);
    let counts = layer.forward(&[0.0, 0.4, 1.0], freeze(0.9, 0.99));
    assert_eq!(layer.state.distance.to_vec(), [DELTA; 3]);
    assert_eq!(counts, LtsCounts::default());
}

#[test]
fn an_entry_freezes_when_its_distance_meets_the_threshold_and_not_before() {
    // Without memory D is d: 0.03 / Delta = 0.09 level steps.
    let w = [DELTA + 0.03];
    let mut layer = Layer::new(1);
    layer.forward(&w, freeze(0.0, 0.5));
    assert_eq!(layer.forward(&w, freeze(0.0, 0.08)).frozen, 0);
    let counts = layer.forward(&w, freeze(0.0, 0.10));
    assert_eq!((counts.frozen, counts.newly_frozen), (1, 1));
    let counts = layer.forward(&w, freeze(0.0, 0.10));
    assert_eq!((counts.frozen, counts.newly_frozen), (1, 0));
}

#[test]
fn the_threshold_is_met_by_equality() {
    let mut layer = Layer::new(1);
    layer.forward(&[1.0], freeze(0.0, 0.0));
    assert_eq!(layer.forward(&[1.0], freeze(0.0, 0.0)).frozen, 1);
}

#[test]
fn a_fresh_flip_waits_as_long_as_the_rate_is_below_one() {
    let mut layer = Layer::new(1);
    layer.forward(&[1.0], watch(0.0));
    assert_eq!(layer.forward(&[0.0], freeze(0.0, 0.999)).frozen, 0);
    assert_eq!(layer.forward(&[1.0], freeze(0.0, 1.0)).frozen, 1);
}

#[test]
fn nothing_freezes_during_the_warm_up() {
    let mut layer = Layer::new(4);
    for _ in 0..20 {
        let counts = layer.forward(&[0.0, DELTA, 0.5, 1.0], watch(0.5));
        assert_eq!(counts.frozen, 0);
    }
    assert_eq!(layer.state.frozen_share(), 0.0);
}

#[test]
fn rate_one_freezes_every_weight_inside_the_bounds_that_has_settled() {
    // A weight outside by more than a level step never freezes.
    let w = [-0.5, 0.0, 0.2, 0.49, 0.8, 1.2, 1.5];
    let mut layer = Layer::new(7);
    layer.forward(&w, watch(0.0));
    layer.forward(&w, freeze(0.0, 1.0));
    let expected = [false, true, true, true, true, true, false];
    assert_eq!(layer.state.frozen, expected);
}

/// 300 forwards over weights that wander, under a growing threshold and moving bounds.
fn wander(mut each: impl FnMut(&mut Layer, &[f32], FakeQuant, f32)) {
    let mut layer = Layer::new(200);
    for t in 0..300 {
        let w: Vec<f32> = wave(200)
            .iter()
            .enumerate()
            .map(|(i, v)| 0.5 + 0.6 * v + 0.02 * ((t * (i + 3)) as f32).sin())
            .collect();
        let drift = 1e-4 * t as f32;
        let f = FakeQuant::weight(Bounds::new(-drift, 1.0 + drift), 2).unwrap();
        each(&mut layer, &w, f, t as f32 / 300.0);
    }
}

#[test]
fn the_frozen_set_only_grows_and_frozen_values_keep_every_bit() {
    let mut before = vec![false; 200];
    let mut values = vec![0; 200];
    let mut grown = 0;
    wander(|layer, w, f, rate| {
        layer.forward_with(w, f, freeze(0.9, rate));
        for i in 0..200 {
            let (frozen, bits) = (layer.state.frozen[i], layer.state.saved[i].to_bits());
            assert!(frozen || !before[i], "entry {i} thawed");
            if before[i] {
                assert_eq!(bits, values[i], "entry {i} moved");
            } else if frozen {
                // Frozen with the value of the very forward that froze it.
                assert_eq!(bits, w[i].to_bits());
                grown += 1;
            }
            values[i] = bits;
        }
        before.clone_from(&layer.state.frozen);
    });
    assert!(
        grown > 150,
        "only {grown} entries froze: the test shows nothing"
    );
}

#[test]
fn frozen_entries_get_no_gradient_and_the_bounds_get_it_from_all() {
    wander(|layer, w, f, rate| {
        layer.forward_with(w, f, freeze(0.9, rate));
        let dy = wave(200);
        let (dw, bounds) = layer.gradient(w, f, &dy);
        // The plain quantiser on the effective weight says what the bounds and free entries get.
        let frozen = &layer.state.frozen;
        let effective = layer.state.saved.clone();
        let mut plain = buffer(&[0.0; 200]);
        let expected = cpu()
            .fake_quant_grad(&effective, f, &buffer(&dy), &mut plain, false)
            .unwrap();
        assert_eq!(bounds, expected);
        for i in 0..200 {
            assert_eq!(dw[i], if frozen[i] { 0.0 } else { plain[i] });
        }
    });
}

#[test]
fn with_constant_bounds_a_frozen_weight_keeps_its_level() {
    let mut layer = Layer::new(200);
    let w: Vec<f32> = wave(200).iter().map(|v| 0.5 + 0.5 * v).collect();
    for _ in 0..3 {
        layer.forward(&w, freeze(0.0, 1.0));
    }
    let levels = layer.y.to_vec();
    assert_eq!(layer.state.frozen_share(), 1.0);
    let elsewhere: Vec<f32> = w.iter().map(|w| 1.0 - w).collect();
    layer.forward(&elsewhere, freeze(0.0, 1.0));
    assert_eq!(layer.y.to_vec(), levels);
    layer.forward(&elsewhere, None);
    assert_eq!(layer.y.to_vec(), levels);
}

#[test]
fn a_run_whose_threshold_is_never_met_is_the_plain_quantiser() {
    wander(|layer, w, f, _| {
        layer.forward_with(w, f, watch(0.9));
        let mut plain = buffer(&[0.0; 200]);
        cpu().fake_quant_forward(&buffer(w), f, &mut plain).unwrap();
        assert_eq!(layer.y.to_vec(), plain.to_vec());
    });
}

#[test]
fn evaluation_reads_the_frozen_values_and_changes_nothing() {
    let mut layer = Layer::new(2);
    for _ in 0..2 {
        layer.forward(&[1.0, 0.5], freeze(0.0, 0.1));
    }
    assert_eq!(layer.state.frozen, [true, false]);
    let before = layer.state.clone();
    let counts = layer.forward(&[0.0, 0.0], None);
    assert_eq!(counts.frozen, 1);
    assert_eq!(layer.y.to_vec(), [1.0, -1.0]);
    assert_eq!(layer.state.distance.to_vec(), before.distance.to_vec());
    assert_eq!(layer.state.previous.to_vec(), before.previous.to_vec());
    assert_eq!(layer.state.saved.to_vec(), before.saved.to_vec());
    assert_eq!(layer.state.frozen, before.frozen);
}

#[test]
fn restoring_undoes_what_momentum_did_to_frozen_entries_only() {
    let mut layer = Layer::new(2);
    for _ in 0..2 {
        layer.forward(&[1.0, 0.5], freeze(0.0, 0.1));
    }
    let mut w = buffer(&[0.7, 0.6]);
    cpu().lts_restore(&layer.state, &mut w).unwrap();
    assert_eq!(w.to_vec(), [1.0, 0.6]);
}

#[test]
fn on_the_tape_the_gradient_belongs_to_the_forward_that_recorded_it() {
    let w: Vector = from_vec(vec![1.0, 0.45], (2,)).unwrap();
    let bound = |v: f32| -> Scalar { from_vec(vec![v], ()).unwrap() };
    let (lower, upper) = (bound(0.0), bound(1.0));
    let mut state = LtsState::new(&dev(), 2).unwrap();
    let step = freeze(0.0, 0.2);
    let mut run = |step| {
        lts_weight(
            w.leaky_trace(),
            lower.leaky_trace(),
            upper.leaky_trace(),
            2,
            &mut state,
            step,
        )
    };
    let first = run(watch(0.0));
    let second = run(step);
    assert_close(&read(&second), &[1.0, -1.0 / 3.0], 1e-6);
    let grads = first.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&w)), [2.0, 2.0]);
    let grads = second.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&w)), [0.0, 2.0]);
    assert_close(&read(&grads.get(&upper)), &[-2.0 * (1.0 + 0.45)], 1e-6);
    assert_close(&read(&grads.get(&lower)), &[-2.0 * 0.55], 1e-6);
    assert_eq!(state.frozen, [true, false]);
}

#[test]
fn counts_and_state_are_the_same_at_any_number_of_threads() {
    let n = 4 * crate::ops::parallel::CHUNK + 13;
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut layer = Layer::new(n);
            let w: Vec<f32> = wave(n).iter().map(|v| 0.5 + 0.5 * v).collect();
            layer.forward(&w, freeze(0.5, 0.6));
            let counts = layer.forward(&w, freeze(0.5, 0.6));
            let (_, bounds) = layer.gradient(&w, unit(), &w);
            (counts, layer.state.frozen, bounds)
        })
    };
    let one = run(1);
    assert!(one == run(3));
    let (counts, frozen, _) = one;
    assert_eq!(counts.frozen, frozen.iter().filter(|f| **f).count());
    assert!(counts.newly_frozen > 0 && counts.newly_frozen < n);
}

#[test]
fn settings_outside_their_range_are_refused() {
    let mut layer = Layer::new(1);
    let mut fails = |step| {
        let result = cpu().lts_weight_forward(
            &buffer(&[0.5]),
            unit(),
            step,
            &mut layer.state,
            &mut layer.y,
        );
        result.unwrap_err().to_string()
    };
    assert!(fails(watch(1.0)).contains("momentum 1"));
    assert!(fails(freeze(0.9, f32::NAN)).contains("threshold NaN"));
    let mut short = LtsState::new(&cpu(), 2).unwrap();
    let result = cpu().lts_weight_forward(&buffer(&[0.5]), unit(), None, &mut short, &mut layer.y);
    assert!(result.unwrap_err().to_string().contains("state.distance"));
}
