//! Sampling on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::planes::OnCopies;
use super::{Border, Boxes, SampleKernel, SampleShape};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, blocks, counts, each, upload};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_sample",
    ptx: include_str!("sample.ptx"),
    kernels: &[
        "rebit_sample",
        "rebit_sample_grad_images",
        "rebit_sample_grad_boxes",
    ],
};

/// `SampleShape` of sample.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    boxes: u32,
    out_h: u32,
    out_w: u32,
    border: u32,
}

// SAFETY: eight numbers in the order of the struct in sample.cu.
unsafe impl DeviceRepr for Shape {}

impl Shape {
    fn new(s: SampleShape) -> Result<Self> {
        let sides = [s.batch, s.image.0, s.image.1, s.channels, s.boxes];
        let [batch, height, width, channels, boxes] = counts("sample", sides)?;
        let [out_h, out_w] = counts("sample", [s.out.0, s.out.1])?;
        Ok(Shape {
            batch,
            height,
            width,
            channels,
            boxes,
            out_h,
            out_w,
            border: match s.border {
                Border::Zero => 0,
                Border::Clamp => 1,
                Border::Edge => 2,
            },
        })
    }
}

impl SampleKernel for Cuda {
    fn sample(
        &self,
        s: SampleShape,
        x: &CudaBuffer,
        boxes: Boxes<CudaBuffer>,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        boxes.check(s, boxes.corners.len())?;
        expect_len("sample", "x", s.in_len(), x.len())?;
        expect_len("sample", "y", s.out_len(), y.len())?;
        let n = y.len();
        if n == 0 {
            return Ok(());
        }
        let device = x.device();
        let images = upload(&device, boxes.images)?;
        let arguments = (n, Shape::new(s)?, x, boxes.corners, &images, y);
        // SAFETY: the kernel's arguments; the lengths were compared, and every box names an image that is there.
        unsafe { MODULE.launch(&device, "rebit_sample", each(n), arguments) }
    }

    fn sample_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<CudaBuffer>,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        boxes.check(s, boxes.corners.len())?;
        expect_len("sample_grad_images", "dy", s.out_len(), dy.len())?;
        expect_len("sample_grad_images", "dx", s.in_len(), dx.len())?;
        let n = dx.len();
        if n == 0 {
            return Ok(());
        }
        if s.boxes == 0 {
            return match accumulate {
                true => Ok(()),
                false => crate::ops::cuda::clear(dx),
            };
        }
        let device = dy.device();
        let images = upload(&device, boxes.images)?;
        let shape = Shape::new(s)?;
        let arguments = (n, shape, boxes.corners, &images, dy, dx, accumulate);
        // SAFETY: as in the forward.
        unsafe { MODULE.launch(&device, "rebit_sample_grad_images", each(n), arguments) }
    }

    fn sample_grad_boxes(
        &self,
        s: SampleShape,
        x: &CudaBuffer,
        boxes: Boxes<CudaBuffer>,
        dy: &CudaBuffer,
        dcorners: &mut CudaBuffer,
    ) -> Result<()> {
        boxes.check(s, boxes.corners.len())?;
        expect_len("sample_grad_boxes", "x", s.in_len(), x.len())?;
        expect_len("sample_grad_boxes", "dy", s.out_len(), dy.len())?;
        expect_len("sample_grad_boxes", "dcorners", 4 * s.boxes, dcorners.len())?;
        if s.boxes == 0 {
            return Ok(());
        }
        let device = x.device();
        let images = upload(&device, boxes.images)?;
        let arguments = (Shape::new(s)?, x, boxes.corners, &images, dy, dcorners);
        let grid = blocks((s.boxes.min(4096), 1, 1), (256, 1));
        // SAFETY: as in the forward; a block's threads are those of the kernel.
        unsafe { MODULE.launch(&device, "rebit_sample_grad_boxes", grid, arguments) }
    }

    fn sample_planes(
        &self,
        s: SampleShape,
        x: &CudaBuffer,
        boxes: Boxes<CudaBuffer>,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        OnCopies(self).sample(s, x, boxes, y)
    }

    fn sample_planes_grad_images(
        &self,
        s: SampleShape,
        boxes: Boxes<CudaBuffer>,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
    ) -> Result<()> {
        OnCopies(self).grad_images(s, boxes, dy, dx)
    }

    fn sample_planes_grad_boxes(
        &self,
        s: SampleShape,
        x: &CudaBuffer,
        boxes: Boxes<CudaBuffer>,
        dy: &CudaBuffer,
        dcorners: &mut CudaBuffer,
    ) -> Result<()> {
        OnCopies(self).grad_boxes(s, x, boxes, dy, dcorners)
    }
}
