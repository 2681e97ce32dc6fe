//! Mean absolute error on the CPU.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::L1LossKernel;
use crate::error::{Error, Result};
use crate::ops::parallel::{CHUNK, expect_len};
use crate::tensors::CpuBuffer as Buffer;

impl L1LossKernel for Cpu {
    fn l1_loss(&self, x: &Buffer, target: &[f32], dx: &mut Buffer) -> Result<f32> {
        expect_len("l1_loss", "target", x.len(), target.len())?;
        expect_len("l1_loss", "dx", x.len(), dx.len())?;
        if x.is_empty() {
            return Err(Error::invalid("l1_loss", "has no mean over no elements"));
        }
        let share = 1.0 / x.len() as f32;
        let chunk = |((x, t), dx): ((&[f32], &[f32]), &mut [f32])| -> f64 {
            let mut sum = 0.0;
            for ((x, t), dx) in x.iter().zip(t).zip(dx) {
                let d = x - t;
                // `f32::signum` of 0 is 1.
                *dx = if d == 0.0 { 0.0 } else { share * d.signum() };
                sum += f64::from(d.abs());
            }
            sum
        };
        let sums: Vec<f64> = x
            .par_chunks(CHUNK)
            .zip(target.par_chunks(CHUNK))
            .zip(dx.par_chunks_mut(CHUNK))
            .map(chunk)
            .collect();
        Ok((sums.iter().sum::<f64>() / x.len() as f64) as f32)
    }
}
