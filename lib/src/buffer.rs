//! A device's buffer as the host sees it: read, written and changed by the same words on the CPU and on a GPU.
//!
//! On the CPU a buffer is looked at where it lies; on a GPU looking is a copy that waits for the kernels before it. So
//! the executor works on buffers through kernels and looks only where a number decides what happens next.

use std::borrow::Cow;

use dfdx::tensor::Storage;

use crate::error::{Error, Result};
use crate::tensors::{Buffer, Dev, try_dev};

/// What the host may do with a device's buffer.
///
/// ```
/// use rebit::HostAccess as _;
/// let mut x = rebit::buffer(&[1.0, 2.0])?;
/// x.edit(|x| x[0] = 5.0)?;
/// assert_eq!(*x.view()?, [5.0, 2.0]);
/// # Ok::<(), rebit::Error>(())
/// ```
pub trait HostAccess {
    /// Number of elements.
    fn elements(&self) -> usize;

    /// The numbers: borrowed on the CPU, copied from a GPU.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver refuses, or reports what an earlier kernel did.
    fn view(&self) -> Result<Cow<'_, [f32]>>;

    /// Replaces the numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] for another length; as [`view`](Self::view).
    fn write(&mut self, values: &[f32]) -> Result<()>;

    /// Replaces the numbers by those of another buffer, without a way over the host.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn copy_from(&mut self, other: &Self) -> Result<()>;

    /// Lets `f` change the numbers: in place on the CPU, in a copy that is written back on a GPU.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    fn edit<R>(&mut self, f: impl FnOnce(&mut [f32]) -> R) -> Result<R>;
}

/// A buffer of the device with these numbers.
///
/// # Errors
/// [`Error::Device`] when memory cannot be had.
pub fn buffer(values: &[f32]) -> Result<Buffer> {
    let mut buffer = <Dev as Storage<f32>>::try_alloc_len(&try_dev()?, values.len())?;
    buffer.write(values)?;
    Ok(buffer)
}

/// Shape error unless a buffer has as many numbers as are written.
pub(crate) fn expect(expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let expected = format!("{expected} elements");
    Err(Error::shape("buffer", expected, found))
}

#[cfg(not(feature = "cuda"))]
impl HostAccess for Buffer {
    fn elements(&self) -> usize {
        self.len()
    }

    fn view(&self) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Borrowed(self))
    }

    fn write(&mut self, values: &[f32]) -> Result<()> {
        expect(self.len(), values.len())?;
        self.copy_from_slice(values);
        Ok(())
    }

    fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.write(other)
    }

    fn edit<R>(&mut self, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        Ok(f(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen() -> Result<()> {
        let mut x = buffer(&[1.0, -2.0, 3.0])?;
        assert_eq!(x.elements(), 3);
        let sum = x.edit(|x| {
            x[1] = 2.0;
            x.iter().sum::<f32>()
        })?;
        assert_eq!(sum, 6.0);
        let mut y = buffer(&[0.0; 3])?;
        y.copy_from(&x)?;
        x.write(&[7.0; 3])?;
        assert_eq!(*y.view()?, [1.0, 2.0, 3.0]);
        assert_eq!(*x.view()?, [7.0; 3]);
        Ok(())
    }

    #[test]
    fn nothing_is_a_length_too() -> Result<()> {
        let mut x = buffer(&[])?;
        x.write(&[])?;
        assert_eq!(x.view()?.len(), 0);
        assert_eq!(x.edit(|x| x.len())?, 0);
        Ok(())
    }

    #[test]
    fn another_length_is_refused() {
        let mut x = buffer(&[1.0, 2.0]).unwrap();
        let error = x.write(&[1.0]).unwrap_err().to_string();
        assert_eq!(error, "buffer: expected 2 elements, found 1");
        assert!(x.copy_from(&buffer(&[1.0; 3]).unwrap()).is_err());
    }
}
