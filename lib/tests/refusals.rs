//! Every public `try_` function, given what does not fit: a typed error that names both shapes, or a documented value,
//! and never a panic. The list of functions is read from the sources, so a new one has to be put here.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rebit::data::{BatchPlan, FloatImages, ImageFolder};
use rebit::nn::{MeanAbsoluteError, resnet20, try_loss_of};
use rebit::ops::affine_quant::try_affine_quant;
use rebit::ops::avg_pool::try_avg_pool2d;
use rebit::ops::channels::try_slice;
use rebit::ops::elementwise::{try_leaky_relu, try_product, try_sigmoid, try_tanh};
use rebit::ops::embedding::try_embedding;
use rebit::ops::host::try_host_op;
use rebit::ops::l1_loss::try_l1_loss;
use rebit::ops::moments::try_moments;
use rebit::ops::prelu::try_prelu;
use rebit::ops::resize::{Filter, try_resize, try_resize_by};
use rebit::ops::roi_align::{RoiAlign, try_roi_align};
use rebit::ops::sample::{Border, Sampling, try_sample};
use rebit::ops::upsample::{Upsample, try_upsample};
use rebit::papers::ddtb::try_attention_loss;
use rebit::prelude::*;
use rebit::train::{Deviation, try_masked_error};

/// What a call came to.
enum Outcome {
    /// The text of its error.
    Refused(String),
    /// The numbers of its value, as far as it has any.
    Value(Vec<f32>),
}

use Outcome::{Refused, Value};

fn outcome<T>(result: Result<T>, numbers: impl FnOnce(T) -> Vec<f32>) -> Outcome {
    match result {
        Ok(value) => Value(numbers(value)),
        Err(error @ (Error::Shape { .. } | Error::Invalid { .. } | Error::Data { .. })) => {
            Refused(error.to_string())
        }
        Err(error) => panic!("an error of another kind: {error:?}"),
    }
}

fn tensor<S: Shape>(result: Result<Tensor<S, f32, Dev>>) -> Outcome {
    outcome(result, |t| read(&t))
}

fn nothing<T>(result: Result<T>) -> Outcome {
    outcome(result, |_| Vec::new())
}

/// What is expected.
enum Expect {
    /// An error whose text holds all of these.
    Error(&'static [&'static str]),
    /// No numbers: the result of nothing.
    Empty,
    /// At least one NaN.
    Nan,
    /// A value.
    Fine,
}

use Expect::{Empty, Fine, Nan};

struct Case {
    /// The file and the function.
    of: &'static str,
    what: &'static str,
    call: fn() -> Outcome,
    expect: Expect,
}

fn images(shape: (usize, usize, usize, usize)) -> Images {
    let n = shape.0 * shape.1 * shape.2 * shape.3;
    from_vec((0..n).map(|k| k as f32 / 8.0 - 1.0).collect(), shape).unwrap()
}

fn matrix(rows: usize, columns: usize) -> Matrix {
    from_vec(vec![0.5; rows * columns], (rows, columns)).unwrap()
}

fn nan_images() -> Images {
    from_vec(vec![f32::NAN, 1.0, 2.0, 3.0], (1, 1, 2, 2)).unwrap()
}

fn nan_matrix() -> Matrix {
    from_vec(vec![f32::NAN, 1.0], (1, 2)).unwrap()
}

/// The moments of one norm's input against another norm's statistics.
fn moments_of(norm: usize, of: usize) -> Outcome {
    let net = resnet20(10, rng(0));
    let norms = net.norms();
    let mut pass = net.trace(&images((1, 3, 32, 32)), Mode::Eval).unwrap();
    let moments = pass.moments(&norms[norm]).unwrap();
    outcome(try_moments_loss(moments, &norms[of]), |l| read(&l))
}

fn nan() -> Vector {
    vector(&[f32::NAN, 1.0])
}

fn none() -> Vector {
    vector(&[])
}

fn tiny(n: usize) -> Dataset {
    Dataset {
        name: "tiny".into(),
        images: vec![7; n * 12],
        labels: vec![0; n],
        classes: vec!["one".into()],
        channels: 3,
        height: 2,
        width: 2,
    }
}

fn norm(x: Images, channels: usize, eps: f32, mode: Mode) -> Outcome {
    let mut state = BatchNormState::new(channels);
    state.eps = eps;
    let (one, zero) = (vector(&vec![1.0; channels]), vector(&vec![0.0; channels]));
    tensor(try_batch_norm2d(x, one, zero, &mut state, mode))
}

fn lts(w: Vector, bounds: (f32, f32), bits: u32, state: usize, momentum: f32) -> Outcome {
    let mut state = LtsState::new(&dev(), state).unwrap();
    let step = LtsStep {
        momentum,
        threshold: Some(0.1),
    };
    let (lower, upper) = (scalar(bounds.0), scalar(bounds.1));
    outcome(
        try_lts_weight(w, lower, upper, bits, &mut state, Some(step)),
        |(y, _)| read(&y),
    )
}

fn boxes(x: Images, count: usize, four: usize, images: Vec<u32>, out: (usize, usize)) -> Outcome {
    let boxes = from_vec(vec![0.5; count * four], (count, four)).unwrap();
    let how = Sampling {
        images,
        out,
        border: Border::Zero,
        constant_images: false,
    };
    tensor(try_sample(x, boxes, how))
}

/// A pixel that shows the first texel of a 2x2 texture.
fn texels() -> TexelMap {
    TexelMap::new((1, 1), 2, &[vec![(0, 1.0)]]).unwrap()
}

fn roi(count: usize, four: usize, of: Vec<u32>, out: (usize, usize)) -> Outcome {
    let boxes = from_vec(vec![0.5; count * four], (count, four)).unwrap();
    let how = RoiTransform {
        images: of,
        out,
        supersample: true,
        constant_images: false,
    };
    tensor(try_roi_transform(images((1, 1, 2, 2)), boxes, how))
}

