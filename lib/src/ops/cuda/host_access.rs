//! A GPU's buffer as the host sees it.

use std::borrow::Cow;

use cudarc::driver::DeviceSlice;

use super::{CudaBuffer, copy_to, driver_error};
use crate::buffer::{HostAccess, expect};
use crate::error::Result;

impl HostAccess for CudaBuffer {
    fn elements(&self) -> usize {
        DeviceSlice::len(self)
    }

    fn view(&self) -> Result<Cow<'_, [f32]>> {
        if self.elements() == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let copy = self.device().dtoh_sync_copy(&**self);
        copy.map(Cow::Owned).map_err(driver_error)
    }

    fn write(&mut self, values: &[f32]) -> Result<()> {
        expect(self.elements(), values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        copy_to(&self.device(), values, &mut **self)
    }

    fn copy_from(&mut self, other: &Self) -> Result<()> {
        expect(self.elements(), other.elements())?;
        if other.elements() == 0 {
            return Ok(());
        }
        let copy = self.device().dtod_copy(&**other, &mut **self);
        copy.map_err(driver_error)
    }

    fn edit<R>(&mut self, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        let mut values = self.view()?.into_owned();
        let result = f(&mut values);
        self.write(&values)?;
        Ok(result)
    }
}
