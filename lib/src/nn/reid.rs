//! Networks that tell people apart: a light convolutional one whose feature is put together from horizontal stripes.
//!
//! The map behind the convolutions is pooled into a few stripes; the channels of each are embedded by the same 1x1
//! convolution; each stripe has a classifier of its own over the training identities (one grouped 1x1 convolution). What
//! is compared between pictures is the stripes' embeddings behind each other, at unit length.
//!
//! Source: the stripes of Sun et al., "Beyond Part Models" (PCB), [arXiv:1711.09349](https://arxiv.org/abs/1711.09349),
//! section 3, with one embedding for all of them; the sizes are choices of this library.

use dfdx::prelude::HasShape;

use super::detector::trunk;
use super::layers::Init;
use super::{Conv, Net, NetBuilder, NodeId};
use crate::ops::cross_entropy::try_cross_entropy;
use crate::ops::l2_normalise::try_l2_normalise;
use crate::ops::relu::Activation;
use crate::{Error, Images, Matrix, Result, Rng, Scalar, Taped, from_vec};

/// The node of the stripes' embeddings.
pub const FEATURE: &str = "feature";
/// The node of the classifiers' answers, stripe by stripe.
pub const IDENTITIES: &str = "identities";

/// Sizes of a [`reid`] network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReidNetConfig {
    /// Height and width of the pictures.
    pub size: (usize, usize),
    /// Channels of the convolutions, of which the first three have stride 2.
    pub widths: [usize; 4],
    /// Horizontal stripes.
    pub stripes: usize,
    /// Numbers of a stripe's embedding.
    pub embedding: usize,
    /// Training identities.
    pub identities: usize,
}

impl ReidNetConfig {
    /// The light network: about 5 million multiply-adds a picture of 64x32.
    pub fn light(identities: usize) -> Self {
        ReidNetConfig {
            size: (64, 32),
            widths: [24, 48, 64, 96],
            stripes: 4,
            embedding: 48,
            identities,
        }
    }

    /// A wider one.
    pub fn wide(identities: usize) -> Self {
        ReidNetConfig {
            widths: [32, 64, 96, 128],
            embedding: 64,
            ..ReidNetConfig::light(identities)
        }
    }
}

/// A network for pictures of single persons, normalised as [`PIXELS`](crate::data::people::PIXELS): four 3x3 convolutions
/// with batch norm and ReLU, stripes, embeddings ([`FEATURE`]) and classifiers ([`IDENTITIES`], the output).
///
/// ```
/// use rebit::nn::{ReidNetConfig, reid};
/// use rebit::prelude::*;
/// let net = reid(&ReidNetConfig::light(100), rng(0))?;
/// assert_eq!(net.output_extent(), Extent::vector(4 * 100));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] without stripes or identities, and when the stripes do not divide the height behind the
/// convolutions, an eighth of the picture's.
pub fn reid(config: &ReidNetConfig, rng: Rng) -> Result<Net> {
    let (height, width) = config.size;
    let rows = height.div_ceil(8);
    let stripes = config.stripes;
    if stripes == 0 || rows == 0 || !rows.is_multiple_of(stripes) || width == 0 {
        let what = format!("{stripes} stripes of pictures of {height}x{width}");
        let why = format!("the map has {rows} rows; take a number that divides them");
        return Err(Error::invalid(what, why));
    }
    if config.identities == 0 {
        let why = "a classifier needs at least one";
        return Err(Error::invalid("0 identities", why));
    }
    let mut b = NetBuilder::new(3, height, width, rng);
    let x = trunk(&mut b, &config.widths)?;
    let x = head(&mut b, x, config)?;
    b.build(x)
}

/// Stripes, embeddings and classifiers behind a map of an eighth of the picture's size.
fn head(b: &mut NetBuilder, x: NodeId, config: &ReidNetConfig) -> Result<NodeId> {
    let ((height, width), stripes) = (config.size, config.stripes);
    let window = (height.div_ceil(8) / stripes, width.div_ceil(8));
    let x = b.avg_pool(x, window, window)?;
    let x = b.conv("embed", x, Conv::new(config.embedding).kernel(1))?;
    let x = b.norm("embed_bn", x, Activation::None)?;
    let x = b.layer(FEATURE, &[x], super::layers::Stack)?;
    let classify = Conv::new(stripes * config.identities).kernel(1);
    let classify = classify
        .groups(stripes)
        .with_bias()
        .init(Init::UniformFanIn);
    b.conv(IDENTITIES, x, classify)
}

