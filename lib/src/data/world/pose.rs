//! How a person stands, and from where one looks.

use std::f32::consts::PI;

use glam::{Mat3, Vec3};
use rand::Rng as _;
use rand_distr::StandardNormal;

use super::raster::Lens;
use crate::tensors::Rng;

/// A standing or walking person; angles in radians, pairs are (left, right).
///
/// On the ground, x runs to the right as the camera sees it, y up and z towards the camera.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pose {
    /// Turn about the vertical: 0 faces the camera, positive turns to the right of the image.
    pub yaw: f32,
    /// How far the trunk leans forward.
    pub lean: f32,
    /// Thighs, positive forward.
    pub hips: [f32; 2],
    /// Bent knees, at least 0.
    pub knees: [f32; 2],
    /// Upper arms, positive forward.
    pub shoulders: [f32; 2],
    /// Bent elbows, at least 0.
    pub elbows: [f32; 2],
    /// How far the arms are spread to the sides.
    pub spread: [f32; 2],
    /// Thickness of trunk and limbs, 1 on average.
    pub girth: f32,
    /// Height of the person who stands upright, in metres.
    pub stature: f32,
    /// Where the person stands, in metres: x, and z; y lifts the feet off the ground.
    pub place: [f32; 3],
}

impl Pose {
    /// Upright, arms hanging, facing the camera.
    pub fn standing(stature: f32, girth: f32) -> Pose {
        Pose {
            yaw: 0.0,
            lean: 0.0,
            hips: [0.0; 2],
            knees: [0.0; 2],
            shoulders: [0.0; 2],
            elbows: [0.1; 2],
            spread: [0.12; 2],
            girth,
            stature,
            place: [0.0; 3],
        }
    }

    /// A moment of a walk in any direction: one leg swings by `N(0, 0.45)`, the other against it, the arms against the
    /// legs, with deviations of their own.
    pub fn walking(stature: f32, girth: f32, rng: &mut Rng) -> Pose {
        let mut normal = |deviation: f32| deviation * rng.sample::<f32, _>(StandardNormal);
        let swing = normal(0.45).clamp(-0.8, 0.8);
        let hips = [swing + normal(0.06), -swing + normal(0.06)];
        // The leg behind is bent, the one in front nearly straight.
        let knees = hips.map(|hip| ((-hip).max(0.0) * 0.9 + normal(0.08).abs()).min(1.3));
        let shoulders = [-swing * 0.8 + normal(0.12), swing * 0.8 + normal(0.12)];
        let elbows = [0.15 + normal(0.25).abs(), 0.15 + normal(0.25).abs()];
        let spread = [0.10 + normal(0.06).abs(), 0.10 + normal(0.06).abs()];
        let lean = normal(0.04);
        Pose {
            yaw: rng.random_range(-PI..PI),
            lean,
            hips,
            knees,
            shoulders,
            elbows,
            spread,
            girth,
            stature,
            place: [0.0; 3],
        }
    }

    /// The pose as an estimator of poses would see it, `noise` times as far off as is usual: yaw `N(0, 0.2)`, limbs
    /// `N(0, 0.15)` to `N(0, 0.3)`, lean 0.04, girth 0.06, size 2 % and place `0.6` pixels of `1 / per_metre`.
    ///
    /// At a noise of 0 it is the pose itself.
    pub fn estimated(&self, noise: f32, per_metre: f32, rng: &mut Rng) -> Pose {
        let mut normal = |deviation: f32| noise * deviation * rng.sample::<f32, _>(StandardNormal);
        let mut pose = *self;
        pose.yaw += normal(0.2);
        pose.lean += normal(0.04);
        for side in 0..2 {
            pose.hips[side] += normal(0.15);
            pose.knees[side] = (pose.knees[side] + normal(0.2)).max(0.0);
            pose.shoulders[side] += normal(0.25);
            pose.elbows[side] = (pose.elbows[side] + normal(0.3)).max(0.0);
            pose.spread[side] = (pose.spread[side] + normal(0.15)).max(0.0);
        }
        pose.girth = (pose.girth + normal(0.06)).max(0.5);
        pose.stature *= (1.0 + normal(0.02)).max(0.5);
        pose.place[0] += normal(0.6 / per_metre);
        pose.place[1] += normal(0.6 / per_metre);
        pose
    }
}

/// From where one looks: a pinhole above the ground, turned down by `pitch`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Viewpoint {
    /// The pinhole.
    pub lens: Lens,
    /// Height of the camera above the ground, in metres.
    pub height: f32,
    /// Its distance from the place 0, in metres.
    pub distance: f32,
    /// How far it looks down, in radians.
    pub pitch: f32,
}

impl Viewpoint {
    /// One that looks at a person at the place 0 from `distance` metres, so that a metre at half the person's height is
    /// `per_metre` pixels and that height is in the middle of `(height, width)` pixels.
    pub fn of_person(
        stature: f32,
        distance: f32,
        pitch: f32,
        per_metre: f32,
        (height, width): (usize, usize),
    ) -> Viewpoint {
        Viewpoint {
            lens: Lens {
                // Along the optical axis, the person's middle is this far away.
                focal: per_metre * distance / pitch.cos(),
                centre: [width as f32 / 2.0, height as f32 / 2.0],
                near: 0.1,
            },
            height: stature * 0.52 + distance * pitch.tan(),
            distance,
            pitch,
        }
    }

    /// A point above the ground (x to the right, y up, z towards the camera) in the camera's frame (y down, z away).
    pub fn see(&self, point: Vec3) -> Vec3 {
        self.turn() * (point - self.origin())
    }

    /// The same for many points.
    pub fn see_all(&self, points: &mut [Vec3]) {
        let (turn, origin) = (self.turn(), self.origin());
        points.iter_mut().for_each(|p| *p = turn * (*p - origin));
    }

    fn origin(&self) -> Vec3 {
        Vec3::new(0.0, self.height, self.distance)
    }

    fn turn(&self) -> Mat3 {
        Mat3::from_diagonal(Vec3::new(1.0, -1.0, -1.0)) * Mat3::from_rotation_x(self.pitch)
    }
}
