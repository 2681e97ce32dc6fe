//! Rows of a table, chosen by class indices: what makes numbers of a class that a network can be given and trains.
//!
//! For indices `i` of `P` pixels (or samples) and a table of `R` rows x `C` channels:
//!
//! ```text
//! y[p, c] = table[i[p], c]
//! dtable[r, c] = sum of dy[p, c] over the pixels p with i[p] = r
//! ```
//!
//! The sum goes over the pixels in their order, so that its bits depend neither on threads nor on the device. Indices are
//! whole numbers held as `f32`, as a network's inputs are; they have no gradient.

use dfdx::prelude::{HasShape, NoneTape, PutTape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::{checked_product, expect_len};
use crate::ops::tape::{BackwardOp, Recorder, backward_of, load, store, zeros};
use crate::tensors::{Matrix, Vector, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// Every whole number below is an `f32`; not all above are.
const MOST_ROWS: usize = 1 << f32::MANTISSA_DIGITS;

/// Sizes of a choice of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingShape {
    /// Indices, each of which chooses a row.
    pub pixels: usize,
    /// Rows of the table: classes.
    pub rows: usize,
    /// Numbers of a row.
    pub channels: usize,
}

impl EmbeddingShape {
    /// # Errors
    /// [`Error::Invalid`] for a table without a number and for one of more rows than `f32` can count (2^24),
    /// [`Error::Shape`] for more elements than memory holds.
    pub fn check(self) -> Result<()> {
        let (rows, channels) = (self.rows, self.channels);
        let refused = |why: String| Error::invalid(format!("a table of {rows} x {channels}"), why);
        if rows == 0 || channels == 0 {
            return Err(refused("has at least one row and one channel".into()));
        }
        if rows > MOST_ROWS {
            return Err(refused(format!(
                "has at most {MOST_ROWS} rows, as far as f32 counts without a gap"
            )));
        }
        checked_product("embedding", &[rows, channels])?;
        checked_product("embedding", &[self.pixels, channels]).map(drop)
    }

    /// [`check`](Self::check), and compares the lengths of the buffers: indices, table, a number for each pixel and channel.
    fn check_buffers(
        self,
        op: &'static str,
        indices: usize,
        (table_name, table): (&str, usize),
        (name, numbers): (&str, usize),
    ) -> Result<()> {
        self.check()?;
        expect_len(op, "indices", self.pixels, indices)?;
        expect_len(op, table_name, self.rows * self.channels, table)?;
        expect_len(op, name, self.pixels * self.channels, numbers)
    }

    /// The row that an index names, if it names one.
    fn row(self, index: f32) -> Option<usize> {
        let named = index >= 0.0 && index.fract() == 0.0 && index < self.rows as f32;
        named.then_some(index as usize)
    }

    fn no_class(self, index: f32) -> Error {
        Error::invalid(
            format!("class index {index}"),
            format!("must be a whole number from 0 to {}", self.rows - 1),
        )
    }
}

/// Kernels on buffers in which a row's numbers are neighbours. Errors are those of [`EmbeddingShape::check`],
/// [`Error::Shape`] for a buffer of another length.
pub trait EmbeddingKernel: Storage<f32> {
    /// `y[p] = table[indices[p]]`. A GPU is waited for, since it finds out whether all indices are classes.
    ///
    /// # Errors
    /// See the trait; [`Error::Invalid`] that names the first index which is no whole number from 0 to `rows - 1`. What `y`
    /// holds then is not said.
    fn embedding(
        &self,
        s: EmbeddingShape,
        indices: &Self::Vec,
        table: &Self::Vec,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// Gradient of the table; with `accumulate` it is added to `dtable`. An index that is no class, which
    /// [`embedding`](Self::embedding) refuses, adds nothing.
    ///
    /// # Errors
    /// See the trait.
    fn embedding_grad(
        &self,
        s: EmbeddingShape,
        indices: &Self::Vec,
        dy: &Self::Vec,
        dtable: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}

/// The rows of `table` (R, C) that `indices` (P) choose: (P, C); see the [module](self) for formula and gradient.
///
/// ```
/// use rebit::ops::embedding::embedding;
/// use rebit::prelude::*;
/// let table: Matrix = from_vec(vec![0.0, 1.0, 10.0, 11.0, 20.0, 21.0], (3, 2))?;
/// let y = embedding(&vector(&[2.0, 0.0, 2.0]), table.leaky_trace());
/// assert_eq!(read(&y), [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);
/// // Each number of a row gets the gradients of all who read it: twice 2 y, none, once 2 y.
/// let grads = y.square().sum::<(), _>().backward();
/// assert_eq!(read(&grads.get(&table)), [0.0, 2.0, 0.0, 0.0, 80.0, 84.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_embedding`] fails.
#[track_caller]
pub fn embedding<T: Recorder>(indices: &Vector, table: Matrix<T>) -> Matrix<T> {
    or_panic(try_embedding(indices, table))
}

/// See [`embedding`].
///
/// # Errors
/// [`Error::Invalid`] for an index that is no whole number from 0 to `R - 1` (it names the first), and as
/// [`EmbeddingShape::check`].
pub fn try_embedding<T: Recorder>(indices: &Vector, table: Matrix<T>) -> Result<Matrix<T>> {
    let (table, tape) = T::split_matrix(table)?;
    let (y, backward) = record(indices, table)?;
    Ok(y.put_tape(tape.record(backward)))
}

fn record(indices: &Vector, table: Matrix) -> Result<(Matrix, BackwardOp)> {
    let (rows, channels) = *table.shape();
    let s = EmbeddingShape {
        pixels: indices.shape().0,
        rows,
        channels,
    };
    s.check()?;
    let (indices, _) = NoneTape::split_vector(indices.clone())?;
    let indices = load(&indices)?;
    let mut y = zeros(s.pixels * channels)?;
    dev().embedding(s, &indices, &*load(&table)?, &mut y)?;
    let y = store(y, (s.pixels, channels))?;
    let backward = backward_of(&y, move |grads, dy| {
        let dtable = grads.get_or_alloc_mut(&table)?;
        dev().embedding_grad(s, &indices, dy, dtable, true)
    });
    Ok((y, backward))
}
