//! SGD and Adam on the CPU, in dfdx's order of operations.

use dfdx::prelude::{AdamConfig, Cpu, SgdConfig};

use super::{Adam, Sgd, UpdateKernel, check_len};
use crate::error::Result;
use crate::ops::parallel::{update, update_all};
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
            update(grad, w, move |w, g| w - (g + r.decay * w) * r.lr);
            return Ok(());
        }
        check_len(w.len(), &[("velocity", velocity.len())])?;
        let nesterov = r.kind == 2;
        update_all(grad, [w, velocity], move |[w, v], g| {
            let g = g + r.decay * w;
            let v = g + r.momentum * v;
            let step = if nesterov { g + r.momentum * v } else { v };
            [w - step * r.lr, v]
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
        update_all(grad, [w, first, second], move |[w, m, v], g| {
            let m = m * r.beta1 + g * (1.0 - r.beta1);
            let v = v * r.beta2 + g * g * (1.0 - r.beta2);
            let (m_hat, v_hat) = (m * r.unbias1, v * r.unbias2);
            [w - r.lr * m_hat / (v_hat.sqrt() + r.eps), m, v]
        });
        Ok(())
    }
}