fn align(count: usize, four: usize, of: Vec<u32>, out: (usize, usize)) -> Outcome {
    let boxes = from_vec(vec![0.5; count * four], (count, four)).unwrap();
    let how = RoiAlign {
        images: of,
        out,
        scale: 0.5,
        sampling: 2,
    };
    tensor(try_roi_align(images((1, 1, 2, 2)), boxes, how))
}

fn world() -> World {
    World::new(WorldConfig::default()).unwrap()
}

fn conv(options: Conv2dOptions) -> Outcome {
    tensor(try_conv2d(
        images((1, 1, 5, 5)),
        images((1, 1, 3, 3)),
        None,
        options,
    ))
}

macro_rules! cases {
    ($($of:literal: { $($what:literal => $call:expr => $expect:expr),* $(,)? })*) => {
        vec![$($(Case { of: $of, what: $what, call: || $call, expect: $expect }),*),*]
    };
}

macro_rules! error {
    ($($part:literal),*) => { Expect::Error(&[$($part),*]) };
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    const PLAIN: Conv2dOptions = Conv2dOptions { stride: 1, padding: 0, dilation: 1, groups: 1 };
    cases! {
        "ops/relu/mod.rs: try_relu": {
            "nothing" => tensor(try_relu(none())) => Empty,
            "NaN" => tensor(try_relu(nan())) => Nan,
        }
        "ops/relu/mod.rs: try_relu6": {
            "nothing" => tensor(try_relu6(none())) => Empty,
            "NaN" => tensor(try_relu6(nan())) => Nan,
        }
        "ops/prelu/mod.rs: try_prelu": {
            "nothing" => tensor(try_prelu(none(), scalar(0.1))) => Empty,
            "NaN" => tensor(try_prelu(nan(), scalar(0.1))) => Nan,
        }
        "ops/elementwise/mod.rs: try_leaky_relu": {
            "nothing" => tensor(try_leaky_relu(none(), 0.1)) => Empty,
            "NaN" => tensor(try_leaky_relu(nan(), 0.1)) => Nan,
            "a NaN slope" => tensor(try_leaky_relu(vector(&[1.0]), f32::NAN)) => error!("slope NaN"),
        }
        "ops/elementwise/mod.rs: try_tanh": {
            "nothing" => tensor(try_tanh(none())) => Empty,
            "NaN" => tensor(try_tanh(nan())) => Nan,
        }
        "ops/elementwise/mod.rs: try_sigmoid": {
            "nothing" => tensor(try_sigmoid(none())) => Empty,
            "NaN" => tensor(try_sigmoid(nan())) => Nan,
        }
        "ops/elementwise/mod.rs: try_product": {
            "shapes" => tensor(try_product(matrix(2, 3), matrix(3, 2))) => error!("[2, 3]", "[3, 2]"),
            "nothing" => tensor(try_product(none(), none())) => Empty,
            "NaN" => tensor(try_product(nan(), vector(&[0.0, 0.0]))) => Nan,
        }
        "ops/embedding/mod.rs: try_embedding": {
            "a class of others" => tensor(try_embedding(&vector(&[0.0, 3.0]), matrix(3, 2))) => error!("class index 3", "0 to 2"),
            "a negative class" => tensor(try_embedding(&vector(&[-1.0]), matrix(3, 2))) => error!("class index -1", "0 to 2"),
            "half a class" => tensor(try_embedding(&vector(&[0.5]), matrix(3, 2))) => error!("class index 0.5", "0 to 2"),
            "a class of NaN" => tensor(try_embedding(&nan(), matrix(3, 2))) => error!("class index NaN", "0 to 2"),
            "no classes" => tensor(try_embedding(&vector(&[0.0]), matrix(0, 2))) => error!("a table of 0 x 2"),
            "no channels" => tensor(try_embedding(&vector(&[0.0]), matrix(3, 0))) => error!("a table of 3 x 0"),
            "nothing" => tensor(try_embedding(&none(), matrix(3, 2))) => Empty,
            "NaN" => tensor(try_embedding(&vector(&[0.0]), nan_matrix())) => Nan,
        }
        "ops/host.rs: try_host_op": {
            "an error of the function" => tensor(try_host_op(vector(&[1.0]), (2,), |_, _| Err(Error::shape("mine", 1, 2)), |_, _, _| Ok(()))) => error!("mine", "1", "2"),
            "a huge result" => tensor(try_host_op(none(), (usize::MAX, 3), |_, _| Ok(()), |_, _, _| Ok(()))) => error!("at most", "18446744073709551615"),
            "nothing" => tensor(try_host_op(none(), (0, 3), |_, _| Ok(()), |_, _, _| Ok(()))) => Empty,
        }
        "ops/fake_quant/tape.rs: try_fake_quant": {
            "nothing" => tensor(try_fake_quant(none(), scalar(0.0), scalar(1.0), 2)) => Empty,
            "NaN" => tensor(try_fake_quant(nan(), scalar(0.0), scalar(1.0), 2)) => Nan,
            "crossed bounds" => tensor(try_fake_quant(nan(), scalar(1.0), scalar(0.0), 2)) => error!("lower = 1", "upper = 0"),
            "NaN bounds" => tensor(try_fake_quant(none(), scalar(f32::NAN), scalar(0.0), 2)) => error!("lower = NaN"),
            "bits" => tensor(try_fake_quant(none(), scalar(0.0), scalar(1.0), 17)) => error!("17 bits"),
        }
        "ops/fake_quant/tape.rs: try_quantise_weight": {
            "nothing" => tensor(try_quantise_weight(none(), scalar(0.0), scalar(1.0), 2)) => Empty,
            "NaN" => tensor(try_quantise_weight(nan(), scalar(0.0), scalar(1.0), 2)) => Nan,
            "crossed bounds" => tensor(try_quantise_weight(nan(), scalar(1.0), scalar(0.0), 2)) => error!("lower = 1", "upper = 0"),
            "bits" => tensor(try_quantise_weight(none(), scalar(0.0), scalar(1.0), 0)) => error!("0 bits"),
        }
        "ops/bound_quant/tape.rs: try_bound_quant": {
            "bounds of others" => tensor(try_bound_quant(images((2, 1, 1, 1)), vector(&[0.0; 3]), vector(&[1.0]), 2)) => error!("lower", "2, one for each sample", "found 3"),
            "no bounds" => tensor(try_bound_quant(images((2, 1, 1, 1)), none(), vector(&[1.0]), 2)) => error!("found 0"),
            "no batch and no bounds" => tensor(try_bound_quant(images((0, 1, 1, 1)), none(), none(), 2)) => error!("found 0"),
            "no batch" => tensor(try_bound_quant(images((0, 1, 1, 1)), vector(&[0.0]), vector(&[1.0]), 2)) => Empty,
            "no pixels" => tensor(try_bound_quant(images((2, 1, 0, 1)), vector(&[0.0]), vector(&[1.0]), 2)) => Empty,
            "NaN" => tensor(try_bound_quant(nan_images(), vector(&[0.0]), vector(&[1.0]), 2)) => Nan,
            "crossed bounds" => tensor(try_bound_quant(nan_images(), vector(&[1.0]), vector(&[0.0]), 2)) => error!("lower = 1", "upper = 0"),
        }
        "ops/bound_quant/tape.rs: try_symmetric_quant": {
            "no bounds" => tensor(try_symmetric_quant(nan_images(), none(), 2)) => error!("1 bound", "0 bounds"),
            "no batch" => tensor(try_symmetric_quant(images((0, 1, 1, 1)), vector(&[1.0]), 2)) => Empty,
            "NaN" => tensor(try_symmetric_quant(nan_images(), vector(&[1.0]), 2)) => Nan,
            "crossed bounds" => tensor(try_symmetric_quant(nan_images(), vector(&[-1.0]), 2)) => error!("lower = 1", "upper = -1"),
            "bits" => tensor(try_symmetric_quant(nan_images(), vector(&[1.0]), 1)) => error!("1 bits"),
        }
        "ops/affine_quant/mod.rs: try_affine_quant": {
            "ranges of others" => tensor(try_affine_quant(matrix(2, 3), &[Bounds::new(0.0, 1.0); 3], 2)) => error!("[2, 3]", "3 ranges"),
            "no ranges" => tensor(try_affine_quant(matrix(0, 3), &[], 2)) => error!("0 ranges"),
            "nothing" => tensor(try_affine_quant(none(), &[Bounds::new(0.0, 1.0)], 2)) => Empty,
            "NaN" => tensor(try_affine_quant(nan(), &[Bounds::new(0.0, 1.0)], 2)) => Nan,
            "a crossed range" => tensor(try_affine_quant(nan(), &[Bounds::new(1.0, 0.0)], 2)) => error!("lower = 1", "upper = 0"),
        }
        "ops/lts_weight/tape.rs: try_lts_weight": {
            "the state of another" => lts(vector(&[1.0, 2.0]), (-1.0, 1.0), 2, 3, 0.9) => error!("expected 2", "found 3"),
            "nothing" => lts(none(), (-1.0, 1.0), 2, 0, 0.9) => Empty,
            "NaN" => lts(nan(), (-1.0, 1.0), 2, 2, 0.9) => Nan,
            "crossed bounds" => lts(nan(), (1.0, 0.0), 2, 2, 0.9) => error!("lower = 1", "upper = 0"),
            "momentum" => lts(nan(), (0.0, 1.0), 2, 2, 1.0) => error!("momentum 1"),
        }
        "ops/conv2d/tape.rs: try_conv2d": {
            "channels" => tensor(try_conv2d(images((2, 3, 4, 4)), images((4, 2, 3, 3)), None, PLAIN)) => error!("(4, 3, 3, 3)", "(4, 2, 3, 3)"),
            "a bias" => tensor(try_conv2d(images((2, 3, 4, 4)), images((4, 3, 3, 3)), Some(vector(&[0.0; 3])), PLAIN)) => error!("(4,)", "(3,)"),
            "a large kernel" => conv(Conv2dOptions { dilation: 3, ..PLAIN }) => error!("7x7", "5x5"),
            "no batch" => tensor(try_conv2d(images((0, 3, 4, 4)), images((4, 3, 3, 3)), None, PLAIN)) => error!("batch", "0"),
            "no channels" => tensor(try_conv2d(images((1, 0, 4, 4)), images((4, 0, 3, 3)), None, PLAIN)) => error!("in_channels", "0"),
            "no kernel" => tensor(try_conv2d(images((1, 1, 4, 4)), images((1, 1, 0, 3)), None, PLAIN)) => error!("kernel height", "0"),
            "no groups" => conv(Conv2dOptions { groups: 0, ..PLAIN }) => error!("groups", "0"),
            "groups" => conv(Conv2dOptions { groups: 2, ..PLAIN }) => error!("groups = 2", "1"),
            "no stride" => conv(Conv2dOptions { stride: 0, ..PLAIN }) => error!("stride", "0"),
            "a far stride" => conv(Conv2dOptions { stride: 1 << 40, ..PLAIN }) => Fine,
            "padding" => conv(Conv2dOptions { padding: 1 << 63, ..PLAIN }) => error!("padding"),
            "much padding" => conv(Conv2dOptions { padding: 1 << 40, stride: 1 << 40, ..PLAIN }) => error!("padding"),
            "dilation" => conv(Conv2dOptions { dilation: 1 << 62, ..PLAIN }) => error!("5x5"),
            "more dilation" => conv(Conv2dOptions { dilation: 1 << 63, ..PLAIN }) => error!("dilation"),
            "NaN" => tensor(try_conv2d(nan_images(), images((1, 1, 2, 2)), None, PLAIN)) => Nan,
        }
        "ops/linear/mod.rs: try_linear": {
            "inputs" => tensor(try_linear(matrix(2, 3), matrix(4, 2), None)) => error!("linear", "(4, 3)", "(4, 2)"),
            "a bias" => tensor(try_linear(matrix(2, 3), matrix(4, 3), Some(vector(&[0.0; 3])))) => error!("linear", "(4,)", "(3,)"),
            "no batch" => tensor(try_linear(matrix(0, 3), matrix(4, 3), None)) => error!("linear", "0 rows"),
            "NaN" => tensor(try_linear(from_vec(vec![f32::NAN; 3], (1, 3)).unwrap(), matrix(4, 3), None)) => Nan,
        }
        "ops/matmul/mod.rs: try_matmul": {
            "inner sides" => tensor(try_matmul(matrix(2, 3), matrix(4, 5))) => error!("(3, 5)", "(4, 5)"),
            "no rows" => tensor(try_matmul(matrix(0, 3), matrix(3, 5))) => error!("matmul", "(0, 3)"),
            "NaN" => tensor(try_matmul(from_vec(vec![f32::NAN; 3], (1, 3)).unwrap(), matrix(3, 2))) => Nan,
        }
        "ops/batch_norm2d/tape.rs: try_batch_norm2d": {
            "channels" => norm(images((2, 3, 2, 2)), 4, 1e-5, Mode::Train) => error!("3", "4"),
            "no batch" => norm(images((0, 3, 2, 2)), 3, 1e-5, Mode::Train) => error!("0 pixels x 3 channels"),
            "one pixel" => norm(images((1, 3, 1, 1)), 3, 1e-5, Mode::Train) => error!("one pixel"),
            "a negative eps" => norm(images((2, 3, 2, 2)), 3, -1e-5, Mode::Eval) => error!("eps -0.00001"),
            "a NaN eps" => norm(images((2, 3, 2, 2)), 3, f32::NAN, Mode::Train) => error!("eps NaN"),
            "NaN" => norm(nan_images(), 1, 1e-5, Mode::Train) => Nan,
        }
        "ops/moments/mod.rs: try_moments": {
            "no batch" => tensor(try_moments(images((0, 3, 2, 2)))) => error!("0 pixels x 3 channels"),
            "no channels" => tensor(try_moments(images((2, 0, 2, 2)))) => error!("0 channels"),
            "NaN" => tensor(try_moments(nan_images())) => Nan,
        }
        "ops/pool/tape.rs: try_max_pool2d": {
            "a large window" => tensor(try_max_pool2d(images((1, 1, 2, 2)), 3, 1, 0)) => error!("3x3", "2x2"),
            "a huge window" => tensor(try_max_pool2d(images((1, 1, 5, 5)), (1 << 63) + 2, 1, 1)) => error!("5x5"),
            "padding" => tensor(try_max_pool2d(images((1, 1, 2, 2)), 2, 1, 2)) => error!("padding 2"),
            "no stride" => tensor(try_max_pool2d(images((1, 1, 2, 2)), 2, 0, 0)) => error!("stride 0"),
            "no batch" => tensor(try_max_pool2d(images((0, 1, 2, 2)), 2, 1, 0)) => Empty,
            "no channels" => tensor(try_max_pool2d(images((2, 0, 2, 2)), 2, 1, 0)) => Empty,
            "NaN" => tensor(try_max_pool2d(nan_images(), 2, 1, 0)) => Nan,
        }
        "ops/pool/tape.rs: try_global_avg_pool": {
            "no pixels" => tensor(try_global_avg_pool(images((1, 3, 0, 4)))) => error!("0 pixels x 3 channels"),
            "no batch" => tensor(try_global_avg_pool(images((0, 3, 2, 2)))) => Empty,
            "NaN" => tensor(try_global_avg_pool(nan_images())) => Nan,
        }
        "ops/avg_pool/mod.rs: try_avg_pool2d": {
            "a large window" => tensor(try_avg_pool2d(images((1, 1, 2, 3)), (3, 1), (1, 1))) => error!("3x1", "2x3"),
            "no stride" => tensor(try_avg_pool2d(images((1, 1, 2, 3)), (1, 1), (0, 1))) => error!("(0, 1)"),
            "no batch" => tensor(try_avg_pool2d(images((0, 1, 2, 3)), (1, 1), (1, 1))) => Empty,
            "NaN" => tensor(try_avg_pool2d(nan_images(), (2, 1), (1, 1))) => Nan,
        }
        "ops/pixel_shuffle/mod.rs: try_pixel_shuffle": {
            "channels" => tensor(try_pixel_shuffle(images((1, 6, 1, 1)), 2)) => error!("2 x 2", "6 channels"),
            "a factor of 0" => tensor(try_pixel_shuffle(images((1, 6, 1, 1)), 0)) => error!("above 0"),
            "a huge factor" => tensor(try_pixel_shuffle(images((1, 6, 1, 1)), 1 << 32)) => error!("6 channels"),
            "no batch" => tensor(try_pixel_shuffle(images((0, 4, 1, 1)), 2)) => Empty,
            "NaN" => tensor(try_pixel_shuffle(nan_images(), 1)) => Nan,
        }
        "ops/resize/mod.rs: try_resize_by": {
            "no pixels" => tensor(try_resize_by(images((1, 1, 0, 2)), (2, 2), Filter::Area)) => error!("(0, 2)"),
            "a size of 0" => tensor(try_resize_by(images((1, 1, 2, 2)), (2, 0), Filter::Bilinear)) => error!("(2, 0)"),
            "no batch" => tensor(try_resize_by(images((0, 1, 2, 2)), (3, 3), Filter::BilinearAligned)) => Empty,
            "NaN" => tensor(try_resize_by(nan_images(), (1, 1), Filter::Area)) => Nan,
        }
        "ops/resize/mod.rs: try_resize": {
            "no pixels" => tensor(try_resize(images((1, 1, 0, 2)), 2, 2)) => error!("(0, 2)", "(2, 2)"),
            "no size" => tensor(try_resize(images((1, 1, 2, 2)), 0, 2)) => error!("(2, 2)", "(0, 2)"),
            "a huge size" => tensor(try_resize(images((1, 1, 2, 2)), 1 << 40, 1 << 40)) => error!("at most", "1099511627776"),
            "no channels" => tensor(try_resize(images((1, 0, 2, 2)), 3, 3)) => Empty,
            "no batch" => tensor(try_resize(images((0, 1, 2, 2)), 3, 3)) => Empty,
            "NaN" => tensor(try_resize(nan_images(), 3, 3)) => Nan,
        }
        "ops/upsample/mod.rs: try_upsample": {
            "no pixels" => tensor(try_upsample(images((1, 1, 0, 2)), Upsample::Bilinear)) => error!("0x2"),
            "a factor of 0" => tensor(try_upsample(images((1, 1, 2, 2)), Upsample::Nearest(0))) => error!("by 0"),
            "a huge factor" => tensor(try_upsample(images((1, 1, 2, 2)), Upsample::Nearest(1 << 40))) => error!("at most"),
            "no batch" => tensor(try_upsample(images((0, 1, 2, 2)), Upsample::BilinearAligned)) => Empty,
            "NaN" => tensor(try_upsample(nan_images(), Upsample::Nearest(2))) => Nan,
        }
        "ops/roi_transform/mod.rs: try_roi_transform": {
            "three corners" => roi(1, 3, vec![0], (1, 1)) => error!("(1, 4)", "(1, 3)"),
            "an image that is not there" => roi(1, 4, vec![3], (1, 1)) => error!("image 3", "0..1"),
            "no output" => roi(1, 4, vec![0], (0, 1)) => error!("0x2", "2x2"),
            "more than memory" => roi(1, 4, vec![0], (usize::MAX, 2)) => error!("at most"),
            "no boxes" => roi(0, 4, vec![], (1, 1)) => Empty,
        }
        "ops/roi_align/mod.rs: try_roi_align": {
            "three corners" => align(1, 3, vec![0], (1, 1)) => error!("(1, 4)", "(1, 3)"),
            "an image that is not there" => align(1, 4, vec![3], (1, 1)) => error!("image 3", "0..1"),
            "no output" => align(1, 4, vec![0], (0, 1)) => error!("0x2", "2x2"),
            "more than memory" => align(1, 4, vec![0], (usize::MAX, 2)) => error!("at most"),
            "no boxes" => align(0, 4, vec![], (1, 1)) => Empty,
        }
        "ops/box_decode/mod.rs: try_box_decode": {
            "three numbers" => tensor(try_box_decode(matrix(2, 3), BoxBase::Deltas(vec![[0.0; 4]; 2]))) => error!("(2, 4)", "(2, 3)"),
            "anchors of others" => tensor(try_box_decode(matrix(2, 4), BoxBase::Deltas(vec![[0.0; 4]]))) => error!("(1, 4)", "(2, 4)"),
            "none" => tensor(try_box_decode(matrix(0, 4), BoxBase::Deltas(vec![]))) => Empty,
        }
        "ops/giou_loss/mod.rs: try_giou_loss": {
            "three corners" => tensor(try_giou_loss(matrix(2, 3), &[[0.0; 4]; 2])) => error!("(2, 4)", "(2, 3)"),
            "targets of others" => tensor(try_giou_loss(matrix(2, 4), &[[0.0; 4]])) => error!("(1, 4)", "(2, 4)"),
            "NaN" => tensor(try_giou_loss(matrix(1, 4), &[[f32::NAN; 4]])) => Nan,
            "boxes without area" => tensor(try_giou_loss(matrix(1, 4), &[[0.5; 4]])) => Fine,
        }
        "ops/focal/mod.rs: try_focal": {
            "targets of others" => tensor(try_focal(none(), &[true], Focal::default())) => error!("0 logits", "1"),
            "alpha" => tensor(try_focal(none(), &[], Focal { alpha: 2.0, gamma: 1.0 })) => error!("alpha"),
            "gamma" => tensor(try_focal(none(), &[], Focal { alpha: 0.5, gamma: f32::NAN })) => error!("gamma"),
            "nothing" => tensor(try_focal(none(), &[], Focal::default())) => Fine,
        }
        "ops/l2_normalise/mod.rs: try_l2_normalise": {
            "no rows" => tensor(try_l2_normalise(matrix(0, 4))) => Empty,
            "no columns" => tensor(try_l2_normalise(matrix(3, 0))) => Empty,
            "NaN" => tensor(try_l2_normalise(nan_matrix())) => Nan,
        }
        "ops/triplet/mod.rs: try_triplet": {
            "labels of others" => tensor(try_triplet(matrix(2, 3), &[0], 0.3)) => error!("2 rows", "1"),
            "no rows" => tensor(try_triplet(matrix(0, 3), &[], 0.3)) => Fine,
        }
        "ops/triplet/proxy.rs: try_proxy_triplet": {
            "labels of others" => tensor(try_proxy_triplet(matrix(2, 3), &[0], &ProxyTable::new(2, 3, 0.5).unwrap(), 0.3)) => error!("2 rows", "1"),
            "other features" => tensor(try_proxy_triplet(matrix(1, 2), &[0], &ProxyTable::new(2, 3, 0.5).unwrap(), 0.3)) => error!("3 numbers", "2"),
            "a person that is not there" => tensor(try_proxy_triplet(matrix(1, 3), &[2], &ProxyTable::new(2, 3, 0.5).unwrap(), 0.3)) => error!("label 2", "0..2"),
        }
        "ops/texture_render/mod.rs: try_texture_render": {
            "a texture of another size" => tensor(try_texture_render(images((1, 3, 3, 3)), &[texels()])) => error!("2x2", "3x3"),
            "a texture that is not square" => tensor(try_texture_render(images((1, 3, 2, 3)), &[texels()])) => error!("2x2", "2x3"),
            "textures without maps" => tensor(try_texture_render(images((2, 3, 2, 2)), &[texels()])) => error!("1 textures", "2 of"),
            "nothing" => tensor(try_texture_render(images((0, 3, 2, 2)), &[])) => Empty,
            "NaN" => tensor(try_texture_render(nan_images(), &[texels()])) => Nan,
        }
        "ops/composite/mod.rs: try_composite": {
            "a mask of another size" => tensor(try_composite(images((1, 3, 2, 2)), &images((1, 1, 2, 3)), &images((1, 3, 2, 2)))) => error!("mask of (1, 1, 2, 2)", "(1, 1, 2, 3)"),
            "a mask of three channels" => tensor(try_composite(images((1, 3, 2, 2)), &images((1, 3, 2, 2)), &images((1, 3, 2, 2)))) => error!("mask", "(1, 3, 2, 2)"),
            "a background of another size" => tensor(try_composite(images((1, 3, 2, 2)), &images((1, 1, 2, 2)), &images((2, 3, 2, 2)))) => error!("background of (1, 3, 2, 2)", "(2, 3, 2, 2)"),
            "nothing" => tensor(try_composite(images((0, 3, 2, 2)), &images((0, 1, 2, 2)), &images((0, 3, 2, 2)))) => Empty,
            "NaN" => tensor(try_composite(nan_images(), &from_vec(vec![1.0; 4], (1, 1, 2, 2)).unwrap(), &images((1, 1, 2, 2)))) => Nan,
        }
        "train/masked.rs: try_masked_error": {
            "a target of another shape" => nothing(try_masked_error(images((1, 3, 2, 2)), &images((1, 3, 2, 3)), &images((1, 1, 2, 2)), Deviation::Square)) => error!("target of (1, 3, 2, 2)", "(1, 3, 2, 3)"),
            "masks of other images" => nothing(try_masked_error(images((3, 1, 2, 2)), &images((3, 1, 2, 2)), &images((2, 1, 2, 2)), Deviation::Absolute)) => error!("(3, 1, 2, 2)", "(2, 1, 2, 2)"),
            "a mask of three channels" => nothing(try_masked_error(images((1, 3, 2, 2)), &images((1, 3, 2, 2)), &images((1, 3, 2, 2)), Deviation::Absolute)) => error!("(1, 1, 2, 2)", "(1, 3, 2, 2)"),
            "nothing" => nothing(try_masked_error(images((0, 1, 2, 2)), &images((0, 1, 2, 2)), &images((1, 1, 2, 2)), Deviation::Square)) => error!("no number"),
            "NaN" => outcome(try_masked_error(nan_images(), &images((1, 1, 2, 2)), &images((1, 1, 2, 2)), Deviation::Square), |l| read(&l)) => Nan,
        }
        "ops/sample/mod.rs: try_sample": {
            "three corners" => boxes(images((1, 1, 2, 2)), 1, 3, vec![0], (1, 1)) => error!("(1, 4)", "(1, 3)"),
            "boxes of others" => boxes(images((1, 1, 2, 2)), 2, 4, vec![0], (1, 1)) => error!("(1, 4)", "(2, 4)"),
            "an image that is not there" => boxes(images((1, 1, 2, 2)), 1, 4, vec![1], (1, 1)) => error!("image 1", "0..1"),
            "no output" => boxes(images((1, 1, 2, 2)), 1, 4, vec![0], (0, 1)) => error!("0x1", "2x2"),
            "no pixels" => boxes(images((1, 1, 0, 2)), 1, 4, vec![0], (1, 1)) => error!("0x2"),
            "no boxes" => boxes(images((1, 1, 2, 2)), 0, 4, vec![], (1, 1)) => Empty,
            "no batch" => boxes(images((0, 1, 2, 2)), 0, 4, vec![], (1, 1)) => Empty,
            "NaN" => boxes(nan_images(), 1, 4, vec![0], (1, 1)) => Nan,
        }
        "ops/channels/mod.rs: try_slice": {
            "channels" => tensor(try_slice(images((1, 3, 1, 1)), 2..4)) => error!("0..3", "2..4"),
            "no batch" => tensor(try_slice(images((0, 3, 1, 1)), 1..2)) => Empty,
            "NaN" => tensor(try_slice(nan_images(), 0..1)) => Nan,
        }
        "ops/l1_loss/mod.rs: try_l1_loss": {
            "shapes" => tensor(try_l1_loss(vector(&[1.0]), &vector(&[1.0, 2.0]))) => error!("[1]", "[2]"),
            "nothing" => tensor(try_l1_loss(none(), &none())) => error!("no elements"),
            "NaN" => tensor(try_l1_loss(nan(), &vector(&[1.0, 1.0]))) => Nan,
        }
        "ops/cross_entropy/mod.rs: try_cross_entropy": {
            "labels of others" => tensor(try_cross_entropy(matrix(2, 3), &[0], 0.0)) => error!("2 elements", "1"),
            "a label" => tensor(try_cross_entropy(matrix(2, 3), &[0, 3], 0.0)) => error!("label 3", "0..3"),
            "a huge label" => tensor(try_cross_entropy(matrix(2, 3), &[0, 1usize << 40], 0.0)) => error!("label 1099511627776"),
            "a negative label" => tensor(try_cross_entropy(matrix(2, 3), &[0, -1], 0.0)) => error!("label -1"),
            "no batch" => tensor(try_cross_entropy(matrix(0, 3), &[0u32; 0], 0.0)) => error!("0 samples x 3 classes"),
            "smoothing" => tensor(try_cross_entropy(matrix(1, 3), &[0], f32::NAN)) => error!("smoothing NaN"),
            "NaN" => tensor(try_cross_entropy(from_vec(vec![f32::NAN; 3], (1, 3)).unwrap(), &[0], 0.0)) => Nan,
        }
        "train/losses.rs: try_squared_error": {
            "shapes" => tensor(try_squared_error(matrix(2, 3), &matrix(3, 2))) => error!("(2, 3)", "(3, 2)"),
            "no batch" => tensor(try_squared_error(matrix(0, 3), &matrix(0, 3))) => error!("(0, 3)"),
            "NaN" => tensor(try_squared_error(nan_matrix(), &matrix(1, 2))) => Nan,
        }
        "train/losses.rs: try_distillation": {
            "shapes" => tensor(try_distillation(matrix(2, 3), &matrix(2, 4), 1.0)) => error!("(2, 3)", "(2, 4)"),
            "no batch" => tensor(try_distillation(matrix(0, 3), &matrix(0, 3), 1.0)) => error!("(0, 3)"),
            "temperature" => tensor(try_distillation(matrix(1, 2), &matrix(1, 2), 0.0)) => error!("temperature 0"),
            "a temperature of NaN" => tensor(try_distillation(matrix(1, 2), &matrix(1, 2), f32::NAN)) => error!("temperature NaN"),
            "NaN" => tensor(try_distillation(nan_matrix(), &matrix(1, 2), 1.0)) => Nan,
        }
        "train/losses.rs: try_moments_loss": {
            "another norm" => moments_of(0, 9) => error!("32 channels", "16"),
            "its own norm" => moments_of(0, 0) => Fine,
        }
        "train/losses.rs: try_total": {
            "nothing" => outcome(try_total(Vec::new()), |l| read(&l)) => error!("at least one"),
            "NaN" => outcome(try_total(vec![(1.0, scalar(f32::NAN).leaky_trace())]), |l| read(&l)) => Nan,
        }
        "nn/activation_loss.rs: try_loss_of": {
            "a target of another size" => tensor(try_loss_of(images((1, 1, 2, 2)), MeanAbsoluteError::new(vec![0.0; 3]))) => error!("1 times 1x2x2", "3 numbers"),
            "no batch" => tensor(try_loss_of(images((0, 1, 2, 2)), MeanAbsoluteError::new(Vec::new()))) => error!("at least one number", "(0, 1, 2, 2)"),
            "NaN" => tensor(try_loss_of(nan_images(), MeanAbsoluteError::new(vec![0.0; 4]))) => Nan,
        }
        "papers/ddtb/attention.rs: try_attention_loss": {
            "shapes" => tensor(try_attention_loss(images((1, 1, 2, 2)), &images((1, 2, 2, 1)))) => error!("(1, 1, 2, 2)", "(1, 2, 2, 1)"),
            "no batch" => tensor(try_attention_loss(images((0, 1, 2, 2)), &images((0, 1, 2, 2)))) => error!("(0, 1, 2, 2)"),
            "NaN" => tensor(try_attention_loss(nan_images(), &images((1, 1, 2, 2)))) => Nan,
        }
        "data/mod.rs: try_subset": {
            "an image that is not there" => nothing(tiny(2).try_subset([0, 2])) => error!("image 2", "2 images"),
            "none" => nothing(tiny(0).try_subset([])) => Empty,
        }
        "data/mod.rs: try_split": {
            "too many" => nothing(tiny(2).try_split(3, 0)) => error!("3 images", "2"),
        }
        "data/mod.rs: try_image": {
            "an image that is not there" => tensor(tiny(2).try_image(2)) => error!("image 2", "2 images"),
        }
        "data/mod.rs: try_images": {
            "an image that is not there" => tensor(tiny(2).try_images(&[0, 9], &Normalize::UNIT)) => error!("image 9", "2 images"),
            "a deviation" => tensor(tiny(2).try_images(&[0], &Normalize { std: [f32::NAN; 3], ..Normalize::UNIT })) => error!("deviation of NaN"),
            "none" => tensor(tiny(2).try_images(&[], &Normalize::UNIT)) => Empty,
            "images without pixels" => tensor(Dataset { height: 0, images: vec![], ..tiny(2) }.try_images(&[0], &Normalize::UNIT)) => Empty,
        }
        "data/mod.rs: try_fill": {
            "a short buffer" => nothing(tiny(2).try_fill(&[0], None, &Normalize::UNIT, &mut [0.0; 11])) => error!("1 x 12", "11"),
            "an image that is not there" => nothing(tiny(2).try_fill(&[2], None, &Normalize::UNIT, &mut [0.0; 12])) => error!("image 2"),
            "padding" => nothing(tiny(2).try_fill(&[0], Some((&Augment::PaddedCrop { padding: usize::MAX, flip: false }, &mut rng(0))), &Normalize::UNIT, &mut [0.0; 12])) => error!("padding 18446744073709551615", "1048576"),
            "an area" => nothing(tiny(2).try_fill(&[0], Some((&Augment::ResizedCrop { min_area: 0.0, flip: false }, &mut rng(0))), &Normalize::UNIT, &mut [0.0; 12])) => error!("min_area 0"),
        }
        "data/batches.rs: try_fill": {
            "more channels than constants" => {
                let five = FloatImages::new("five", &images((1, 5, 1, 1)), vec![0]).unwrap();
                nothing(BatchPlan::new(1).normalized(Normalize::CIFAR10).epoch(&five, 0).try_fill(&mut vec![]))
            } => error!("5 channels", "at most 3"),
            "no images" => nothing(BatchPlan::new(1).epoch(&tiny(0), 0).try_fill(&mut vec![])) => Empty,
        }
        "data/image_folder.rs: try_image": {
            "an image that is not there" => nothing(ImageFolder {
                name: "empty".into(), classes: vec![], files: vec![], size: 8, resize: 8, min_scale: 0.5,
            }.try_image(0)) => error!("image 0", "0 images"),
        }
        "plot/bars.rs: try_figure": {
            "values of others" => nothing(plot::bars("b", ["x", "y"]).series("s", [1.0]).try_figure()) => error!("2", "1"),
            "NaN" => nothing(plot::bars("b", ["x"]).series("s", [f64::NAN]).try_figure()) => Fine,
        }
        "plot/histogram.rs: try_figure": {
            "no bins" => nothing(plot::histogram("h").series("s", [1.0]).bins(0).try_figure()) => error!("bins"),
            "nothing" => nothing(plot::histogram("h").try_figure()) => Fine,
            "NaN" => nothing(plot::histogram("h").series("s", [f32::NAN]).try_figure()) => Fine,
        }
        "plot/mesh.rs: try_figure": {
            "no side to look from" => nothing(plot::mesh("m", world().body()).around([]).try_figure()) => error!("nowhere"),
            "a texture of another size" => nothing(plot::mesh("m", world().body()).textured("", &data::Texture { side: 1, rgb: vec![0; 3] }).try_figure()) => error!("64x64", "1x1"),
            "no pixels" => nothing(plot::mesh("m", world().body()).size(0, 9).try_figure()) => error!("0x9"),
        }
        "plot/people.rs: try_figure": {
            "a scale of NaN" => nothing(plot::scene("s", &world().scene(0)).scale(f64::NAN).try_figure()) => error!("scale of NaN"),
            "too large" => nothing(plot::scene("s", &world().scene(0)).scale(100.0).try_figure()) => error!("smaller scale"),
            "a box of NaN" => nothing(plot::scene("s", &world().scene(0)).boxes("b", &[[f32::NAN; 4]]).try_figure()) => Fine,
        }
        "plot/scatter.rs: try_figure": {
            "lengths" => nothing(plot::scatter("s").series("s", [1.0], [1.0, 2.0]).try_figure()) => error!("1", "2"),
            "NaN" => nothing(plot::scatter("s").series("s", [f32::NAN], [1.0]).try_figure()) => Fine,
        }
        "plot/lines.rs: try_figure": {
            "lengths" => nothing(plot::lines("l").series("s", [1.0], [1.0, 2.0]).try_figure()) => error!("1", "2"),
            "NaN" => nothing(plot::lines("l").series("s", [0.0, 1.0], [f32::NAN, f32::NAN]).try_figure()) => Fine,
            "nothing" => nothing(plot::lines("l").try_figure()) => Fine,
        }
        "plot/heatmap.rs: try_figure": {
            "values of others" => nothing(plot::heatmap("h", 2, 2, [1.0]).try_figure()) => error!("2", "1"),
            "uncounted" => nothing(plot::heatmap("h", 1 << 33, 1 << 33, [1.0]).try_figure()) => error!("8589934592", "1"),
            "nothing" => nothing(plot::heatmap("h", 0, 3, [0.0; 0]).try_figure()) => error!("0"),
            "NaN" => nothing(plot::heatmap("h", 1, 2, [f32::NAN, f32::NAN]).try_figure()) => Fine,
        }
        "plot/images.rs: try_figure": {
            "a scale" => nothing(plot::images("i").batch(&images((1, 1, 2, 2))).scale(f64::NAN).try_figure()) => error!("scale"),
            "channels" => nothing(plot::images("i").batch(&images((1, 2, 2, 2))).try_figure()) => error!("2"),
            "NaN" => nothing(plot::images("i").batch(&nan_images()).try_figure()) => Fine,
        }
        "train/evaluate.rs: try_accuracy": {
            "no images" => nothing(try_accuracy(&resnet20(2, rng(0)), &tiny(0), &Normalize::UNIT)) => error!("empty"),
            "another size" => nothing(try_accuracy(&resnet20(2, rng(0)), &tiny(2), &Normalize::UNIT)) => error!("32", "2"),
        }
        "train/classify.rs: try_train": {
            "no images" => nothing(try_train(&resnet20(2, rng(0)), &tiny(0), &tiny(0), &TrainConfig::default())) => error!("0 images"),
            "another size" => nothing(try_train(&resnet20(2, rng(0)), &tiny(200), &tiny(2), &TrainConfig { epochs: 1, ..TrainConfig::default() })) => error!("32", "2"),
        }
        "tensors.rs: try_dev": {
            "the device" => match try_dev() { Ok(_) | Err(Error::Device(_)) => Value(Vec::new()), Err(e) => panic!("{e}") } => Empty,
        }
    }
}

