//! What can go wrong, said so that the reader of a cell knows what to do next.

use std::path::PathBuf;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes that do not fit together.
    #[error("{op}: expected {expected}, found {found}")]
    Shape {
        /// The operation that was asked for.
        op: &'static str,
        /// What it needs, with numbers.
        expected: String,
        /// What it was given, with numbers.
        found: String,
    },
    /// A value outside the range in which the operation means something.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument or setting.
        what: String,
        /// Why it cannot be used, and what can.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read but does not hold what it should.
    #[error("{}: {why}. {remedy}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// The user asked to stop; every variable keeps its value.
    #[error("interrupted")]
    Interrupted,
    /// The device (memory, driver) refused.
    #[error("device: {0}")]
    Device(String),
}

impl Error {
    /// A shape error; `expected` and `found` are shown with `{:?}`-like text made by the caller.
    pub fn shape(op: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Error::Shape {
            op,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// A value error.
    pub fn invalid(what: impl ToString, why: impl ToString) -> Self {
        Error::Invalid {
            what: what.to_string(),
            why: why.to_string(),
        }
    }

    /// The same error, with the layer in which it came up.
    pub(crate) fn in_layer(self, layer: &str) -> Self {
        match self {
            Error::Invalid { what, why } => Error::invalid(format!("layer {layer}: {what}"), why),
            Error::Shape {
                op,
                expected,
                found,
            } => Error::shape(op, format!("{layer}: {expected}"), found),
            other => other,
        }
    }

    /// An input/output error that names its file.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io {
            path: path.into(),
            source,
        }
    }

    /// A file that does not hold what it should.
    pub fn data(path: impl Into<PathBuf>, why: impl ToString, remedy: impl ToString) -> Self {
        Error::Data {
            path: path.into(),
            why: why.to_string(),
            remedy: remedy.to_string(),
        }
    }
}

#[cfg(feature = "cuda")]
/// What the driver said, and what to do about it.
pub(crate) fn driver_error(error: cudarc::driver::DriverError) -> Error {
    let text = |found: std::result::Result<&std::ffi::CStr, cudarc::driver::DriverError>| {
        found.map_or_else(
            |_| format!("error {}", error.0 as u32),
            |text| text.to_string_lossy().into_owned(),
        )
    };
    let (name, said) = (text(error.error_name()), text(error.error_string()));
    let remedy = match name.as_str() {
        "CUDA_ERROR_OUT_OF_MEMORY" => {
            "; take smaller batches, or end other programs that use the GPU"
        }
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" => "; the driver must be 525 (CUDA 12.0) or newer",
        "CUDA_ERROR_NO_BINARY_FOR_GPU" | "CUDA_ERROR_INVALID_PTX" => {
            "; the kernels need compute capability 7.0 (Volta) or newer"
        }
        _ => "",
    };
    Error::Device(format!("CUDA: {name}: {said}{remedy}"))
}

#[cfg(feature = "cuda")]
impl From<dfdx::tensor::CudaError> for Error {
    fn from(e: dfdx::tensor::CudaError) -> Self {
        match e {
            dfdx::tensor::CudaError::Driver(e) => driver_error(e),
            dfdx::tensor::CudaError::Cpu(e) => e.into(),
            e => Error::Device(e.to_string()),
        }
    }
}

impl From<dfdx::tensor::CpuError> for Error {
    fn from(e: dfdx::tensor::CpuError) -> Self {
        match e {
            dfdx::tensor::CpuError::OutOfMemory => Error::Device(
                "not enough memory; take smaller batches or images, or let go of variables".into(),
            ),
            e => Error::Device(e.to_string()),
        }
    }
}
