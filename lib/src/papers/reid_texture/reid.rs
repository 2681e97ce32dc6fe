//! The frozen network that says whether two pictures show one person.

use dfdx::prelude::HasShape;

use crate::nn::reid::{FEATURE, IDENTITIES, identities};
use crate::nn::{Activations, CosineDistance, Mode, Net};
use crate::ops::l2_normalise::try_l2_normalise;
use crate::train::norms_fingerprint;
use crate::{Error, Images, Matrix, Result, Scalar, Shape4, Taped, from_vec, read};

/// Pictures that a network sees at once.
const AT_ONCE: usize = 64;

/// Layers of a network and how much the distance in each of them counts: `sum_l c_l (1 - cos_l)`.
///
/// The authors take the mean of squared differences over all numbers of a layer and multiply the sum by 5000. What a cosine
/// then weighs depends on the size of its layer: 10,000 over 786,432, 393,216, 196,608 and 393,216 numbers, which is
/// 1:2:4:2. At other sizes the 5000 means something else; the ratios are kept here, with a sum of 4.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LayerWeights(pub Vec<(String, f32)>);

impl LayerWeights {
    /// Four layers by name, with the authors' ratios.
    ///
    /// ```
    /// use rebit::papers::reid_texture::LayerWeights;
    /// let weights = LayerWeights::of_four(["bn1", "bn2", "bn3", "bn4"]);
    /// assert_eq!(weights.0[2].1, 4.0 * weights.0[0].1);
    /// assert!((weights.0.iter().map(|w| w.1).sum::<f32>() - 4.0).abs() < 1e-6);
    /// ```
    pub fn of_four(layers: [&str; 4]) -> Self {
        let ratios = [1.0, 2.0, 4.0, 2.0];
        let each = layers.iter().zip(ratios);
        LayerWeights(each.map(|(l, r)| (l.to_string(), 4.0 * r / 9.0)).collect())
    }
}

/// A frozen re-ID network, and what of it is looked at.
#[derive(Clone)]
pub struct Reid {
    net: Net,
    layers: LayerWeights,
    feature: String,
    answers: Option<(String, usize)>,
}

impl Reid {
    /// A network with layers that are compared, and a node that is its feature: a vector, compared at unit length.
    ///
    /// Pictures are shown to it as `(v - 1/2) / (1/4)`, with `v` from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a layer, for a name that the network does not have and a weight that is not finite;
    /// [`Error::Shape`] for a feature with height or width.
    pub fn new(net: &Net, layers: LayerWeights, feature: &str) -> Result<Reid> {
        let nodes = net.nodes();
        if layers.0.is_empty() {
            return Err(Error::invalid("a re-ID loss", "needs a layer"));
        }
        let names = layers.0.iter().map(|l| l.0.as_str()).chain([feature]);
        for name in names {
            if !nodes.iter().any(|n| n.name == name) {
                let why = "is not in the re-ID network; Net::nodes lists what is";
                return Err(Error::invalid(format!("node {name:?}"), why));
            }
        }
        if let Some((name, weight)) = layers.0.iter().find(|l| !l.1.is_finite()) {
            let what = format!("weight {weight} of layer {name}");
            return Err(Error::invalid(what, "must be finite"));
        }
        let of = nodes.iter().find(|n| n.name == feature);
        if let Some(node) = of.filter(|n| n.extent.pixels() != 1) {
            let found = format!("{feature} of {}", node.extent);
            return Err(Error::shape(
                "re-ID network",
                "a feature that is a vector",
                found,
            ));
        }
        Ok(Reid {
            net: net.frozen(),
            layers,
            feature: feature.into(),
            answers: None,
        })
    }

