//! What a body has to be able to do.

use glam::Vec3;

use super::pose::Pose;
use super::surface::Surface;
use super::texture::Texture;

/// A kind of body: one surface for all persons, bent into poses and covered with a texture for each person.
pub trait Body: Send + Sync + std::fmt::Debug {
    /// What it is called; rendered sets are kept under a hash of it among others, so other bodies have another name.
    fn name(&self) -> &str;

    /// The surface that all poses share.
    fn surface(&self) -> &Surface;

    /// The places of its vertices in a pose, in metres: x to the right of a camera that the person faces at a yaw of 0,
    /// y up, z towards it; the lower foot at `pose.place`.
    fn posed(&self, pose: &Pose) -> Vec<Vec3>;

    /// Texels along a side of the texture, at most 255.
    fn side(&self) -> usize;

    /// What the person of a number wears. With probability `hard_pairs` an odd number differs in one item from the even
    /// one before it.
    fn texture(&self, seed: u64, identity: u32, hard_pairs: f64) -> Texture;

    /// Where faces, hair and hands are in the texture, `side * side` texels row by row.
    fn structure(&self) -> Vec<bool>;

    /// For each texel the one that lies at the same place on the other side of the body; without a symmetry that is known,
    /// itself.
    fn mirror(&self) -> Vec<u16> {
        let texels = self.side() * self.side();
        (0..texels).map(|texel| texel as u16).collect()
    }
}
