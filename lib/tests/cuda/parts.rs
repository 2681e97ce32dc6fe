//! Parts of networks: functions of elements, moments, sampling, affine quantisation, average pooling, enlarging, rows of
//! a table, rendered textures.

use rebit::ops::affine_quant::{AffineGrid, AffineQuantKernel};
use rebit::ops::avg_pool::{AvgPoolKernel, AvgPoolShape};
use rebit::ops::batch_norm2d::NormShape;
use rebit::ops::channels::{ChannelsKernel, Part};
use rebit::ops::composite::CompositeKernel;
use rebit::ops::elementwise::{ElementwiseKernel, Function};
use rebit::ops::embedding::{EmbeddingKernel, EmbeddingShape};
use rebit::ops::fake_quant::Bounds;
use rebit::ops::moments::{MomentGrads, MomentsKernel};
use rebit::ops::sample::{Border, Boxes, SampleKernel, SampleShape};
use rebit::ops::texture_render::{TexelMap, TextureRenderKernel};
use rebit::ops::upsample::{Upsample, UpsampleKernel, UpsampleShape};

use crate::compare;
use crate::support::{Agree, Host, LENGTHS, awkward, gpu, in_every_order, random};

#[test]
fn functions_and_products() {
    for n in LENGTHS {
        let (x, dy) = (awkward(n, 60), awkward(n, 61));
        for f in [Function::LeakyRelu(0.2), Function::Tanh, Function::Sigmoid] {
            // Tanh and exp are those of the device.
            let agree = match f {
                Function::LeakyRelu(_) => Agree::Bits,
                _ => Agree::Within(1e-6),
            };
            compare!(agree, format!("{f:?} of {n}"), |d| {
                let (x, dy) = (d.put(&x), d.put(&dy));
                let (mut y, mut dx) = (d.blank(n), d.blank(n));
                d.function(f, &x, &mut y).unwrap();
                d.function_grad(f, &y, &dy, &mut dx, false).unwrap();
                let once = d.get(&dx);
                d.function_grad(f, &y, &dy, &mut dx, true).unwrap();
                vec![d.get(&y), once, d.get(&dx)]
            });
        }
        compare!(Agree::Bits, format!("product of {n}"), |d| {
            let (a, b, mut y) = (d.put(&x), d.put(&dy), d.blank(n));
            d.product(&a, &b, &mut y, false).unwrap();
            let once = d.get(&y);
            d.product(&a, &b, &mut y, true).unwrap();
            vec![once, d.get(&y)]
        });
    }
}

#[test]
fn moments_and_their_gradient() {
    for (pixels, channels) in [(1, 1), (2, 3), (333, 33), (9000, 5)] {
        let (s, n, c) = (NormShape { pixels, channels }, pixels * channels, channels);
        let x: Vec<f32> = random(n, 62).iter().map(|v| 20.0 + v).collect();
        let (dmean, dvar) = (random(c, 63), random(c, 64));
        compare!(Agree::Within(3e-5), format!("{s:?}"), |d| {
            let (mut mean, mut var) = (d.blank(c), d.blank(c));
            d.moments(s, &d.put(&x), &mut mean, &mut var).unwrap();
            vec![d.get(&mean), d.get(&var)]
        });
        compare!(Agree::Bits, format!("gradient, {s:?}"), |d| {
            let (x, mean) = (d.put(&x), d.put(&vec![20.0; c]));
            let (dmean, dvar, mut dx) = (d.put(&dmean), d.put(&dvar), d.blank(n));
            let gradient = || MomentGrads {
                mean: &dmean,
                var: &dvar,
            };
            d.moments_grad(s, &x, &mean, gradient(), &mut dx, false)
                .unwrap();
            let once = d.get(&dx);
            d.moments_grad(s, &x, &mean, gradient(), &mut dx, true)
                .unwrap();
            vec![once, d.get(&dx)]
        });
    }
}

