//! A rasteriser on the host: which point of a surface is seen in each pixel.
//!
//! A pinhole with focal length `f` (pixels) and centre `(cx, cy)` sees a point `(x, y, z)` of the camera's frame (x to
//! the right, y down, z away from it, in metres) at
//!
//! ```text
//! X = cx + f x / z          Y = cy + f y / z
//! ```
//!
//! Pixel `(i, j)` is covered when its centre `(j + 1/2, i + 1/2)` lies inside a projected triangle. Corners are rounded
//! to 1/256 of a pixel and everything after is whole numbers, so a centre on the edge that two triangles share belongs to
//! exactly one of them: the one for which it is a left edge, or a level edge at the top. A quad is the triangles (0, 1, 2)
//! and (0, 2, 3). Of several triangles in a pixel the nearest one is seen; at equal depth the one with the smaller texture
//! coordinates, so that the order of the triangles does not matter. Attributes are interpolated with perspective:
//!
//! ```text
//! 1/z = sum_k b_k / z_k          a = z sum_k b_k a_k / z_k          b: barycentric coordinates on the screen
//! ```
//!
//! What lies nearer than `near` is cut off. Bands of rows are drawn in parallel; every pixel is computed as if alone.

use glam::Vec3;
use rayon::prelude::*;

use super::surface::Surface;
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;

/// Parts of a pixel to which corners are rounded.
const PARTS: f32 = 256.0;
/// Rows that a thread draws at once.
const BAND: usize = 32;
/// Images with fewer pixels than this are drawn by one thread.
const SMALL: usize = 64 * 256;
/// Beyond this many parts of a pixel, products need more than 64 bits.
const FAR: i64 = 1 << 29;

/// A pinhole camera, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Lens {
    /// Focal length.
    pub focal: f32,
    /// Where the optical axis meets the image, (column, row); the first pixel's corner is (0, 0).
    pub centre: [f32; 2],
    /// What is nearer than this, in metres, is not seen.
    pub near: f32,
}

/// A surface in the camera's frame.
#[derive(Clone, Copy, Debug)]
pub struct Mesh<'a> {
    /// Its faces and texture coordinates.
    pub surface: &'a Surface,
    /// Places of its vertices: x to the right, y down, z away from the camera, in metres.
    pub positions: &'a [Vec3],
    /// Directions that are normal to it at the vertices, outwards.
    pub normals: &'a [Vec3],
}

/// Which sides of a surface are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sides {
    /// The outside: where the corners of a face run counter-clockwise.
    #[default]
    Outside,
    /// Both.
    Both,
}

/// What is seen in a pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Distance along the optical axis, in metres; infinite where nothing is seen.
    pub depth: f32,
    /// Place in the texture, from (0, 0) in its top left to (1, 1).
    pub uv: [f32; 2],
    /// The cosine between the surface's normal and the direction towards the camera (the optical axis, reversed).
    pub towards: f32,
    /// The face.
    pub face: u32,
}

impl Hit {
    const NONE: Hit = Hit {
        depth: f32::INFINITY,
        uv: [0.0; 2],
        towards: 0.0,
        face: u32::MAX,
    };

    /// Whether anything is seen.
    pub fn is_hit(&self) -> bool {
        self.depth < f32::INFINITY
    }
}

/// What is seen in all pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` pixels, row by row.
    pub hits: Vec<Hit>,
}

impl Raster {
    /// Where the surface is seen.
    pub fn silhouette(&self) -> Vec<bool> {
        self.hits.iter().map(Hit::is_hit).collect()
    }
}

#[derive(Clone, Copy)]
struct Corner {
    position: Vec3,
    normal: Vec3,
    uv: [f32; 2],
}

impl Corner {
    /// The point on the way to `other` that lies `t` of it away.
    fn towards(&self, other: &Corner, t: f32) -> Corner {
        let mix = |a: f32, b: f32| a + (b - a) * t;
        Corner {
            position: self.position + (other.position - self.position) * t,
            normal: self.normal + (other.normal - self.normal) * t,
            uv: [mix(self.uv[0], other.uv[0]), mix(self.uv[1], other.uv[1])],
        }
    }
}

/// A triangle on the screen, its corners clockwise as one sees them.
struct Triangle {
    /// Corners in parts of a pixel.
    at: [[i64; 2]; 3],
    /// Rows and columns that it may touch, the last ones excluded.
    rows: (usize, usize),
    columns: (usize, usize),
    /// 1 / depth.
    near: [f32; 3],
    uv: [[f32; 2]; 3],
    normal: [Vec3; 3],
    face: u32,
}

/// A pixel while triangles are drawn.
#[derive(Clone, Copy)]
struct Pixel {
    near: f32,
    triangle: u32,
    weights: [f32; 3],
}

