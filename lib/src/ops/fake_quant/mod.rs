//! Uniform fake quantisation of a whole tensor, with trainable bounds.
//!
//! With `N = 2^bits - 1` and the bounds `l < u`:
//!
//! ```text
//! n = (x - l) / (u - l)          c = clamp(n, 0, 1)
//! q = round(N c) / N             half to even, q in {0, 1/N, ..., 1}
//! y = scale q + offset           weights 2q - 1 in [-1, 1], activations q in [0, 1]
//! ```
//!
//! Rounding has the gradient of the identity (straight-through estimator), everything else its own. With
//! `m = 1` where `0 <= n <= 1`, else 0:
//!
//! ```text
//! dy/dx = scale m / (u - l)      dy/du = -scale m n / (u - l)      dy/dl = scale m (n - 1) / (u - l)
//! ```
//!
//! Values outside the bounds send no gradient, neither to `x` nor to the bounds. NaN stays NaN in `y` and
//! sends no gradient.
//!
//! Source: Zhong et al., arXiv:2211.08544, the quantiser of §3; half to even as in the authors' code.

use dfdx::prelude::Storage;

use crate::error::{Error, Result};

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod tape;
#[cfg(test)]
mod tests;

pub(crate) use tape::TapedBounds;
pub use tape::{fake_quant, quantise_weight, try_fake_quant, try_quantise_weight};

pub(crate) use cpu::BoundSums;

/// The interval that a quantiser covers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Bounds {
    /// What becomes level 0.
    pub lower: f32,
    /// What becomes level `N`.
    pub upper: f32,
}

impl Bounds {
    /// The bounds as they are; see [`check`](Self::check).
    pub fn new(lower: f32, upper: f32) -> Self {
        Bounds { lower, upper }
    }

    /// `upper - lower`.
    pub fn width(self) -> f32 {
        self.upper - self.lower
    }

    /// The bounds, widened where 0 lies outside: padding, and a channel whose numbers are all alike, are then exact on
    /// an [affine grid](crate::ops::affine_quant).
    pub fn with_zero(self) -> Self {
        Bounds::new(self.lower.min(0.0), self.upper.max(0.0))
    }

    /// The bounds themselves if a quantiser can use them.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless both are finite, `upper > lower` and their difference is a normal number.
    pub fn check(self) -> Result<Self> {
        let why = if !self.lower.is_finite() || !self.upper.is_finite() {
            "must be finite; a diverged run or an unset bound gives this, lower the learning rate of the bounds or initialise them"
        } else if self.upper <= self.lower {
            "upper must be above lower; trained bounds may cross, lower their learning rate or widen them"
        } else if !self.width().is_normal() {
            "their distance must be a normal number; the tensor they were taken from is constant or overflows"
        } else {
            return Ok(self);
        };
        let Bounds { lower, upper } = self;
        Err(Error::invalid(
            format!("quantiser bounds lower = {lower}, upper = {upper}"),
            why,
        ))
    }
}

/// The highest level `N = 2^bits - 1`.
///
/// # Errors
/// [`Error::Invalid`] unless `1 <= bits <= 16`.
///
/// ```
/// assert_eq!(rebit::ops::fake_quant::levels(2)?, 3);
/// # Ok::<(), rebit::Error>(())
/// ```
pub fn levels(bits: u32) -> Result<u32> {
    if (1..=16).contains(&bits) {
        return Ok((1 << bits) - 1);
    }
    Err(Error::invalid(
        format!("{bits} bits"),
        "a quantiser has 1 to 16 bits",
    ))
}

/// One quantiser: bounds, the highest level and where the result is put on the number line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuant {
    /// `l`.
    pub lower: f32,
    /// `u`.
    pub upper: f32,
    /// `N`, the highest level (there are `N + 1`).
    pub levels: u32,
    /// Factor of the result: 2 for weights, 1 for activations.
    pub scale: f32,
    /// What is added: -1 for weights, 0 for activations.
    pub offset: f32,
}

impl FakeQuant {
    /// Results in `[0, 1]`.
    ///
    /// # Errors
    /// As [`Bounds::check`] and [`levels`].
    pub fn activation(bounds: Bounds, bits: u32) -> Result<Self> {
        let Bounds { lower, upper } = bounds.check()?;
        Ok(FakeQuant {
            lower,
            upper,
            levels: levels(bits)?,
            scale: 1.0,
            offset: 0.0,
        })
    }

    /// Results `2q - 1` in `[-1, 1]`.
    ///
    /// # Errors
    /// As [`Bounds::check`] and [`levels`].
    pub fn weight(bounds: Bounds, bits: u32) -> Result<Self> {
        Ok(FakeQuant {
            scale: 2.0,
            offset: -1.0,
            ..Self::activation(bounds, bits)?
        })
    }

    /// Results back on the scale of the input, `(u - l) q + l`: the usual simulated quantisation.
    ///
    /// # Errors
    /// As [`Bounds::check`] and [`levels`].
    pub fn dequantising(bounds: Bounds, bits: u32) -> Result<Self> {
        Ok(FakeQuant {
            scale: bounds.width(),
            offset: bounds.lower,
            ..Self::activation(bounds, bits)?
        })
    }

