//! Time of the masked weight gradient against the dense one, over all convolutions of ResNet-20 at batch 128.
//!
//! `cargo run --release -p rebit --example bench_masked [-- NAME [SHARE ...]]` prints milliseconds (the best of many
//! runs) for random masks, of the layers whose name contains NAME.

use rand::Rng as _;
use rebit::dfdx::tensor::Storage;
use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvShape};
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::{dev, rng};

#[path = "support/stopwatch.rs"]
mod stopwatch;
use stopwatch::best;

fn conv(size: usize, channels: (usize, usize), k: usize, stride: usize) -> ConvShape {
    ConvShape {
        batch: 128,
        in_h: size,
        in_w: size,
        in_channels: channels.0,
        out_channels: channels.1,
        kernel: (k, k),
        stride,
        padding: k / 2,
        dilation: 1,
        groups: 1,
    }
}

fn main() {
    // Convolutions of a kind and how many of them the network has (shortcuts by 1x1 convolutions).
    let layers = [
        ("3->16 32x32", 1, conv(32, (3, 16), 3, 1)),
        ("16->16 32x32", 6, conv(32, (16, 16), 3, 1)),
        ("16->32 /2", 1, conv(32, (16, 32), 3, 2)),
        ("16->32 1x1 /2", 1, conv(32, (16, 32), 1, 2)),
        ("32->32 16x16", 5, conv(16, (32, 32), 3, 1)),
        ("32->64 /2", 1, conv(16, (32, 64), 3, 2)),
        ("32->64 1x1 /2", 1, conv(16, (32, 64), 1, 2)),
        ("64->64 8x8", 5, conv(8, (64, 64), 3, 1)),
    ];
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let mut shares: Vec<f64> = arguments.map(|a| a.parse().expect("a share")).collect();
    if shares.is_empty() {
        shares = vec![0.0, 0.2, 0.5, 0.6, 0.8, 0.9, 0.95, 1.0];
    }
    let quant = Some(ActQuant {
        lower: 0.0,
        upper: 1.5,
        levels: 3,
    });
    print!("{:>16}{:>9}", "frozen", "dense");
    for &share in &shares {
        print!("{:>9}", format!("{:.0} %", 100.0 * share));
    }
    println!();
    let d = dev();
    let mut total = vec![0.0; shares.len() + 1];
    for (name, times, s) in layers.into_iter().filter(|l| l.0.contains(&filter)) {
        let fill = |len: usize| {
            let mut v = d.try_alloc_len(len).expect("memory");
            for (k, e) in v.iter_mut().enumerate() {
                *e = ((k * 7919) % 1000) as f32 * 0.002 - 1.0;
            }
            v
        };
        let (x, dy, mut dw) = (
            fill(s.input_len()),
            fill(s.output_len()),
            fill(s.weight_len()),
        );
        let mut row = vec![
            1e3 * best(|| {
                d.conv2d_grad_weight(&s, &x, quant, &dy, &mut dw, None)
                    .expect("dense gradient");
            }),
        ];
        for &share in &shares {
            let mut rng = rng(1);
            let frozen: Vec<bool> = (0..s.weight_len())
                .map(|_| rng.random_range(0.0..1.0) < share)
                .collect();
            let mask = FreezeMask::from_bools(&frozen);
            row.push(
                1e3 * best(|| {
                    d.conv2d_grad_weight_masked(&s, &x, quant, &dy, &mask, &mut dw, None)
                        .expect("masked gradient");
                }),
            );
        }
        print!("{name:>16}");
        for (t, total) in row.iter().zip(&mut total) {
            print!("{t:9.3}");
            *total += f64::from(times) * t;
        }
        println!();
    }
    print!("{:>16}", "ResNet-20");
    for t in &total {
        print!("{t:9.3}");
    }
    print!("\n{:>16}{:>9}", "against dense", "");
    for t in &total[1..] {
        print!("{:9.3}", t / total[0]);
    }
    println!();
}
