//! The body that needs no files: ten capsules.

use std::f32::consts::{FRAC_PI_2, TAU};

use glam::{Mat3, Vec3};

use super::body::Body;
use super::outfit::Outfit;
use super::pose::Pose;
use super::surface::{Face, Surface};
use super::texture::Texture;

/// Texels along a side of the atlas.
pub(super) const SIDE: usize = 64;
/// Quads around a capsule, and along it: caps and the part between.
const AROUND: usize = 16;
const CAP: usize = 3;
const ALONG: usize = 12;
/// Vertices of a capsule: rings and two poles.
const VERTICES: usize = (ALONG - 1) * AROUND + 2;

/// A part of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    Torso,
    UpperArm,
    Forearm,
    Thigh,
    Shin,
}

/// A part, and its rectangle in the atlas: first row and column, height and width. Of pairs, the left one first.
///
/// Around a part, the texture begins at the back, has the front in its middle and ends at the back; rows run from the
/// upper end of a part to its lower end.
pub(super) const ATLAS: [(Part, [usize; 4]); 10] = [
    (Part::Head, [0, 0, 20, 32]),
    (Part::Torso, [20, 0, 32, 40]),
    (Part::UpperArm, [0, 32, 16, 16]),
    (Part::UpperArm, [0, 48, 16, 16]),
    (Part::Forearm, [16, 40, 16, 12]),
    (Part::Forearm, [16, 52, 16, 12]),
    (Part::Thigh, [32, 40, 20, 12]),
    (Part::Thigh, [32, 52, 20, 12]),
    (Part::Shin, [52, 0, 12, 20]),
    (Part::Shin, [52, 20, 12, 20]),
];

/// Rows at the end of a forearm that are the hand.
pub(super) const HAND: usize = 5;

/// Persons of ten capsules: head, trunk with an elliptic section, arms and legs in two parts each.
///
/// ```
/// use rebit::data::{Body, Capsules, Pose};
/// let body = Capsules::new();
/// let points = body.posed(&Pose::standing(1.75, 1.0));
/// let top = points.iter().map(|p| p.y).fold(0.0, f32::max);
/// assert!((top - 1.75).abs() < 0.03);
/// ```
#[derive(Clone, Debug)]
pub struct Capsules {
    surface: Surface,
}

impl Default for Capsules {
    fn default() -> Self {
        Self::new()
    }
}

/// A capsule in its place: from the upper end of its axis down along `-y` of `turn`.
struct Placed {
    upper: Vec3,
    turn: Mat3,
    length: f32,
    radius: f32,
    /// Factors of the radius sideways and to the front.
    section: [f32; 2],
}

impl Capsules {
    /// The body.
    pub fn new() -> Capsules {
        let (mut faces, mut uv) = (Vec::new(), Vec::new());
        for (part, (_, [top, left, height, width])) in ATLAS.iter().enumerate() {
            let first = (part * VERTICES) as u32;
            // The poles are the first and the last vertex.
            let vertex = |row: usize, column: usize| match row {
                0 => first,
                ALONG => first + VERTICES as u32 - 1,
                _ => first + (1 + (row - 1) * AROUND + column % AROUND) as u32,
            };
            let first_uv = uv.len() as u32;
            let place = |row: usize, column: usize| first_uv + (row * (AROUND + 1) + column) as u32;
            let (capsule, _) = proportions()[part];
            for row in 0..=ALONG {
                for column in 0..=AROUND {
                    // From centre to centre of the outermost texels, so that nothing of a neighbour is read.
                    let across = column as f32 / AROUND as f32 * (width - 1) as f32;
                    let down = along(row, capsule[0], capsule[1]) * (height - 1) as f32;
                    let x = *left as f32 + 0.5 + across;
                    let y = *top as f32 + 0.5 + down;
                    uv.push([x / SIDE as f32, y / SIDE as f32]);
                }
            }
            for row in 0..ALONG {
                for column in 0..AROUND {
                    let corners = [
                        (row, column),
                        (row + 1, column),
                        (row + 1, column + 1),
                        (row, column + 1),
                    ];
                    faces.push(Face {
                        vertices: corners.map(|(r, c)| vertex(r, c)),
                        uv: corners.map(|(r, c)| place(r, c)),
                    });
                }
            }
        }
        let surface = Surface::new(faces, uv, ATLAS.len() * VERTICES);
        Capsules {
            surface: surface.expect("all indices are made above"),
        }
    }
}

/// Length of the axis and radius of each part of a person of 1.75 metres, and its section.
fn proportions() -> [([f32; 2], [f32; 2]); 10] {
    let round = [1.0, 1.0];
    [
        ([0.11, 0.095], [0.95, 1.05]),
        ([0.37, 0.125], [1.5, 0.95]),
        ([0.28, 0.052], round),
        ([0.28, 0.052], round),
        ([0.29, 0.043], round),
        ([0.29, 0.043], round),
        ([0.42, 0.080], round),
        ([0.42, 0.080], round),
        ([0.43, 0.060], round),
        ([0.43, 0.060], round),
    ]
}

/// How far along a capsule a ring is, by the length of the way on the surface.
fn along(row: usize, length: f32, radius: f32) -> f32 {
    let cap = radius * FRAC_PI_2;
    let whole = 2.0 * cap + length;
    let (middle, end) = (ALONG - 2 * CAP, ALONG - CAP);
    let way = if row <= CAP {
        cap * row as f32 / CAP as f32
    } else if row <= end {
        cap + length * (row - CAP) as f32 / middle as f32
    } else {
        cap + length + cap * (row - end) as f32 / CAP as f32
    };
    way / whole
}

