//! Grids at sizes of data where an extent would pass 65,535, of which a grid has so many along its second and third axis.
//!
//! Under emulation these launches are checked and not run, but for those whose blocks take several pieces in turn.

use rebit::ops::batch_norm2d::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use rebit::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use rebit::ops::conv2d::{Conv2dKernel, ConvInput, ConvShape, GradTo};
use rebit::ops::cross_entropy::CrossEntropyKernel;
use rebit::ops::fake_quant::Bounds;
use rebit::ops::layout::{LayoutKernel, nchw_to_nhwc, nhwc_to_nchw};
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::ops::pool::{PoolKernel, PoolShape};
use rebit::ops::relu::{Activation, ActivationKernel};
use rebit::ops::resize::{Filter, ResizeKernel, ResizeShape};

use crate::support::{Agree, Host, check, gpu, random};

/// More than a grid has along its second axis.
const MANY: usize = 66_000;
/// More pixels than fit [`MANY`] tiles of the widest kernel.
const PIXELS: usize = 128 * MANY;

/// Runs `f` with launches that, under emulation, are checked only.
fn checked(f: impl FnOnce()) {
    #[cfg(feature = "_emu")]
    rebit_cuda_emulator::set_order(rebit_cuda_emulator::Order::OnlyChecked);
    f();
    #[cfg(feature = "_emu")]
    {
        assert_eq!(rebit_cuda_emulator::take_mistake(), None);
        rebit_cuda_emulator::set_order(rebit_cuda_emulator::Order::Ascending);
    }
}

#[test]
fn a_photograph_of_millions_of_pixels_changes_its_order() {
    // One channel and one column of tiles: as many rows of tiles as a photograph of 2040 x 1356 has.
    let pixels = 32 * MANY + 5;
    let x = random(pixels, 1);
    let (mut last, mut first) = (vec![0.0; pixels], vec![0.0; pixels]);
    nchw_to_nhwc(&x, 1, pixels, &mut last);
    nhwc_to_nchw(&x, 1, pixels, &mut first);
    let d = gpu();
    let (x, mut y, mut z) = (d.put(&x), d.blank(pixels), d.blank(pixels));
    d.to_channels_last(&x, 1, pixels, &mut y).unwrap();
    d.to_channels_first(&x, 1, pixels, &mut z, false).unwrap();
    let found = [d.get(&y), d.get(&z)];
    check(Agree::Bits, "one channel", &found, &[last, first]);
}

#[test]
fn as_many_images_as_one_likes_change_their_order() {
    let (images, channels, pixels) = (MANY, 3, 2);
    let x = random(images * channels * pixels, 2);
    let mut last = vec![0.0; x.len()];
    nchw_to_nhwc(&x, channels, pixels, &mut last);
    let d = gpu();
    let (x, mut y) = (d.put(&x), d.blank(x.len()));
    d.to_channels_last(&x, channels, pixels, &mut y).unwrap();
    check(Agree::Bits, "many images", &[d.get(&y)], &[last]);
}

#[test]
fn means_of_as_many_samples_as_one_likes() {
    let x = random(2 * MANY, 3);
    let means: Vec<f32> = x
        .chunks(2)
        .map(|p| ((f64::from(p[0]) + f64::from(p[1])) / 2.0) as f32)
        .collect();
    let d = gpu();
    let (x, mut y) = (d.put(&x), d.blank(MANY));
    d.global_avg_pool_forward(MANY, 2, 1, &x, &mut y).unwrap();
    check(Agree::Bits, "means", &[d.get(&y)], &[means]);
}

#[test]
fn launches_of_maps_fit_a_grid() {
    checked(|| {
        let d = gpu();
        // Every axis in turn is the long one.
        for (n, c, p) in [(MANY, 1, 1), (1, 32 * MANY, 1), (1, 1, 32 * MANY)] {
            let (x, mut y) = (d.blank(n * c * p), d.blank(n * c * p));
            d.to_channels_last(&x, c, p, &mut y).unwrap();
            d.to_channels_first(&x, c, p, &mut y, true).unwrap();
            let mut means = d.blank(n * c);
            d.global_avg_pool_forward(n, p, c, &x, &mut means).unwrap();
            d.global_avg_pool_grad(n, p, c, &means, &mut y, false)
                .unwrap();
            norms(n * p, c);
            let s = PoolShape {
                batch: n,
                in_h: 1,
                in_w: p,
                channels: c,
                kernel: 1,
                stride: 1,
                padding: 0,
            };
            let mut pooled = d.blank(s.out_len().unwrap());
            d.max_pool_forward(s, &x, &mut pooled).unwrap();
            d.max_pool_grad(s, &x, &pooled, &mut y, false).unwrap();
            d.activate(Activation::Relu, &x, &mut y).unwrap();
            let s = ResizeShape {
                batch: n,
                channels: c,
                from: (1, p),
                to: (2, p),
                filter: Filter::Bicubic,
            };
            let mut large = d.blank(s.out_len());
            d.resize_forward(s, &x, &mut large).unwrap();
            d.resize_grad(s, &large, &mut y).unwrap();
        }
    });
}

