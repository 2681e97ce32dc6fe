//! NaN stays NaN: every op, on the device of the build, for every input that its result depends on.

use dfdx::prelude::{AdamConfig, SgdConfig};

use super::affine::AffineKernel;
use super::affine_quant::affine_quant;
use super::avg_pool::avg_pool2d;
use super::batch_norm2d::{BatchNormState, Mode, batch_norm2d};
use super::bound_quant::{bound_quant, symmetric_quant};
use super::box_decode::{BoxBase, box_decode};
use super::channels::slice;
use super::composite::composite;
use super::conv2d::{ActQuant, Conv2dKernel, Conv2dOptions, ConvInput, ConvShape, GradTo, conv2d};
use super::cross_entropy::cross_entropy;
use super::elementwise::{leaky_relu, product, sigmoid, tanh};
use super::embedding::embedding;
use super::fake_quant::{Bounds, fake_quant, quantise_weight};
use super::focal::{Focal, focal};
use super::giou_loss::giou_loss;
use super::l1_loss::l1_loss;
use super::l2_normalise::l2_normalise;
use super::linear::linear;
use super::lts_weight::{LtsState, LtsStep, lts_weight};
use super::masked_grad::{FreezeMask, MaskedGradKernel};
use super::matmul::matmul;
use super::moments::moments;
use super::pixel_shuffle::pixel_shuffle;
use super::pool::{global_avg_pool, max_pool2d};
use super::prelu::prelu;
use super::relu::{relu, relu6};
use super::resize::{Filter, resize, resize_by};
use super::roi_align::{RoiAlign, roi_align};
use super::roi_transform::{RoiTransform, roi_transform};
use super::sample::{Border, Sampling, sample};
use super::texture_render::{TexelMap, texture_render};
use super::triplet::{ProxyTable, proxy_triplet, triplet};
use super::update::UpdateKernel;
use super::upsample::{Upsample, upsample};
use super::wave;
use crate::buffer::{HostAccess, buffer};
use crate::tensors::{Images, Matrix, Vector, dev, from_vec, read, scalar, vector};