/// Draws a surface into `height` x `width` pixels.
///
/// Triangles with a corner that is not finite are left out.
///
/// # Errors
/// [`Error::Shape`] unless there are as many positions and normals as the surface has vertices, [`Error::Invalid`] for a
/// lens with a focal length or near plane that is not positive.
pub fn rasterise(
    mesh: &Mesh,
    lens: &Lens,
    (height, width): (usize, usize),
    sides: Sides,
) -> Result<Raster> {
    start_threads();
    let vertices = mesh.surface.vertices();
    for (what, found) in [
        ("positions", mesh.positions.len()),
        ("normals", mesh.normals.len()),
    ] {
        if found != vertices {
            let expected = format!("{vertices} {what}");
            return Err(Error::shape("rasterise", expected, found));
        }
    }
    let positive = |x: f32| x.is_finite() && x > 0.0;
    if !(positive(lens.focal) && positive(lens.near) && lens.centre.iter().all(|c| c.is_finite())) {
        let why = "focal length and near plane are positive, the centre finite";
        return Err(Error::invalid(format!("{lens:?}"), why));
    }
    let triangles = triangles(mesh, lens, (height, width), sides);
    let empty = Pixel {
        near: 0.0,
        triangle: u32::MAX,
        weights: [0.0; 3],
    };
    let mut pixels = vec![empty; height * width];
    if height * width <= SMALL {
        draw(&triangles, &mut pixels, 0, width);
    } else {
        let bands = pixels.par_chunks_mut(BAND * width).enumerate();
        bands.for_each(|(band, rows)| draw(&triangles, rows, band * BAND, width));
    }
    let hits = pixels.iter().map(|p| hit(&triangles, p)).collect();
    Ok(Raster {
        height,
        width,
        hits,
    })
}

fn triangles(mesh: &Mesh, lens: &Lens, size: (usize, usize), sides: Sides) -> Vec<Triangle> {
    let mut out = Vec::with_capacity(mesh.surface.faces().len());
    for (face, quad) in mesh.surface.faces().iter().enumerate() {
        let corner = |k: usize| Corner {
            position: mesh.positions[quad.vertices[k] as usize],
            normal: mesh.normals[quad.vertices[k] as usize],
            uv: mesh.surface.uv()[quad.uv[k] as usize],
        };
        let corners = [corner(0), corner(1), corner(2), corner(3)];
        for [a, b, c] in [[0, 1, 2], [0, 2, 3]] {
            let triangle = [corners[a], corners[b], corners[c]];
            if triangle.iter().any(|c| !c.position.is_finite()) {
                continue;
            }
            let (cut, n) = in_front(&triangle, lens.near);
            for k in 2..n {
                let part = [cut[0], cut[k - 1], cut[k]];
                out.extend(project(part, lens, size, sides, face as u32));
            }
        }
    }
    out
}

/// The part of a triangle beyond the near plane: its corners and their number.
fn in_front(triangle: &[Corner; 3], near: f32) -> ([Corner; 4], usize) {
    let mut out = [triangle[0]; 4];
    let mut n = 0;
    for k in 0..3 {
        let (this, next) = (&triangle[k], &triangle[(k + 1) % 3]);
        let (here, there) = (this.position.z - near, next.position.z - near);
        if here >= 0.0 {
            out[n] = *this;
            n += 1;
        }
        if (here >= 0.0) != (there >= 0.0) {
            // From the corner in front to the one behind: both triangles at an edge compute the same point.
            let (front, back, f, b) = match here >= 0.0 {
                true => (this, next, here, there),
                false => (next, this, there, here),
            };
            let mut cut = front.towards(back, f / (f - b));
            cut.position.z = near;
            out[n] = cut;
            n += 1;
        }
    }
    (out, n)
}

fn project(
    corners: [Corner; 3],
    lens: &Lens,
    (height, width): (usize, usize),
    sides: Sides,
    face: u32,
) -> Option<Triangle> {
    let mut at = corners.map(|c| {
        let near = 1.0 / c.position.z;
        // Casts saturate: a point at the end of the numbers stays there.
        let x = (lens.centre[0] + lens.focal * c.position.x * near) * PARTS;
        let y = (lens.centre[1] + lens.focal * c.position.y * near) * PARTS;
        [x, y].map(|v| (v.round() as i64).clamp(-(1 << 50), 1 << 50))
    });
    let mut order = [0, 1, 2];
    let area = area(&at);
    // Counter-clockwise as one sees it is negative where rows run down.
    if area == 0 || (area > 0 && sides == Sides::Outside) {
        return None;
    }
    if area < 0 {
        at.swap(1, 2);
        order.swap(1, 2);
    }
    let span = |axis: usize, end: usize| {
        let (low, high) = at.iter().fold((i64::MAX, i64::MIN), |(l, h), p| {
            (l.min(p[axis]), h.max(p[axis]))
        });
        let half = PARTS as i64 / 2;
        let first = (-(half - low).div_euclid(PARTS as i64)).clamp(0, end as i64);
        let last = ((high - half).div_euclid(PARTS as i64) + 1).clamp(0, end as i64);
        (first as usize, last as usize)
    };
    let (rows, columns) = (span(1, height), span(0, width));
    if rows.0 >= rows.1 || columns.0 >= columns.1 {
        return None;
    }
    let corners = order.map(|k| corners[k]);
    Some(Triangle {
        at,
        rows,
        columns,
        near: corners.map(|c| 1.0 / c.position.z),
        uv: corners.map(|c| c.uv),
        normal: corners.map(|c| c.normal),
        face,
    })
}

