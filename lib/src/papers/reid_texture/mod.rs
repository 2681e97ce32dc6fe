//! Re-identification supervised texture generation: a whole texture of a person from one picture, learned without textures.
//!
//! A U-Net makes a texture of a picture. A body in the estimated pose is rendered under it, put before an unrelated
//! background, and shown to a frozen re-ID network, whose features of it are to be those of the picture. Rendering is
//! linear in the texture ([`texture_render`](crate::ops::texture_render)), so gradients reach the U-Net; the body's shape
//! gets none. Faces are too small for re-ID features to see them, so there the texture is drawn to those of other people.
//!
//! [`PhotoSet`] holds pictures with poses, [`Reid`] the frozen network and its layers, [`train`] learns a U-Net,
//! [`fit_single`] a single texture; a [`Workbench`] scores textures on people who were not seen in training.
//!
//! What differs from the paper: bodies, estimated poses and pictures are those of [`crate::data::world`], not SMPL, HMR and
//! Market-1501, light is known to the renderer, and re-ID networks are small.
//!
//! Source: Wang et al., [arXiv:1904.03385](https://arxiv.org/abs/1904.03385) (abstract and first page), and the authors'
//! code, from which all weights and the schedule are.

mod answers;
mod baselines;
mod config;
mod fit;
mod photo;
mod photos;
mod pretrained;
mod reid;
mod run;
mod score;
mod supervision;
#[cfg(test)]
mod tests;
mod workbench;

pub use baselines::{TexturePrior, back_projection, mean_texture};
pub use config::{Background, Supervision, TextureConfig};
pub use fit::{FitConfig, FitRun, fit_single};
pub use photo::{FromPhoto, from_photo};
pub use photos::{PhotoSet, UNIT};
pub use pretrained::{pretrained_by_pixels, pretrained_by_reid};
pub use reid::{Kept, LayerWeights, Reid};
pub use run::{TextureRun, textures, train};
pub use score::{Scores, texture_error};
pub use supervision::{RealTextures, render_before};
pub use workbench::{Workbench, WorkbenchConfig};