/// The mean cross entropy of the stripes' classifiers, each of which is to name the person.
///
/// `answers` are [`IDENTITIES`] of a pass, `(pictures, stripes * identities)`.
///
/// ```
/// use rebit::nn::reid::identity_loss;
/// use rebit::prelude::*;
/// let answers: Matrix = from_vec(vec![0.0; 2 * 3 * 5], (2, 3 * 5))?;
/// let loss = identity_loss(answers.leaky_trace(), &[4, 0], 5)?;
/// assert!((read(&loss)[0] - 5.0_f32.ln()).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there is a label for each picture and `identities` divides the answers; [`Error::Invalid`] for
/// a label beyond the identities.
pub fn identity_loss(
    answers: Matrix<Taped>,
    labels: &[u32],
    identities: usize,
) -> Result<Scalar<Taped>> {
    let (pictures, columns) = *answers.shape();
    if identities == 0 || !columns.is_multiple_of(identities) || labels.len() != pictures {
        let expected = format!(
            "a label for each of {pictures} pictures, answers for a multiple of {identities} identities"
        );
        let found = format!("{} labels, {columns} answers", labels.len());
        return Err(Error::shape("identity_loss", expected, found));
    }
    if let Some(label) = labels.iter().find(|l| **l as usize >= identities) {
        let why = format!("the network knows the identities 0..{identities}");
        return Err(Error::invalid(format!("label {label}"), why));
    }
    use dfdx::prelude::ReshapeTo;
    let stripes = columns / identities;
    let each = labels.iter().flat_map(|l| std::iter::repeat_n(*l, stripes));
    let each: Vec<u32> = each.collect();
    let rows = answers.try_reshape_like(&(pictures * stripes, identities))?;
    try_cross_entropy(rows, &each, 0.0)
}

/// The features of pictures, each a row of unit length, in inference mode and without gradients.
///
/// ```
/// use rebit::nn::{ReidNetConfig, reid};
/// use rebit::prelude::*;
/// let net = reid(&ReidNetConfig::light(10), rng(0))?;
/// let features = rebit::nn::reid::features(&net, &images(3, 3, 64, 32, &mut rng(1)))?;
/// assert_eq!(features.shape(), &(3, 192));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for pictures of another size, [`Error::Invalid`] for a network without [`FEATURE`].
pub fn features(net: &Net, pictures: &Images) -> Result<Matrix> {
    net.check_size(pictures)?;
    let (count, ..) = *pictures.shape();
    let found = net.predict_nodes(&[pictures], &[FEATURE])?;
    let values = crate::read(&found[0]);
    let columns = found[0].shape().1;
    try_l2_normalise(from_vec(values, (count, columns))?)
}

