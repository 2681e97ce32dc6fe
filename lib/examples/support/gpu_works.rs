//! The kernels at the sizes of the papers' networks, with what each must move and compute.

use dfdx::prelude::{AdamConfig, Momentum, SgdConfig};
use rebit::ops::affine::AffineKernel;
use rebit::ops::batch_norm2d::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use rebit::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use rebit::ops::channels::{ChannelsKernel, Part};
use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvInput, ConvShape, GradTo};
use rebit::ops::cross_entropy::CrossEntropyKernel;
use rebit::ops::fake_quant::{Bounds, FakeQuant, FakeQuantKernel};
use rebit::ops::l1_loss::L1LossKernel;
use rebit::ops::layout::LayoutKernel;
use rebit::ops::lts_weight::{LtsState, LtsStep, LtsWeightKernel};
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::ops::pixel_shuffle::{PixelShuffleKernel, ShuffleShape};
use rebit::ops::pool::{PoolKernel, PoolShape};
use rebit::ops::prelu::PreluKernel;
use rebit::ops::relu::{Activation, ActivationKernel};
use rebit::ops::resize::{Filter, ResizeKernel, ResizeShape};
use rebit::ops::update::UpdateKernel;
use rebit::{Buffer, Result, dev};

use super::{Work, filled};

/// Works in the order in which they are added.
#[derive(Default)]
struct Works(Vec<Work>);

impl Works {
    /// `numbers` are those that the call reads and writes, of four bytes each.
    fn add(
        &mut self,
        name: impl Into<String>,
        numbers: usize,
        flops: usize,
        call: impl FnMut() -> Result<()> + 'static,
    ) {
        self.0.push(Work {
            name: name.into(),
            bytes: 4 * numbers,
            flops,
            fused: false,
            call: Box::new(call),
        });
    }

    /// [`add`](Self::add) for a kernel whose products and sums are fused.
    fn add_fused(
        &mut self,
        name: impl Into<String>,
        numbers: usize,
        flops: usize,
        call: impl FnMut() -> Result<()> + 'static,
    ) {
        self.add(name, numbers, flops, call);
        self.0.last_mut().expect("just added").fused = true;
    }
}

/// Every kernel; `small` for an emulated GPU, whose figures mean nothing.
pub fn all(small: bool) -> Result<Vec<Work>> {
    let mut works = Works::default();
    let (batch, side) = if small { (1, 8) } else { (128, 32) };
    maps(&mut works, batch, side, 16)?;
    quantisers(&mut works, batch * side * side * 16)?;
    weights(&mut works, if small { 1 << 10 } else { 1 << 24 })?;
    for (name, batch, side, channels) in [
        ("16ch 32x32, batch 128", 128, 32, 16),
        ("64ch 8x8, batch 128", 128, 8, 64),
        ("64ch 48x48, batch 16", 16, 48, 64),
    ] {
        let (batch, side) = if small { (1, 4) } else { (batch, side) };
        convolutions(&mut works, name, batch, side, channels, 1)?;
    }
    let (batch, side) = if small { (1, 4) } else { (8, 112) };
    convolutions(
        &mut works,
        "depthwise 32ch 112x112, batch 8",
        batch,
        side,
        32,
        32,
    )?;
    Ok(works.0)
}