impl Placed {
    /// The lower end of the axis.
    fn lower(&self) -> Vec3 {
        self.upper - self.turn * (Vec3::Y * self.length)
    }

    fn vertices(&self, ring: &[(f32, f32); AROUND], out: &mut Vec<Vec3>) {
        let r = self.radius;
        let end = ALONG - CAP;
        for row in 0..=ALONG {
            // Distance from the axis, and down along it.
            let (out_by, down) = if row <= CAP {
                let angle = FRAC_PI_2 * row as f32 / CAP as f32;
                (r * angle.sin(), -r * angle.cos())
            } else if row <= end {
                let part = (row - CAP) as f32 / (end - CAP) as f32;
                (r, self.length * part)
            } else {
                let angle = FRAC_PI_2 * (row - end) as f32 / CAP as f32;
                (r * angle.cos(), self.length + r * angle.sin())
            };
            let at = |(sin, cos): (f32, f32)| {
                let (x, z) = (
                    out_by * self.section[0] * sin,
                    out_by * self.section[1] * cos,
                );
                self.upper + self.turn * Vec3::new(x, -down, z)
            };
            match row {
                0 | ALONG => out.push(at((0.0, 0.0))),
                _ => out.extend(ring.iter().map(|&angle| at(angle))),
            }
        }
    }
}

impl Body for Capsules {
    fn name(&self) -> &str {
        "capsules"
    }

    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn posed(&self, pose: &Pose) -> Vec<Vec3> {
        let size = pose.stature / 1.75;
        let shape = proportions();
        let capsule = |part: usize, upper: Vec3, turn: Mat3| {
            let ([length, radius], section) = shape[part];
            let girth = if part == 0 { 1.0 } else { pose.girth };
            let (length, radius) = (length * size, radius * size * girth);
            Placed {
                upper,
                turn,
                length,
                radius,
                section,
            }
        };
        let yaw = Mat3::from_rotation_y(pose.yaw);
        let trunk = yaw * Mat3::from_rotation_x(pose.lean);
        // From the middle between the hips.
        let above = |x: f32, y: f32| trunk * (Vec3::new(x, y, 0.0) * size);
        let mut placed = vec![
            capsule(0, above(0.0, 0.745), trunk),
            capsule(1, above(0.0, 0.43), trunk),
        ];
        let sides = [1.0, -1.0];
        let mut lower = Vec::new();
        for (side, sign) in sides.into_iter().enumerate() {
            let turn = Mat3::from_rotation_z(sign * pose.spread[side])
                * Mat3::from_rotation_x(-pose.shoulders[side]);
            let shoulder = above(sign * 0.205 * pose.girth.sqrt(), 0.46);
            let arm = capsule(2 + side, shoulder, trunk * turn);
            let elbow = trunk * turn * Mat3::from_rotation_x(-pose.elbows[side]);
            lower.push(capsule(4 + side, arm.lower(), elbow));
            placed.push(arm);
        }
        placed.append(&mut lower);
        for (side, sign) in sides.into_iter().enumerate() {
            let turn = yaw * Mat3::from_rotation_x(-pose.hips[side]);
            let hip = yaw * (Vec3::new(sign * 0.088 * pose.girth.sqrt(), 0.0, 0.0) * size);
            let thigh = capsule(6 + side, hip, turn);
            let knee = turn * Mat3::from_rotation_x(pose.knees[side]);
            lower.push(capsule(8 + side, thigh.lower(), knee));
            placed.push(thigh);
        }
        placed.append(&mut lower);
        let ring: [(f32, f32); AROUND] =
            std::array::from_fn(|k| ((k as f32 / AROUND as f32 - 0.5) * TAU).sin_cos());
        let mut out = Vec::with_capacity(ATLAS.len() * VERTICES);
        placed.iter().for_each(|c| c.vertices(&ring, &mut out));
        let ground = out.iter().map(|p| p.y).fold(f32::INFINITY, f32::min);
        let shift = Vec3::from_array(pose.place) - Vec3::Y * ground;
        out.iter_mut().for_each(|p| *p += shift);
        out
    }

    fn side(&self) -> usize {
        SIDE
    }

    fn texture(&self, seed: u64, identity: u32, hard_pairs: f64) -> Texture {
        Outfit::of(seed, identity, hard_pairs).texture()
    }

    fn structure(&self) -> Vec<bool> {
        let mut out = vec![false; SIDE * SIDE];
        for (part, [top, left, height, width]) in ATLAS {
            let first = match part {
                Part::Head => 0,
                Part::Forearm => height - HAND,
                _ => continue,
            };
            for row in top + first..top + height {
                out[row * SIDE + left..][..width].fill(true);
            }
        }
        out
    }

    fn mirror(&self) -> Vec<u16> {
        let mut out: Vec<u16> = (0..(SIDE * SIDE) as u16).collect();
        for (part, (_, [top, left, height, width])) in ATLAS.into_iter().enumerate() {
            // Head and trunk are their own other sides; limbs come in pairs, the left one first.
            let [_, other, ..] = match part {
                0 | 1 => ATLAS[part].1,
                _ => ATLAS[part ^ 1].1,
            };
            for row in top..top + height {
                for column in 0..width {
                    let to = row * SIDE + other + width - 1 - column;
                    out[row * SIDE + left + column] = to as u16;
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
