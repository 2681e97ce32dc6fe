//! GFLOP/s of the convolution kernels at the sizes of the papers' networks; the best of many runs.
//!
//! `cargo run --release -p rebit --example bench_conv [-- NAME]` runs the rows whose name contains NAME.

use std::hint::black_box;

use rebit::dev;
use rebit::dfdx::tensor::Storage;
use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvShape};

#[path = "support/stopwatch.rs"]
mod stopwatch;
use stopwatch::best;

fn conv(batch: usize, size: usize, channels: (usize, usize), k: usize, stride: usize) -> ConvShape {
    ConvShape {
        batch,
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

fn depthwise(batch: usize, size: usize, channels: usize, stride: usize) -> ConvShape {
    ConvShape {
        groups: channels,
        ..conv(batch, size, (channels, channels), 3, stride)
    }
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let rows = [
        ("16ch 32x32", conv(128, 32, (16, 16), 3, 1)),
        ("32ch 16x16", conv(128, 16, (32, 32), 3, 1)),
        ("64ch 8x8", conv(128, 8, (64, 64), 3, 1)),
        ("3->16 32x32", conv(128, 32, (3, 16), 3, 1)),
        ("16->32 stride 2", conv(128, 32, (16, 32), 3, 2)),
        ("32->64 stride 2", conv(128, 16, (32, 64), 3, 2)),
        ("16->32 1x1 stride 2", conv(128, 32, (16, 32), 1, 2)),
        ("linear 64->10", ConvShape::linear(128, 64, 10)),
        ("linear 512->1000", ConvShape::linear(128, 512, 1000)),
        ("depthwise 32 112x112", depthwise(8, 112, 32, 1)),
        ("depthwise 96 56x56 /2", depthwise(8, 112, 96, 2)),
        ("depthwise 144 56x56", depthwise(8, 56, 144, 1)),
        ("depthwise 384 14x14", depthwise(8, 14, 384, 1)),
        ("depthwise 960 7x7", depthwise(8, 7, 960, 1)),
        ("pointwise 32->16 112x112", conv(8, 112, (32, 16), 1, 1)),
        ("pointwise 24->144 56x56", conv(8, 56, (24, 144), 1, 1)),
        ("pointwise 384->64 14x14", conv(8, 14, (384, 64), 1, 1)),
        ("pointwise 160->960 7x7", conv(8, 7, (160, 960), 1, 1)),
        ("EDSR 64ch 48x48", conv(16, 48, (64, 64), 3, 1)),
        ("EDSR 64->256 48x48", conv(16, 48, (64, 256), 3, 1)),
        ("512ch 4x4", conv(32, 4, (512, 512), 3, 1)),
    ];
    let quant = Some(ActQuant {
        lower: -0.5,
        upper: 1.5,
        levels: 3,
    });
    println!(
        "{} threads, GFLOP/s (milliseconds)\n{:26}{:>18}{:>18}{:>18}{:>18}{:>18}",
        rayon_threads(),
        "",
        "forward",
        "with quantiser",
        "grad input",
        "with quantiser",
        "grad weight"
    );
    let d = dev();
    for (name, s) in rows.into_iter().filter(|(name, _)| name.contains(&filter)) {
        let fill = |len: usize| {
            let mut v = d.try_alloc_len(len).expect("memory");
            for (k, e) in v.iter_mut().enumerate() {
                *e = ((k * 7919) % 1000) as f32 * 0.002 - 1.0;
            }
            v
        };
        let (x, w) = (fill(s.input_len()), fill(s.weight_len()));
        let (mut y, mut dx, mut dw) = (
            fill(s.output_len()),
            fill(s.input_len()),
            fill(s.weight_len()),
        );
        let dy = fill(s.output_len());
        let seconds = [
            best(|| {
                d.conv2d_forward(&s, &x, None, &w, None, black_box(&mut y))
                    .expect("forward")
            }),
            best(|| {
                d.conv2d_forward(&s, &x, quant, &w, None, black_box(&mut y))
                    .expect("forward")
            }),
            best(|| {
                let r = d.conv2d_grad_input(&s, &dy, &w, &x, None, black_box(&mut dx), false);
                black_box(r.expect("grad_input"));
            }),
            best(|| {
                let r = d.conv2d_grad_input(&s, &dy, &w, &x, quant, black_box(&mut dx), false);
                black_box(r.expect("grad_input"));
            }),
            best(|| {
                d.conv2d_grad_weight(&s, &x, quant, &dy, black_box(&mut dw), None)
                    .expect("grad_weight");
            }),
        ];
        print!("{name:26}");
        for t in seconds {
            let rate = 2e-9 * s.macs() as f64 / t;
            print!("{:>18}", format!("{rate:.0} ({:.3})", t * 1e3));
        }
        println!();
    }
}

fn rayon_threads() -> usize {
    std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}
