//! Convolution, its gradients, and the masked gradient of its weight.

use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvInput, ConvShape, GradTo};
use rebit::ops::linear::{LinearKernel, LinearShape};
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::ops::matmul::{MatmulKernel, MatmulShape};

use crate::compare;
use crate::support::{Agree, Host, check, gpu, in_every_order, random};

fn shape(
    (batch, height, width): (usize, usize, usize),
    (in_channels, out_channels): (usize, usize),
    kernel: (usize, usize),
    (stride, padding, dilation, groups): (usize, usize, usize, usize),
) -> ConvShape {
    ConvShape {
        batch,
        in_h: height,
        in_w: width,
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
    }
}

/// Both sizes of tiles, more and less than a tile of each side, and every number of a shape unlike its neighbour.
fn shapes() -> Vec<ConvShape> {
    vec![
        shape((1, 1, 1), (1, 1), (1, 1), (1, 0, 1, 1)),
        shape((3, 8, 8), (16, 16), (3, 3), (1, 1, 1, 1)),
        shape((2, 4, 5), (40, 70), (3, 3), (1, 1, 1, 1)),
        shape((1, 17, 16), (3, 16), (3, 3), (1, 1, 1, 1)),
        shape((2, 17, 15), (16, 33), (3, 3), (2, 1, 1, 1)),
        shape((2, 9, 9), (16, 32), (1, 1), (2, 0, 1, 1)),
        shape((1, 20, 21), (5, 7), (5, 3), (3, 2, 2, 1)),
        shape((2, 11, 9), (34, 36), (3, 3), (2, 2, 2, 2)),
        shape((2, 9, 10), (6, 6), (3, 3), (1, 1, 1, 6)),
        shape((1, 12, 7), (35, 35), (3, 5), (2, 2, 1, 35)),
        shape((1, 6, 6), (4, 8), (3, 3), (1, 1, 1, 4)),
        ConvShape::linear(37, 64, 10),
    ]
}

/// Bounds inside the numbers, on the grid of some of them.
const QUANT: ActQuant = ActQuant {
    lower: -0.5,
    upper: 0.5,
    levels: 15,
};

/// Sums of `terms` products of numbers up to 1.
fn tolerance(terms: usize) -> Agree {
    Agree::Within(3e-6 * (terms as f32).sqrt().max(1.0))
}

/// Numbers of which some lie on the bounds, halfway between levels, or nowhere.
fn inputs(len: usize, seed: u64, spoil: bool) -> Vec<f32> {
    let mut x = random(len, seed);
    for (k, v) in x.iter_mut().enumerate() {
        match k % 23 {
            0 => *v = 0.5,
            1 => *v = -0.5,
            2 => *v = -0.5 + 0.5 / 15.0,
            3 if spoil => *v = f32::INFINITY,
            4 if spoil => *v = f32::NEG_INFINITY,
            _ => {}
        }
    }
    x
}

#[test]
fn forward_with_and_without_quantiser_and_bias() {
    for s in shapes() {
        let (w, b) = (random(s.weight_len(), 61), random(s.out_channels, 62));
        for quant in [None, Some(QUANT)] {
            let x = inputs(s.input_len(), 60, quant.is_some());
            let terms = s.weight_len() / s.out_channels;
            compare!(tolerance(terms), format!("{s:?}, {quant:?}"), |d| {
                let (x, w, b) = (d.put(&x), d.put(&w), d.put(&b));
                let (mut y, mut z) = (d.blank(s.output_len()), d.blank(s.output_len()));
                d.conv2d_forward(&s, ConvInput::new(&x, quant), &w, None, &mut y)
                    .unwrap();
                d.conv2d_forward(&s, ConvInput::new(&x, quant), &w, Some(&b), &mut z)
                    .unwrap();
                vec![d.get(&y), d.get(&z)]
            });
        }
    }
}

