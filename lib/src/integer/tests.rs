use super::packed::Packed;
use super::weights::{Weights, Window};
use super::*;
use crate::nn::layers::testing::net as built;
use crate::nn::{Affine, Conv, Extent, Net, Slots, pretrained_resnet8, pretrained_resnet20};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;
use crate::ptq::{LayerBits, PtqConfig, post_training};
use crate::quant::{Bounds, Range};
use crate::{Images, Result, from_vec, images, read, rng};
use dfdx::prelude::HasShape;

mod shapes;

/// Whole numbers from 0 to below `n`, in no order.
fn mixed(count: usize, n: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u32 * 2_654_435_761 + 12345;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) as usize % n) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A convolution with asymmetric ranges on its own, on levels.
struct One {
    weights: Weights,
    grid: AffineGrid,
    x: Extent,
}

impl One {
    fn new(window: Window, x: (usize, usize), bits: u32, seed: usize) -> One {
        let count = window.products().unwrap() * window.outputs;
        let range =
            |o: usize| Bounds::new(-1.0 - 0.1 * (o % 7) as f32, 2.0 + 0.05 * (o % 5) as f32);
        let grids = (0..window.outputs).map(|o| AffineGrid::new(range(o), bits).unwrap());
        One {
            weights: Weights {
                window,
                bits,
                levels: mixed(count, 1 << bits, seed),
                grids: grids.collect(),
                bias: (0..window.outputs).map(|o| o as f32 - 3.0).collect(),
            },
            grid: AffineGrid::new(Bounds::new(-0.4, 2.1), 8).unwrap(),
            x: Extent::new(window.inputs, x.0, x.1),
        }
    }

    /// By definition: every product, in 64 bits.
    fn expected(&self, levels: &[u8]) -> (Vec<i64>, Extent) {
        let (w, x) = (self.weights.window, self.x);
        let y = w.extent(x).unwrap();
        let rows = self.weights.rows();
        let offset = (self.grid.lowest + self.grid.zero) as i64;
        let (inputs, outputs) = (w.inputs / w.groups, w.outputs / w.groups);
        let mut sums = Vec::new();
        for row in 0..y.height {
            for column in 0..y.width {
                for (o, of_row) in rows.iter().enumerate().take(w.outputs) {
                    let mut sum = 0;
                    for (i, value) in of_row.values.iter().enumerate() {
                        let (c, tap) = (i / (w.kernel * w.kernel), i % (w.kernel * w.kernel));
                        let down = row * w.stride + (tap / w.kernel) * w.dilation;
                        let right = column * w.stride + (tap % w.kernel) * w.dilation;
                        let at = |p: usize, n: usize| p.checked_sub(w.padding).filter(|p| *p < n);
                        let Some((r, c2)) = at(down, x.height).zip(at(right, x.width)) else {
                            continue;
                        };
                        let channel = (o / outputs) * inputs + c;
                        let level = levels[(r * x.width + c2) * x.channels + channel];
                        sum += value * (i64::from(level) + offset);
                    }
                    sums.push(sum);
                }
            }
        }
        (sums, y)
    }

    /// A kernel's numbers, from which its sums follow.
    fn found(&self, kernel: Kernel, words: Option<super::kernel::Words>, bands: usize) -> Vec<f32> {
        let levels = self.levels();
        let packed = match words {
            Some(super::kernel::Words::Quads) => {
                Packed::new(&self.weights, self.grid, Kernel::Vnni)
            }
            _ => Packed::new(&self.weights, self.grid, kernel),
        };
        super::run::alone(&packed, kernel, (&levels, self.x), bands)
    }

    fn levels(&self) -> Vec<u8> {
        mixed(self.x.len(), 256, 77)
    }
}

const WINDOW: Window = Window {
    inputs: 16,
    outputs: 16,
    kernel: 3,
    stride: 1,
    padding: 1,
    dilation: 1,
    groups: 1,
};

