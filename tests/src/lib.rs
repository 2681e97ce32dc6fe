//! Tests of rebit from outside; everything is in `tests/*.rs`.