    /// A network of [`reid`](crate::nn::reid()): its four convolutions behind their norms, its feature and its classifiers.
    ///
    /// ```
    /// use rebit::nn::{ReidNetConfig, reid};
    /// use rebit::papers::reid_texture::Reid;
    /// let net = reid(&ReidNetConfig::light(20), rebit::rng(0))?;
    /// assert_eq!(Reid::part_based(&net)?.layers().0.len(), 4);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a network of another kind.
    pub fn part_based(net: &Net) -> Result<Reid> {
        let identities = identities(net)?;
        let layers = LayerWeights::of_four(["bn1", "bn2", "bn3", "bn4"]);
        Reid::new(net, layers, FEATURE)?.with_answers(IDENTITIES, identities)
    }

    /// With a node of classifiers, one behind the other, each over `identities` people.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the node is a vector that the number of people divides.
    pub fn with_answers(self, name: &str, identities: usize) -> Result<Reid> {
        let nodes = self.net.nodes();
        let node = nodes.iter().find(|n| n.name == name);
        let fits = node.is_some_and(|n| {
            n.extent.pixels() == 1 && identities > 0 && n.extent.channels.is_multiple_of(identities)
        });
        if !fits {
            let found = node.map_or("no such node".into(), |n| n.extent.to_string());
            let expected = format!("a node {name} with answers for a multiple of {identities}");
            return Err(Error::shape("re-ID network", expected, found));
        }
        Ok(Reid {
            answers: Some((name.into(), identities)),
            ..self
        })
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The layers that are compared.
    pub fn layers(&self) -> &LayerWeights {
        &self.layers
    }

    /// The name of its feature.
    pub fn feature(&self) -> &str {
        &self.feature
    }

    /// Its classifiers and the number of people of each.
    pub(super) fn answers(&self) -> Result<(&str, usize)> {
        let found = self.answers.as_ref();
        found.map(|(name, n)| (name.as_str(), *n)).ok_or_else(|| {
            let why = "has no classifiers that were named; see Reid::with_answers";
            Error::invalid("this re-ID network", why)
        })
    }

    /// Pictures, from -1 to 1 and on a tape, as the network sees them.
    ///
    /// # Errors
    /// [`Error::Shape`] for pictures of another size.
    pub fn look(&self, pictures: Images<Taped>) -> Result<Activations> {
        self.check(*pictures.shape())?;
        self.net.trace_on(pictures * 2.0, Mode::Eval)
    }

    fn check(&self, (n, c, h, w): Shape4) -> Result<()> {
        let extent = self.net.input_extent();
        if (c, h, w) == (extent.channels, extent.height, extent.width) {
            return Ok(());
        }
        let found = format!("{n} of {c}x{h}x{w}");
        Err(Error::shape(
            "re-ID network",
            format!("pictures of {extent}"),
            found,
        ))
    }

    /// The layers of pictures from -1 to 1, without a tape, to be kept.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn keep(&self, pictures: &Images) -> Result<Kept> {
        let mut names: Vec<&str> = self.layers.0.iter().map(|l| l.0.as_str()).collect();
        names.push(&self.feature);
        if let Some((name, _)) = &self.answers {
            names.push(name);
        }
        self.kept(pictures, &names)
    }

    fn kept(&self, pictures: &Images, names: &[&str]) -> Result<Kept> {
        self.check(*pictures.shape())?;
        let (count, c, h, w) = *pictures.shape();
        let values: Vec<f32> = read(pictures).iter().map(|v| 2.0 * v).collect();
        let image = c * h * w;
        let mut kept = Kept {
            nodes: names
                .iter()
                .map(|n| (n.to_string(), 0, Vec::new()))
                .collect(),
            count,
        };
        for first in (0..count).step_by(AT_ONCE) {
            let n = AT_ONCE.min(count - first);
            let part = values[first * image..(first + n) * image].to_vec();
            let pass = self.net.run(&from_vec(part, (n, c, h, w))?, Mode::Eval)?;
            for (name, len, into) in &mut kept.nodes {
                let found = pass.channels_last(name)?;
                *len = found.len() / n;
                into.extend(found);
            }
        }
        Ok(kept)
    }

