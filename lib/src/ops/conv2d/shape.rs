//! The geometry of a convolution, checked.

use crate::error::{Error, Result};
use crate::ops::parallel::checked_product;

/// Most numbers that a thread's copy of a band of an image may have: 4 GiB.
const MOST_COPIED: usize = 1 << 30;

/// Geometry of one convolution; activations NHWC, weights OIHW `(out, in/groups, kh, kw)` as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Samples.
    pub batch: usize,
    /// Height of the input.
    pub in_h: usize,
    /// Width of the input.
    pub in_w: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// Step between neighbouring outputs, in input pixels.
    pub stride: usize,
    /// Zero pixels added on each side.
    pub padding: usize,
    /// Distance between neighbouring kernel elements, in input pixels.
    pub dilation: usize,
    /// Groups of channels that do not see each other; `in_channels` of them make a depthwise convolution.
    pub groups: usize,
}

impl ConvShape {
    /// A dense convolution of `channels` (in, out) over `batch` square images of `size` pixels a side, with a square
    /// kernel padded by half of it: at stride 1 an odd kernel keeps the size.
    ///
    /// ```
    /// use rebit::ops::conv2d::ConvShape;
    /// let s = ConvShape::square(8, 32, (3, 16), 3, 2);
    /// assert_eq!((s.out_h(), s.out_w()), (16, 16));
    /// assert!(ConvShape { groups: 3, ..s }.check().is_err()); // 16 channels in 3 groups
    /// ```
    pub const fn square(
        batch: usize,
        size: usize,
        channels: (usize, usize),
        kernel: usize,
        stride: usize,
    ) -> Self {
        ConvShape {
            batch,
            in_h: size,
            in_w: size,
            in_channels: channels.0,
            out_channels: channels.1,
            kernel: (kernel, kernel),
            stride,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
        }
    }

    /// A linear layer over `rows` samples: `y (rows, out) = x (rows, in) w^T (in, out)`.
    ///
    /// A convolution with a 1x1 kernel and stride 1 is computed over the flat list of pixels whatever its height
    /// and width are, so how the rows are folded into an image makes no difference in speed.
    pub fn linear(rows: usize, inputs: usize, outputs: usize) -> Self {
        ConvShape {
            batch: rows,
            in_h: 1,
            in_w: 1,
            in_channels: inputs,
            out_channels: outputs,
            kernel: (1, 1),
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }
    }

    /// Whether the numbers describe a convolution.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a zero size, stride, dilation or group count, for channels that the groups do not divide
    /// and for padding that no memory holds; [`Error::Shape`] for a kernel larger than the padded image and for sizes
    /// that cannot be counted.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("batch", self.batch),
            ("in_h", self.in_h),
            ("in_w", self.in_w),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("kernel height", self.kernel.0),
            ("kernel width", self.kernel.1),
            ("stride", self.stride),
            ("dilation", self.dilation),
            ("groups", self.groups),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(Error::invalid(
                    format!("conv2d {name}"),
                    "is 0, but must be at least 1",
                ));
            }
        }
        for (name, channels) in [("in", self.in_channels), ("out", self.out_channels)] {
            if channels % self.groups != 0 {
                return Err(Error::invalid(
                    format!("conv2d groups = {}", self.groups),
                    format!("does not divide {name}_channels = {channels}"),
                ));
            }
        }
        let (Some((eh, ew)), Some((ph, pw))) = (self.kernel_extent(), self.padded()) else {
            return Err(Error::invalid(
                format!(
                    "conv2d padding = {}, dilation = {}, kernel = {:?} of a {}x{} image",
                    self.padding, self.dilation, self.kernel, self.in_h, self.in_w
                ),
                "is more than can be counted",
            ));
        };
        if eh > ph || ew > pw {
            return Err(Error::shape(
                "conv2d",
                format!("a padded image of at least {eh}x{ew} (the dilated kernel)"),
                format!("{ph}x{pw}"),
            ));
        }
        let ConvShape {
            batch,
            in_channels,
            out_channels,
            ..
        } = *self;
        checked_product("conv2d input", &[batch, self.in_h, self.in_w, in_channels])?;
        let (oh, ow) = (self.out_h(), self.out_w());
        checked_product("conv2d output", &[batch, oh, ow, out_channels])?;
        let per_group = in_channels / self.groups;
        let (kh, kw) = self.kernel;
        checked_product("conv2d weight", &[out_channels, per_group, kh, kw])?;
        // What a thread copies of an image: the rows under some rows of the output, in blocks of 16 channels.
        let stride = self.stride_used();
        let rows = ph.min(eh.saturating_add(3 * stride));
        let channels = [in_channels, out_channels]
            .map(|c| {
                (c / self.groups)
                    .next_multiple_of(16)
                    .saturating_mul(self.groups)
            })
            .into_iter()
            .max();
        let copy = checked_product("conv2d", &[rows, pw, channels.unwrap_or(1)]);
        if self.padding > 0 && !copy.is_ok_and(|floats| floats <= MOST_COPIED) {
            return Err(Error::invalid(
                format!(
                    "conv2d padding = {}, dilation = {}",
                    self.padding, self.dilation
                ),
                format!("a padded image of {ph}x{pw} is too large to be copied into the cache"),
            ));
        }
        Ok(())
    }

    /// Rows and columns that the dilated kernel covers.
    fn kernel_extent(&self) -> Option<(usize, usize)> {
        let extent = |k: usize| {
            k.saturating_sub(1)
                .checked_mul(self.dilation)?
                .checked_add(1)
        };
        Some((extent(self.kernel.0)?, extent(self.kernel.1)?))
    }

    /// Height and width of the padded image.
    fn padded(&self) -> Option<(usize, usize)> {
        let both = self.padding.checked_mul(2)?;
        Some((self.in_h.checked_add(both)?, self.in_w.checked_add(both)?))
    }

    /// How often a kernel fits behind the first place, in pixels; 0 for numbers that [`check`](Self::check) refuses.
    fn room(&self) -> (usize, usize) {
        let (Some(extent), Some(padded)) = (self.kernel_extent(), self.padded()) else {
            return (0, 0);
        };
        (
            padded.0.saturating_sub(extent.0),
            padded.1.saturating_sub(extent.1),
        )
    }

    /// A stride beyond the image is one that just leaves it: kernels lay out memory by the stride.
    fn stride_used(&self) -> usize {
        let (down, right) = self.room();
        self.stride.min(down.max(right) + 1)
    }

    /// The same convolution with [`stride_used`](Self::stride_used).
    pub(crate) fn with_stride_used(&self) -> Self {
        ConvShape {
            stride: self.stride_used(),
            ..*self
        }
    }

    /// Height of the output.
    pub fn out_h(&self) -> usize {
        self.room().0 / self.stride.max(1) + 1
    }

    /// Width of the output.
    pub fn out_w(&self) -> usize {
        self.room().1 / self.stride.max(1) + 1
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_channels
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h() * self.out_w() * self.out_channels
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.out_channels * (self.in_channels / self.groups) * self.kernel.0 * self.kernel.1
    }

    /// Multiply-accumulate operations of one forward pass, counting the products with padding.
    pub fn macs(&self) -> usize {
        self.batch * self.out_h() * self.out_w() * self.weight_len()
    }
}