#[test]
fn boxes_inside_outside_turned_and_broken() {
    let corners = [
        [1.0, 1.0, 4.0, 3.0],
        [5.3, 0.7, 0.4, 4.9],
        [-3.0, -2.0, 9.5, 8.25],
        [40.0, 2.0, 41.0, 3.0],
        [2.2, 2.2, 2.2, 2.6],
        [f32::NAN, 0.0, 1.0, 1.0],
        [0.0, 0.0, f32::INFINITY, 1.0],
        [-9e30, 0.0, 8e30, 3.0],
    ];
    let images = [2, 0, 2, 1, 2, 0, 1, 0];
    for (channels, out) in [(1, (1, 1)), (3, (3, 5)), (5, (4, 3)), (33, (2, 7))] {
        for border in [Border::Zero, Border::Clamp, Border::Edge] {
            for count in [0, 1, corners.len()] {
                let s = SampleShape {
                    batch: 4,
                    image: (5, 6),
                    channels,
                    boxes: count,
                    out,
                    border,
                };
                let (input, output) = (120 * channels, count * out.0 * out.1 * channels);
                let (x, dy) = (random(input, 65), random(output, 66));
                let corners = corners[..count].concat();
                compare!(Agree::Bits, format!("{s:?}"), |d| {
                    let (x, dy, corners) = (d.put(&x), d.put(&dy), d.put(&corners));
                    let boxes = || Boxes {
                        corners: &corners,
                        images: &images[..count],
                    };
                    let (mut y, mut dx) = (d.blank(output), d.blank(input));
                    d.sample(s, &x, boxes(), &mut y).unwrap();
                    d.sample_grad_images(s, boxes(), &dy, &mut dx, false)
                        .unwrap();
                    let once = d.get(&dx);
                    d.sample_grad_images(s, boxes(), &dy, &mut dx, true)
                        .unwrap();
                    let (mut planes, mut dplanes) = (d.blank(output), d.put(&vec![0.0; input]));
                    d.sample_planes(s, &x, boxes(), &mut planes).unwrap();
                    d.sample_planes_grad_images(s, boxes(), &dy, &mut dplanes)
                        .unwrap();
                    let planes = [d.get(&planes), d.get(&dplanes)];
                    [vec![d.get(&y), once, d.get(&dx)], planes.to_vec()].concat()
                });
                compare!(Agree::Within(1e-5), format!("boxes of {s:?}"), |d| {
                    let (x, dy, corners) = (d.put(&x), d.put(&dy), d.put(&corners));
                    let boxes = || Boxes {
                        corners: &corners,
                        images: &images[..count],
                    };
                    let (mut dcorners, mut planes) = (d.blank(4 * count), d.blank(4 * count));
                    d.sample_grad_boxes(s, &x, boxes(), &dy, &mut dcorners)
                        .unwrap();
                    d.sample_planes_grad_boxes(s, &x, boxes(), &dy, &mut planes)
                        .unwrap();
                    vec![d.get(&dcorners), d.get(&planes)]
                });
            }
        }
    }
}

#[test]
fn affine_grids() {
    for n in LENGTHS {
        let x = awkward(2 * n, 67);
        for bits in [1, 4, 8] {
            let grid = |l, u| AffineGrid::new(Bounds::new(l, u), bits).unwrap();
            let grids = [grid(-1.0, 2.0), grid(0.5, 0.5)];
            for grids in [&grids[..1], &grids] {
                compare!(Agree::Bits, format!("{grids:?} of {n}"), |d| {
                    let mut y = d.blank(2 * n);
                    d.affine_quant(&d.put(&x), grids, &mut y).unwrap();
                    vec![d.get(&y)]
                });
            }
        }
    }
}

