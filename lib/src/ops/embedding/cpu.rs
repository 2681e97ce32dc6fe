//! Rows of a table on the CPU; copies and sums so small that a second thread would not pay.

use dfdx::prelude::Cpu;

use super::{EmbeddingKernel, EmbeddingShape};
use crate::error::Result;
use crate::tensors::CpuBuffer as Buffer;

impl EmbeddingKernel for Cpu {
    fn embedding(
        &self,
        s: EmbeddingShape,
        indices: &Buffer,
        table: &Buffer,
        y: &mut Buffer,
    ) -> Result<()> {
        let (of_table, of_y) = (("table", table.len()), ("y", y.len()));
        s.check_buffers("embedding", indices.len(), of_table, of_y)?;
        let c = s.channels;
        for (y, &index) in y.chunks_exact_mut(c).zip(indices.iter()) {
            let row = s.row(index).ok_or_else(|| s.no_class(index))?;
            y.copy_from_slice(&table[row * c..][..c]);
        }
        Ok(())
    }

    fn embedding_grad(
        &self,
        s: EmbeddingShape,
        indices: &Buffer,
        dy: &Buffer,
        dtable: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let (of_table, of_dy) = (("dtable", dtable.len()), ("dy", dy.len()));
        s.check_buffers("embedding_grad", indices.len(), of_table, of_dy)?;
        if !accumulate {
            dtable.fill(0.0);
        }
        let c = s.channels;
        for (dy, &index) in dy.chunks_exact(c).zip(indices.iter()) {
            if let Some(row) = s.row(index) {
                let into = dtable[row * c..][..c].iter_mut();
                into.zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
        }
        Ok(())
    }
}
