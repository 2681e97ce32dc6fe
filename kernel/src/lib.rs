//! The rebit kernel.
