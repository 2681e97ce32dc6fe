//! Every kernel against the plain one over many shapes: the same bits.

use super::super::weights::Window;
use super::super::{Kernel, kernel::Words};
use super::One;
use crate::ops::affine_quant::AffineGrid;
use crate::quant::Bounds;

/// Numbers in no order, the same ones for a seed.
struct Dice(u64);

impl Dice {
    fn of(&mut self, from: usize, to: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + (self.0 >> 20) as usize % (to - from + 1)
    }
}

/// A convolution of any shape, weights of 1 to 8 bits, and an input range with or without 0 in it.
fn any(seed: u64) -> One {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed * 0x2545_f491_4f6c_dd1d + 1));
    let (inputs, outputs) = (dice.of(1, 70), dice.of(1, 40));
    let (inputs, outputs, groups) = match dice.of(0, 5) {
        0 => (outputs, outputs, outputs),
        1 => (2 * dice.of(1, 20), 2 * dice.of(1, 20), 2),
        _ => (inputs, outputs, 1),
    };
    let (kernel, dilation) = ([1, 2, 3, 5][dice.of(0, 3)], dice.of(1, 2));
    let window = Window {
        inputs,
        outputs,
        kernel,
        stride: dice.of(1, 3),
        padding: dice.of(0, kernel / 2),
        dilation,
        groups,
    };
    let span = dilation * (kernel - 1) + 1;
    let x = (span + dice.of(0, 8), span + dice.of(0, 19));
    let mut one = One::new(window, x, dice.of(1, 8) as u32, seed as usize);
    let (lower, upper) = [(-0.4, 2.1), (0.0, 3.0), (-5.0, 0.0), (0.5, 1.0)][dice.of(0, 3)];
    one.grid = AffineGrid::new(Bounds::new(lower, upper), 8).unwrap();
    one
}

#[test]
fn all_kernels_give_the_bits_of_the_plain_one() {
    let quick: Vec<Kernel> = Kernel::available();
    println!("{quick:?}");
    for seed in 0..300 {
        let one = any(seed);
        let plain = one.found(Kernel::Plain, None, 1);
        // The plain kernel with weights in the order of four levels a word: what VNNI computes.
        assert_eq!(
            one.found(Kernel::Plain, Some(Words::Quads), 1),
            plain,
            "{seed}: {:?}",
            one.weights.window
        );
        for &kernel in &quick {
            let bands = 1 + seed as usize % 3;
            assert_eq!(
                one.found(kernel, None, bands),
                plain,
                "{kernel:?}, {seed}: {:?}",
                one.weights.window
            );
        }
    }
}