/// What networks do with feature maps.
fn maps(works: &mut Works, batch: usize, side: usize, c: usize) -> Result<()> {
    let pixels = batch * side * side;
    let n = pixels * c;
    let new = || filled(n);
    let (x, mut y) = (new()?, new()?);
    works.add("activate", 2 * n, n, move || {
        dev().activate(Activation::Relu, &x, &mut y)
    });
    let (y, dy, mut dx) = (new()?, new()?, new()?);
    works.add("activate, gradient", 3 * n, n, move || {
        dev().activate_grad(Activation::Relu, &y, &dy, &mut dx, false)
    });
    let (a, b, mut y) = (new()?, new()?, new()?);
    works.add("add", 3 * n, n, move || dev().add(&a, &b, &mut y));
    let (x, mut sum) = (new()?, new()?);
    works.add("accumulate", 3 * n, n, move || {
        dev().accumulate(&x, &mut sum)
    });
    let (x, mut y) = (new()?, new()?);
    works.add("prelu", 2 * n, n, move || {
        dev().prelu_forward(0.25, &x, &mut y)
    });
    let (x, dy, mut dx) = (new()?, new()?, new()?);
    works.add("prelu, gradient", 3 * n, 2 * n, move || {
        dev().prelu_grad(0.25, &x, &dy, &mut dx, false).map(drop)
    });
    let (x, mut y, offset) = (new()?, new()?, vec![0.5; c]);
    works.add("affine", 2 * n, 2 * n, move || {
        dev().affine(2.0, &offset, &x, &mut y)
    });
    let (x, mut y) = (new()?, new()?);
    works.add("mix", 3 * n, 3 * n, move || dev().mix(0.9, &mut y, 0.1, &x));
    let (x, mut y) = (new()?, filled(2 * n)?);
    let (whole, part) = (
        Part { of: c, start: 0 },
        Part {
            of: 2 * c,
            start: c,
        },
    );
    works.add("copy channels", 2 * n, 0, move || {
        dev().copy_channels(c, whole, &x, part, &mut y)
    });
    let (x, mut y) = (new()?, new()?);
    works.add("to channels last", 2 * n, 0, move || {
        dev().to_channels_last(&x, c, side * side, &mut y)
    });
    let (x, mut y) = (new()?, new()?);
    works.add("to channels first", 2 * n, 0, move || {
        dev().to_channels_first(&x, c, side * side, &mut y, false)
    });
    let s = ShuffleShape {
        batch,
        height: side,
        width: side,
        channels: c / 4,
        factor: 2,
    };
    let (x, mut y) = (new()?, new()?);
    works.add("pixel shuffle", 2 * n, 0, move || {
        dev().pixel_shuffle(s, &x, &mut y)
    });
    let (dy, mut dx) = (new()?, new()?);
    works.add("pixel shuffle, gradient", 2 * n, 0, move || {
        dev().pixel_shuffle_grad(s, &dy, &mut dx, false)
    });
    pools(works, batch, side, c)?;
    let s = ResizeShape {
        batch,
        channels: c,
        from: (side, side),
        to: (2 * side, 2 * side),
        filter: Filter::Bicubic,
    };
    // Four weights along each axis.
    let (x, mut y) = (new()?, filled(4 * n)?);
    works.add("resize x2", 5 * n, 2 * 4 * 6 * n, move || {
        dev().resize_forward(s, &x, &mut y)
    });
    let (dy, mut dx) = (filled(4 * n)?, new()?);
    works.add("resize x2, gradient", 5 * n, 2 * 4 * 6 * n, move || {
        dev().resize_grad(s, &dy, &mut dx)
    });
    norms(
        works,
        NormShape {
            pixels,
            channels: c,
        },
    )?;
    losses(works, batch, n)
}

fn pools(works: &mut Works, batch: usize, side: usize, c: usize) -> Result<()> {
    let n = batch * side * side * c;
    let s = PoolShape {
        batch,
        in_h: side,
        in_w: side,
        channels: c,
        kernel: 2,
        stride: 2,
        padding: 0,
    };
    let (x, mut y) = (filled(n)?, filled(n / 4)?);
    works.add("max pool 2x2", n + n / 4, n, move || {
        dev().max_pool_forward(s, &x, &mut y)
    });
    let (x, dy, mut dx) = (filled(n)?, filled(n / 4)?, filled(n)?);
    works.add("max pool 2x2, gradient", 2 * n + n / 4, n, move || {
        dev().max_pool_grad(s, &x, &dy, &mut dx, false)
    });
    let (x, mut y) = (filled(n)?, filled(batch * c)?);
    works.add("mean pool", n + batch * c, n, move || {
        dev().global_avg_pool_forward(batch, side * side, c, &x, &mut y)
    });
    let (dy, mut dx) = (filled(batch * c)?, filled(n)?);
    works.add("mean pool, gradient", n + batch * c, n, move || {
        dev().global_avg_pool_grad(batch, side * side, c, &dy, &mut dx, false)
    });
    Ok(())
}