    /// Weights `k / 2^(bits-1)` of `w / scale`, `k = -2^(bits-1) ..= 2^(bits-1) - 1`: a signed grid with one
    /// level more below 0 than above, `{-1, -1/2, 0, 1/2}` at 2 bits. One bit gives the signs `{-1, 1}`.
    ///
    /// With `h = 2^(bits-1)` this is the quantiser of the module at `l = -scale`, `u = scale (h - 1) / h` and the
    /// result `(N/h) q - 1`. Source: the LTS code of 2022.
    ///
    /// # Errors
    /// As [`Bounds::check`] and [`levels`]; a scale must be above 0.
    ///
    /// ```
    /// use rebit::ops::fake_quant::FakeQuant;
    /// let f = FakeQuant::signed(2.0, 2)?;
    /// assert_eq!([-9.0, -1.1, 0.4, 9.0].map(|w| f.quantise(w)), [-1.0, -0.5, 0.0, 0.5]);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn signed(scale: f32, bits: u32) -> Result<Self> {
        let bounds = Bounds::new(-scale, signed_share(bits) * scale);
        let top = levels(bits)? as f32;
        Ok(FakeQuant {
            scale: top
                / if bits == 1 {
                    0.5
                } else {
                    2f32.powi(bits as i32 - 1)
                },
            offset: -1.0,
            ..Self::activation(bounds, bits)?
        })
    }

    /// Activations `k / 2^bits` of `x / scale`, `k = 0 ..= 2^bits - 1`: `{0, 1/4, 1/2, 3/4}` at 2 bits.
    ///
    /// This is the quantiser of the module at `l = 0`, `u = scale N / 2^bits` and the result `(N / 2^bits) q`.
    /// Source: the LTS code of 2022.
    ///
    /// # Errors
    /// As [`signed`](Self::signed).
    ///
    /// ```
    /// use rebit::ops::fake_quant::FakeQuant;
    /// let f = FakeQuant::unsigned(2.0, 2)?;
    /// assert_eq!([-1.0, 0.6, 1.0, 9.0].map(|x| f.quantise(x)), [0.0, 0.25, 0.5, 0.75]);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn unsigned(scale: f32, bits: u32) -> Result<Self> {
        let share = unsigned_share(bits);
        Ok(FakeQuant {
            scale: share,
            ..Self::activation(Bounds::new(0.0, share * scale), bits)?
        })
    }

    /// One level step `Delta = 1/N`, in units of `n`.
    pub fn step(self) -> f32 {
        1.0 / self.levels as f32
    }

    /// Where `x` lies between the bounds: 0 at the lower, 1 at the upper, not clamped.
    #[inline(always)]
    pub fn normalise(self, x: f32) -> f32 {
        (x - self.lower) / (self.upper - self.lower)
    }

    /// The level nearest to a normalised value, as a fraction `q` of the highest.
    #[inline(always)]
    pub fn round(self, n: f32) -> f32 {
        let top = self.levels as f32;
        (top * n.clamp(0.0, 1.0)).round_ties_even() / top
    }

    /// The level of one value, a whole number in `0..=levels`.
    #[inline(always)]
    pub fn level(self, x: f32) -> f32 {
        (self.levels as f32 * self.normalise(x).clamp(0.0, 1.0)).round_ties_even()
    }

    /// `y` of one value.
    #[inline(always)]
    pub fn quantise(self, x: f32) -> f32 {
        self.scale * self.round(self.normalise(x)) + self.offset
    }

    /// Fails with both values named unless the bounds can be used.
    ///
    /// # Errors
    /// As [`Bounds::check`]; [`Error::Invalid`] without levels.
    pub fn check(self) -> Result<()> {
        if self.levels == 0 {
            return Err(Error::invalid(
                "quantiser with highest level 0",
                "it needs at least two levels (1 bit)",
            ));
        }
        Bounds::new(self.lower, self.upper).check().map(drop)
    }
}

/// `u / scale` of [`FakeQuant::signed`].
pub(crate) fn signed_share(bits: u32) -> f32 {
    match bits {
        1 => 1.0,
        _ => 1.0 - 2f32.powi(1 - bits as i32),
    }
}

/// `u / scale` of [`FakeQuant::unsigned`], which is also the factor of its results.
pub(crate) fn unsigned_share(bits: u32) -> f32 {
    1.0 - 2f32.powi(-(bits as i32))
}

/// Gradient of the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoundGrad {
    /// `dL/dl`.
    pub lower: f32,
    /// `dL/du`.
    pub upper: f32,
}

/// Elementwise kernels; the layout of a buffer does not matter.
pub trait FakeQuantKernel: Storage<f32> {
    /// `y = scale q(x) + offset`.
    ///
    /// # Errors
    /// As [`FakeQuant::check`]; [`Error::Shape`] for buffers of different lengths.
    fn fake_quant_forward(&self, x: &Self::Vec, f: FakeQuant, y: &mut Self::Vec) -> Result<()>;

    /// `dx = dy * dy/dx`, added to `dx` with `accumulate`; returns the gradients of the bounds.
    ///
    /// `scale` and `offset` count as constants, also in [`FakeQuant::dequantising`].
    ///
    /// # Errors
    /// As [`fake_quant_forward`](Self::fake_quant_forward).
    fn fake_quant_grad(
        &self,
        x: &Self::Vec,
        f: FakeQuant,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<BoundGrad>;
}
