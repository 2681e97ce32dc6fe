//! What a generator learns: classes, the statistics of the whole training set, those of one class.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::config::GeneratorLosses;
use super::generator::{Drawn, classes_of};
use crate::nn::{Activations, Mode, Net, NormInfo};
use crate::ops::cross_entropy::try_cross_entropy;
use crate::train::{try_moments_loss, try_total};
use crate::{Error, Result, Rng, Scalar, Taped, from_vec, read};

/// How strongly the targets of the distorted loss are moved.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Distortion {
    /// Standard deviation of the noise on means.
    pub mean: f32,
    /// Standard deviation of the noise on variances.
    pub var: f32,
}

impl Default for Distortion {
    /// The authors': 0.5 and 1.
    fn default() -> Self {
        Distortion {
            mean: 0.5,
            var: 1.0,
        }
    }
}

impl Distortion {
    /// What the noise adds to the centralised loss on average: the floor of the distorted loss, 1.25.
    ///
    /// ```
    /// assert_eq!(rebit::papers::fdda::Distortion::default().floor(), 1.25);
    /// ```
    pub fn floor(self) -> f32 {
        self.mean * self.mean + self.var * self.var
    }
}

/// A centre with fresh noise on every number: `mean + nu_mean xi` and `var + nu_var xi'`, both from the standard normal
/// distribution. A variance may become negative.
///
/// As the targets of [`statistics_loss`] they give the distorted loss `L_D`. Averaged over the noise it is the centralised
/// loss plus `nu_mean^2 + nu_var^2`, with the same gradient.
///
/// Source: arXiv:2109.04186, BNS-distorted loss, as in the authors' code.
///
/// ```
/// use rebit::papers::fdda::{Distortion, distorted};
/// use rebit::prelude::*;
/// let centre = resnet20(10, rng(0)).norms();
/// let near = distorted(&centre, Distortion::default(), &mut rng(1))?;
/// assert_ne!(read(&near[0].mean), read(&centre[0].mean));
/// let same = distorted(&centre, Distortion { mean: 0.0, var: 0.0 }, &mut rng(1))?;
/// assert_eq!(read(&same[0].var), read(&centre[0].var));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// When memory cannot be had.
pub fn distorted(
    centre: &[NormInfo],
    distortion: Distortion,
    rng: &mut Rng,
) -> Result<Vec<NormInfo>> {
    let mut moved = |values: Vec<f32>, by: f32| {
        let noise = |v: f32, rng: &mut Rng| v + by * rng.sample::<f32, _>(StandardNormal);
        let count = values.len();
        let values = values.into_iter().map(|v| noise(v, rng)).collect();
        from_vec(values, (count,))
    };
    let one = |norm: &NormInfo| {
        Ok(NormInfo {
            mean: moved(read(&norm.mean), distortion.mean)?,
            var: moved(read(&norm.var), distortion.var)?,
            ..norm.clone()
        })
    };
    centre.iter().map(one).collect()
}

/// How far what some batch norms read in a pass is from targets, which stand in the place of their running statistics:
///
/// ```text
/// loss = 1/L sum over targets [ MSE(mean, target mean) + MSE(var, target var) ]
/// ```
///
/// `MSE` is the mean over channels. With the norms of the network themselves it is the paper's `L_BNS`, with
/// [`Centres::deep`](super::Centres::deep) the centralised loss `L_C`, with these [`distorted`] the distorted loss `L_D`.
///
/// Source: arXiv:2109.04186.
///
/// ```
/// use rebit::papers::fdda::{batch_statistics, statistics_loss};
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let x = images(4, 3, 32, 32, &mut rng(1));
/// let own = batch_statistics(&net, &x)?;
/// let mut pass = net.frozen().trace(&x, Mode::Eval)?;
/// assert_eq!(read(&statistics_loss(&mut pass, &own[9..])?), [0.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] without a target, [`Error::Shape`] for targets of another network.
pub fn statistics_loss(pass: &mut Activations, targets: &[NormInfo]) -> Result<Scalar<Taped>> {
    let share = 1.0 / targets.len() as f32;
    let terms = targets.iter().map(|target| {
        let moments = pass.moments(target)?;
        Ok((share, try_moments_loss(moments, target)?))
    });
    try_total(terms.collect::<Result<Vec<_>>>()?)
}