/// Twice the area, positive for corners that run clockwise as one sees them.
fn area(at: &[[i64; 2]; 3]) -> i128 {
    let d = |k: usize, axis: usize| i128::from(at[k][axis]) - i128::from(at[0][axis]);
    d(1, 0) * d(2, 1) - d(1, 1) * d(2, 0)
}

fn draw(triangles: &[Triangle], pixels: &mut [Pixel], top: usize, width: usize) {
    let bottom = top + pixels.len() / width.max(1);
    for (index, triangle) in triangles.iter().enumerate() {
        let rows = (triangle.rows.0.max(top), triangle.rows.1.min(bottom));
        if rows.0 >= rows.1 {
            continue;
        }
        let near = triangle.at.iter().flatten().all(|v| v.abs() < FAR);
        let mut seen = |row: usize, column: usize, weights: [f32; 3]| {
            let pixel = &mut pixels[(row - top) * width + column];
            let n = triangle.near;
            let near = weights[0] * n[0] + weights[1] * n[1] + weights[2] * n[2];
            let new = Pixel {
                near,
                triangle: index as u32,
                weights,
            };
            if near > pixel.near || (near == pixel.near && comes_first(triangles, &new, pixel)) {
                *pixel = new;
            }
        };
        match near {
            true => fill::<i64>(triangle, rows, &mut seen),
            false => fill::<i128>(triangle, rows, &mut seen),
        }
    }
}

/// Between two at the same depth, the one with the smaller texture coordinates.
fn comes_first(triangles: &[Triangle], new: &Pixel, old: &Pixel) -> bool {
    if old.triangle == u32::MAX {
        return true;
    }
    let key = |p: &Pixel| {
        let hit = hit(triangles, p);
        [hit.uv[0], hit.uv[1], hit.towards]
    };
    key(new) < key(old)
}

/// Whole numbers in which the products of coordinates are exact.
trait Whole: Copy + PartialOrd + std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> {
    fn of(x: i64) -> Self;
    fn times(self, other: Self) -> Self;
    fn float(self) -> f32;
}

macro_rules! whole {
    ($($t:ident)*) => { $(impl Whole for $t {
        fn of(x: i64) -> Self { $t::from(x) }
        fn times(self, other: Self) -> Self { self * other }
        fn float(self) -> f32 { self as f32 }
    })* };
}
whole!(i64 i128);

/// Calls `seen` with every pixel whose centre lies inside, and the barycentric coordinates of the centre.
fn fill<T: Whole>(
    triangle: &Triangle,
    rows: (usize, usize),
    seen: &mut impl FnMut(usize, usize, [f32; 3]),
) {
    let at = triangle.at.map(|p| p.map(T::of));
    let parts = T::of(PARTS as i64);
    let centre = |pixel: usize| T::of(pixel as i64 * PARTS as i64 + PARTS as i64 / 2);
    let (x, y) = (centre(triangle.columns.0), centre(rows.0));
    // The edge opposite to each corner: twice the area that it spans with the centre, and how that grows.
    let edges = [(1, 2), (2, 0), (0, 1)].map(|(a, b)| {
        let (dx, dy) = (at[b][0] - at[a][0], at[b][1] - at[a][1]);
        let value = dx.times(y - at[a][1]) - dy.times(x - at[a][0]);
        let top_or_left = dy < T::of(0) || (dy == T::of(0) && dx > T::of(0));
        let least = T::of(if top_or_left { 0 } else { 1 });
        let (right, down) = (T::of(0) - dy.times(parts), dx.times(parts));
        (value, right, down, least)
    });
    let scale = 1.0 / area(&triangle.at) as f32;
    let mut first = edges.map(|e| e.0);
    for row in rows.0..rows.1 {
        let mut e = first;
        for column in triangle.columns.0..triangle.columns.1 {
            if e[0] >= edges[0].3 && e[1] >= edges[1].3 && e[2] >= edges[2].3 {
                seen(row, column, e.map(|v| v.float() * scale));
            }
            for k in 0..3 {
                e[k] = e[k] + edges[k].1;
            }
        }
        for k in 0..3 {
            first[k] = first[k] + edges[k].2;
        }
    }
}

fn hit(triangles: &[Triangle], pixel: &Pixel) -> Hit {
    let Some(t) = triangles.get(pixel.triangle as usize) else {
        return Hit::NONE;
    };
    let depth = 1.0 / pixel.near;
    let w = [0, 1, 2].map(|k| pixel.weights[k] * t.near[k] * depth);
    let normal = t.normal[0] * w[0] + t.normal[1] * w[1] + t.normal[2] * w[2];
    let uv = [0, 1].map(|axis| t.uv[0][axis] * w[0] + t.uv[1][axis] * w[1] + t.uv[2][axis] * w[2]);
    Hit {
        depth,
        uv,
        towards: -normal.normalize_or_zero().z,
        face: t.face,
    }
}

#[cfg(test)]
mod tests;