fn norms(pixels: usize, channels: usize) {
    let d = gpu();
    let s = NormShape { pixels, channels };
    let map = || d.blank(pixels * channels);
    let of_channels = || d.blank(channels);
    let (z, mut y, gamma) = (map(), map(), of_channels());
    let (mut mean, mut var) = (of_channels(), of_channels());
    let (eps, act) = (1e-5, Activation::Relu);
    let input = NormInput {
        z: &z,
        gamma: &gamma,
        beta: &gamma,
        eps,
        residual: None,
        act,
    };
    d.batch_norm_train(s, input, &mut y, &mut mean, &mut var)
        .unwrap();
    let saved = NormSaved {
        z: &z,
        y: &y,
        gamma: &gamma,
        mean: &mean,
        var: &var,
        eps,
        act,
    };
    let grads = NormGrads {
        dy: &mut map(),
        dz: &mut map(),
        dgamma: &mut of_channels(),
        dbeta: &mut of_channels(),
    };
    d.batch_norm_grad(s, saved, grads).unwrap();
}

#[test]
fn launches_of_samples_fit_a_grid() {
    checked(|| {
        let d = gpu();
        let quantisers = vec![BoundQuant::dual(Bounds::new(-1.0, 1.0), 2).unwrap(); MANY];
        let (x, mut y) = (d.blank(2 * MANY), d.blank(2 * MANY));
        d.bound_quant_forward(&x, &quantisers, &mut y).unwrap();
        let mut dx = d.blank(2 * MANY);
        d.bound_quant_grad(&x, &quantisers, &y, &mut dx, false)
            .unwrap();
        // Four samples a block.
        let samples = 4 * MANY;
        let (logits, mut dlogits) = (d.blank(2 * samples), d.blank(2 * samples));
        let labels = vec![1; samples];
        d.cross_entropy(samples, 2, &logits, &labels, 0.0, Some(&mut dlogits))
            .unwrap();
    });
}

#[test]
fn launches_of_convolutions_fit_a_grid() {
    let pixelwise = |batch, side, channels, groups| ConvShape {
        batch,
        in_h: 1,
        in_w: side,
        in_channels: channels,
        out_channels: channels,
        kernel: (1, 1),
        stride: 1,
        padding: 0,
        dilation: 1,
        groups,
    };
    checked(|| {
        let d = gpu();
        for s in [
            pixelwise(1, PIXELS, 1, 1),
            pixelwise(PIXELS, 1, 1, 1),
            pixelwise(1, PIXELS / 2, 2, 2),
            ConvShape::linear(MANY, 1, 40),
        ] {
            let (x, w) = (d.blank(s.input_len()), d.blank(s.weight_len()));
            let (mut y, mut dx) = (d.blank(s.output_len()), d.blank(s.input_len()));
            let (mut dw, mut db) = (d.blank(s.weight_len()), d.blank(s.out_channels));
            d.conv2d_forward(&s, ConvInput::new(&x, None), &w, None, &mut y)
                .unwrap();
            d.conv2d_grad_input(
                &s,
                &y,
                &w,
                ConvInput::new(&x, None),
                GradTo::Overwrite(&mut dx),
            )
            .unwrap();
            d.conv2d_grad_weight(&s, ConvInput::new(&x, None), &y, &mut dw, Some(&mut db))
                .unwrap();
        }
        // One weight in 64 is free: each is a block.
        let s = ConvShape::linear(1, 64, MANY);
        let frozen: Vec<bool> = (0..s.weight_len()).map(|k| k % 64 != 0).collect();
        let (x, dy) = (d.blank(s.input_len()), d.blank(s.output_len()));
        let (mask, mut dw) = (FreezeMask::from_bools(&frozen), d.blank(s.weight_len()));
        d.conv2d_grad_weight_masked(&s, ConvInput::new(&x, None), &dy, &mask, &mut dw, None)
            .unwrap();
    });
}

#[test]
fn a_grid_that_no_gpu_has_is_refused_by_the_name_of_its_kernel() {
    let d = gpu();
    // Taps of a depthwise kernel are the third extent.
    let s = ConvShape {
        batch: 1,
        in_h: 300,
        in_w: 300,
        in_channels: 2,
        out_channels: 2,
        kernel: (260, 260),
        stride: 1,
        padding: 0,
        dilation: 1,
        groups: 2,
    };
    let (x, w) = (d.blank(s.input_len()), d.blank(s.weight_len()));
    let mut y = d.blank(s.output_len());
    let refused = d.conv2d_forward(&s, ConvInput::new(&x, None), &w, None, &mut y);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("65535 taps"), "{refused}");
    // Channels of the output, sixty-four a block, are the second.
    let s = ConvShape::linear(1, 1, 64 * MANY);
    let (x, w) = (d.blank(s.input_len()), d.blank(s.weight_len()));
    let mut y = d.blank(s.output_len());
    let refused = d.conv2d_forward(&s, ConvInput::new(&x, None), &w, None, &mut y);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("kernel rebit_conv_wide"), "{refused}");
}
