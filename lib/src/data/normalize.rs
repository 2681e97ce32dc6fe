//! What a byte of an image becomes in a batch.

use crate::error::{Error, Result};

/// Per-channel normalisation `(byte / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalize {
    /// Subtracted, in units of `[0, 1]`; a grey image uses the first.
    pub mean: [f32; 3],
    /// Divided by, in units of `[0, 1]`.
    pub std: [f32; 3],
}

impl Normalize {
    /// CIFAR-10 (the constants of the LTS paper's code).
    pub const CIFAR10: Normalize = Normalize {
        mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0],
        std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0],
    };
    /// ImageNet, the constants of torchvision's networks.
    pub const IMAGENET: Normalize = Normalize {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    /// Fashion-MNIST, measured on its training images.
    pub const FASHION_MNIST: Normalize = Normalize {
        mean: [0.2860; 3],
        std: [0.3530; 3],
    };
    /// No shift, no scale: values in `[0, 1]`.
    pub const UNIT: Normalize = Normalize {
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// Refuses a mean that is no number and a deviation that cannot be divided by, of the first `channels`, at most 3.
    pub(super) fn check(&self, channels: usize) -> Result<()> {
        if let Some(mean) = self.mean[..channels].iter().find(|m| !m.is_finite()) {
            return Err(Error::invalid(
                "normalize",
                format!("a mean of {mean}; give a finite one"),
            ));
        }
        match self.std[..channels].iter().find(|s| !s.is_normal()) {
            Some(std) => Err(Error::invalid(
                "normalize",
                format!("a standard deviation of {std}; give a positive one"),
            )),
            None => Ok(()),
        }
    }

    /// What each byte becomes, per channel: 256 divisions instead of one per pixel.
    pub(super) fn table(&self, channels: usize) -> Result<Vec<[f32; 256]>> {
        if channels > 3 {
            return Err(Error::invalid(
                "normalize",
                format!("{channels} channels; there are constants for at most 3"),
            ));
        }
        self.check(channels)?;
        let row = |c: usize| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - self.mean[c]) / self.std[c])
        };
        Ok((0..channels).map(row).collect())
    }
}
