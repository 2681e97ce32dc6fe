//! Pooling, pixel shuffle, resizing and changes of order.

use rebit::ops::layout::{LayoutKernel, add_nhwc_to_nchw, nchw_to_nhwc, nhwc_to_nchw};
use rebit::ops::pixel_shuffle::{PixelShuffleKernel, ShuffleShape};
use rebit::ops::pool::{PoolKernel, PoolShape};
use rebit::ops::resize::{Filter, ResizeKernel, ResizeShape};

use crate::compare;
use crate::support::{Agree, Host, awkward, check, gpu, in_every_order, random};

fn pool(batch: usize, map: (usize, usize, usize), window: (usize, usize, usize)) -> PoolShape {
    PoolShape {
        batch,
        in_h: map.0,
        in_w: map.1,
        channels: map.2,
        kernel: window.0,
        stride: window.1,
        padding: window.2,
    }
}

#[test]
fn max_pools_with_ties_and_nan() {
    for s in [
        pool(1, (1, 1, 1), (1, 1, 0)),
        pool(2, (8, 8, 5), (2, 2, 0)),
        pool(3, (9, 7, 16), (3, 2, 1)),
        pool(1, (6, 11, 33), (3, 1, 1)),
        pool(1, (10, 10, 2), (2, 5, 1)),
        pool(2, (5, 5, 3), (5, 3, 2)),
    ] {
        // Rounded to halves, so that windows have ties.
        let x: Vec<f32> = awkward(s.in_len(), 30)
            .iter()
            .map(|v| (2.0 * v).round() / 2.0)
            .collect();
        let dy = random(s.out_len().unwrap(), 31);
        compare!(Agree::Bits, format!("{s:?}"), |d| {
            let (x, dy) = (d.put(&x), d.put(&dy));
            let (mut y, mut dx) = (d.blank(s.out_len().unwrap()), d.blank(s.in_len()));
            d.max_pool_forward(s, &x, &mut y).unwrap();
            d.max_pool_grad(s, &x, &dy, &mut dx, false).unwrap();
            let once = d.get(&dx);
            d.max_pool_grad(s, &x, &dy, &mut dx, true).unwrap();
            vec![d.get(&y), once]
        });
    }
}

#[test]
fn max_pool_gradients_add_up() {
    let s = pool(2, (9, 9, 4), (3, 2, 1));
    let (x, dy, before) = (random(648, 32), random(200, 33), random(648, 34));
    compare!(Agree::Within(1e-6), format!("{s:?}"), |d| {
        let mut dx = d.put(&before);
        d.max_pool_grad(s, &d.put(&x), &d.put(&dy), &mut dx, true)
            .unwrap();
        vec![d.get(&dx)]
    });
}

#[test]
fn means_of_maps() {
    for (batch, pixels, channels) in [(1, 1, 1), (3, 49, 33), (2, 300, 64), (5, 7, 10)] {
        let (n, m) = (batch * pixels * channels, batch * channels);
        let (x, dy) = (random(n, 35), random(m, 36));
        let case = format!("{batch} x {pixels} x {channels}");
        compare!(Agree::Within(1e-6), case, |d| {
            let mut y = d.blank(m);
            d.global_avg_pool_forward(batch, pixels, channels, &d.put(&x), &mut y)
                .unwrap();
            vec![d.get(&y)]
        });
        compare!(Agree::Bits, case, |d| {
            let (dy, mut dx) = (d.put(&dy), d.blank(n));
            d.global_avg_pool_grad(batch, pixels, channels, &dy, &mut dx, false)
                .unwrap();
            let once = d.get(&dx);
            d.global_avg_pool_grad(batch, pixels, channels, &dy, &mut dx, true)
                .unwrap();
            vec![once, d.get(&dx)]
        });
    }
}

#[test]
fn pixel_shuffles() {
    for (batch, height, width, channels, factor) in
        [(1, 1, 1, 1, 1), (2, 3, 5, 3, 2), (1, 7, 4, 1, 3)]
    {
        let s = ShuffleShape {
            batch,
            height,
            width,
            channels,
            factor,
        };
        let n = s.elements();
        let x = awkward(n, 37);
        compare!(Agree::Bits, format!("{s:?}"), |d| {
            let (x, mut y, mut dx) = (d.put(&x), d.blank(n), d.blank(n));
            d.pixel_shuffle(s, &x, &mut y).unwrap();
            d.pixel_shuffle_grad(s, &x, &mut dx, false).unwrap();
            let once = d.get(&dx);
            d.pixel_shuffle_grad(s, &x, &mut dx, true).unwrap();
            vec![d.get(&y), once, d.get(&dx)]
        });
    }
}

#[test]
fn resizes() {
    for (from, to) in [
        ((1, 1), (1, 1)),
        ((12, 9), (6, 3)),
        ((5, 7), (10, 21)),
        ((9, 16), (13, 5)),
        ((2, 2), (1, 9)),
    ] {
        for (batch, channels, filter) in [
            (2, 3, Filter::Bicubic),
            (1, 1, Filter::Bicubic),
            (2, 1, Filter::Bilinear),
            (1, 3, Filter::BilinearAligned),
            (2, 2, Filter::Area),
        ] {
            let s = ResizeShape {
                batch,
                channels,
                from,
                to,
                filter,
            };
            let (x, dy) = (random(s.in_len(), 38), random(s.out_len(), 39));
            compare!(Agree::Bits, format!("{s:?}"), |d| {
                let (mut y, mut dx) = (d.blank(s.out_len()), d.blank(s.in_len()));
                d.resize_forward(s, &d.put(&x), &mut y).unwrap();
                d.resize_grad(s, &d.put(&dy), &mut dx).unwrap();
                vec![d.get(&y), d.get(&dx)]
            });
        }
    }
}

#[test]
fn orders_of_images() {
    for (n, c, p) in [(1, 1, 1), (3, 17, 70), (2, 64, 33), (1, 3, 300)] {
        let (x, before) = (random(n * c * p, 40), random(n * c * p, 41));
        let (mut last, mut first) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        nchw_to_nhwc(&x, c, p, &mut last);
        nhwc_to_nchw(&x, c, p, &mut first);
        let mut sum = before.clone();
        add_nhwc_to_nchw(&x, c, p, &mut sum);
        let expected = [last, first, sum];
        in_every_order(|order| {
            let d = gpu();
            let (x, mut y, mut z) = (d.put(&x), d.blank(x.len()), d.blank(x.len()));
            d.to_channels_last(&x, c, p, &mut y).unwrap();
            d.to_channels_first(&x, c, p, &mut z, false).unwrap();
            let mut sum = d.put(&before);
            d.to_channels_first(&x, c, p, &mut sum, true).unwrap();
            let found = [d.get(&y), d.get(&z), d.get(&sum)];
            check(
                Agree::Bits,
                &format!("{n} x {c} x {p}, {order}"),
                &found,
                &expected,
            );
        });
    }
}