fn works() -> Vec<One> {
    let window = |inputs, outputs| Window {
        inputs,
        outputs,
        ..WINDOW
    };
    let one = |window, x, bits| One::new(window, x, bits, 3);
    vec![
        one(WINDOW, (9, 13), 8),
        one(window(3, 20), (7, 6), 8),
        one(window(5, 33), (4, 4), 4),
        one(
            Window {
                stride: 2,
                ..window(6, 17)
            },
            (9, 8),
            8,
        ),
        one(
            Window {
                dilation: 2,
                padding: 2,
                ..window(4, 4)
            },
            (8, 9),
            2,
        ),
        one(
            Window {
                kernel: 1,
                padding: 0,
                stride: 2,
                ..window(32, 8)
            },
            (8, 8),
            8,
        ),
        one(
            Window {
                groups: 2,
                ..window(8, 6)
            },
            (5, 5),
            8,
        ),
        one(
            Window {
                groups: 20,
                ..window(20, 20)
            },
            (6, 7),
            8,
        ),
        one(
            Window {
                groups: 4,
                stride: 2,
                ..window(4, 8)
            },
            (6, 7),
            3,
        ),
        one(
            Window {
                kernel: 1,
                padding: 0,
                ..window(64, 10)
            },
            (1, 1),
            8,
        ),
        one(
            Window {
                kernel: 5,
                padding: 0,
                ..window(7, 3)
            },
            (5, 19),
            1,
        ),
    ]
}

#[test]
fn every_kernel_gives_the_sums_of_the_definition() {
    let mut kernels: Vec<(Kernel, Option<super::kernel::Words>)> =
        Kernel::available().into_iter().map(|k| (k, None)).collect();
    kernels.push((Kernel::Plain, Some(super::kernel::Words::Quads)));
    if !Kernel::Vnni.is_available() {
        println!(
            "this processor has no AVX-512 VNNI: its kernel is compiled, not run; its order of weights is run plainly"
        );
    }
    for one in works() {
        let (sums, y) = one.expected(&one.levels());
        let rows = one.weights.rows();
        for (kernel, words) in &kernels {
            for bands in [1, 3] {
                let found = one.found(*kernel, *words, bands);
                assert_eq!(found.len(), sums.len());
                for (i, (found, sum)) in found.iter().zip(&sums).enumerate() {
                    let o = i % y.channels;
                    let scale = (rows[o].unit / f64::from(one.grid.scale)) as f32;
                    let expected = *sum as i32 as f32 * scale + one.weights.bias[o];
                    assert_eq!(
                        *found, expected,
                        "{kernel:?} {words:?}, {:?}, output {i}",
                        one.weights.window
                    );
                }
            }
        }
    }
}

#[test]
fn literal_sums_levels_and_ties() -> Result<()> {
    // One weight of 1 (levels -2 -1 0 1), inputs on whole numbers 0 to 3; out on the same.
    let net = built((1, 1, 4), |b, x| {
        let x = b.conv("conv", x, Conv::new(1).kernel(1))?;
        let x = b.activation("relu", x, Activation::Relu)?;
        b.conv("out", x, Conv::new(2).kernel(1))
    })?;
    net.set_parameter("conv.weight", &[1.0])?;
    net.set_parameter("out.weight", &[1.0, -2.0])?;
    net.quantise(|_| {
        Ok(Slots::weights(Affine::bits(2), Range::MinMax).inputs(Affine::bits(2), Range::MinMax))
    })?;
    use crate::nn::Operand::{Input, Weight};
    for layer in ["conv", "out"] {
        net.set_range(layer, Weight, &[-2.0, 1.0])?;
        net.set_range(layer, Input, &[0.0, 3.0])?;
    }
    let x: Images = from_vec(vec![0.5, 1.5, 2.4, 9.0], (1, 1, 1, 4))?;
    // Half to even: 0.5 is 0 and 1.5 is 2.
    let expected = [0.0, 2.0, 2.0, 3.0, 0.0, -4.0, -4.0, -6.0];
    let int = net.integer()?;
    assert_eq!(read(&int.predict_images(&x)?), expected);
    // A channel of one weight is one unit of it.
    assert_eq!(int.layers()[1].largest_sum, Some(3));
    assert_eq!(
        read(
            &int.with_arithmetic(Arithmetic::Reference)
                .predict_images(&x)?
        ),
        expected
    );
    Ok(())
}

fn reference_is_equal(q: &Net, x: &Images) -> Result<()> {
    let int = q.integer()?;
    let (ours, fake) = (int.predict_images(x)?, q.predict_images(x)?);
    assert_eq!(ours.shape(), fake.shape());
    let (ours, fake) = (read(&ours), read(&fake));
    let largest = fake.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = ours
        .iter()
        .zip(&fake)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 0.1 * largest, "{worst} of {largest}");
    let same = read(
        &int.with_arithmetic(Arithmetic::Reference)
            .predict_images(x)?,
    );
    assert_eq!(same, fake);
    Ok(())
}