/// The loss of a generator's step, and its parts; those that were not asked for are none.
pub struct GeneratorLoss {
    /// The weighted sum, on a tape.
    pub total: Scalar<Taped>,
    /// Cross entropy of the mixed batch.
    pub class: f32,
    /// `L_BNS` of the mixed batch.
    pub statistics: f32,
    /// Cross entropy of the batch of one class.
    pub single: Option<f32>,
    /// `L_C`.
    pub centralised: Option<f32>,
    /// `L_D`.
    pub distorted: Option<f32>,
    /// The images of the mixed batch in `(N, H, W, C)` order.
    pub mixed: Vec<f32>,
}

/// The loss of a generator `G` before a frozen network `F`, for what was drawn:
///
/// ```text
/// L_G = w_1 CE(F(G(z, y)), y) + w_2 CE(F(G(z', c)), c) + w_3 L_BNS + w_4 L_C + w_5 L_D
/// ```
///
/// `L_BNS` is that of the mixed batch, `L_C` and `L_D` those of the batch of one class. Both batches go through the
/// generator by themselves, whose batch norms see one at a time.
///
/// Source: arXiv:2109.04186, with the weights of the authors' code ([`GeneratorLosses::fdda`]).
///
/// ```
/// use rebit::papers::fdda::{Drawn, GeneratorLosses, GeneratorShape, generator, generator_loss};
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let made = generator(GeneratorShape::small(), net.input_extent(), 10, rng(1))?;
/// let drawn = Drawn::new(&made, (4, 10), None, &mut rng(2))?;
/// let loss = generator_loss(&made, &net, &drawn, &GeneratorLosses::gdfq())?;
/// let mut adam = Adam::new(1e-3).betas(0.5, 0.999).over(&made)?;
/// adam.step(&mut loss.total.backward())?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for a generator whose images do not fit the network; as [`statistics_loss`] and [`Net::run_many`].
pub fn generator_loss(
    generator: &Net,
    network: &Net,
    drawn: &Drawn,
    weights: &GeneratorLosses,
) -> Result<GeneratorLoss> {
    let network = network.frozen();
    let (made, read_by) = (generator.output_extent(), network.input_extent());
    if made != read_by {
        return Err(Error::shape(
            "generator_loss",
            format!("images of {read_by}, what the network reads"),
            format!("a generator of {made}"),
        ));
    }
    let run = |latent, labels: &[u32]| {
        let classes = classes_of(labels)?;
        let mut made = generator.run_many(&[latent, &classes], Mode::Train)?;
        let mixed = made.channels_last(&generator.output_name())?;
        let x = made.output()?;
        let mut pass = network.trace_on(x, Mode::Eval)?;
        // The first that is asked for carries the generator's tape.
        let class = try_cross_entropy(pass.logits()?, labels, 0.0)?;
        Ok::<_, Error>((pass, class, mixed))
    };
    let number = |loss: &Scalar<Taped>| read(loss)[0];
    let (mut pass, class, mixed) = run(&drawn.latent, &drawn.labels)?;
    let statistics = statistics_loss(&mut pass, &network.norms())?;
    let mut loss = GeneratorLoss {
        class: number(&class),
        statistics: number(&statistics),
        single: None,
        centralised: None,
        distorted: None,
        mixed,
        total: try_total(vec![
            (weights.class, class),
            (weights.statistics, statistics),
        ])?,
    };
    let Some(single) = &drawn.single else {
        return Ok(loss);
    };
    let labels = vec![single.class; drawn.labels.len()];
    let (mut pass, class, _) = run(&single.latent, &labels)?;
    loss.single = Some(number(&class));
    let mut terms = vec![(1.0, loss.total), (weights.single, class)];
    for (weight, targets, part) in [
        (weights.centralised, &single.centre, &mut loss.centralised),
        (weights.distorted, &single.distorted, &mut loss.distorted),
    ] {
        if weight != 0.0 {
            let term = statistics_loss(&mut pass, targets)?;
            *part = Some(number(&term));
            terms.push((weight, term));
        }
    }
    loss.total = try_total(terms)?;
    Ok(loss)
}