#[test]
fn gradient_of_the_input_and_of_the_bounds() {
    for s in shapes() {
        let (w, dy) = (random(s.weight_len(), 63), random(s.output_len(), 64));
        let before = random(s.input_len(), 65);
        for quant in [None, Some(QUANT)] {
            let x = inputs(s.input_len(), 66, quant.is_some());
            let terms = s.weight_len() / s.in_channels * s.groups;
            macro_rules! gradients {
                ($d:ident) => {{
                    let (x, w, dy) = ($d.put(&x), $d.put(&w), $d.put(&dy));
                    let (mut dx, mut sum) = ($d.blank(s.input_len()), $d.put(&before));
                    let g = $d
                        .conv2d_grad_input(
                            &s,
                            &dy,
                            &w,
                            ConvInput::new(&x, quant),
                            GradTo::Overwrite(&mut dx),
                        )
                        .unwrap();
                    let again = $d
                        .conv2d_grad_input(
                            &s,
                            &dy,
                            &w,
                            ConvInput::new(&x, quant),
                            GradTo::Add(&mut sum),
                        )
                        .unwrap();
                    assert_eq!(g, again);
                    assert_eq!(g.is_some(), quant.is_some());
                    let input = ConvInput::new(&x, quant);
                    let alone = $d.conv2d_grad_input(&s, &dy, &w, input, GradTo::Nowhere);
                    assert_eq!(g, alone.unwrap());
                    (
                        g.map_or(vec![], |g| vec![g.lower, g.upper]),
                        $d.get(&dx),
                        $d.get(&sum),
                    )
                }};
            }
            compare!(tolerance(terms), format!("{s:?}, {quant:?}"), |d| {
                let (_, dx, sum) = gradients!(d);
                vec![dx, sum]
            });
            let all = terms * s.input_len();
            compare!(tolerance(all), format!("bounds, {s:?}"), |d| {
                vec![gradients!(d).0]
            });
        }
    }
}

#[test]
fn gradient_of_the_weight_and_of_the_bias() {
    for s in shapes() {
        let dy = random(s.output_len(), 67);
        let pixels = s.output_len() / s.out_channels;
        for quant in [None, Some(QUANT)] {
            let x = inputs(s.input_len(), 68, quant.is_some());
            compare!(tolerance(pixels), format!("{s:?}, {quant:?}"), |d| {
                let (x, dy) = (d.put(&x), d.put(&dy));
                let (mut dw, mut db) = (d.blank(s.weight_len()), d.blank(s.out_channels));
                let bias = Some(&mut db);
                d.conv2d_grad_weight(&s, ConvInput::new(&x, quant), &dy, &mut dw, bias)
                    .unwrap();
                let both = vec![d.get(&dw), d.get(&db)];
                d.conv2d_grad_weight(&s, ConvInput::new(&x, quant), &dy, &mut dw, None)
                    .unwrap();
                assert_eq!(d.get(&dw), both[0]);
                both
            });
        }
    }
}

#[test]
fn a_weight_gradient_over_several_chunks_of_pixels() {
    let s = shape((2, 40, 30), (3, 5), (3, 3), (1, 1, 1, 1));
    let (x, dy) = (random(s.input_len(), 69), random(s.output_len(), 70));
    compare!(tolerance(2400), format!("{s:?}"), |d| {
        let mut dw = d.blank(s.weight_len());
        d.conv2d_grad_weight(
            &s,
            ConvInput::new(&d.put(&x), None),
            &d.put(&dy),
            &mut dw,
            None,
        )
        .unwrap();
        vec![d.get(&dw)]
    });
}

