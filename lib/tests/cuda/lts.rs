//! The LTS weight quantiser with its state.

use rebit::ops::fake_quant::{Bounds, FakeQuant};
use rebit::ops::lts_weight::{LtsCounts, LtsState, LtsStep, LtsWeightKernel};

use crate::compare;
use crate::support::{Agree, Host, LENGTHS, awkward, random};

fn bools(bits: &[bool]) -> Vec<f32> {
    bits.iter().map(|&b| f32::from(u8::from(b))).collect()
}

fn numbers(c: LtsCounts) -> Vec<f32> {
    [c.frozen, c.newly_frozen, c.flipped]
        .map(|n| n as f32)
        .to_vec()
}

#[test]
fn state_follows_the_weight_bit_for_bit() {
    for n in LENGTHS {
        let start = random(n, 20);
        let drift = random(n, 21);
        for bits in [1, 2, 8] {
            let f = FakeQuant::weight(Bounds::new(-0.9, 0.8), bits).unwrap();
            compare!(Agree::Bits, format!("{n} weights of {bits} bits"), |d| {
                let mut state = LtsState::new(d, n).unwrap();
                let mut results = Vec::new();
                for k in 0..5 {
                    let moved = start.iter().zip(&drift);
                    let w: Vec<f32> = moved.map(|(w, m)| w + 0.05 * k as f32 * m).collect();
                    // A warm-up first; then more and more freezes.
                    let threshold = (k > 1).then_some(0.1 * k as f32);
                    let step = Some(LtsStep {
                        momentum: 0.9,
                        threshold,
                    });
                    let (mut w, mut y) = (d.put(&w), d.blank(n));
                    let counts = d.lts_weight_forward(&w, f, step, &mut state, &mut y);
                    results.push(numbers(counts.unwrap()));
                    results.push(d.get(&y));
                    d.lts_restore(&state, &mut w).unwrap();
                    results.push(d.get(&w));
                    // Evaluation sees the same weights and moves nothing.
                    let counts = d.lts_weight_forward(&w, f, None, &mut state, &mut y);
                    results.push(numbers(counts.unwrap()));
                    results.push(d.get(&y));
                }
                results.extend([&state.distance, &state.previous, &state.saved].map(|v| d.get(v)));
                results.push(bools(&state.frozen));
                results
            });
        }
    }
}

#[test]
fn gradient_with_no_some_and_all_entries_frozen() {
    let f = FakeQuant::weight(Bounds::new(-0.7, 0.9), 4).unwrap();
    for n in LENGTHS {
        let (w, other, dy) = (awkward(n, 22), random(n, 23), random(n, 24));
        for share in [0, 1, 2] {
            let case = format!("{n} weights, {share}/2 frozen");
            macro_rules! gradient {
                ($d:ident) => {{
                    let mut state = LtsState::new($d, n).unwrap();
                    state.saved = $d.put(&other);
                    for (k, bit) in state.frozen.iter_mut().enumerate() {
                        *bit = k % 2 < share;
                    }
                    let (w, dy, mut dw) = ($d.put(&w), $d.put(&dy), $d.blank(n));
                    let bounds = $d.lts_weight_grad(&w, f, &state, &dy, &mut dw, false);
                    let once = $d.get(&dw);
                    $d.lts_weight_grad(&w, f, &state, &dy, &mut dw, true)
                        .unwrap();
                    (bounds.unwrap(), once, $d.get(&dw))
                }};
            }
            compare!(Agree::Bits, case, |d| {
                let (_, once, twice) = gradient!(d);
                vec![once, twice]
            });
            compare!(Agree::Within(2e-5), case, |d| {
                let (bounds, ..) = gradient!(d);
                vec![vec![bounds.lower, bounds.upper]]
            });
        }
    }
}
