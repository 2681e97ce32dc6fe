//! Which instructions multiply the levels, and how they read them.
//!
//! A kernel takes 32 bits of a pixel at a time, a word: two inputs of 16 bits, or four of 8. It multiplies them with the
//! words of sixteen output channels and adds the products of each channel to its sum. So all kernels share one loop and one
//! order of weights for each kind of word.

mod dot;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::packed::Packed;
use super::store::Band;
use crate::ops::parallel::wide;

/// Output channels of a block: what one word is multiplied with at a time.
pub(super) const BLOCK: usize = 16;

/// What a word of inputs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Two whole numbers `q + z` of 16 bits, with weights of 16 bits.
    Pairs,
    /// Four levels `q - lowest` of 8 bits, with weights of 8 bits: what is missing of `q + z` follows from the sums of the
    /// weights, and of the levels under each window.
    Quads,
}

impl Words {
    /// Inputs of a word.
    pub fn inputs(self) -> usize {
        match self {
            Words::Pairs => 2,
            Words::Quads => 4,
        }
    }
}

/// Instructions for products of levels. All give the same sums, to the last bit.
///
/// | | an instruction |
/// |---|---|
/// | `Vnni` | 64 products of 8 bits and their sums (AVX-512 VNNI) |
/// | `Avx2` | 16 products of 16 bits, added in pairs |
/// | `Neon` | 4 products of 16 bits |
/// | `Plain` | what the compiler makes of a loop |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// x86-64 with AVX-512 F, BW and VNNI.
    Vnni,
    /// x86-64 with AVX2.
    Avx2,
    /// 64-bit Arm.
    Neon,
    /// Any processor.
    Plain,
}

impl Kernel {
    /// Those that this processor can run, the quickest first.
    ///
    /// ```
    /// use rebit::integer::Kernel;
    /// assert_eq!(Kernel::available().last(), Some(&Kernel::Plain));
    /// assert_eq!(Kernel::best(), Kernel::available()[0]);
    /// ```
    pub fn available() -> Vec<Kernel> {
        let all = [Kernel::Vnni, Kernel::Avx2, Kernel::Neon, Kernel::Plain];
        all.into_iter().filter(|k| k.is_available()).collect()
    }

    /// The quickest that this processor can run.
    pub fn best() -> Kernel {
        Kernel::available()[0]
    }

    /// Whether this processor can run it.
    pub fn is_available(self) -> bool {
        match self {
            Kernel::Plain => true,
            Kernel::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni => {
                // The second half runs what does not fit quads.
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx2")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Vnni => false,
        }
    }

    /// The words that it reads fastest.
    pub(super) fn words(self) -> Words {
        match self {
            Kernel::Vnni => Words::Quads,
            _ => Words::Pairs,
        }
    }

    /// Computes some rows of one group of channels and stores what is wanted of them.
    pub(super) fn run(self, packed: &Packed, group: usize, padded: &[u32], band: &mut Band) {
        assert!(
            self.is_available(),
            "{self:?} was chosen by whoever made the network"
        );
        if packed.depthwise {
            return wide(|| dot::depthwise(packed, padded, band));
        }
        match (self, packed.words) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX-512 F, BW and VNNI, asserted above.
            (Kernel::Vnni, Words::Quads) => unsafe { x86::vnni(packed, group, padded, band) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX2, asserted above.
            (Kernel::Vnni | Kernel::Avx2, Words::Pairs) => unsafe {
                x86::avx2(packed, group, padded, band)
            },
            #[cfg(target_arch = "aarch64")]
            (Kernel::Neon, Words::Pairs) => neon::neon(packed, group, padded, band),
            (_, Words::Pairs) => {
                dot::rows::<dot::Plain<dot::Pairs>, 4>(packed, group, padded, band)
            }
            (_, Words::Quads) => {
                dot::rows::<dot::Plain<dot::Quads>, 4>(packed, group, padded, band)
            }
        }
    }
}
