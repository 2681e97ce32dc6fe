//! Faces of a surface and its texture coordinates: what all poses of a body share.

use glam::Vec3;

use crate::error::{Error, Result};

/// A face of four corners, counter-clockwise as seen from outside; a triangle repeats its last corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face {
    /// Its vertices.
    pub vertices: [u32; 4],
    /// Its texture coordinates.
    pub uv: [u32; 4],
}

/// Faces over numbered vertices, without the places of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Surface {
    faces: Vec<Face>,
    uv: Vec<[f32; 2]>,
    vertices: usize,
}

impl Surface {
    /// A surface over `vertices` vertices; texture coordinates run from (0, 0), the top left, to (1, 1).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a face with a vertex or a texture coordinate that is not there, and for a texture
    /// coordinate outside 0 to 1.
    pub fn new(faces: Vec<Face>, uv: Vec<[f32; 2]>, vertices: usize) -> Result<Surface> {
        for (i, face) in faces.iter().enumerate() {
            let of = |list: [u32; 4], len: usize| list.iter().all(|&k| (k as usize) < len);
            if !of(face.vertices, vertices) || !of(face.uv, uv.len()) {
                let why = format!("there are {vertices} vertices and {} uv", uv.len());
                return Err(Error::invalid(format!("face {i}, {face:?}"), why));
            }
        }
        let inside = |uv: &[f32; 2]| uv.iter().all(|v| (0.0..=1.0).contains(v));
        if let Some(i) = uv.iter().position(|uv| !inside(uv)) {
            let what = format!("texture coordinate {i}, {:?}", uv[i]);
            return Err(Error::invalid(what, "lies outside 0 to 1"));
        }
        Ok(Surface {
            faces,
            uv,
            vertices,
        })
    }

    /// Its faces.
    pub fn faces(&self) -> &[Face] {
        &self.faces
    }

    /// Its texture coordinates.
    pub fn uv(&self) -> &[[f32; 2]] {
        &self.uv
    }

    /// The number of vertices.
    pub fn vertices(&self) -> usize {
        self.vertices
    }

    /// Directions of unit length that are normal to the surface at its vertices, outwards: the mean over the faces that
    /// meet there, weighted by their areas. Zero where no face with an area meets.
    ///
    /// # Panics
    /// When there are fewer positions than vertices.
    pub fn normals(&self, positions: &[Vec3]) -> Vec<Vec3> {
        let mut out = vec![Vec3::ZERO; self.vertices];
        for face in &self.faces {
            let [a, b, c, d] = face.vertices.map(|v| positions[v as usize]);
            // Twice the vector area of a quad: the cross product of its diagonals.
            let normal = (c - a).cross(d - b);
            let mut seen = [u32::MAX; 4];
            for (k, &v) in face.vertices.iter().enumerate() {
                if !seen.contains(&v) {
                    out[v as usize] += normal;
                    seen[k] = v;
                }
            }
        }
        out.iter_mut().for_each(|n| *n = n.normalize_or_zero());
        out
    }
}
