//! The network that images come from: noise and a class in, an image out.

use dfdx::prelude::HasShape;
use rand::Rng as _;

use super::{Centres, Distortion, distorted};
use crate::nn::layers::Embedding;
use crate::nn::{Conv, Extent, Init, Mode, Net, NetBuilder, NodeId, Norm, NormInfo};
use crate::ops::relu::Activation;
use crate::ops::upsample::Upsample;
use crate::{Error, Images, Result, Rng, from_vec, images};

/// What stands in the place of eps in the norms behind convolutions. The authors' code gives 0.8 where eps is meant, not
/// momentum; it stays, for it changes the scale of what follows.
const EPS: f32 = 0.8;
/// Slope of the leaky rectifier below zero.
const SLOPE: f32 = 0.2;

/// Sizes of a [`generator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GeneratorShape {
    /// Numbers of noise for an image.
    pub latent: usize,
    /// Channels of the first two maps, and of the last one.
    pub widths: [usize; 2],
}

impl Default for GeneratorShape {
    /// The authors': 100 numbers, 128 and 64 channels.
    fn default() -> Self {
        GeneratorShape {
            latent: 100,
            widths: [128, 64],
        }
    }
}

impl GeneratorShape {
    /// For small networks and two processor cores, a choice of this library: 64 and 32 channels.
    pub fn small() -> Self {
        GeneratorShape {
            widths: [64, 32],
            ..GeneratorShape::default()
        }
    }
}

/// A generator of images of `image` (height and width a multiple of 4) in `classes` classes, with two inputs: noise
/// `(N, latent, 1, 1)` and the class of each image `(N, 1, 1, 1)`.
///
/// | | map |
/// |---|---|
/// | linear, as a map; conditional batch norm, eps 1e-5 | `widths[0]`, a quarter of the size |
/// | pixels doubled, 3x3 convolution; conditional batch norm, eps 0.8; leaky ReLU 0.2 | `widths[0]`, half |
/// | the same | `widths[1]`, whole |
/// | 3x3 convolution, tanh, batch norm without scale and shift, eps 1e-5 | `image` |
///
/// Conditional batch norm scales and shifts by numbers of the class, `y = W[c] x + b[c]` with `W` from 1 and `b` from 0:
/// the only way in for the class. Behind the last norm pixels have about mean 0 and variance 1, as normalised images do.
/// It is run in training mode always, so an image depends on those that are made with it.
///
/// Source: the authors' code of arXiv:2109.04186.
///
/// ```
/// use rebit::nn::Extent;
/// use rebit::papers::fdda::{GeneratorShape, generate, generator};
/// use rebit::rng;
/// let net = generator(GeneratorShape::small(), Extent::new(3, 32, 32), 10, rng(0))?;
/// let x = generate(&net, &[3, 3, 7], &mut rng(1))?;
/// # use dfdx::prelude::HasShape;
/// assert_eq!(x.shape(), &(3, 3, 32, 32));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for images whose sides are no multiple of 4, and for widths, noise and classes of 0.
pub fn generator(shape: GeneratorShape, image: Extent, classes: usize, rng: Rng) -> Result<Net> {
    let GeneratorShape { latent, widths } = shape;
    let sides = [image.height, image.width];
    if image.is_empty() || sides.iter().any(|side| !side.is_multiple_of(4)) {
        return Err(Error::invalid(
            format!("a generator of {image} images"),
            "doubles the sides of a map twice: they must be multiples of 4",
        ));
    }
    if latent == 0 || classes == 0 || widths.contains(&0) {
        return Err(Error::invalid(
            format!("a generator of {latent} numbers, {widths:?} channels, {classes} classes"),
            "needs at least one of each",
        ));
    }
    let start = Extent::new(widths[0], image.height / 4, image.width / 4);
    let mut b = NetBuilder::new(latent, 1, 1, rng);
    let class = b.input_of("class", Extent::vector(1))?;
    let x = b.linear("linear", b.input(), start.len())?;
    let x = b.reshape(x, start)?;
    let mut x = conditional_norm(&mut b, "norm0", (x, class), (classes, 1e-5))?;
    for (i, width) in widths.into_iter().enumerate() {
        let up = b.upsample(x, Upsample::Nearest(2))?;
        let conv = b.conv(&format!("conv{}", i + 1), up, convolution(width))?;
        let name = format!("norm{}", i + 1);
        let norm = conditional_norm(&mut b, &name, (conv, class), (classes, EPS))?;
        x = b.leaky_relu(&format!("act{}", i + 1), norm, SLOPE)?;
    }
    let x = b.conv("conv3", x, convolution(image.channels))?;
    let x = b.tanh("tanh", x)?;
    let last = Norm::new(Activation::None).without_affine();
    let x = b.norm_with("norm3", &[x], last)?;
    b.build(x)
}

