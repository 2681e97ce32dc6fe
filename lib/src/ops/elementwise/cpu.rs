//! Functions of each element on the CPU.

use dfdx::prelude::Cpu;

use super::{ElementwiseKernel, Function};
use crate::error::Result;
use crate::ops::parallel::{expect_len, map, map2, update2};
use crate::tensors::CpuBuffer as Buffer;

impl ElementwiseKernel for Cpu {
    fn function(&self, f: Function, x: &Buffer, y: &mut Buffer) -> Result<()> {
        f.check()?;
        expect_len("function", "y", x.len(), y.len())?;
        map(x, y, move |x| f.value(x));
        Ok(())
    }

    fn function_grad(
        &self,
        f: Function,
        y: &Buffer,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        f.check()?;
        expect_len("function_grad", "dy", y.len(), dy.len())?;
        expect_len("function_grad", "dx", y.len(), dx.len())?;
        if accumulate {
            update2(y, dy, dx, move |dx, y, dy| dx + dy * f.slope(y));
        } else {
            map2(y, dy, dx, move |y, dy| dy * f.slope(y));
        }
        Ok(())
    }

    fn product(&self, a: &Buffer, b: &Buffer, y: &mut Buffer, accumulate: bool) -> Result<()> {
        expect_len("product", "b", a.len(), b.len())?;
        expect_len("product", "y", a.len(), y.len())?;
        if accumulate {
            update2(a, b, y, |y, a, b| y + a * b);
        } else {
            map2(a, b, y, |a, b| a * b);
        }
        Ok(())
    }
}
