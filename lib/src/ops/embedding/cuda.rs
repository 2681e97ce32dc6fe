//! Rows of a table on the GPU: indices and rows stay there, and the place of the first wrong index comes back.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{EmbeddingKernel, EmbeddingShape};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, counts, download, each, upload};

const MODULE: Module = Module {
    name: "rebit_embedding",
    ptx: include_str!("embedding.ptx"),
    kernels: &["rebit_embedding", "rebit_embedding_grad"],
};

impl EmbeddingKernel for Cuda {
    fn embedding(
        &self,
        s: EmbeddingShape,
        indices: &CudaBuffer,
        table: &CudaBuffer,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        let (of_table, of_y) = (("table", table.len()), ("y", y.len()));
        s.check_buffers("embedding", indices.len(), of_table, of_y)?;
        let n = y.len();
        if n == 0 {
            return Ok(());
        }
        let [rows, channels] = counts("embedding", [s.rows, s.channels])?;
        let device = indices.device();
        let mut first_wrong = upload(&device, &[u64::MAX])?;
        let arguments = (n, rows, channels, indices, table, y, &mut first_wrong);
        // SAFETY: the kernel's arguments; the lengths were compared, and only rows that exist are read.
        unsafe { MODULE.launch(&device, "rebit_embedding", each(n), arguments)? };
        match download(&device, &first_wrong)?[0] {
            u64::MAX => Ok(()),
            pixel => {
                let pixel = pixel as usize;
                let index = download(&device, &indices.slice(pixel..pixel + 1))?;
                Err(s.no_class(index[0]))
            }
        }
    }

    fn embedding_grad(
        &self,
        s: EmbeddingShape,
        indices: &CudaBuffer,
        dy: &CudaBuffer,
        dtable: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let (of_table, of_dy) = (("dtable", dtable.len()), ("dy", dy.len()));
        s.check_buffers("embedding_grad", indices.len(), of_table, of_dy)?;
        let n = dtable.len();
        let [channels] = counts("embedding_grad", [s.channels])?;
        let arguments = (n, s.pixels, channels, indices, dy, dtable, accumulate);
        // SAFETY: the kernel's arguments; the lengths were compared.
        unsafe { MODULE.launch(&dy.device(), "rebit_embedding_grad", each(n), arguments) }
    }
}
