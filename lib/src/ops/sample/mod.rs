//! Boxes cut out of images and brought to one size by bilinear reading, with gradients to the image and to the boxes.
//!
//! Places are continuous: pixel `m` covers `[m, m + 1)` and has its centre at `m + 1/2`. A box `(x1, y1, x2, y2)` read
//! as `H x W` pixels gives, in row `i` and column `j`,
//!
//! ```text
//! xs_j = x1 + (x2 - x1) (j + 1/2) / W          ys_i = y1 + (y2 - y1) (i + 1/2) / H
//! V[c, i, j] = sum over m, n of U[c, m, n] max(0, 1 - |ys_i - m - 1/2|) max(0, 1 - |xs_j - n - 1/2|)
//! ```
//!
//! the cells of the output being read at their centres. What lies beyond depends on the [`Border`]. A box whose sides
//! are exchanged (`x1 > x2`) is read mirrored; one that is as large as the output and lies on whole pixels is copied.
//!
//! Gradients, with `g = dL/dV`: that of the image has the same weights the other way round;
//!
//! ```text
//! dV/dxs = sum over m of the row's weight times (U[c, m, n + 1] - U[c, m, n]),  n = floor(xs - 1/2)
//! dL/dx1 = sum of g dV/dxs (1 - t_j)     dL/dx2 = sum of g dV/dxs t_j      t_j = (j + 1/2) / W, rows alike
//! ```
//!
//! At the centre of a pixel, where the slope has a step, it is the one to the right. A reading outside the image sends
//! nothing. A box with a coordinate that is not finite gives NaN.
//!
//! Source: Han et al., "Re-ID Driven Localization Refinement for Person Search", arXiv:1909.08580, the ROI transform
//! layer; the sub-gradients are those of Jaderberg et al., "Spatial Transformer Networks", arXiv:1506.02025, equations 5
//! to 7. IntraQ's crop and resize ([arXiv:2111.09136](https://arxiv.org/abs/2111.09136)) is `Border::Clamp`.

use dfdx::prelude::{HasShape, Merge, PutTape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::{checked_product, expect_len};
use crate::ops::tape::{
    BackwardOp, Recorder, Scratch, add_gradient, add_images_gradient, backward_of, channels_last,
    load, load_images, scratch, store, store_images, zeros,
};
use crate::tensors::{Buffer, Images, Matrix, Shape4, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod place;
mod planes;
#[cfg(test)]
mod tests;

/// What a reading beyond the outermost pixel centres gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Border {
    /// Zeros lie around the image.
    #[default]
    Zero,
    /// The outermost pixels of the box (and of the image) are repeated: cutting out first, then resizing.
    Clamp,
    /// The outermost pixels of the image are repeated for half a pixel around it, then there are zeros: ROI-Align.
    Edge,
}

/// Sizes of a sampling; image buffers are `(batch, height, width, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShape {
    /// Images.
    pub batch: usize,
    /// Height and width of the images.
    pub image: (usize, usize),
    /// Channels.
    pub channels: usize,
    /// Number of boxes, and so of results.
    pub boxes: usize,
    /// Height and width of the results.
    pub out: (usize, usize),
    /// What lies beyond.
    pub border: Border,
}

impl SampleShape {
    fn in_len(self) -> usize {
        self.batch * self.image.0 * self.image.1 * self.channels
    }

    fn out_len(self) -> usize {
        self.boxes * self.out.0 * self.out.1 * self.channels
    }

    /// # Errors
    /// [`Error::Invalid`] for an image or a result without pixels, [`Error::Shape`] for more than memory holds.
    pub fn check(self) -> Result<()> {
        let ((h, w), (oh, ow)) = (self.image, self.out);
        if [h, w, oh, ow].contains(&0) {
            return Err(Error::invalid(
                format!("sample of {oh}x{ow} pixels from {h}x{w}"),
                "height and width must be at least 1",
            ));
        }
        checked_product("sample", &[self.batch, h, w, self.channels])?;
        checked_product("sample", &[self.boxes, oh, ow, self.channels])?;
        Ok(())
    }
}

