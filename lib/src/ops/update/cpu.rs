//! SGD and Adam on the CPU, in dfdx's order of operations.

use dfdx::prelude::{AdamConfig, Cpu, SgdConfig};

use super::{Adam, Sgd, UpdateKernel, check_len};
use crate::error::Result;
use crate::ops::parallel::wide;
use crate::tensors::CpuBuffer;

impl UpdateKernel for Cpu {
    fn sgd(
        &self,
        rule: &SgdConfig,
        w: &mut CpuBuffer,
        velocity: &mut CpuBuffer,
        grad: &CpuBuffer,
    ) -> Result<()> {
        let r = Sgd::new(rule)?;
        check_len(w.len(), &[("grad", grad.len())])?;
        if r.kind == 0 {
            wide(|| {
                for (w, g) in w.iter_mut().zip(grad.iter()) {
                    *w -= (g + r.decay * *w) * r.lr;
                }
            });
            return Ok(());
        }
        check_len(w.len(), &[("velocity", velocity.len())])?;
        let nesterov = r.kind == 2;
        wide(|| {
            for ((w, v), g) in w.iter_mut().zip(velocity.iter_mut()).zip(grad.iter()) {
                let g = g + r.decay * *w;
                *v = g + r.momentum * *v;
                let step = if nesterov { g + r.momentum * *v } else { *v };
                *w -= step * r.lr;
            }
        });
        Ok(())
    }

    fn adam(
        &self,
        rule: &AdamConfig,
        t: i32,
        w: &mut CpuBuffer,
        first: &mut CpuBuffer,
        second: &mut CpuBuffer,
        grad: &CpuBuffer,
    ) -> Result<()> {
        let r = Adam::new(rule, t)?;
        let lengths = [
            ("first", first.len()),
            ("second", second.len()),
            ("grad", grad.len()),
        ];
        check_len(w.len(), &lengths)?;
        let moments = first.iter_mut().zip(second.iter_mut());
        wide(|| {
            for ((w, g), (m, v)) in w.iter_mut().zip(grad.iter()).zip(moments) {
                *m = *m * r.beta1 + g * (1.0 - r.beta1);
                *v = *v * r.beta2 + g * g * (1.0 - r.beta2);
                let (m_hat, v_hat) = (*m * r.unbias1, *v * r.unbias2);
                *w -= r.lr * m_hat / (v_hat.sqrt() + r.eps);
            }
        });
        Ok(())
    }
}