/// An op as a function of the numbers of one of its inputs.
type Case = (&'static str, usize, fn(&[f32]) -> Vec<f32>);

fn images(values: &[f32], shape: (usize, usize, usize, usize)) -> Images {
    from_vec(values.to_vec(), shape).unwrap()
}

fn matrix(values: &[f32], shape: (usize, usize)) -> Matrix {
    from_vec(values.to_vec(), shape).unwrap()
}

const MAP: (usize, usize, usize, usize) = (2, 4, 3, 3);
const QUANT: ActQuant = ActQuant {
    lower: -0.5,
    upper: 1.0,
    levels: 3,
};

fn align(images: &[u32]) -> RoiAlign {
    RoiAlign {
        images: images.to_vec(),
        out: (2, 2),
        scale: 0.5,
        sampling: 2,
    }
}

fn dense() -> ConvShape {
    ConvShape::square(2, 3, (4, 2), 3, 1)
}

fn depthwise() -> ConvShape {
    ConvShape {
        out_channels: 4,
        groups: 4,
        ..dense()
    }
}

/// `y` of a convolution of one input and one weight.
fn forward(s: &ConvShape, x: &[f32], quant: Option<ActQuant>, w: &[f32]) -> Vec<f32> {
    let (x, w) = (buffer(x).unwrap(), buffer(w).unwrap());
    let mut y = buffer(&vec![0.0; s.output_len()]).unwrap();
    let input = ConvInput::new(&x, quant);
    dev().conv2d_forward(s, input, &w, None, &mut y).unwrap();
    y.view().unwrap().into_owned()
}

fn grad_input(s: &ConvShape, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let (dy, w) = (buffer(dy).unwrap(), buffer(w).unwrap());
    let mut dx = buffer(&vec![0.0; s.input_len()]).unwrap();
    let (input, to) = (ConvInput::new(&dy, None), GradTo::Overwrite(&mut dx));
    dev().conv2d_grad_input(s, &dy, &w, input, to).unwrap();
    dx.view().unwrap().into_owned()
}

fn grad_weight(s: &ConvShape, x: &[f32], quant: Option<ActQuant>, dy: &[f32]) -> Vec<f32> {
    let (x, dy) = (buffer(x).unwrap(), buffer(dy).unwrap());
    let mut dw = buffer(&vec![0.0; s.weight_len()]).unwrap();
    let input = ConvInput::new(&x, quant);
    dev()
        .conv2d_grad_weight(s, input, &dy, &mut dw, None)
        .unwrap();
    dw.view().unwrap().into_owned()
}

fn grad_weight_masked(x: &[f32], quant: Option<ActQuant>, dy: &[f32], frozen: usize) -> Vec<f32> {
    let s = dense();
    let (x, dy) = (buffer(x).unwrap(), buffer(dy).unwrap());
    let mut dw = buffer(&vec![0.0; s.weight_len()]).unwrap();
    // One free entry for each input channel of each output channel at least.
    let bools: Vec<bool> = (0..s.weight_len()).map(|k| k % 9 < frozen).collect();
    let mask = FreezeMask::from_bools(&bools);
    let input = ConvInput::new(&x, quant);
    let done = dev().conv2d_grad_weight_masked(&s, input, &dy, &mask, &mut dw, None);
    done.unwrap();
    dw.view().unwrap().into_owned()
}

fn norm(x: Images, gamma: Vector, beta: Vector, mode: Mode) -> Vec<f32> {
    let mut state = BatchNormState::new(4);
    let y = batch_norm2d(x, gamma, beta, &mut state, mode);
    [read(&y), state.mean, state.var].concat()
}

fn cases() -> Vec<Case> {
    vec![
        ("relu", 5, |x| read(&relu(vector(x)))),
        ("relu: relu6", 5, |x| read(&relu6(vector(x)))),
        ("prelu", 5, |x| read(&prelu(vector(x), scalar(0.2)))),
        ("prelu: slope", 1, |a| {
            read(&prelu(vector(&[-1.0]), scalar(a[0])))
        }),
        ("elementwise: leaky_relu", 5, |x| {
            read(&leaky_relu(vector(x), 0.2))
        }),
        ("elementwise: tanh", 5, |x| read(&tanh(vector(x)))),
        ("elementwise: sigmoid", 5, |x| read(&sigmoid(vector(x)))),
        ("elementwise: product", 5, |x| {
            read(&product(vector(x), vector(&[0.0; 5])))
        }),
        ("embedding", 6, |t| {
            read(&embedding(&vector(&[2.0, 0.0, 1.0]), matrix(t, (3, 2))))
        }),
        ("affine", 6, |x| {
            let (x, mut y) = (buffer(x).unwrap(), buffer(&[0.0; 6]).unwrap());
            dev().affine(0.0, &[1.0, 2.0, 3.0], &x, &mut y).unwrap();
            y.view().unwrap().into_owned()
        }),
        ("affine: mix", 5, |x| {
            let (x, mut y) = (buffer(x).unwrap(), buffer(&[0.0; 5]).unwrap());
            dev().mix(0.5, &mut y, 0.5, &x).unwrap();
            y.view().unwrap().into_owned()
        }),
        ("affine_quant", 6, |x| {
            read(&affine_quant(
                matrix(x, (2, 3)),
                &[Bounds::new(0.0, 1.0); 2],
                2,
            ))
        }),
        ("fake_quant", 5, |x| {
            read(&fake_quant(vector(x), scalar(0.0), scalar(1.0), 2))
        }),
        ("fake_quant: weight", 5, |x| {
            read(&quantise_weight(vector(x), scalar(-1.0), scalar(1.0), 2))
        }),
        ("bound_quant", 6, |x| {
            read(&bound_quant(
                images(x, (2, 1, 1, 3)),
                vector(&[-1.0]),
                vector(&[1.0]),
                2,
            ))
        }),
        ("bound_quant: symmetric", 6, |x| {
            read(&symmetric_quant(images(x, (2, 1, 1, 3)), vector(&[1.0]), 2))
        }),
        ("lts_weight", 5, |w| {
            let mut state = LtsState::new(&dev(), 5).unwrap();
            let step = LtsStep {
                momentum: 0.9,
                threshold: Some(0.1),
            };
            let y = lts_weight(
                vector(w),
                scalar(-1.0),
                scalar(1.0),
                2,
                &mut state,
                Some(step),
            );
            read(&y)
        }),
        ("lts_weight: evaluation", 5, |w| {
            let mut state = LtsState::new(&dev(), 5).unwrap();
            read(&lts_weight(
                vector(w),
                scalar(-1.0),
                scalar(1.0),
                2,
                &mut state,
                None,
            ))
        }),
        ("conv2d", 72, |x| {
            let (w, o) = (images(&wave(72), (2, 4, 3, 3)), Conv2dOptions::default());
            read(&conv2d(images(x, MAP), w, None, o))
        }),
        ("conv2d: weight", 72, |w| {
            let (x, o) = (images(&wave(72), MAP), Conv2dOptions::default());
            read(&conv2d(x, images(w, (2, 4, 3, 3)), None, o))
        }),
        ("conv2d: bias", 2, |b| {
            let (x, w) = (images(&wave(72), MAP), images(&wave(72), (2, 4, 3, 3)));
            read(&conv2d(x, w, Some(vector(b)), Conv2dOptions::default()))
        }),
        ("conv2d: quantised", 72, |x| {
            forward(&dense(), x, Some(QUANT), &wave(72))
        }),
        ("conv2d: depthwise", 72, |x| {
            forward(&depthwise(), x, None, &wave(36))
        }),
        ("conv2d: depthwise, quantised", 72, |x| {
            forward(&depthwise(), x, Some(QUANT), &wave(36))
        }),
        ("conv2d: depthwise weight", 36, |w| {
            forward(&depthwise(), &wave(72), None, w)
        }),
        ("conv2d: input gradient", 36, |dy| {
            grad_input(&dense(), dy, &wave(72))
        }),
        ("conv2d: input gradient, weight", 72, |w| {
            grad_input(&dense(), &wave(36), w)
        }),
        ("conv2d: depthwise input gradient", 72, |dy| {
            grad_input(&depthwise(), dy, &wave(36))
        }),
        ("conv2d: weight gradient", 36, |dy| {
            grad_weight(&dense(), &wave(72), None, dy)
        }),
        ("conv2d: weight gradient, input", 72, |x| {
            grad_weight(&dense(), x, None, &wave(36))
        }),
        ("conv2d: weight gradient, quantised", 72, |x| {
            grad_weight(&dense(), x, Some(QUANT), &wave(36))
        }),
        ("conv2d: depthwise weight gradient", 72, |x| {
            grad_weight(&depthwise(), x, Some(QUANT), &wave(72))
        }),
        ("masked_grad: dense", 72, |x| {
            grad_weight_masked(x, Some(QUANT), &wave(36), 1)
        }),
        ("masked_grad: half", 72, |x| {
            grad_weight_masked(x, Some(QUANT), &wave(36), 3)
        }),
        ("masked_grad: few", 36, |dy| {
            grad_weight_masked(&wave(72), None, dy, 4)
        }),
        ("linear", 6, |x| {
            read(&linear(matrix(x, (2, 3)), matrix(&wave(12), (4, 3)), None))
        }),
        ("linear: weight", 12, |w| {
            read(&linear(matrix(&wave(6), (2, 3)), matrix(w, (4, 3)), None))
        }),
        ("matmul", 6, |a| {
            read(&matmul(matrix(a, (2, 3)), matrix(&wave(12), (3, 4))))
        }),
        ("matmul: right", 12, |b| {
            read(&matmul(matrix(&wave(6), (2, 3)), matrix(b, (3, 4))))
        }),
        ("batch_norm2d", 72, |x| {
            norm(
                images(x, MAP),
                vector(&[1.0; 4]),
                vector(&[0.0; 4]),
                Mode::Train,
            )
        }),
        ("batch_norm2d: evaluation", 72, |x| {
            norm(
                images(x, MAP),
                vector(&[1.0; 4]),
                vector(&[0.0; 4]),
                Mode::Eval,
            )
        }),
        ("batch_norm2d: gamma", 4, |g| {
            norm(
                images(&wave(72), MAP),
                vector(g),
                vector(&[0.0; 4]),
                Mode::Train,
            )
        }),
        ("batch_norm2d: beta", 4, |b| {
            norm(
                images(&wave(72), MAP),
                vector(&[1.0; 4]),
                vector(b),
                Mode::Eval,
            )
        }),
        ("moments", 72, |x| read(&moments(images(x, MAP)))),
        ("pool: max", 72, |x| {
            read(&max_pool2d(images(x, MAP), 2, 1, 0))
        }),
        ("pool: mean", 72, |x| read(&global_avg_pool(images(x, MAP)))),
        ("avg_pool", 72, |x| {
            read(&avg_pool2d(images(x, MAP), (2, 1), (1, 1)))
        }),
        ("pixel_shuffle", 72, |x| {
            read(&pixel_shuffle(images(x, MAP), 2))
        }),
        ("resize", 72, |x| read(&resize(images(x, MAP), 5, 2))),
        ("resize: bilinear", 72, |x| {
            read(&resize_by(images(x, MAP), (4, 5), Filter::Bilinear))
        }),
        ("resize: area", 72, |x| {
            read(&resize_by(images(x, MAP), (2, 2), Filter::Area))
        }),
        ("upsample: nearest", 72, |x| {
            read(&upsample(images(x, MAP), Upsample::Nearest(2)))
        }),
        ("upsample: bilinear", 72, |x| {
            read(&upsample(images(x, MAP), Upsample::Bilinear))
        }),
        ("upsample: aligned", 72, |x| {
            read(&upsample(images(x, MAP), Upsample::BilinearAligned))
        }),
        ("texture_render", 12, |t| {
            let reads = [vec![(0, 1.0)], vec![(1, 0.5), (2, 0.5)], vec![(3, 1.0)]];
            let map = TexelMap::new((1, 3), 2, &reads).unwrap();
            read(&texture_render(images(t, (1, 3, 2, 2)), &[map]))
        }),
        ("composite", 4, |x| {
            let mask = images(&[1.0, 0.5, 1.0, 0.25], (1, 1, 2, 2));
            let behind = images(&[0.0; 4], (1, 1, 2, 2));
            read(&composite(images(x, (1, 1, 2, 2)), &mask, &behind))
        }),
        ("composite: background", 4, |b| {
            let mask = images(&[0.0, 0.5, 0.0, 0.25], (1, 1, 2, 2));
            let person = images(&[0.0; 4], (1, 1, 2, 2));
            read(&composite(person, &mask, &images(b, (1, 1, 2, 2))))
        }),
        ("sample", 72, |x| {
            let boxes = matrix(&[0.0, 0.0, 3.0, 3.0, 0.0, 0.0, 3.0, 3.0], (2, 4));
            let how = Sampling {
                images: vec![0, 1],
                out: (4, 4),
                border: Border::Zero,
                constant_images: false,
            };
            read(&sample(images(x, MAP), boxes, how))
        }),
        ("sample: boxes", 4, |b| {
            let how = Sampling {
                images: vec![1],
                out: (2, 2),
                border: Border::Clamp,
                constant_images: false,
            };
            read(&sample(images(&wave(72), MAP), matrix(b, (1, 4)), how))
        }),
        ("roi_transform", 72, |x| {
            let boxes = matrix(&[0.0, 0.0, 3.0, 3.0, 0.0, 0.0, 3.0, 3.0], (2, 4));
            let how = RoiTransform {
                images: vec![0, 1],
                out: (4, 4),
                supersample: true,
                constant_images: false,
            };
            read(&roi_transform(images(x, MAP), boxes, how))
        }),
        ("roi_align", 72, |x| {
            let boxes = matrix(&[0.0, 0.0, 6.0, 6.0, 0.0, 0.0, 6.0, 6.0], (2, 4));
            read(&roi_align(images(x, MAP), boxes, align(&[0, 1])))
        }),
        ("roi_align: boxes", 4, |b| {
            let boxes = matrix(b, (1, 4));
            read(&roi_align(images(&wave(72), MAP), boxes, align(&[1])))
        }),
        ("roi_transform: boxes", 4, |b| {
            let how = RoiTransform {
                images: vec![1],
                out: (2, 2),
                supersample: false,
                constant_images: false,
            };
            read(&roi_transform(
                images(&wave(72), MAP),
                matrix(b, (1, 4)),
                how,
            ))
        }),
        ("box_decode: distances", 8, |t| {
            let points = vec![[5.0, 6.0], [7.0, 8.0]];
            let base = BoxBase::Distances { points, scale: 8.0 };
            read(&box_decode(matrix(t, (2, 4)), base))
        }),
        ("box_decode: deltas", 8, |t| {
            let base = BoxBase::Deltas(vec![[1.0, 2.0, 5.0, 9.0]; 2]);
            read(&box_decode(matrix(t, (2, 4)), base))
        }),
        ("giou_loss", 8, |b| {
            let target = [0.0, 0.0, 1.0, 1.0];
            read(&giou_loss(matrix(b, (2, 4)), &[target; 2]))
        }),
        ("focal", 4, |x| {
            let targets = [true, false, false, true];
            read(&focal(vector(x), &targets, Focal::default()))
        }),
        ("l2_normalise", 6, |x| {
            read(&l2_normalise(matrix(x, (2, 3))))
        }),
        ("triplet", 12, |x| {
            read(&triplet(matrix(x, (4, 3)), &[0, 0, 1, 1], 5.0))
        }),
        ("triplet: proxies", 6, |x| {
            let mut table = ProxyTable::new(2, 3, 0.5).unwrap();
            let seen = matrix(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (2, 3));
            table.update(&seen, &[0, 1]).unwrap();
            read(&proxy_triplet(matrix(x, (2, 3)), &[0, 1], &table, 5.0))
        }),
        ("channels: slice", 72, |x| {
            read(&slice(images(x, MAP), 0..4))
        }),
        ("l1_loss", 5, |x| {
            read(&l1_loss(vector(x), &vector(&[0.0; 5])))
        }),
        ("l1_loss: target", 5, |t| {
            read(&l1_loss(vector(&[0.0; 5]), &vector(t)))
        }),
        ("cross_entropy", 6, |z| {
            read(&cross_entropy(matrix(z, (2, 3)), &[0, 2]))
        }),
        ("update: sgd", 5, |g| {
            let mut w = buffer(&[1.0; 5]).unwrap();
            let mut velocity = buffer(&[]).unwrap();
            let rule = SgdConfig {
                momentum: None,
                ..SgdConfig::default()
            };
            dev()
                .sgd(&rule, &mut w, &mut velocity, &buffer(g).unwrap())
                .unwrap();
            w.view().unwrap().into_owned()
        }),
        ("update: adam", 5, |g| {
            let [mut w, mut m, mut v] = [1.0, 0.0, 0.0].map(|x| buffer(&[x; 5]).unwrap());
            let rule = AdamConfig::default();
            dev()
                .adam(&rule, 1, &mut w, &mut m, &mut v, &buffer(g).unwrap())
                .unwrap();
            w.view().unwrap().into_owned()
        }),
    ]
}

#[test]
fn nan_stays_nan_in_every_op() {
    for (name, len, op) in cases() {
        let before = op(&wave(len));
        assert!(
            before.iter().all(|v| v.is_finite()),
            "{name} of finite numbers"
        );
        for at in 0..len {
            let mut values = wave(len);
            values[at] = f32::NAN;
            let after = op(&values);
            assert!(
                after.iter().any(|v| v.is_nan()),
                "{name}: NaN at {at} is lost"
            );
        }
        assert!(
            op(&vec![f32::NAN; len]).iter().any(|v| v.is_nan()),
            "{name}: all NaN"
        );
    }
}

/// An op that nobody put into the table would not be tested.
#[test]
fn the_table_names_every_op() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops");
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // Shared code of kernels and tapes, and a change of order that has tests for every element.
        if !entry.path().is_dir() || ["cuda", "layout", "tape"].contains(&name.as_str()) {
            continue;
        }
        let named = |case: &Case| case.0.split(':').next() == Some(name.as_str());
        assert!(cases().iter().any(named), "ops/{name} is not in the table");
    }
}
