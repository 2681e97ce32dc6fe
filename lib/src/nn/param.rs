//! Named parameters: flat dfdx tensors with their dimensions beside them.

use crate::{Error, Result, Vector, from_vec, read};

/// Index of a parameter in its network.
pub type ParamId = usize;

/// What a parameter is for; optimiser groups are chosen by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Role {
    /// Convolution or linear weight.
    Weight,
    /// Bias of a convolution or linear layer.
    Bias,
    /// Scale and shift of a batch norm.
    Norm,
    /// Slope of an activation.
    Slope,
    /// Trained bounds `[lower, upper]` or scale of a quantiser.
    Bound,
    /// Scale or bounds of a quantiser that follow from the data: saved, never trained.
    Scale,
    /// Running mean and variance: saved with the network, never trained.
    Statistic,
}

/// One named parameter.
///
/// The value is flat because networks are built at run time; `dims` says how to read it (`(out, in/groups,
/// kh, kw)` for a convolution, `(out, in)` for a linear layer, as in PyTorch).
#[derive(Clone, Debug)]
pub struct Param {
    /// Dotted name, as in torchvision's state dictionaries.
    pub name: String,
    /// Dimensions; their product is the length of `value`.
    pub dims: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// The numbers.
    pub value: Vector,
}

impl Param {
    /// A parameter with these numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many numbers as the dimensions say.
    pub fn new(
        name: impl Into<String>,
        dims: Vec<usize>,
        role: Role,
        data: Vec<f32>,
    ) -> Result<Self> {
        let (name, length) = (name.into(), data.len());
        if length != dims.iter().product::<usize>() {
            let expected = format!("{name}: as many numbers as {dims:?} holds");
            return Err(Error::shape("parameter", expected, length));
        }
        Ok(Param {
            name,
            dims,
            role,
            value: from_vec(data, (length,))?,
        })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers, copied.
    pub fn to_vec(&self) -> Vec<f32> {
        read(&self.value)
    }

    /// Whether an optimiser may change it.
    pub fn is_trainable(&self) -> bool {
        !matches!(self.role, Role::Statistic | Role::Scale)
    }
}
