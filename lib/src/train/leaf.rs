//! Lone tensors that an optimiser may own: pixels, centres, temperatures.

use std::sync::{Arc, Mutex, MutexGuard};

use dfdx::prelude::HasShape;

use crate::ops::tape::zeros;
use crate::{Buffer, Error, Grads, HostAccess, Images, Matrix, Result, Vector, read};

/// A tensor that is optimised. Cloning gives a second handle to the same numbers.
///
/// ```
/// use rebit::prelude::*;
/// let pixels = Leaf::images(images(2, 3, 8, 8, &mut rng(0)));
/// assert_eq!(pixels.as_images()?.shape(), &(2, 3, 8, 8));
/// assert!(pixels.as_vector().is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Leaf {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    name: String,
    value: Value,
    numbers: Buffer,
}

/// The tensor that stands for the numbers on a tape.
#[derive(Clone)]
enum Value {
    Images(Images),
    Matrix(Matrix),
    Vector(Vector),
}

impl Leaf {
    /// Images.
    pub fn images(value: Images) -> Self {
        let numbers = read(&value);
        Leaf::of(Value::Images(value), numbers)
    }

    /// A matrix.
    pub fn matrix(value: Matrix) -> Self {
        let numbers = read(&value);
        Leaf::of(Value::Matrix(value), numbers)
    }

    /// A vector.
    pub fn vector(value: Vector) -> Self {
        let numbers = read(&value);
        Leaf::of(Value::Vector(value), numbers)
    }

    // dfdx's handle of a GPU stays in its thread, and so do tensors on it.
    #[cfg_attr(feature = "cuda", allow(clippy::arc_with_non_send_sync))]
    fn of(value: Value, numbers: Vec<f32>) -> Self {
        let numbers = crate::buffer(&numbers).unwrap_or_else(|e| panic!("{e}"));
        let inner = Inner {
            name: "leaf".into(),
            value,
            numbers,
        };
        Leaf {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// A name for messages and checkpoints.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.lock().name = name.into();
        self
    }

    /// The name.
    pub fn name(&self) -> String {
        self.lock().name.clone()
    }

    /// The tensor, if the leaf holds images.
    ///
    /// # Errors
    /// [`Error::Shape`] when it holds something else.
    pub fn as_images(&self) -> Result<Images> {
        match &self.lock().value {
            Value::Images(x) => Ok(x.clone()),
            other => Err(other.mismatch("images")),
        }
    }

    /// The tensor, if the leaf holds a matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] when it holds something else.
    pub fn as_matrix(&self) -> Result<Matrix> {
        match &self.lock().value {
            Value::Matrix(x) => Ok(x.clone()),
            other => Err(other.mismatch("a matrix")),
        }
    }

    /// The tensor, if the leaf holds a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] when it holds something else.
    pub fn as_vector(&self) -> Result<Vector> {
        match &self.lock().value {
            Value::Vector(x) => Ok(x.clone()),
            other => Err(other.mismatch("a vector")),
        }
    }

    /// The numbers in row-major order.
    pub fn to_vec(&self) -> Vec<f32> {
        let inner = self.lock();
        let view = inner.numbers.view();
        view.unwrap_or_else(|e| panic!("{e}")).into_owned()
    }

    /// Replaces the numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of them.
    pub fn set(&self, numbers: &[f32]) -> Result<()> {
        let mut inner = self.lock();
        inner.numbers.write(numbers)?;
        inner.refresh()
    }

    /// Lets `f` move the numbers by the gradient that a loss found for them.
    pub(super) fn update(
        &self,
        grads: &mut Grads,
        f: impl FnOnce(&mut Buffer, &Buffer) -> Result<()>,
    ) -> Result<()> {
        let mut inner = self.lock();
        let Inner { value, numbers, .. } = &mut *inner;
        let gradient = match value {
            Value::Images(x) => grads.get_or_alloc_mut(x)?,
            Value::Matrix(x) => grads.get_or_alloc_mut(x)?,
            Value::Vector(x) => grads.get_or_alloc_mut(x)?,
        };
        f(numbers, gradient)?;
        inner.refresh()
    }

    pub(super) fn is_same(&self, other: &Leaf) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(super) fn zeros_like(&self) -> Result<Buffer> {
        zeros(self.lock().numbers.elements())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Inner {
    /// Writes the numbers into the tensor, which keeps its identity on a tape.
    fn refresh(&mut self) -> Result<()> {
        let numbers = self.numbers.view()?;
        match &mut self.value {
            Value::Images(x) => x.copy_from(&numbers),
            Value::Matrix(x) => x.copy_from(&numbers),
            Value::Vector(x) => x.copy_from(&numbers),
        }
        Ok(())
    }
}

impl Value {
    fn mismatch(&self, wanted: &str) -> Error {
        let found = match self {
            Value::Images(x) => format!("images {:?}", x.shape()),
            Value::Matrix(x) => format!("a matrix {:?}", x.shape()),
            Value::Vector(x) => format!("a vector {:?}", x.shape()),
        };
        Error::shape("leaf", wanted, found)
    }
}
