//! A body of as many quads as a scanned one has, where none is at hand: capsules, each quad cut into nine.

use rebit::data::world::{Face, Surface, Vec3};
use rebit::data::{Body, Capsules, Pose, Texture};
use rebit::prelude::*;

/// Quads along each side of one of the coarse body's.
const FINE: usize = 3;

#[derive(Debug)]
pub struct FineBody {
    coarse: Capsules,
    surface: Surface,
}

/// The corners `a`, `b`, `c`, `d` of a quad, in between: row by row from `a` to `b`, along each from `a` to `d`.
fn between<T>(corners: [T; 4], mix: impl Fn(&T, &T, f32) -> T) -> Vec<T> {
    let [a, b, c, d] = corners;
    let share = |k: usize| k as f32 / FINE as f32;
    let point = |k: usize| {
        let (row, column) = (share(k / (FINE + 1)), share(k % (FINE + 1)));
        mix(&mix(&a, &b, row), &mix(&d, &c, row), column)
    };
    (0..(FINE + 1) * (FINE + 1)).map(point).collect()
}

impl FineBody {
    pub fn new() -> Result<FineBody> {
        let coarse = Capsules::new();
        let (mut faces, mut uv) = (Vec::new(), Vec::new());
        for face in coarse.surface().faces() {
            let first = uv.len() as u32;
            let at = face.uv.map(|k| coarse.surface().uv()[k as usize]);
            uv.extend(between(at, |a, b, t| {
                [0, 1].map(|k| (a[k] + (b[k] - a[k]) * t).clamp(0.0, 1.0))
            }));
            let number = |row: usize, column: usize| first + (row * (FINE + 1) + column) as u32;
            for k in 0..FINE * FINE {
                let (row, column) = (k / FINE, k % FINE);
                let corners = [
                    number(row, column),
                    number(row + 1, column),
                    number(row + 1, column + 1),
                    number(row, column + 1),
                ];
                faces.push(Face {
                    vertices: corners,
                    uv: corners,
                });
            }
        }
        let vertices = uv.len();
        Ok(FineBody {
            surface: Surface::new(faces, uv, vertices)?,
            coarse,
        })
    }
}

impl Body for FineBody {
    fn name(&self) -> &str {
        "fine capsules"
    }

    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn posed(&self, pose: &Pose) -> Vec<Vec3> {
        let coarse = self.coarse.posed(pose);
        let faces = self.coarse.surface().faces().iter();
        let points = |face: &Face| {
            let corners = face.vertices.map(|v| coarse[v as usize]);
            between(corners, |a, b, t| a.lerp(*b, t))
        };
        faces.flat_map(points).collect()
    }

    fn side(&self) -> usize {
        self.coarse.side()
    }

    fn texture(&self, seed: u64, identity: u32, hard_pairs: f64) -> Texture {
        self.coarse.texture(seed, identity, hard_pairs)
    }

    fn structure(&self) -> Vec<bool> {
        self.coarse.structure()
    }
}