#[test]
fn what_does_not_fit_is_a_typed_error_or_a_documented_value() {
    let mut mistakes = Vec::new();
    for case in cases() {
        let name = format!("{}, {}", case.of, case.what);
        let found = match catch_unwind(AssertUnwindSafe(case.call)) {
            Ok(found) => found,
            Err(_) => {
                mistakes.push(format!("{name}: panicked"));
                continue;
            }
        };
        let wrong = match (&case.expect, &found) {
            (Expect::Error(parts), Refused(said)) => {
                let missing = parts.iter().find(|part| !said.contains(**part));
                missing.map(|part| format!("{part:?} is not in {said:?}"))
            }
            (Empty, Value(numbers)) if numbers.is_empty() => None,
            (Nan, Value(numbers)) if numbers.iter().any(|v| v.is_nan()) => None,
            (Fine, Value(_)) => None,
            (_, Refused(said)) => Some(format!("refused: {said}")),
            (_, Value(numbers)) => Some(format!("gave {numbers:?}")),
        };
        mistakes.extend(wrong.map(|wrong| format!("{name}: {wrong}")));
    }
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

/// The public `try_` functions below a folder, as `file: name`.
fn functions(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(root, &path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let file = path.strip_prefix(root).unwrap().display().to_string();
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                if let Some(rest) = line.trim_start().strip_prefix("pub fn try_") {
                    let name = rest.split(['<', '(']).next().unwrap();
                    found.insert(format!("{file}: try_{name}"));
                }
            }
        }
    }
}

#[test]
fn the_table_names_every_public_try_function() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut all = BTreeSet::new();
    functions(root, root, &mut all);
    let named: BTreeSet<String> = cases().iter().map(|c| c.of.to_owned()).collect();
    let missing: Vec<_> = all.difference(&named).collect();
    let gone: Vec<_> = named.difference(&all).collect();
    assert!(missing.is_empty(), "not in the table: {missing:#?}");
    assert!(
        gone.is_empty(),
        "in the table, but not in the library: {gone:#?}"
    );
}