#[test]
fn the_reference_rounding_gives_the_bits_of_the_fake_quantised_network() -> Result<()> {
    let x = images(5, 3, 32, 32, &mut rng(1));
    for config in [
        PtqConfig::bits(8),
        PtqConfig::bits(2).inputs(3),
        PtqConfig::bits(4).first_last(8),
        PtqConfig::minmax(8).per_tensor(),
    ] {
        let (q, _) = post_training(&pretrained_resnet20()?, &x, &config)?;
        reference_is_equal(&q, &x)?;
        let per_image = images(1, 3, 32, 32, &mut rng(2));
        reference_is_equal(&q, &per_image)?;
    }
    Ok(())
}

#[test]
fn sites_sums_windows_and_other_layers_run_too() -> Result<()> {
    let x = images(3, 3, 32, 32, &mut rng(1));
    // Activations on levels behind every rectifier: what goes around a block is on levels too.
    let config = crate::nn::CifarResnetConfig {
        sites: true,
        blocks: 1,
        shortcut: crate::nn::Shortcut::PadChannels,
        ..Default::default()
    };
    let net = crate::nn::cifar_resnet_with(&config, rng(3))?;
    net.calibrate(&x)?;
    let ptq = PtqConfig {
        sites: true,
        ..PtqConfig::bits(5)
    };
    let (q, _) = post_training(&net, &x, &ptq)?;
    // With sites the image has no quantiser: it enters as numbers.
    let error = q.integer().unwrap_err().to_string();
    assert!(
        error.contains("layer conv1") && error.contains("on levels"),
        "{error}"
    );
    // So does what the linear layer reads, a mean over pixels.
    q.quantise_input("fc", Affine::bits(8), Range::MinMax)?;
    q.observe_ranges(&x)?;
    let floats = IntegerConfig {
        image: ImageEntry::Floats,
    };
    let int = q
        .integer_with(&floats)?
        .with_arithmetic(Arithmetic::Reference);
    assert_eq!(read(&int.predict(&x)?), read(&q.predict(&x)?));
    let net = crate::nn::mobilenet_v2_with(
        &crate::nn::MobilenetConfig {
            size: 32,
            classes: 7,
            width: 0.35,
            stem_stride: 1,
            sites: false,
        },
        rng(4),
    )?;
    net.calibrate(&x)?;
    let (q, _) = post_training(&net, &x, &PtqConfig::bits(8))?;
    reference_is_equal(&q, &x)?;
    let small = built((3, 12, 12), |b, x| {
        let a = b.conv("a", x, Conv::new(8).with_bias())?;
        let a = b.activation("relu6", a, Activation::Relu6)?;
        let a = b.max_pool(a, 3, 2, 1)?;
        let c = b.conv("c", a, Conv::new(8).groups(4))?;
        let both = b.concat("both", &[a, c])?;
        let d = b.conv("d", both, Conv::new(8).kernel(1).with_bias())?;
        let s = b.add("sum", d, a, Activation::Relu)?;
        let s = b.pixel_shuffle("shuffle", s, 2)?;
        let s = b.avg_pool(s, (3, 2), (3, 2))?;
        let s = b.flatten(s)?;
        b.linear("fc", s, 5)
    })?;
    let x = images(4, 3, 12, 12, &mut rng(9));
    let (q, _) = post_training(&small, &x, &PtqConfig::bits(8))?;
    reference_is_equal(&q, &x)
}