#[test]
fn masked_gradients_are_the_free_entries_of_the_dense_one() {
    for s in shapes() {
        let (x, dy) = (random(s.input_len(), 71), random(s.output_len(), 72));
        let pixels = s.output_len() / s.out_channels;
        // Nothing frozen, half, one corner free (tiles are skipped), one entry in a hundred, all.
        let len = s.weight_len();
        for name in ["empty", "half", "corner", "hundredth", "full"] {
            let frozen = |k: usize| match name {
                "empty" => false,
                "half" => k.is_multiple_of(2),
                "corner" => k >= len.div_ceil(8),
                "hundredth" => k % 100 != 1,
                _ => true,
            };
            let bools: Vec<bool> = (0..len).map(frozen).collect();
            let mask = FreezeMask::from_bools(&bools);
            for quant in [None, Some(QUANT)] {
                let case = format!("{s:?}, {name} mask, {quant:?}");
                compare!(tolerance(pixels), case, |d| {
                    let (x, dy) = (d.put(&x), d.put(&dy));
                    let (mut dw, mut db) = (d.blank(len), d.blank(s.out_channels));
                    let bias = Some(&mut db);
                    d.conv2d_grad_weight_masked(
                        &s,
                        ConvInput::new(&x, quant),
                        &dy,
                        &mask,
                        &mut dw,
                        bias,
                    )
                    .unwrap();
                    let dw = d.get(&dw);
                    assert!(dw.iter().zip(&bools).all(|(g, f)| !f || g.to_bits() == 0));
                    vec![dw, d.get(&db)]
                });
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_mask_or_the_order() {
    let s = shape((2, 17, 15), (16, 33), (3, 3), (2, 1, 1, 1));
    let (x, dy) = (random(s.input_len(), 73), random(s.output_len(), 74));
    let bools: Vec<bool> = (0..s.weight_len()).map(|k| k > 200).collect();
    let mask = FreezeMask::from_bools(&bools);
    let mut first: Option<Vec<f32>> = None;
    in_every_order(|order| {
        let d = gpu();
        let (x, dy) = (d.put(&x), d.put(&dy));
        let (mut dense, mut some) = (d.blank(s.weight_len()), d.blank(s.weight_len()));
        d.conv2d_grad_weight(&s, ConvInput::new(&x, None), &dy, &mut dense, None)
            .unwrap();
        d.conv2d_grad_weight_masked(&s, ConvInput::new(&x, None), &dy, &mask, &mut some, None)
            .unwrap();
        let dense = d.get(&dense);
        let first = first.get_or_insert_with(|| dense.clone());
        assert_eq!(dense, *first, "{order}");
        check(
            Agree::Bits,
            order,
            &[d.get(&some)[..=200].to_vec()],
            &[dense[..=200].to_vec()],
        );
    });
}

#[test]
fn linear_layers() {
    let s = LinearShape {
        rows: 70,
        inputs: 45,
        outputs: 65,
    };
    let (x, w, b) = (random(70 * 45, 75), random(45 * 65, 76), random(65, 77));
    let dy = random(70 * 65, 78);
    compare!(tolerance(70), format!("{s:?}"), |d| {
        let (x, w, b, dy) = (d.put(&x), d.put(&w), d.put(&b), d.put(&dy));
        let (mut y, mut dx) = (d.blank(70 * 65), d.blank(70 * 45));
        let (mut dw, mut db) = (d.blank(45 * 65), d.blank(65));
        d.linear_forward(s, ConvInput::new(&x, None), &w, Some(&b), &mut y)
            .unwrap();
        d.linear_grad_input(
            s,
            &dy,
            &w,
            ConvInput::new(&x, None),
            GradTo::Overwrite(&mut dx),
        )
        .unwrap();
        d.linear_grad_weight(s, ConvInput::new(&x, None), &dy, &mut dw, Some(&mut db))
            .unwrap();
        vec![d.get(&y), d.get(&dx), d.get(&dw), d.get(&db)]
    });
}

#[test]
fn products_of_matrices() {
    for (rows, inner, columns) in [(1, 1, 1), (70, 45, 65), (3, 130, 9)] {
        let s = MatmulShape {
            rows,
            inner,
            columns,
        };
        let (a, b) = (random(rows * inner, 79), random(inner * columns, 80));
        let dy = random(rows * columns, 81);
        compare!(tolerance(130), format!("{s:?}"), |d| {
            let (a, b, dy) = (d.put(&a), d.put(&b), d.put(&dy));
            let mut y = d.blank(rows * columns);
            let (mut da, mut db) = (d.blank(rows * inner), d.blank(inner * columns));
            d.matmul(s, &a, &b, &mut y).unwrap();
            d.matmul_grad_left(s, &dy, &b, &mut da).unwrap();
            d.matmul_grad_right(s, &a, &dy, &mut db).unwrap();
            vec![d.get(&y), d.get(&da), d.get(&db)]
        });
    }
}

#[test]
fn refusals_are_those_of_the_cpu() {
    let s = shape((1, 4, 4), (2, 3), (3, 3), (1, 1, 1, 1));
    let no_groups = ConvShape { groups: 2, ..s };
    macro_rules! said {
        (|$d:ident| $call:expr) => {{
            let on_cpu = {
                let $d = &dfdx::prelude::Cpu::default();
                $call.unwrap_err().to_string()
            };
            let $d = &gpu();
            assert_eq!($call.unwrap_err().to_string(), on_cpu);
        }};
    }
    said!(|d| d.conv2d_forward(
        &s,
        ConvInput::new(&d.blank(31), None),
        &d.blank(54),
        None,
        &mut d.blank(48)
    ));
    said!(|d| d.conv2d_forward(
        &no_groups,
        ConvInput::new(&d.blank(1), None),
        &d.blank(1),
        None,
        &mut d.blank(1)
    ));
    let mask = FreezeMask::new(53);
    said!(|d| d.conv2d_grad_weight_masked(
        &s,
        ConvInput::new(&d.blank(32), None),
        &d.blank(48),
        &mask,
        &mut d.blank(54),
        None
    ));
}
