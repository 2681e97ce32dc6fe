//! The statistics of a class in each batch norm, read off one image.

use crate::data::{Dataset, ImageSource, Normalize, epoch_order, images_from_nhwc};
use crate::nn::{Mode, Net, NormInfo};
use crate::train::top1;
use crate::{Error, Images, Result, from_vec, read};

/// The first of `norms` batch norms, in the order they run, that counts as deep: `floor((norms + 1) / 2) - 2`, so that
/// deep are the last three fifths or so.
///
/// Source: the authors' code.
///
/// ```
/// use rebit::papers::fdda::first_deep_norm;
/// // ResNet-18, MobileNetV1, MobileNetV2, RegNetX-600MF; ResNet-20 and ResNet-8 for small images.
/// assert_eq!([20, 27, 52, 53].map(first_deep_norm), [8, 12, 24, 25]);
/// assert_eq!([21, 9].map(first_deep_norm), [9, 3]);
/// ```
pub fn first_deep_norm(norms: usize) -> usize {
    norms.div_ceil(2).saturating_sub(2)
}

/// Mean and biased variance by channel of what each batch norm of `net` reads, over the images and pixels of a batch:
/// the norms of the network, with these in the place of their running statistics.
///
/// ```
/// use rebit::papers::fdda::batch_statistics;
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let found = batch_statistics(&net, &images(4, 3, 32, 32, &mut rng(1)))?;
/// assert_eq!((found.len(), found[20].channels), (21, 64));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a network without batch norms, [`Error::Shape`] for images that do not fit it.
pub fn batch_statistics(net: &Net, x: &Images) -> Result<Vec<NormInfo>> {
    let norms = norms_of(net)?;
    let mut pass = net.frozen().run(x, Mode::Eval)?;
    let found = norms.into_iter().map(|norm| {
        let moments = pass.moments(&norm)?;
        let vector = |values: Vec<f32>| from_vec(values, (norm.channels,));
        Ok(NormInfo {
            mean: vector(read(&moments.mean))?,
            var: vector(read(&moments.var))?,
            ..norm
        })
    });
    found.collect()
}

pub(super) fn norms_of(net: &Net) -> Result<Vec<NormInfo>> {
    let norms = net.norms();
    match norms.is_empty() {
        false => Ok(norms),
        true => Err(Error::invalid(
            "FDDA on a network without batch norms",
            "what it aligns is what batch norms read and remember; fold them after quantising, not before",
        )),
    }
}

/// One image of each class, drawn at random: a calibration set as the paper's.
///
/// ```
/// use rebit::data::Dataset;
/// use rebit::papers::fdda::one_image_per_class;
/// let data = Dataset { name: "tiny".into(), images: vec![0; 6 * 12], labels: vec![1, 0, 1, 0, 2, 2],
///     classes: ["a", "b", "c"].map(String::from).to_vec(), channels: 3, height: 2, width: 2 };
/// assert_eq!(one_image_per_class(&data, 0)?.labels, [0, 1, 2]);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a class without an image.
pub fn one_image_per_class(data: &Dataset, seed: u64) -> Result<Dataset> {
    let order = epoch_order(data.len(), seed, 0);
    let first = |class: usize| {
        let found = order
            .iter()
            .find(|&&i| usize::from(data.labels[i]) == class);
        found.copied().ok_or_else(|| missing(class, &data.name))
    };
    let chosen = (0..data.classes.len()).map(first);
    data.try_subset(chosen.collect::<Result<Vec<_>>>()?)
}

fn missing(class: usize, name: &str) -> Error {
    Error::invalid(
        format!("class {class} without an image in {name}"),
        "FDDA needs one image of each class: its centres are read off it",
    )
}

/// Where the statistics of each class lie, in each batch norm of a network.
///
/// ```
/// use rebit::papers::fdda::Centres;
/// use rebit::prelude::*;
/// let net = rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 2, rng(0))?;
/// let calibration = FloatImages::new("two", &images(2, 3, 8, 8, &mut rng(1)), vec![1, 0])?;
/// let centres = Centres::of(&net, &calibration, &Normalize::UNIT)?;
/// assert_eq!((centres.classes(), centres.of_class(1)?.len(), centres.deep(1)?.len()), (2, 9, 6));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Centres {
    classes: Vec<Vec<NormInfo>>,
    recognised: Vec<u32>,
    first_deep: usize,
}

impl Centres {
    /// From the first image of each class in `calibration`, as the network sees it in inference mode.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a class without its image, for labels that are no class of the network, and for a network
    /// without batch norms; [`Error::Shape`] for images that do not fit it.
    pub fn of(net: &Net, calibration: &dyn ImageSource, normalize: &Normalize) -> Result<Self> {
        let first_deep = first_deep_norm(norms_of(net)?.len());
        let count = net.output_extent().channels;
        let (mut classes, mut recognised) = (vec![None; count], Vec::new());
        let [channels, height, width] = calibration.extent();
        let mut values = vec![0.0; channels * height * width];
        for i in 0..calibration.len() {
            let labels = calibration.fill(&[i], None, normalize, &mut values)?;
            check_labels(&labels, count, calibration.name())?;
            let class = labels[0];
            if classes[class as usize].is_some() {
                continue;
            }
            let x = images_from_nhwc(&values, [1, height, width, channels])?;
            classes[class as usize] = Some(batch_statistics(net, &x)?);
            if top1(&read(&net.predict(&x)?), count) == [class] {
                recognised.push(class);
            }
        }
        let of = |(class, found): (usize, Option<Vec<NormInfo>>)| {
            found.ok_or_else(|| missing(class, calibration.name()))
        };
        recognised.sort_unstable();
        Ok(Centres {
            classes: classes
                .into_iter()
                .enumerate()
                .map(of)
                .collect::<Result<_>>()?,
            recognised,
            first_deep,
        })
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// The classes whose image the network takes for what it is; only these have images of one class made.
    pub fn recognised(&self) -> &[u32] {
        &self.recognised
    }

    /// The index of the first batch norm that counts as deep.
    pub fn first_deep(&self) -> usize {
        self.first_deep
    }

    /// The statistics of a class in all batch norms.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a class that there is not.
    pub fn of_class(&self, class: u32) -> Result<&[NormInfo]> {
        let found = self.classes.get(class as usize).map(Vec::as_slice);
        let why = format!("classes lie in 0..{}", self.classes.len());
        found.ok_or_else(|| Error::invalid(format!("class {class}"), why))
    }

    /// Those in the deep batch norms: the targets of the centralised loss.
    ///
    /// # Errors
    /// As [`of_class`](Self::of_class).
    pub fn deep(&self, class: u32) -> Result<&[NormInfo]> {
        self.of_class(class).map(|all| &all[self.first_deep..])
    }
}

pub(super) fn check_labels(labels: &[u32], classes: usize, name: &str) -> Result<()> {
    match labels.iter().find(|l| **l as usize >= classes) {
        Some(label) => Err(Error::invalid(
            format!("label {label} in {name}"),
            format!("the network has {classes} classes: labels lie in 0..{classes}"),
        )),
        None => Ok(()),
    }
}