#[test]
fn any_number_of_threads_and_images_gives_the_same_bits() -> Result<()> {
    let x = images(7, 3, 16, 16, &mut rng(1));
    let (q, _) = post_training(&pretrained_resnet8()?, &x, &PtqConfig::bits(8))?;
    let int = q.integer()?;
    let all = read(&int.predict(&x)?);
    let values = read(&x);
    for i in 0..7 {
        let one = from_vec(values[i * 768..(i + 1) * 768].to_vec(), (1, 3, 16, 16))?;
        assert_eq!(read(&int.predict(&one)?), all[10 * i..10 * (i + 1)]);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .unwrap();
    // A tensor of a GPU stays with its thread.
    let on_three = pool.install(|| -> Result<Vec<f32>> {
        let x = from_vec(values.clone(), (7, 3, 16, 16))?;
        Ok(read(&int.predict(&x)?))
    });
    assert_eq!(on_three?, all);
    for kernel in Kernel::available() {
        let int = q.integer()?.with_kernel(kernel)?;
        assert_eq!(read(&int.predict(&x)?), all, "{kernel:?}");
    }
    Ok(())
}

#[test]
fn files_give_the_same_bits_and_are_as_small_as_their_levels() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let x = images(3, 3, 32, 32, &mut rng(1));
    for bits in [8, 4, 2, 3] {
        let (q, _) = post_training(
            &pretrained_resnet20()?,
            &x,
            &PtqConfig::bits(bits).inputs(8),
        )?;
        let (int, path) = (q.integer()?, folder.path().join("net.safetensors"));
        int.save(&path)?;
        let size = std::fs::metadata(&path).unwrap().len() as f64;
        let channels: usize = int
            .layers()
            .iter()
            .zip(q.layers())
            .map(|(_, l)| q.parameters()[l.bias.expect("folded")].len())
            .sum();
        let least = (270_896 * bits as usize / 8 + 12 * channels) as f64;
        assert!(
            size <= 1.05 * least + 10_000.0,
            "{bits} bits: {size} of {least}"
        );
        let read_back = IntegerNet::load(&path)?;
        assert_eq!(read_back.graph, int.graph);
        assert_eq!(read(&read_back.predict(&x)?), read(&int.predict(&x)?));
    }
    Ok(())
}

fn small() -> Result<Net> {
    let net = built((2, 4, 4), |b, x| {
        let x = b.conv("conv", x, Conv::new(3).with_bias())?;
        let x = b.activation("relu", x, Activation::Relu)?;
        let x = b.global_avg_pool(x)?;
        b.linear("fc", x, 2)
    })?;
    let x = images(4, 2, 4, 4, &mut rng(1));
    Ok(post_training(&net, &x, &PtqConfig::bits(3))?.0)
}