    /// The features of pictures from -1 to 1, each a row of unit length.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn embed(&self, pictures: &Images) -> Result<Matrix> {
        let kept = self.kept(pictures, &[&self.feature])?;
        let (_, len, values) = &kept.nodes[0];
        try_l2_normalise(from_vec(values.clone(), (kept.count, *len))?)
    }

    /// How alike pictures are, pair by pair: the mean over the layers of the cosine of their features.
    ///
    /// # Errors
    /// As [`look`](Self::look), and [`Error::Shape`] for another number of pictures.
    pub fn cosines(&self, a: &Images, b: &Images) -> Result<Vec<f32>> {
        if a.shape() != b.shape() {
            let expected = format!("two of {:?}", a.shape());
            return Err(Error::shape(
                "cosines",
                expected,
                format!("{:?}", b.shape()),
            ));
        }
        let names: Vec<&str> = self.layers.0.iter().map(|l| l.0.as_str()).collect();
        let (a, b) = (self.kept(a, &names)?, self.kept(b, &names)?);
        let of = |k: usize| {
            let layers = a.nodes.iter().zip(&b.nodes);
            let cos = layers.map(|((_, len, a), (_, _, b))| {
                cosine(&a[k * len..][..*len], &b[k * len..][..*len])
            });
            (cos.sum::<f64>() / names.len() as f64) as f32
        };
        Ok((0..a.count).map(of).collect())
    }

    /// The weighted cosine distances of the layers of a pass from what was kept of pictures.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of pictures.
    pub(super) fn distance(
        &self,
        pass: &mut Activations,
        (kept, indices): (&Kept, &[usize]),
        masks: Option<&[Vec<f32>]>,
    ) -> Result<Vec<(f32, Scalar<Taped>)>> {
        let layers = self.layers.0.iter().enumerate();
        let term = |(k, (name, weight)): (usize, &(String, f32))| {
            let mut loss = CosineDistance::new(kept.of(name, indices)?);
            if let Some(masks) = masks {
                loss = loss.masked(masks[k].clone());
            }
            Ok((*weight, pass.loss(name, loss)?))
        };
        layers.map(term).collect()
    }

    /// Height and width of the layers.
    pub(super) fn layer_sizes(&self) -> Vec<(usize, usize)> {
        let nodes = self.net.nodes();
        let of = |name: &str| {
            let node = nodes.iter().find(|n| n.name == name);
            node.map_or((1, 1), |n| (n.extent.height, n.extent.width))
        };
        self.layers.0.iter().map(|l| of(&l.0)).collect()
    }

    /// What tells this network from others.
    pub(super) fn fingerprint(&self) -> String {
        let net = norms_fingerprint(&self.net.norms());
        format!(
            "{:?} {} {:?} {net}",
            self.layers, self.feature, self.answers
        )
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = dot(a, a).sqrt() * dot(b, b).sqrt();
    if lengths == 0.0 {
        0.0
    } else {
        dot(a, b) / lengths
    }
}

/// Activations of pictures, `(N, H, W, C)`, by the names of their nodes.
pub struct Kept {
    /// Name, numbers of a picture, all numbers.
    nodes: Vec<(String, usize, Vec<f32>)>,
    count: usize,
}

impl Kept {
    /// Those of some pictures.
    pub(super) fn of(&self, name: &str, indices: &[usize]) -> Result<Vec<f32>> {
        let found = self.nodes.iter().find(|n| n.0 == name);
        let Some((_, len, values)) = found else {
            return Err(Error::invalid(format!("node {name}"), "was not kept"));
        };
        if let Some(i) = indices.iter().find(|i| **i >= self.count) {
            let why = format!("{} were kept", self.count);
            return Err(Error::invalid(format!("picture {i}"), why));
        }
        let each = indices.iter().map(|i| &values[i * len..][..*len]);
        Ok(each.flatten().copied().collect())
    }
}
