//! The masked gradient on the GPU: tiles without a free entry are skipped, and few free entries are computed one by one.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{FreezeMask, MaskedGradKernel};
use crate::error::Result;
use crate::ops::conv2d::cpu::check_len;
use crate::ops::conv2d::cuda::{Conv, Quantiser, grad_bias, grad_weight};
use crate::ops::conv2d::{ConvInput, ConvShape};
use crate::ops::cuda::{CudaBuffer, Module, blocks, clear, upload};

const MODULE: Module = Module {
    name: "rebit_masked_grad",
    ptx: include_str!("masked_grad.ptx"),
    kernels: &["rebit_masked_grad"],
};

/// Share of free entries up to which they are computed one by one. A tile shares each operand among 16 or 64 products,
/// a single entry shares nothing; nobody has measured on a GPU where the two meet.
const SAMPLED_SHARE: f64 = 1.0 / 64.0;

impl MaskedGradKernel for Cuda {
    fn conv2d_grad_weight_masked(
        &self,
        s: &ConvShape,
        input: ConvInput<CudaBuffer>,
        dy: &CudaBuffer,
        frozen: &FreezeMask,
        dw: &mut CudaBuffer,
        dbias: Option<&mut CudaBuffer>,
    ) -> Result<()> {
        let (conv, ConvInput { x, quant }) = (Conv::new(s)?, input);
        check_len("masked gradient: freeze mask", s.weight_len(), frozen.len())?;
        check_len("masked gradient: input", s.input_len(), x.len())?;
        check_len("masked gradient: output gradient", s.output_len(), dy.len())?;
        check_len("masked gradient: weight gradient", s.weight_len(), dw.len())?;
        if frozen.free() as f64 > SAMPLED_SHARE * frozen.len() as f64 {
            let mask = (frozen.frozen() > 0).then_some(frozen);
            grad_weight(s, input, dy, mask, dw)?;
        } else {
            clear(dw)?;
            let mut entries = Vec::with_capacity(frozen.free());
            frozen.for_each_free(|k| entries.push(k as u32));
            if !entries.is_empty() {
                let device = x.device();
                let list = upload(&device, &entries)?;
                let grid = blocks((entries.len(), 1, 1), (128, 1));
                let arguments = (conv, Quantiser::from(quant), x, dy, &list, dw);
                // SAFETY: the kernel's arguments; the lengths were checked, and the list names entries of `dw`.
                unsafe { MODULE.launch(&device, "rebit_masked_grad", grid, arguments)? };
            }
        }
        dbias.map_or(Ok(()), |db| grad_bias(s, dy, db))
    }
}