fn norms(works: &mut Works, s: NormShape) -> Result<()> {
    let (n, c) = (s.pixels * s.channels, s.channels);
    let (map, of_channels) = (|| filled(n), || rebit::buffer(&vec![1.0; c]));
    let act = Activation::Relu;
    let (z, mut y, g, b) = (map()?, map()?, of_channels()?, of_channels()?);
    let (mut m, mut v) = (of_channels()?, of_channels()?);
    // The statistics are read first: no cache holds a large map until it is normalised.
    works.add("batch norm, training", 3 * n, 7 * n, move || {
        dev().batch_norm_train(
            s,
            NormInput {
                z: &z,
                gamma: &g,
                beta: &b,
                eps: 1e-5,
                residual: None,
                act,
            },
            &mut y,
            &mut m,
            &mut v,
        )
    });
    let (z, mut y, g, b) = (map()?, map()?, of_channels()?, of_channels()?);
    let (m, v) = (of_channels()?, of_channels()?);
    works.add("batch norm, inference", 2 * n, 3 * n, move || {
        dev().batch_norm_infer(
            s,
            NormInput {
                z: &z,
                gamma: &g,
                beta: &b,
                eps: 1e-5,
                residual: None,
                act,
            },
            &m,
            &v,
            &mut y,
        )
    });
    let (z, y, mut dy, mut dz) = (map()?, map()?, map()?, map()?);
    let (g, m, v) = (of_channels()?, of_channels()?, of_channels()?);
    let (mut dg, mut db) = (of_channels()?, of_channels()?);
    works.add("batch norm, gradient", 7 * n, 10 * n, move || {
        dev().batch_norm_grad(
            s,
            NormSaved {
                z: &z,
                y: &y,
                gamma: &g,
                mean: &m,
                var: &v,
                eps: 1e-5,
                act,
            },
            NormGrads {
                dy: &mut dy,
                dz: &mut dz,
                dgamma: &mut dg,
                dbeta: &mut db,
            },
        )
    });
    Ok(())
}

fn losses(works: &mut Works, batch: usize, n: usize) -> Result<()> {
    let classes = 100;
    let (logits, mut d) = (filled(batch * classes)?, filled(batch * classes)?);
    let labels: Vec<u32> = (0..batch).map(|k| (k % classes) as u32).collect();
    let numbers = batch * classes;
    works.add("cross entropy", 2 * numbers, 6 * numbers, move || {
        let d = Some(&mut d);
        dev()
            .cross_entropy(batch, classes, &logits, &labels, 0.0, d)
            .map(drop)
    });
    // The target comes from the host.
    let (x, mut dx, target) = (filled(n)?, filled(n)?, vec![0.5; n]);
    works.add("mean absolute error", 3 * n, 3 * n, move || {
        dev().l1_loss(&x, &target, &mut dx).map(drop)
    });
    Ok(())
}

/// What quantisers do with feature maps of `n` numbers.
fn quantisers(works: &mut Works, n: usize) -> Result<()> {
    let f = FakeQuant::weight(Bounds::new(-1.0, 1.0), 2)?;
    let (x, mut y) = (filled(n)?, filled(n)?);
    works.add("fake quant", 2 * n, 6 * n, move || {
        dev().fake_quant_forward(&x, f, &mut y)
    });
    let (x, dy, mut dx) = (filled(n)?, filled(n)?, filled(n)?);
    works.add("fake quant, gradients", 3 * n, 10 * n, move || {
        dev().fake_quant_grad(&x, f, &dy, &mut dx, false).map(drop)
    });
    let q = [BoundQuant::dual(Bounds::new(-0.9, 0.8), 2)?];
    let (x, mut y) = (filled(n)?, filled(n)?);
    works.add("bound quant", 2 * n, 6 * n, move || {
        dev().bound_quant_forward(&x, &q, &mut y)
    });
    let (x, dy, mut dx) = (filled(n)?, filled(n)?, filled(n)?);
    works.add("bound quant, gradients", 3 * n, 10 * n, move || {
        dev()
            .bound_quant_grad(&x, &q, &dy, &mut dx, false)
            .map(drop)
    });
    Ok(())
}

