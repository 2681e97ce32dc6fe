//! Tests of rebit from outside, in `tests/*.rs`, and what they need of the repository.

pub mod readme;