/// How many identities the classifiers of a network know.
///
/// # Errors
/// [`Error::Invalid`] for a network without [`FEATURE`] and [`IDENTITIES`].
pub fn identities(net: &Net) -> Result<usize> {
    let nodes = net.nodes();
    let extent = |name: &str| nodes.iter().find(|n| n.name == name).map(|n| n.extent);
    let weight = net.parameter(&format!("{IDENTITIES}.weight"));
    match (extent(FEATURE), extent(IDENTITIES), weight) {
        // A group of the classifiers reads one stripe's embedding.
        (Some(feature), Some(answers), Ok(weight)) => {
            let stripes = feature.channels / weight.dims[1];
            Ok(answers.channels / stripes)
        }
        _ => Err(Error::invalid(
            "this network",
            format!("is no re-ID network: it lacks the node {FEATURE} or {IDENTITIES}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::nn::Mode;
    use crate::{images, read, rng};

    fn small(identities: usize) -> ReidNetConfig {
        ReidNetConfig {
            size: (16, 8),
            widths: [4, 4, 6, 6],
            stripes: 2,
            embedding: 3,
            identities,
        }
    }

    #[test]
    fn the_light_network_has_the_size_that_it_says() {
        let net = reid(&ReidNetConfig::light(300), rng(0)).unwrap();
        let macs: usize = net.layers().iter().map(|l| l.macs).sum();
        assert!((3_000_000..6_000_000).contains(&macs), "{macs}");
        assert_eq!(identities(&net).unwrap(), 300);
        let wide = reid(&ReidNetConfig::wide(300), rng(0)).unwrap();
        assert!(wide.parameter_count() > 3 * net.parameter_count() / 2);
    }

    #[test]
    fn each_stripe_is_classified_from_its_own_rows() {
        let net = reid(&small(5), rng(1)).unwrap();
        let x = images(1, 3, 16, 8, &mut rng(2));
        let (n, c, h, w) = *x.shape();
        let mut values = read(&x);
        // The receptive fields of the two stripes of a picture of 16 rows overlap; of zero weights they do not.
        let plain = net.predict(&x).unwrap();
        net.set_parameter("embed.weight", &[0.0; 18]).unwrap();
        let blank = read(&net.predict(&x).unwrap());
        values.iter_mut().for_each(|v| *v += 1.0);
        let other = from_vec(values, (n, c, h, w)).unwrap();
        assert_eq!(blank, read(&net.predict(&other).unwrap()));
        assert_ne!(blank, read(&plain));
        // Setting the weights of the second group leaves the answers of the first.
        let mut weights = net.parameter("identities.weight").unwrap().to_vec();
        weights[15..].iter_mut().for_each(|v| *v = 9.0);
        let net = reid(&small(5), rng(1)).unwrap();
        net.set_parameter("identities.weight", &weights).unwrap();
        let changed = read(&net.predict(&x).unwrap());
        assert_eq!(changed[..5], read(&plain)[..5]);
        assert_ne!(changed[5..], read(&plain)[5..]);
    }

    #[test]
    fn features_have_unit_length_and_the_loss_a_gradient() {
        let net = reid(&small(3), rng(1)).unwrap();
        let x = images(3, 3, 16, 8, &mut rng(2));
        let rows = read(&features(&net, &x).unwrap());
        for row in rows.chunks(6) {
            let length: f32 = row.iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
        let mut pass = net.run(&x, Mode::Eval).unwrap();
        let loss = identity_loss(pass.matrix(IDENTITIES).unwrap(), &[0, 1, 2], 3).unwrap();
        assert!(read(&loss)[0].is_finite());
        // The gradients are checked below; here, that the loss reaches the first layer.
        let grads = loss.backward();
        let first = net.parameter("conv1.weight").unwrap();
        assert!(read(&grads.get(&first.value)).iter().any(|g| *g != 0.0));
    }

    /// Once without corners, where every step of the differences is on one side, and once as the network is, with
    /// pictures enough that a norm's statistics hang on no single one of them.
    #[test]
    fn gradients_of_the_whole_network_are_those_of_finite_differences() {
        let config = small(3);
        let mut b = NetBuilder::new(3, 16, 8, rng(1));
        let mut x = b.input();
        for (k, &channels) in config.widths.iter().enumerate() {
            let conv = Conv::new(channels).stride(if k < 3 { 2 } else { 1 });
            x = b.conv(&format!("conv{k}"), x, conv).unwrap();
            x = b.norm(&format!("bn{k}"), x, Activation::None).unwrap();
            x = b.tanh(&format!("tanh{k}"), x).unwrap();
        }
        let x = head(&mut b, x, &config).unwrap();
        let net = b.build(x).unwrap();
        let pictures = images(6, 3, 16, 8, &mut rng(2));
        let worst = crate::nn::check_gradients(&net, &pictures).unwrap();
        assert!(worst.error < 0.01, "{worst}");
        assert!(worst.compared > 100, "{worst}");
        let net = reid(&config, rng(1)).unwrap();
        let worst = crate::nn::check_gradients(&net, &pictures).unwrap();
        assert!(worst.error < 0.01, "{worst}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let odd = ReidNetConfig {
            stripes: 3,
            ..small(2)
        };
        let error = reid(&odd, rng(0)).unwrap_err().to_string();
        assert!(error.contains("2 rows"), "{error}");
        assert!(reid(&small(0), rng(0)).is_err());
        let answers: Matrix = from_vec(vec![0.0; 20], (2, 10)).unwrap();
        let loss = |labels: &[u32], of| identity_loss(answers.leaky_trace(), labels, of);
        let error = loss(&[0, 5], 5).err().unwrap().to_string();
        assert!(
            error.contains("label 5") && error.contains("0..5"),
            "{error}"
        );
        assert!(loss(&[0], 5).is_err() && loss(&[0, 1], 4).is_err() && loss(&[0, 1], 0).is_err());
        assert!(identities(&crate::nn::resnet8(10, rng(0))).is_err());
    }
}