fn convolution(channels: usize) -> Conv {
    Conv::new(channels).with_bias().init(Init::UniformFanIn)
}

/// `y = W[c] (x - mean) / sqrt(var + eps) + b[c]`.
fn conditional_norm(
    b: &mut NetBuilder,
    name: &str,
    (x, class): (NodeId, NodeId),
    (classes, eps): (usize, f32),
) -> Result<NodeId> {
    let channels = b.extent(x)?.channels;
    let norm = Norm::new(Activation::None).without_affine().eps(eps);
    let x = b.norm_with(name, &[x], norm)?;
    let mut table = |part: &str, value: f32| {
        let rows = Embedding::new(classes, channels).constant(value);
        b.embedding(&format!("{name}.{part}"), class, rows)
    };
    let (scale, shift) = (table("scale", 1.0)?, table("shift", 0.0)?);
    b.modulate(&format!("{name}.modulate"), x, scale, shift)
}

/// Images of these classes from fresh noise, made together: see [`generator`].
///
/// # Errors
/// [`Error::Invalid`] for a class that the generator does not have and without one.
pub fn generate(generator: &Net, labels: &[u32], rng: &mut Rng) -> Result<Images> {
    if labels.is_empty() {
        return Err(Error::invalid("generate", "needs a class"));
    }
    let latent = noise(generator, labels.len(), rng);
    let run = generator
        .frozen()
        .run_many(&[&latent, &classes_of(labels)?], Mode::Train);
    let x = run?.output()?;
    from_vec(crate::read(&x), *x.shape())
}

fn noise(generator: &Net, count: usize, rng: &mut Rng) -> Images {
    images(count, generator.input_extent().channels, 1, 1, rng)
}

/// Classes as the generator reads them.
pub(super) fn classes_of(labels: &[u32]) -> Result<Images> {
    let values = labels.iter().map(|l| *l as f32).collect();
    from_vec(values, (labels.len(), 1, 1, 1))
}

/// What a generator's step leaves to chance.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Noise of the mixed batch.
    pub latent: Images,
    /// Its classes.
    pub labels: Vec<u32>,
    /// The batch of one class; none for a generator that is trained without.
    pub single: Option<SingleClass>,
}

/// A batch of one class and what it is held against.
#[derive(Clone, Debug)]
pub struct SingleClass {
    /// Its class, one of those that are recognised.
    pub class: u32,
    /// Its noise.
    pub latent: Images,
    /// The centre of its class in the deep norms.
    pub centre: Vec<NormInfo>,
    /// The same with noise: the targets of the distorted loss.
    pub distorted: Vec<NormInfo>,
}

impl Drawn {
    /// Noise and classes of a mixed batch of `batch` images and, with centres, of one of a single class: see
    /// [`generator_loss`](super::generator_loss).
    ///
    /// # Errors
    /// [`Error::Invalid`] for centres of which the network recognises no image.
    pub fn new(
        generator: &Net,
        (batch, classes): (usize, usize),
        centres: Option<(&Centres, Distortion)>,
        rng: &mut Rng,
    ) -> Result<Self> {
        let label = |rng: &mut Rng| rng.random_range(0..classes as u32);
        let labels: Vec<u32> = (0..batch).map(|_| label(rng)).collect();
        let latent = noise(generator, batch, rng);
        let Some((centres, distortion)) = centres else {
            return Ok(Drawn {
                latent,
                labels,
                single: None,
            });
        };
        let known = centres.recognised();
        if known.is_empty() {
            return Err(Error::invalid(
                "images of one class",
                "the network recognises no calibration image: take others, or check their normalisation",
            ));
        }
        let class = known[rng.random_range(0..known.len())];
        let centre = centres.deep(class)?.to_vec();
        Ok(Drawn {
            latent,
            labels,
            single: Some(SingleClass {
                class,
                latent: noise(generator, batch, rng),
                distorted: distorted(&centre, distortion, rng)?,
                centre,
            }),
        })
    }
}