#[test]
fn average_pools() {
    for (batch, map, channels, kernel, stride) in [
        (1, (1, 1), 1, (1, 1), (1, 1)),
        (2, (8, 5), 3, (2, 3), (1, 2)),
        (0, (8, 5), 3, (2, 3), (1, 2)),
        (3, (9, 7), 33, (4, 1), (2, 5)),
        (1, (6, 6), 2, (6, 6), (9, 1 << 40)),
    ] {
        let s = AvgPoolShape {
            batch,
            map,
            channels,
            kernel,
            stride,
        };
        let (oh, ow) = s.out().unwrap();
        let (n, m) = (batch * map.0 * map.1 * channels, batch * oh * ow * channels);
        let (x, dy) = (awkward(n, 68), random(m, 69));
        compare!(Agree::Bits, format!("{s:?}"), |d| {
            let (dy, mut y, mut dx) = (d.put(&dy), d.blank(m), d.blank(n));
            d.avg_pool_forward(s, &d.put(&x), &mut y).unwrap();
            d.avg_pool_grad(s, &dy, &mut dx, false).unwrap();
            let once = d.get(&dx);
            d.avg_pool_grad(s, &dy, &mut dx, true).unwrap();
            vec![d.get(&y), once, d.get(&dx)]
        });
    }
}

#[test]
fn rendered_textures() {
    let map = |image: (usize, usize), side: usize, seed: u64| {
        let numbers = random(image.0 * image.1 * 9, seed);
        let reads: Vec<Vec<(u16, f32)>> = numbers
            .chunks(9)
            .map(|n| {
                let count = ((n[0] + 1.0) * 2.5) as usize;
                let texel = |v: f32| ((v + 1.0) * 0.5 * (side * side - 1) as f32) as u16;
                (0..count.min(4))
                    .map(|k| (texel(n[k + 1]), n[k + 5]))
                    .collect()
            })
            .collect();
        TexelMap::new(image, side, &reads).unwrap()
    };
    for (count, image, side, channels) in [
        (1, (1, 1), 1, 1),
        (3, (9, 5), 4, 3),
        (0, (9, 5), 4, 3),
        (2, (40, 33), 17, 5),
    ] {
        let maps: Vec<TexelMap> = (0..count).map(|k| map(image, side, 80 + k)).collect();
        let (n, m) = (
            maps.len() * side * side * channels,
            maps.len() * image.0 * image.1 * channels,
        );
        let (x, dy) = (awkward(n, 74), random(m, 75));
        compare!(
            Agree::Bits,
            format!("{count} of {image:?} from {side}"),
            |d| {
                let (dy, mut y, mut dx) = (d.put(&dy), d.blank(m), d.blank(n));
                d.texture_render(&maps, channels, &d.put(&x), &mut y)
                    .unwrap();
                d.texture_render_grad(&maps, channels, &dy, &mut dx, false)
                    .unwrap();
                let once = d.get(&dx);
                d.texture_render_grad(&maps, channels, &dy, &mut dx, true)
                    .unwrap();
                let pixels = [d.get(&y), once, d.get(&dx)];
                d.texture_render_planes(&maps, channels, &d.put(&x), &mut y)
                    .unwrap();
                let mut dx = d.put(&x);
                d.texture_render_planes_grad(&maps, channels, &dy, &mut dx)
                    .unwrap();
                [pixels.to_vec(), vec![d.get(&y), d.get(&dx)]].concat()
            }
        );
    }
}

#[test]
fn composites() {
    for (pixels, channels) in [(0, 3), (1, 1), (700, 3), (33, 7)] {
        let n = pixels * channels;
        let (x, b, dy) = (awkward(n, 76), awkward(n, 77), random(n, 78));
        let mask: Vec<f32> = (0..pixels).map(|p| [1.0, 0.0, 0.3][p % 3]).collect();
        compare!(Agree::Bits, format!("{pixels} x {channels}"), |d| {
            let (mask, mut y, mut dx) = (d.put(&mask), d.blank(n), d.blank(n));
            d.composite(channels, &mask, &d.put(&x), &d.put(&b), &mut y)
                .unwrap();
            d.composite_grad(channels, &mask, &d.put(&dy), &mut dx)
                .unwrap();
            vec![d.get(&y), d.get(&dx)]
        });
    }
}