/// What happens to `n` weights in a step.
fn weights(works: &mut Works, n: usize) -> Result<()> {
    let f = FakeQuant::weight(Bounds::new(-1.0, 1.0), 2)?;
    let step = Some(LtsStep {
        momentum: 0.9,
        threshold: Some(0.0),
    });
    let (w, mut y, mut state) = (filled(n)?, filled(n)?, LtsState::new(&dev(), n)?);
    // The frozen entries are bytes, and lie on the host between two calls.
    works.add("lts weight", 7 * n + n / 2, 12 * n, move || {
        dev()
            .lts_weight_forward(&w, f, step, &mut state, &mut y)
            .map(drop)
    });
    let (w, dy, mut dw, state) = (
        filled(n)?,
        filled(n)?,
        filled(n)?,
        LtsState::new(&dev(), n)?,
    );
    works.add("lts weight, gradients", 3 * n + n / 4, 10 * n, move || {
        dev()
            .lts_weight_grad(&w, f, &state, &dy, &mut dw, false)
            .map(drop)
    });
    let (mut w, state) = (filled(n)?, LtsState::new(&dev(), n)?);
    works.add("lts restore", n / 4, 0, move || {
        dev().lts_restore(&state, &mut w)
    });
    let rule = SgdConfig {
        momentum: Some(Momentum::Classic(0.9)),
        ..SgdConfig::default()
    };
    let (mut w, mut v, g) = (filled(n)?, filled(n)?, filled(n)?);
    works.add("sgd", 5 * n, 4 * n, move || {
        dev().sgd(&rule, &mut w, &mut v, &g)
    });
    let (mut w, mut m, mut v, g) = (filled(n)?, filled(n)?, filled(n)?, filled(n)?);
    works.add("adam", 7 * n, 12 * n, move || {
        dev().adam(&AdamConfig::default(), 3, &mut w, &mut m, &mut v, &g)
    });
    Ok(())
}

/// Forward pass and gradients, plain and with a quantised input.
fn convolutions(
    works: &mut Works,
    name: &str,
    batch: usize,
    side: usize,
    channels: usize,
    groups: usize,
) -> Result<()> {
    let s = ConvShape {
        batch,
        in_h: side,
        in_w: side,
        in_channels: channels,
        out_channels: channels,
        kernel: (3, 3),
        stride: 1,
        padding: 1,
        dilation: 1,
        groups,
    };
    let quant = Some(ActQuant {
        lower: 0.0,
        upper: 1.0,
        levels: 3,
    });
    let (inputs, outputs, len) = (s.input_len(), s.output_len(), s.weight_len());
    let (numbers, flops) = (inputs + outputs + len, 2 * s.macs());
    let make = || -> Result<[Buffer; 3]> { Ok([filled(inputs)?, filled(len)?, filled(outputs)?]) };
    for (how, quant) in [("", None), (", quantised input", quant)] {
        let [x, w, mut y] = make()?;
        works.add_fused(
            format!("convolution{how}: {name}"),
            numbers,
            flops,
            move || dev().conv2d_forward(&s, ConvInput::new(&x, quant), &w, None, &mut y),
        );
        let ([x, w, dy], mut dx) = (make()?, filled(inputs)?);
        // The input's own values are read for its quantiser alone.
        let numbers_here = numbers + if quant.is_some() { inputs } else { 0 };
        works.add_fused(
            format!("gradient of the input{how}: {name}"),
            numbers_here,
            flops,
            move || {
                dev()
                    .conv2d_grad_input(
                        &s,
                        &dy,
                        &w,
                        ConvInput::new(&x, quant),
                        GradTo::Overwrite(&mut dx),
                    )
                    .map(drop)
            },
        );
        let [x, mut dw, dy] = make()?;
        works.add_fused(
            format!("gradient of the weight{how}: {name}"),
            numbers,
            flops,
            move || dev().conv2d_grad_weight(&s, ConvInput::new(&x, quant), &dy, &mut dw, None),
        );
    }
    if groups == 1 {
        let [x, mut dw, dy] = make()?;
        let frozen: Vec<bool> = (0..len).map(|k| k % 10 != 0).collect();
        let mask = FreezeMask::from_bools(&frozen);
        let free = frozen.iter().filter(|f| !**f).count();
        let left = flops * free / len;
        works.add_fused(
            format!("gradient of the weight, 90 % frozen: {name}"),
            numbers,
            left,
            move || {
                dev().conv2d_grad_weight_masked(
                    &s,
                    ConvInput::new(&x, None),
                    &dy,
                    &mask,
                    &mut dw,
                    None,
                )
            },
        );
    }
    Ok(())
}
