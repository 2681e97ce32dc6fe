use super::*;
use crate::data::world::pose::Viewpoint;
use crate::data::world::{Texels, seen_by};
use crate::tensors::rng;

fn texels(pose: &Pose, per_metre: f32) -> Texels {
    let size = (128, 96);
    let viewpoint = Viewpoint::of_person(pose.stature, 6.0, 0.1, per_metre, size);
    Texels::of(&seen_by(&Capsules::new(), pose, &viewpoint, size), SIDE)
}

/// The part to which a texel belongs.
fn part_of(texel: u16) -> usize {
    let (row, column) = (texel as usize / SIDE, texel as usize % SIDE);
    let inside = |&(_, [top, left, h, w]): &(Part, [usize; 4])| {
        (top..top + h).contains(&row) && (left..left + w).contains(&column)
    };
    ATLAS
        .iter()
        .position(inside)
        .unwrap_or_else(|| panic!("texel {row}, {column} is of no part"))
}

#[test]
fn parts_do_not_overlap_in_the_atlas() {
    let mut owner = vec![0; SIDE * SIDE];
    for (_, [top, left, height, width]) in ATLAS {
        for row in top..top + height {
            owner[row * SIDE + left..][..width]
                .iter_mut()
                .for_each(|n| *n += 1);
        }
    }
    assert!(owner.iter().all(|&n| n <= 1));
}

#[test]
fn a_person_is_as_tall_as_its_stature_and_stands_on_the_ground() {
    let body = Capsules::new();
    for stature in [1.5, 1.75, 2.0] {
        let points = body.posed(&Pose::standing(stature, 1.0));
        let (low, high) = points
            .iter()
            .fold((9.0f32, 0.0f32), |(l, h), p| (l.min(p.y), h.max(p.y)));
        assert!(low.abs() < 1e-5);
        assert!((high / stature - 1.0).abs() < 0.02, "{stature}: {high}");
    }
    let mut rng = rng(1);
    for _ in 0..100 {
        let mut pose = Pose::walking(1.7, 1.1, &mut rng);
        pose.place = [0.3, 0.0, -2.0];
        let points = body.posed(&pose);
        let low = points.iter().map(|p| p.y).fold(9.0f32, f32::min);
        assert!(low.abs() < 1e-5);
        assert!(
            points
                .iter()
                .all(|p| p.is_finite() && (p.x - 0.3).abs() < 1.2 && (p.z + 2.0).abs() < 1.2)
        );
    }
}

#[test]
fn normals_point_outwards_on_every_capsule() {
    let body = Capsules::new();
    let points = body.posed(&Pose::walking(1.75, 1.0, &mut rng(2)));
    let normals = body.surface().normals(&points);
    for part in 0..ATLAS.len() {
        let range = part * VERTICES..(part + 1) * VERTICES;
        let middle = points[range.clone()].iter().sum::<Vec3>() / VERTICES as f32;
        for k in range {
            assert!((normals[k].length() - 1.0).abs() < 1e-4);
            assert!(
                normals[k].dot(points[k] - middle) > 0.0,
                "part {part}, vertex {k}"
            );
        }
    }
}

#[test]
fn the_front_shows_the_front_and_the_back_the_back() {
    let [_, left, _, width] = ATLAS[1].1;
    for (yaw, front) in [(0.0, true), (std::f32::consts::PI, false)] {
        let pose = Pose {
            yaw,
            ..Pose::standing(1.75, 1.0)
        };
        let seen = texels(&pose, 60.0);
        let columns: Vec<usize> = seen
            .nearest
            .iter()
            .filter(|&&t| t != Texels::NONE && part_of(t) == 1)
            .map(|&t| t as usize % SIDE - left)
            .collect();
        assert!(columns.len() > 200);
        let middle = width / 4..width * 3 / 4;
        let inner = columns.iter().filter(|c| middle.contains(c)).count();
        let share = inner as f32 / columns.len() as f32;
        assert_eq!(share > 0.9, front, "{share}");
        assert_eq!(share < 0.1, !front, "{share}");
    }
}

#[test]
fn left_is_left_and_right_is_right() {
    // Facing the camera, the left arm is at the right of the image.
    let seen = texels(&Pose::standing(1.75, 1.0), 60.0);
    let mean = |part: usize| {
        let columns: Vec<f32> = (0..seen.nearest.len())
            .filter(|&p| seen.nearest[p] != Texels::NONE && part_of(seen.nearest[p]) == part)
            .map(|p| (p % seen.width) as f32)
            .collect();
        columns.iter().sum::<f32>() / columns.len() as f32
    };
    for part in [2, 4, 6, 8] {
        assert!(mean(part) > 50.0 && mean(part + 1) < 46.0, "{part}");
    }
    // A raised right arm is seen on the left, and a turned head follows the body.
    let mut pose = Pose::standing(1.75, 1.0);
    pose.yaw = std::f32::consts::FRAC_PI_2;
    pose.shoulders = [0.0, 1.2];
    let seen = texels(&pose, 60.0);
    // Turned to the right of the image, the right side is nearer and forward is to the right.
    let hand = (0..seen.nearest.len())
        .filter(|&p| seen.nearest[p] != Texels::NONE && part_of(seen.nearest[p]) == 5)
        .map(|p| p % seen.width);
    assert!(hand.max().unwrap() > 48 + 20);
}

#[test]
fn all_parts_are_seen_and_the_silhouette_has_no_holes_between_rows() {
    let seen = texels(&Pose::standing(1.75, 1.0), 60.0);
    let mut parts: Vec<usize> = seen
        .nearest
        .iter()
        .filter(|t| **t != Texels::NONE)
        .map(|&t| part_of(t))
        .collect();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts, (0..10).collect::<Vec<_>>());
    // From head to foot, every row has some of the person.
    let mask = seen.mask();
    let rows: Vec<bool> = mask.chunks(seen.width).map(|r| r.contains(&true)).collect();
    let first = rows.iter().position(|r| *r).unwrap();
    let last = rows.iter().rposition(|r| *r).unwrap();
    assert!(rows[first..=last].iter().all(|r| *r));
    assert!((last - first + 1).abs_diff(105) < 6, "{}", last - first + 1);
}

#[test]
fn faces_hair_and_hands_are_the_structure() {
    let structure = Capsules::new().structure();
    assert_eq!(structure.len(), 4096);
    assert_eq!(structure.iter().filter(|s| **s).count(), 760);
}