/// Boxes and the images that they are read from.
#[derive(Debug)]
pub struct Boxes<'a, V> {
    /// `(x1, y1, x2, y2)` of each box, in pixels.
    pub corners: &'a V,
    /// The image of each box, below the number of images.
    pub images: &'a [u32],
}

impl<V> Boxes<'_, V> {
    /// Refuses boxes that do not fit the shape; `corners` is the length of that buffer.
    fn check(&self, s: SampleShape, corners: usize) -> Result<()> {
        s.check()?;
        expect_len("sample", "boxes", 4 * s.boxes, corners)?;
        expect_len("sample", "images", s.boxes, self.images.len())?;
        match self.images.iter().position(|&i| i as usize >= s.batch) {
            Some(k) => Err(Error::invalid(
                format!("image {} of box {k}", self.images[k]),
                format!("images lie in 0..{}", s.batch),
            )),
            None => Ok(()),
        }
    }
}

/// Kernels on channels-last buffers. Errors are those of [`SampleShape::check`], [`Error::Shape`] for a buffer of another
/// length and [`Error::Invalid`] for a box of an image that is not there.
pub trait SampleKernel: Storage<f32> {
    /// `y[k]` is box `k` of `x`.
    ///
    /// # Errors
    /// See the trait.
    fn sample(
        &self,
        s: SampleShape,
        x: &Self::Vec,
        boxes: Boxes<Self::Vec>,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// Gradient of the images; with `accumulate` it is added to `dx`.
    ///
    /// # Errors
    /// See the trait.
    fn sample_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<Self::Vec>,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;

    /// Gradient of the corners (overwritten), in their order.
    ///
    /// # Errors
    /// See the trait.
    fn sample_grad_boxes(
        &self,
        s: SampleShape,
        x: &Self::Vec,
        boxes: Boxes<Self::Vec>,
        dy: &Self::Vec,
        dcorners: &mut Self::Vec,
    ) -> Result<()>;

    /// [`sample`](Self::sample) of buffers in the order of tensors, `(batch, channels, height, width)`, to the same bits:
    /// for few channels, which are not worth a change of order.
    ///
    /// # Errors
    /// See the trait.
    fn sample_planes(
        &self,
        s: SampleShape,
        x: &Self::Vec,
        boxes: Boxes<Self::Vec>,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// [`sample_grad_images`](Self::sample_grad_images) in the order of tensors, added to `dx`.
    ///
    /// # Errors
    /// See the trait.
    fn sample_planes_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<Self::Vec>,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
    ) -> Result<()>;

    /// [`sample_grad_boxes`](Self::sample_grad_boxes) in the order of tensors, to the same bits.
    ///
    /// # Errors
    /// See the trait.
    fn sample_planes_grad_boxes(
        &self,
        s: SampleShape,
        x: &Self::Vec,
        boxes: Boxes<Self::Vec>,
        dy: &Self::Vec,
        dcorners: &mut Self::Vec,
    ) -> Result<()>;
}

/// Up to so many channels images are read as tensors have them; more fill a register pixel by pixel.
const FEW_CHANNELS: usize = 4;

/// How boxes are read: from which images, into how many pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The image of each box.
    pub images: Vec<u32>,
    /// Height and width of the results.
    pub out: (usize, usize),
    /// What lies beyond.
    pub border: Border,
    /// The images are data: they get no gradient, not even one of 0, which is nearly half of the work of a backward pass.
    /// A tape cannot tell data from what is trained.
    pub constant_images: bool,
}

/// `boxes` (K, 4), rows `(x1, y1, x2, y2)` in pixels, cut out of `(N, C, H, W)` images: `(K, C, height, width)`; see the
/// [module](self) for formula and gradients.
///
/// ```
/// use rebit::ops::sample::{Border, Sampling, sample};
/// use rebit::prelude::*;
/// let x: Images = from_vec((0..9).map(|v| v as f32).collect(), (1, 1, 3, 3))?;
/// let boxes: Matrix = from_vec(vec![1.0, 0.0, 3.0, 2.0, 3.0, 0.0, 1.0, 2.0], (2, 4))?;
/// let how = Sampling { images: vec![0, 0], out: (2, 2), border: Border::Clamp, constant_images: false };
/// // The upper right corner, and the same mirrored.
/// assert_eq!(read(&sample(x, boxes, how)), [1.0, 2.0, 4.0, 5.0, 2.0, 1.0, 5.0, 4.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_sample`] fails.
#[track_caller]
pub fn sample<T, R>(x: Images<T>, boxes: Matrix<R>, how: Sampling) -> Images<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_sample(x, boxes, how))
}

