//! What is quantised to how many bits, and by which steps.

use super::adaround::AdaRoundConfig;
use crate::nn::{LayerInfo, Place};
use crate::quant::Range;
use crate::{Error, Result};

/// Bits of one layer's weights and of its input; `None` stays at full precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerBits {
    /// Of the weights.
    pub weights: Option<u32>,
    /// Of the input.
    pub inputs: Option<u32>,
}

impl LayerBits {
    /// The same for both.
    pub fn all(bits: u32) -> Self {
        LayerBits {
            weights: Some(bits),
            inputs: Some(bits),
        }
    }

    /// Full precision.
    pub const FLOAT: LayerBits = LayerBits {
        weights: None,
        inputs: None,
    };
}

/// How a bias makes up for the mean that quantising its layer moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// By the means that the calibration images give, layer after layer ([`super::correct_bias`]).
    Empirical,
    /// By what the batch norms say of each layer's input, without an image
    /// ([`super::correct_bias_analytically`]).
    Analytic,
}

/// The recipe of [`post_training`](super::post_training()). Presets: [`minmax`](Self::minmax), [`bits`](Self::bits) (the
/// default), [`adaround`](Self::adaround).
///
/// | | weights | inputs | then |
/// |---|---|---|---|
/// | `minmax` | smallest to largest, by output channel | smallest to largest | |
/// | `bits` | least squared error, by output channel | least squared error | |
/// | `adaround` | the same | the same | rounding learned |
///
/// Biases are corrected where it is asked for ([`per_tensor`](Self::per_tensor) does). With ranges by channel it may do
/// harm at few bits: levels of least squared error shrink a layer's output a little, mean and signal alike, which
/// rectifiers do not mind; the mean put back alone shifts what they let through.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ptq::LayerBits;
/// let config = PtqConfig::adaround(4).inputs(8).first_last(8).layer("layer1.0.conv1", LayerBits::all(8));
/// assert_eq!(config.weight_bits, Some(4));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PtqConfig {
    /// Bits of weights, 1 to 8.
    pub weight_bits: Option<u32>,
    /// Bits of inputs, 1 to 8.
    pub input_bits: Option<u32>,
    /// Bits of the first and the last layer, where they differ: weights and inputs.
    pub ends: Option<u32>,
    /// Bits of single layers, by name; they come before everything else.
    pub layers: Vec<(String, LayerBits)>,
    /// Whether each output channel of a weight has a range of its own.
    pub per_channel: bool,
    /// How a weight's range follows from it.
    pub weight_range: Range,
    /// How an input's range follows from the calibration images.
    pub input_range: Range,
    /// Whether batch norms are folded first.
    pub fold: bool,
    /// Whether ranges of neighbouring layers are evened out first: what per-tensor ranges need.
    pub equalise: bool,
    /// Whether biases are corrected.
    pub correction: Option<Correction>,
    /// Whether rounding is learned.
    pub rounding: Option<AdaRoundConfig>,
    /// Whether activations are quantised at the network's sites, behind every rectifier as in IntraQ and FDDA, and not
    /// before each layer.
    pub sites: bool,
    /// Whether the report says what each layer costs alone: it takes a pass over the images for each.
    pub sensitivity: bool,
    /// Calibration images that run at once.
    pub batch: usize,
}

impl Default for PtqConfig {
    /// 8 bits.
    fn default() -> Self {
        PtqConfig::bits(8)
    }
}

impl PtqConfig {
    /// Ranges from the smallest to the largest number, rounding to the nearest level, nothing else.
    pub fn minmax(bits: u32) -> Self {
        PtqConfig {
            weight_bits: Some(bits),
            input_bits: Some(bits),
            ends: None,
            layers: Vec::new(),
            per_channel: true,
            weight_range: Range::MinMax,
            input_range: Range::MinMax,
            fold: true,
            equalise: false,
            correction: None,
            rounding: None,
            sites: false,
            sensitivity: false,
            batch: 64,
        }
    }

    /// Ranges of least squared error: seconds, no training.
    pub fn bits(bits: u32) -> Self {
        PtqConfig {
            weight_range: Range::Mse,
            input_range: Range::Mse,
            ..PtqConfig::minmax(bits)
        }
    }

    /// [`bits`](Self::bits) with learned rounding: minutes.
    pub fn adaround(bits: u32) -> Self {
        PtqConfig {
            rounding: Some(AdaRoundConfig::default()),
            ..PtqConfig::bits(bits)
        }
    }