#[test]
fn enlarged_maps() {
    for how in [
        Upsample::Nearest(1),
        Upsample::Nearest(3),
        Upsample::Bilinear,
        Upsample::BilinearAligned,
    ] {
        for (batch, map, channels) in [
            (1, (1, 1), 1),
            (2, (3, 5), 7),
            (0, (3, 5), 7),
            (1, (9, 2), 33),
        ] {
            let s = UpsampleShape {
                batch,
                map,
                channels,
                how,
            };
            let n = batch * map.0 * map.1 * channels;
            let m = n * how.factor() * how.factor();
            let (x, dy) = (awkward(n, 70), random(m, 71));
            compare!(Agree::Bits, format!("{s:?}"), |d| {
                let (dy, mut y, mut dx) = (d.put(&dy), d.blank(m), d.blank(n));
                d.upsample(s, &d.put(&x), &mut y).unwrap();
                d.upsample_grad(s, &dy, &mut dx, false).unwrap();
                let once = d.get(&dx);
                d.upsample_grad(s, &dy, &mut dx, true).unwrap();
                vec![d.get(&y), once, d.get(&dx)]
            });
        }
    }
}

#[test]
fn channels_copied_and_added() {
    let (x, before) = (awkward(7 * 33, 72), random(5 * 33, 73));
    let (from, to) = (Part { of: 7, start: 3 }, Part { of: 5, start: 1 });
    compare!(Agree::Bits, "channels", |d| {
        let (x, mut y) = (d.put(&x), d.put(&before));
        d.copy_channels(4, from, &x, to, &mut y).unwrap();
        let copied = d.get(&y);
        d.add_channels(4, from, &x, to, &mut y).unwrap();
        vec![copied, d.get(&y)]
    });
}

#[test]
fn rows_of_a_table_and_their_gradient() {
    for (pixels, rows, channels) in [
        (0, 3, 2),
        (1, 1, 1),
        (7, 3, 2),
        (333, 10, 33),
        (2000, 5, 4),
        (5, 900, 3),
    ] {
        let s = EmbeddingShape {
            pixels,
            rows,
            channels,
        };
        let (n, m) = (pixels * channels, rows * channels);
        let indices = random(pixels, 74);
        let indices: Vec<f32> = indices
            .iter()
            .map(|v| (v.abs() * rows as f32).floor())
            .collect();
        let (table, dy) = (awkward(m, 75), awkward(n, 76));
        compare!(Agree::Bits, format!("{s:?}"), |d| {
            let (indices, dy) = (d.put(&indices), d.put(&dy));
            let (mut y, mut dtable) = (d.blank(n), d.blank(m));
            d.embedding(s, &indices, &d.put(&table), &mut y).unwrap();
            d.embedding_grad(s, &indices, &dy, &mut dtable, false)
                .unwrap();
            let once = d.get(&dtable);
            d.embedding_grad(s, &indices, &dy, &mut dtable, true)
                .unwrap();
            vec![d.get(&y), once, d.get(&dtable)]
        });
    }
}

#[test]
fn what_is_no_class_is_refused_by_its_first_index_and_adds_no_gradient() {
    let s = EmbeddingShape {
        pixels: 333,
        rows: 10,
        channels: 33,
    };
    let (table, dy) = (random(330, 77), random(333 * 33, 78));
    for wrong in [-1.0, 0.5, 10.0, 1e30, f32::NAN, f32::NEG_INFINITY] {
        let mut indices = vec![3.0; 333];
        // In other blocks of threads, which run in any order.
        indices[20] = wrong;
        for later in [21, 150, 332] {
            indices[later] = -7.0;
        }
        in_every_order(|order| {
            let d = gpu();
            let (indices, table, mut y) = (d.put(&indices), d.put(&table), d.blank(333 * 33));
            let refused = d.embedding(s, &indices, &table, &mut y).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("class index {wrong}: must be a whole number from 0 to 9"),
                "{order}"
            );
        });
        compare!(Agree::Bits, format!("gradient with {wrong}"), |d| {
            let (indices, dy, mut dtable) = (d.put(&indices), d.put(&dy), d.blank(330));
            d.embedding_grad(s, &indices, &dy, &mut dtable, false)
                .unwrap();
            vec![d.get(&dtable)]
        });
    }
}
