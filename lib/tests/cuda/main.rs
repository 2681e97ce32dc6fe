//! Every op on the GPU against the CPU, over its kernel face.
//!
//! With the feature `_emu` the kernels run under the emulator, in several orders of their threads; with `cuda` alone
//! they run on the GPU of this machine. Where both sides do the same operations in the same order, bits must agree
//! ([`Agree::Bits`]); sums are made in different orders, so they agree to a tolerance.

mod conv;
mod elementwise;
mod extents;
mod lts;
mod maps;
mod norm;
mod parts;
mod support;
mod training;