    /// Other bits everywhere, first and last layer included.
    pub fn all(mut self, bits: u32) -> Self {
        (self.weight_bits, self.input_bits, self.ends) = (Some(bits), Some(bits), None);
        self
    }

    /// Other bits of the weights.
    pub fn weights(mut self, bits: u32) -> Self {
        self.weight_bits = Some(bits);
        self
    }

    /// Other bits of the inputs.
    pub fn inputs(mut self, bits: u32) -> Self {
        self.input_bits = Some(bits);
        self
    }

    /// Inputs at full precision.
    pub fn weights_only(mut self) -> Self {
        self.input_bits = None;
        self
    }

    /// Other bits of the first and the last layer.
    pub fn first_last(mut self, bits: u32) -> Self {
        self.ends = Some(bits);
        self
    }

    /// Bits of one layer.
    pub fn layer(mut self, name: impl Into<String>, bits: LayerBits) -> Self {
        self.layers.push((name.into(), bits));
        self
    }

    /// The weights' bits of an [`Allocation`](super::Allocation).
    pub fn allocated(mut self, allocation: &super::Allocation) -> Self {
        for (name, bits) in &allocation.bits {
            let bits = LayerBits {
                weights: Some(*bits),
                inputs: self.input_bits,
            };
            self.layers.push((name.clone(), bits));
        }
        self
    }

    /// One range for each weight tensor, evened out between layers, and biases corrected.
    pub fn per_tensor(mut self) -> Self {
        (self.per_channel, self.equalise) = (false, true);
        self.corrected(Correction::Empirical)
    }

    /// With corrected biases.
    pub fn corrected(mut self, correction: Correction) -> Self {
        self.correction = Some(correction);
        self
    }

    /// With what each layer costs alone.
    pub fn with_sensitivity(mut self) -> Self {
        self.sensitivity = true;
        self
    }

    /// Bits of a layer: what was said of it by name last, of the ends, of all.
    pub fn bits_of(&self, layer: &LayerInfo) -> LayerBits {
        let named = self
            .layers
            .iter()
            .rev()
            .find(|(name, _)| *name == layer.name);
        if let Some((_, bits)) = named {
            return *bits;
        }
        match (self.ends, layer.place) {
            (Some(bits), Place::First | Place::Last) => LayerBits {
                weights: self.weight_bits.map(|_| bits),
                inputs: self.input_bits.map(|_| bits),
            },
            _ => LayerBits {
                weights: self.weight_bits,
                inputs: self.input_bits,
            },
        }
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bits outside 1 to 8, a layer that is not among `layers`, a batch of no image, a correction of
    /// biases that were not folded, and as [`Range::check`] and [`AdaRoundConfig::check`].
    pub fn check(&self, layers: &[LayerInfo]) -> Result<()> {
        let named = self.layers.iter().flat_map(|(_, b)| [b.weights, b.inputs]);
        let all = [self.weight_bits, self.input_bits, self.ends];
        for bits in all.into_iter().chain(named).flatten() {
            check_bits(bits)?;
        }
        for (name, _) in &self.layers {
            if !layers.iter().any(|l| l.name == *name) {
                let near: Vec<&str> = layers.iter().map(|l| l.name.as_str()).take(6).collect();
                return Err(Error::invalid(
                    format!("bits of layer {name:?}"),
                    format!(
                        "it is no convolution or linear layer of the network; there are {near:?}, ..."
                    ),
                ));
            }
        }
        if self.batch == 0 {
            return Err(Error::invalid("batch of 0 images", "take at least one"));
        }
        if !self.fold && self.correction.is_some() {
            return Err(Error::invalid(
                "bias correction without folding",
                "batch norms hold the biases: fold them, or take reestimate_norms afterwards",
            ));
        }
        self.weight_range.check()?;
        self.input_range.check()?;
        self.rounding.iter().try_for_each(AdaRoundConfig::check)
    }
}

/// Refuses what is not 1 to 8 bits.
pub(super) fn check_bits(bits: u32) -> Result<()> {
    match bits {
        1..=8 => Ok(()),
        _ => Err(Error::invalid(
            format!("{bits} bits"),
            "post-training quantisation takes 1 to 8, and LayerBits::FLOAT for full precision",
        )),
    }
}