#[test]
fn damage_at_any_byte_is_an_error() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    small()?.integer()?.save(&path)?;
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        assert!(
            IntegerNet::load_bytes(&path, &whole[..at]).is_err(),
            "{at} bytes"
        );
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(
            IntegerNet::load_bytes(&path, &flipped).is_err(),
            "byte {at}"
        );
    }
    IntegerNet::load_bytes(&path, &whole)?;
    // A folder is no file; what is there stays.
    assert!(small()?.integer()?.save(folder.path()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    Ok(())
}

#[test]
fn what_has_no_integer_form_is_named() -> Result<()> {
    let refused = |net: &Net| net.integer().map(|_| ()).unwrap_err().to_string();
    let x = images(4, 3, 32, 32, &mut rng(1));
    let (q, _) = post_training(
        &pretrained_resnet20()?,
        &x,
        &PtqConfig::bits(8).layer("layer1.1.conv2", LayerBits::FLOAT),
    )?;
    let error = refused(&q);
    assert!(
        error.contains("layer layer1.1.conv2") && error.contains("no quantiser before its weight"),
        "{error}"
    );
    let (q, _) = post_training(
        &pretrained_resnet20()?,
        &x,
        &PtqConfig::bits(8).weights_only(),
    )?;
    let error = refused(&q);
    assert!(
        error.contains("layer conv1") && error.contains("quantise its input"),
        "{error}"
    );
    let unfolded = pretrained_resnet20()?;
    unfolded.quantise(|_| {
        Ok(Slots::weights(Affine::bits(8).per_channel(), Range::MinMax)
            .inputs(Affine::bits(8), Range::MinMax))
    })?;
    unfolded.observe_ranges(&x)?;
    let error = refused(&unfolded);
    assert!(
        error.contains("layer bn1") && error.contains("fold it first"),
        "{error}"
    );
    let normalised = small_with(Slots::bits(2))?;
    let error = refused(&normalised);
    assert!(
        error.contains("layer conv") && error.contains("zero point"),
        "{error}"
    );
    let q = small()?;
    let mut weights = q.parameter("conv.weight")?.to_vec();
    weights[4] = f32::NAN;
    q.set_parameter("conv.weight", &weights)?;
    let error = refused(&q);
    assert!(
        error.contains("layer conv") && error.contains("NaN at entry 4"),
        "{error}"
    );
    let prelu = built((2, 4, 4), |b, x| {
        let x = b.conv("conv", x, Conv::new(3))?;
        b.prelu("prelu", x)
    })?;
    let (q, _) = post_training(
        &prelu,
        &images(4, 2, 4, 4, &mut rng(1)),
        &PtqConfig::bits(8),
    )?;
    let error = refused(&q);
    assert!(
        error.contains("layer prelu") && error.contains("no integer form"),
        "{error}"
    );
    Ok(())
}

fn small_with(slots: Slots) -> Result<Net> {
    let net = built((2, 4, 4), |b, x| b.conv("conv", x, Conv::new(3)))?;
    let mut slots = Some(slots);
    net.quantise(|_| Ok(slots.take().unwrap_or_default()))?;
    net.calibrate(&images(4, 2, 4, 4, &mut rng(3)))?;
    Ok(net)
}

#[test]
fn an_accumulator_that_could_overflow_is_refused_when_built() -> Result<()> {
    let net = built((3, 128, 128), |b, x| {
        let x = b.flatten(x)?;
        b.linear("fc", x, 2)
    })?;
    let weights = net.parameter("fc.weight")?;
    // One of 0, the others at the end of their range.
    let ends: Vec<f32> = (0..weights.len())
        .map(|i| f32::from(i % 9000 > 0))
        .collect();
    net.set_parameter("fc.weight", &ends)?;
    // From 0 on, so that the highest level is the largest number.
    let x: Images = images(2, 3, 128, 128, &mut rng(1)).abs();
    let (q, _) = post_training(&net, &x, &PtqConfig::minmax(8))?;
    let error = q.integer().unwrap_err().to_string();
    assert!(
        error.contains("layer fc") && error.contains("overflow"),
        "{error}"
    );
    let (q, _) = post_training(&net, &x, &PtqConfig::minmax(4).inputs(8))?;
    let int = q.integer()?;
    assert!(int.layers()[0].largest_sum > Some(100_000_000));
    Ok(())
}

#[test]
fn channels_of_equal_weights_and_dead_channels() -> Result<()> {
    let net = built((2, 4, 4), |b, x| {
        let x = b.conv("conv", x, Conv::new(3).with_bias())?;
        let x = b.activation("relu", x, Activation::Relu)?;
        b.conv("out", x, Conv::new(2))
    })?;
    let mut weights = net.parameter("conv.weight")?.to_vec();
    weights[..18].fill(0.37);
    weights[18..36].fill(0.0);
    net.set_parameter("conv.weight", &weights)?;
    let x = images(4, 2, 4, 4, &mut rng(1));
    for config in [PtqConfig::bits(8), PtqConfig::minmax(2)] {
        let (q, _) = post_training(&net, &x, &config)?;
        reference_is_equal(&q, &x)?;
        let int = q.integer()?;
        let super::graph::What::Weighted(w) = &int.graph.nodes[1].what else {
            panic!("a convolution");
        };
        assert!(w.numbers()[..18].iter().all(|v| (v - 0.37).abs() < 1e-7));
        assert_eq!(w.numbers()[18..36], [0.0; 18]);
    }
    Ok(())
}

#[test]
fn images_of_another_size_nothing_and_nan_are_refused() -> Result<()> {
    let int = small()?.integer()?;
    let error = int
        .predict(&images(1, 2, 4, 5, &mut rng(1)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("(N, 2, 4, 4)") && error.contains("(1, 2, 4, 5)"),
        "{error}"
    );
    assert!(
        int.predict_images(&images(1, 3, 4, 4, &mut rng(1)))
            .is_err()
    );
    assert!(int.predict(&from_vec(vec![], (0, 2, 4, 4))?).is_err());
    let mut values = vec![0.5; 32];
    values[20] = f32::NAN;
    let error = int
        .predict(&from_vec(values, (1, 2, 4, 4))?)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("number 20 of an image is NaN") || error.contains("NaN, which has no level"),
        "{error}"
    );
    for kernel in [Kernel::Vnni, Kernel::Avx2, Kernel::Neon] {
        let found = small()?.integer()?.with_kernel(kernel);
        assert_eq!(found.is_ok(), kernel.is_available());
    }
    Ok(())
}
