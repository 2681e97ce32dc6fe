//! What belongs to one paper only; papers never use each other.

pub mod ddtb;
pub mod fdda;
pub mod intraq;
pub mod lts;
pub mod person_search;
pub mod reid_texture;
#[cfg(test)]
mod small_net;