/// See [`sample`].
///
/// # Errors
/// [`Error::Shape`] unless boxes have four coordinates and an image each, as [`SampleKernel`].
pub fn try_sample<T, R>(x: Images<T>, boxes: Matrix<R>, how: Sampling) -> Result<Images<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let (x, tape) = T::split_images(x)?;
    let (boxes, boxes_tape) = R::split_matrix(boxes)?;
    let (y, backward) = record(x, boxes, how)?;
    Ok(y.put_tape(tape.merge(boxes_tape).record(backward)))
}

fn record(x: Images, boxes: Matrix, how: Sampling) -> Result<(Images, BackwardOp)> {
    let ((batch, channels, h, w), (count, four)) = (*x.shape(), *boxes.shape());
    if four != 4 || how.images.len() != count {
        return Err(Error::shape(
            "sample",
            format!("boxes ({}, 4), one for each named image", how.images.len()),
            format!("boxes ({count}, {four})"),
        ));
    }
    let s = SampleShape {
        batch,
        image: (h, w),
        channels,
        boxes: count,
        out: how.out,
        border: how.border,
    };
    s.check()?;
    let call = Call {
        s,
        x,
        corners: load(&boxes)?,
        boxes,
        images: how.images,
        constant_images: how.constant_images,
    };
    match channels <= FEW_CHANNELS {
        true => call.planes(),
        false => call.pixels(),
    }
}

/// A sampling with what its backward pass needs.
struct Call {
    s: SampleShape,
    x: Images,
    boxes: Matrix,
    corners: Scratch,
    images: Vec<u32>,
    constant_images: bool,
}

impl Call {
    fn of(&self) -> Boxes<'_, Buffer> {
        Boxes {
            corners: &self.corners,
            images: &self.images,
        }
    }

    fn shape(&self) -> Shape4 {
        (self.s.boxes, self.s.channels, self.s.out.0, self.s.out.1)
    }

    /// In the order of tensors: nothing is turned.
    fn planes(self) -> Result<(Images, BackwardOp)> {
        let values = load(&self.x)?;
        let mut y = zeros(self.s.out_len())?;
        dev().sample_planes(self.s, &values, self.of(), &mut y)?;
        let y = store(y, self.shape())?;
        let backward = backward_of(&y, move |grads, dy| {
            if !self.constant_images {
                let dx = grads.get_or_alloc_mut(&self.x)?;
                dev().sample_planes_grad_images(self.s, self.of(), dy, dx)?;
            }
            let mut dcorners = zeros(4 * self.s.boxes)?;
            dev().sample_planes_grad_boxes(self.s, &values, self.of(), dy, &mut dcorners)?;
            add_gradient(grads, &self.boxes, &dcorners)
        });
        Ok((y, backward))
    }

    /// On channels-last copies.
    fn pixels(self) -> Result<(Images, BackwardOp)> {
        let values = load_images(&self.x)?;
        let mut y = scratch(self.s.out_len())?;
        dev().sample(self.s, &values, self.of(), &mut y)?;
        let y = store_images(&y, self.shape())?;
        let backward = backward_of(&y, move |grads, dy| {
            let dy = channels_last(self.shape(), dy)?;
            if !self.constant_images {
                let mut dx = scratch(self.s.in_len())?;
                dev().sample_grad_images(self.s, self.of(), &dy, &mut dx, false)?;
                add_images_gradient(grads, &self.x, &dx)?;
            }
            let mut dcorners = zeros(4 * self.s.boxes)?;
            dev().sample_grad_boxes(self.s, &values, self.of(), &dy, &mut dcorners)?;
            add_gradient(grads, &self.boxes, &dcorners)
        });
        Ok((y, backward))
    }
}
