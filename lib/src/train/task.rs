//! What is trained: the batches, their loss, and how good the network is.

use super::Step;
use crate::nn::Net;
use crate::{Result, Scalar, Taped};

/// The loss of one batch, on a tape.
pub struct Loss {
    /// The number that is minimised.
    pub value: Scalar<Taped>,
    /// Samples of the batch, by which an epoch's mean is weighted.
    pub samples: usize,
    /// Samples that were right, where that means something.
    pub right: Option<usize>,
    /// The number that is shown and noted in the place of the value: one term of a sum, say.
    pub noted: Option<f32>,
}

impl Loss {
    /// With another number shown and noted than the one that is minimised.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let mut out = net.run(&images(2, 3, 32, 32, &mut rng(1)), Mode::Train)?;
    /// let error = cross_entropy(out.matrix("fc")?, &[3, 8]);
    /// let small = out.images("layer1.0.bn1")?.square().mean() * 0.01;
    /// let noted = read(&error)[0];
    /// assert!(Loss::from(error + small).noting(noted).noted == Some(noted));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn noting(mut self, number: f32) -> Self {
        self.noted = Some(number);
        self
    }
}

impl From<Scalar<Taped>> for Loss {
    fn from(value: Scalar<Taped>) -> Self {
        Loss {
            value,
            samples: 1,
            right: None,
            noted: None,
        }
    }
}

/// What a [`super::Trainer`] trains: the task knows batches, loss and score, the trainer everything else.
///
/// ```
/// use rebit::prelude::*;
///
/// /// A student that is to answer as its teacher does, on noise.
/// struct Distil {
///     teacher: Net,
///     rng: Rng,
/// }
///
/// impl Task for Distil {
///     fn steps(&self) -> usize {
///         4
///     }
///     fn start(&mut self, epoch: usize, step: usize) -> Result<()> {
///         self.rng = rng((4 * epoch + step) as u64);
///         Ok(())
///     }
///     fn loss(&mut self, student: &Net, _: Step) -> Result<Loss> {
///         let x = images(8, 3, 8, 8, &mut self.rng);
///         let soft = self.teacher.predict(&x)?;
///         let mut out = student.run(&x, Mode::Train)?;
///         Ok((out.matrix("fc")? - soft).square().mean().into())
///     }
/// }
///
/// let small = |seed| rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 10, rng(seed));
/// let (teacher, student) = (small(1)?, small(2)?);
/// let history = Trainer::new(2, Sgd::new(0.01).momentum(0.9).over(&student)?)
///     .run(&student, &mut Distil { teacher, rng: rng(0) })?;
/// assert_eq!(history.epochs.len(), 2);
/// # Ok::<(), Error>(())
/// ```
pub trait Task {
    /// Steps of an epoch.
    fn steps(&self) -> usize;

    /// Called before an epoch, and when a run is resumed: the next [`loss`](Self::loss) is that of step `step` of epoch
    /// `epoch`, both counted from 0. A task that draws its batches from a generator seeds it here, so that a resumed run
    /// sees what an uninterrupted one would have seen.
    ///
    /// # Errors
    /// When data cannot be had.
    fn start(&mut self, epoch: usize, step: usize) -> Result<()>;

    /// The loss of the next batch.
    ///
    /// # Errors
    /// Shapes that do not fit, data that cannot be read.
    fn loss(&mut self, net: &Net, step: Step) -> Result<Loss>;

    /// How good the network is now; `None` where nothing is measured.
    ///
    /// # Errors
    /// As [`loss`](Self::loss); [`crate::Error::Interrupted`].
    fn score(&mut self, _net: &Net) -> Result<Option<f32>> {
        Ok(None)
    }

    /// What tells its data from other data, a [`Fingerprint`](crate::data::Fingerprint) for instance: a checkpoint of a run
    /// on other data is refused. Asked for only where there is a checkpoint; empty where data is not told apart.
    ///
    /// # Errors
    /// When the data cannot be read.
    fn data(&self) -> Result<String> {
        Ok(String::new())
    }

    /// What the score is, with its unit.
    fn score_name(&self) -> String {
        "score".into()
    }
}
