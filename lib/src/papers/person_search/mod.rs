//! Re-ID driven localisation refinement for person search: a detector whose boxes learn from how well the people in them
//! are told apart.
//!
//! Person search is to find one person in whole scenes: to detect everybody, and to compare who is in each box with a
//! query. Trained alone, a detector learns the boxes that somebody drew. Here each box is cut out of the *image* by the
//! differentiable [ROI transform layer](crate::ops::roi_transform) and read by a separate re-ID network, so that the
//! identity loss has a gradient to the four coordinates, and through them to the detector ([`joint`]):
//!
//! ```text
//! L = L_det + lambda (L_id + L_tp)
//! ```
//!
//! with the detection loss, the cross entropy of the identities and, if wanted, the triplet loss against a table of
//! proxies. [`Routing`] says which loss reaches what, [`Turns`] who moves when. At test time a refined detector is an
//! ordinary detector; [`evaluate`] measures the search.
//!
//! Source: Han et al., "Re-ID Driven Localization Refinement for Person Search", ICCV 2019,
//! [arXiv:1909.08580](https://arxiv.org/abs/1909.08580). Of the paper the abstract and the first page were available to us,
//! beside the abstract of the authors' patent (US 11,263,491); there is no public code. The layer, the separate networks
//! and the two losses are theirs. Detector, form and weight of the losses, margin, update of the table, schedule and sizes
//! are choices of this library.

mod config;
mod evaluate;
mod joint;
mod proposals;
mod state;
#[cfg(test)]
mod tests;

pub use config::{PersonSearchConfig, Proxies, Routing, Turns, Unusable};
pub use evaluate::{BoxesFrom, Evaluation, evaluate, queries};
pub use joint::{PersonSearchRun, PersonSearchTrace, joint};
pub use proposals::{Proposals, clipped, proposals};
