//! The words the library says to the kernel.
