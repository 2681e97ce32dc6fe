use super::*;
use crate::data::world::surface::Face;
use rand::seq::SliceRandom;
use rand::{Rng as _, SeedableRng};
use rand_pcg::Pcg64;

const LENS: Lens = Lens {
    focal: 40.0,
    centre: [16.0, 12.0],
    near: 0.1,
};
const SIZE: (usize, usize) = (24, 32);

fn rng(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}

/// Triangles over their own vertices, with a texture coordinate each.
fn soup(corners: Vec<Vec3>, uv: Vec<[f32; 2]>) -> (Surface, Vec<Vec3>) {
    let faces = (0..corners.len() as u32 / 3)
        .map(|t| [3 * t, 3 * t + 1, 3 * t + 2, 3 * t + 2])
        .map(|v| Face { vertices: v, uv: v });
    let surface = Surface::new(faces.collect(), uv, corners.len()).unwrap();
    (surface, corners)
}

fn drawn(surface: &Surface, positions: &[Vec3], lens: &Lens, size: (usize, usize)) -> Raster {
    let normals = surface.normals(positions);
    let mesh = Mesh {
        surface,
        positions,
        normals: &normals,
    };
    rasterise(&mesh, lens, size, Sides::Both).unwrap()
}

/// How often each pixel is drawn.
fn counts(surface: &Surface, positions: &[Vec3], lens: &Lens, size: (usize, usize)) -> Vec<u32> {
    let normals = surface.normals(positions);
    let mesh = Mesh {
        surface,
        positions,
        normals: &normals,
    };
    let mut out = vec![0; size.0 * size.1];
    for triangle in triangles(&mesh, lens, size, Sides::Both) {
        fill::<i64>(&triangle, triangle.rows, &mut |r, c, _| {
            out[r * size.1 + c] += 1
        });
    }
    out
}

/// Where a point at depth 1 is seen at `(x, y)`.
fn at_depth_one(x: f32, y: f32) -> Vec3 {
    let [cx, cy] = LENS.centre;
    Vec3::new((x - cx) / LENS.focal, (y - cy) / LENS.focal, 1.0)
}

/// A grid of quads whose inner corners are moved, some of them onto the centres of pixels.
fn torn_grid(seed: u64) -> (Surface, Vec<Vec3>) {
    let mut rng = rng(seed);
    let (rows, columns) = (7usize, 9usize);
    let mut positions = Vec::new();
    for r in 0..=rows {
        for c in 0..=columns {
            let (mut x, mut y) = (c as f32 * 4.0 - 2.0, r as f32 * 4.0 - 2.0);
            if (1..rows).contains(&r) && (1..columns).contains(&c) {
                x += rng.random_range(-0.45..0.45);
                y += rng.random_range(-0.45..0.45);
                if rng.random_bool(0.5) {
                    (x, y) = (x.floor() + 0.5, y.floor() + 0.5);
                }
            }
            positions.push(at_depth_one(x, y));
        }
    }
    let mut faces = Vec::new();
    for r in 0..rows {
        for c in 0..columns {
            let v = |r: usize, c: usize| (r * (columns + 1) + c) as u32;
            let vertices = [v(r, c), v(r + 1, c), v(r + 1, c + 1), v(r, c + 1)];
            faces.push(Face {
                vertices,
                uv: [0; 4],
            });
        }
    }
    faces.shuffle(&mut rng);
    let surface = Surface::new(faces, vec![[0.0; 2]], positions.len()).unwrap();
    (surface, positions)
}

#[test]
fn faces_that_share_edges_cover_each_pixel_exactly_once() {
    for seed in 0..200 {
        let (surface, positions) = torn_grid(seed);
        let counts = counts(&surface, &positions, &LENS, SIZE);
        assert!(counts.iter().all(|&n| n == 1), "seed {seed}: {counts:?}");
    }
}

#[test]
fn the_centres_on_a_diagonal_belong_to_one_side() {
    // Pixels whose centre lies on the diagonal of a square of four: it is a right edge of the upper triangle.
    let corner = |x, y| at_depth_one(x, y);
    let upper = vec![corner(0.0, 0.0), corner(4.0, 0.0), corner(0.0, 4.0)];
    let lower = vec![corner(4.0, 0.0), corner(4.0, 4.0), corner(0.0, 4.0)];
    let covered = |corners: Vec<Vec3>| {
        let (surface, positions) = soup(corners, vec![[0.0; 2]; 3]);
        counts(&surface, &positions, &LENS, SIZE)
    };
    let (upper, lower) = (covered(upper), covered(lower));
    for row in 0..4 {
        for column in 0..4 {
            let pixel = row * SIZE.1 + column;
            let expected = if row + column < 3 { (1, 0) } else { (0, 1) };
            assert_eq!((upper[pixel], lower[pixel]), expected, "{row}, {column}");
        }
    }
    assert_eq!(upper.iter().sum::<u32>(), 6);
    assert_eq!(lower.iter().sum::<u32>(), 10);
}

/// Whether the centre, moved right by next to nothing and down by next to nothing of that, lies inside: the rule of the
/// top and left edges in other words.
fn inside(corners: [[i64; 2]; 3], row: usize, column: usize) -> bool {
    let centre = [column, row].map(|k| k as i64 * 256 + 128);
    let mut signs = [0, 1, 2].map(|k| {
        let (a, b) = (corners[k], corners[(k + 1) % 3]);
        let (dx, dy) = (i128::from(b[0] - a[0]), i128::from(b[1] - a[1]));
        let value = dx * i128::from(centre[1] - a[1]) - dy * i128::from(centre[0] - a[0]);
        [value, -dy, dx]
            .into_iter()
            .map(i128::signum)
            .find(|s| *s != 0)
            .unwrap_or(0)
    });
    signs.sort_unstable();
    signs[0] == signs[2] && signs[0] != 0
}

#[test]
fn random_triangles_are_those_of_a_test_of_each_pixel() {
    let mut rng = rng(5);
    for case in 0..300 {
        let corners: Vec<Vec3> = (0..3 * 12)
            .map(|_| {
                let z = rng.random_range(0.5..4.0);
                let (mut x, mut y) = (rng.random_range(-8.0..40.0), rng.random_range(-8.0..32.0));
                if rng.random_bool(0.3) {
                    (x, y) = (f32::floor(x) + 0.5, f32::floor(y) + 0.5);
                }
                at_depth_one(x, y) * z
            })
            .collect();
        let uv: Vec<[f32; 2]> = corners
            .iter()
            .map(|_| [rng.random(), rng.random()])
            .collect();
        let (surface, positions) = soup(corners, uv);
        let raster = drawn(&surface, &positions, &LENS, SIZE);
        let snapped: Vec<[i64; 2]> = positions
            .iter()
            .map(|p| {
                let near = 1.0 / p.z;
                [p.x, p.y].map(|v| LENS.focal * v * near)
            })
            .map(|[x, y]| [(x + LENS.centre[0]), (y + LENS.centre[1])])
            .map(|p| p.map(|v| (v * 256.0).round() as i64))
            .collect();
        for row in 0..SIZE.0 {
            for column in 0..SIZE.1 {
                // 1/z is linear on the screen: its plane through the three corners.
                let nearest = (0..positions.len() / 3)
                    .filter(|t| inside([0, 1, 2].map(|k| snapped[3 * t + k]), row, column))
                    .map(|t| (near_at(&positions, &snapped, t, row, column), t))
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let hit = raster.hits[row * SIZE.1 + column];
                assert_eq!(
                    hit.is_hit(),
                    nearest.is_some(),
                    "case {case}, {row}, {column}"
                );
                if let Some((near, triangle)) = nearest {
                    assert!((1.0 / f64::from(hit.depth) - near).abs() < 1e-4 * near.max(1.0));
                    let gap = (near_at(&positions, &snapped, hit.face as usize, row, column)
                        - near)
                        .abs();
                    assert!(hit.face as usize == triangle || gap < 1e-4);
                }
            }
        }
    }
}

fn near_at(positions: &[Vec3], at: &[[i64; 2]], t: usize, row: usize, column: usize) -> f64 {
    let p = [column as f64 * 256.0 + 128.0, row as f64 * 256.0 + 128.0];
    let corner = |k: usize| at[3 * t + k].map(|v| v as f64);
    let cross = |a: [f64; 2], b: [f64; 2], c: [f64; 2]| {
        (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    };
    let (a, b, c) = (corner(0), corner(1), corner(2));
    let all = cross(a, b, c);
    let weights = [
        cross(b, c, p) / all,
        cross(c, a, p) / all,
        cross(a, b, p) / all,
    ];
    (0..3)
        .map(|k| weights[k] / f64::from(positions[3 * t + k].z))
        .sum()
}

#[test]
fn the_order_of_faces_changes_nothing() {
    let mut rng = rng(9);
    for _ in 0..50 {
        // Many in the same plane, so that depths are equal.
        let mut corners = Vec::new();
        let mut uv = Vec::new();
        for t in 0..30 {
            let flat = t % 2 == 0;
            for _ in 0..3 {
                let (x, y) = (rng.random_range(0.0..32.0), rng.random_range(0.0..24.0));
                let z: f32 = if flat {
                    1.0
                } else {
                    rng.random_range(0.8..1.2)
                };
                corners.push(at_depth_one(x, y) * z);
                uv.push([rng.random(), rng.random()]);
            }
        }
        let (surface, positions) = soup(corners, uv);
        let before = drawn(&surface, &positions, &LENS, SIZE);
        let mut faces = surface.faces().to_vec();
        faces.shuffle(&mut rng);
        let other = Surface::new(faces, surface.uv().to_vec(), positions.len()).unwrap();
        let after = drawn(&other, &positions, &LENS, SIZE);
        let seen = |r: &Raster| -> Vec<(f32, [f32; 2])> {
            r.hits.iter().map(|h| (h.depth, h.uv)).collect()
        };
        assert!(before.hits.iter().any(Hit::is_hit));
        assert_eq!(seen(&before), seen(&after));
    }
}

/// The ground, one metre below the camera, far beyond it and far behind it.
fn ground() -> (Surface, Vec<Vec3>) {
    let v = [[-50.0, -9.0], [-50.0, 40.0], [50.0, 40.0], [50.0, -9.0]];
    let positions = v.map(|[x, z]| Vec3::new(x, 1.0, z)).to_vec();
    let uv = vec![[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]];
    let face = Face {
        vertices: [0, 1, 2, 3],
        uv: [0, 1, 2, 3],
    };
    (Surface::new(vec![face], uv, 4).unwrap(), positions)
}

#[test]
fn what_reaches_behind_the_camera_is_cut_at_the_near_plane() {
    let (surface, positions) = ground();
    let raster = drawn(&surface, &positions, &LENS, SIZE);
    let counted = counts(&surface, &positions, &LENS, SIZE);
    for row in 0..SIZE.0 {
        for column in 0..SIZE.1 {
            let pixel = row * SIZE.1 + column;
            let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
            // The ray through the centre meets the ground where y/f * depth = 1.
            let depth = LENS.focal / (y - LENS.centre[1]);
            let expected = depth > 0.0 && depth < 40.0;
            assert_eq!(counted[pixel], u32::from(expected), "{row}, {column}");
            let hit = raster.hits[pixel];
            assert_eq!(hit.is_hit(), expected);
            if expected {
                assert!(
                    (hit.depth / depth - 1.0).abs() < 0.01,
                    "{} {depth}",
                    hit.depth
                );
                let across = (x - LENS.centre[0]) / LENS.focal * depth;
                // Perspective: texture coordinates are linear on the ground and not on the screen.
                let uv = [(across + 50.0) / 100.0, (depth + 9.0) / 49.0];
                assert!((hit.uv[0] - uv[0]).abs() < 2e-3 && (hit.uv[1] - uv[1]).abs() < 6e-3);
            }
        }
    }
}

#[test]
fn nothing_and_what_lies_behind_leave_the_image_empty() {
    let (none, no_positions) = soup(vec![], vec![]);
    let raster = drawn(&none, &no_positions, &LENS, SIZE);
    assert_eq!(raster.hits.len(), 24 * 32);
    assert!(!raster.silhouette().contains(&true));
    let (surface, positions) = ground();
    let behind: Vec<Vec3> = positions.iter().map(|p| *p - Vec3::Z * 41.0).collect();
    assert!(
        !drawn(&surface, &behind, &LENS, SIZE)
            .silhouette()
            .contains(&true)
    );
    let lost: Vec<Vec3> = positions.iter().map(|p| *p * f32::NAN).collect();
    assert!(
        !drawn(&surface, &lost, &LENS, SIZE)
            .silhouette()
            .contains(&true)
    );
    assert_eq!(drawn(&surface, &positions, &LENS, (0, 7)).hits.len(), 0);
}

#[test]
fn corners_far_outside_the_image_keep_their_edges() {
    // The same half plane, once by a near triangle, once by one of a hundred million pixels.
    for far in [1e3f32, 1e8] {
        let corners = vec![
            at_depth_one(16.0, -far),
            at_depth_one(-far, 12.0),
            at_depth_one(16.0, far),
        ];
        let (surface, positions) = soup(corners, vec![[0.0; 2]; 3]);
        let raster = drawn(&surface, &positions, &LENS, SIZE);
        for (pixel, hit) in raster.hits.iter().enumerate() {
            assert_eq!(hit.is_hit(), pixel % 32 < 16, "{far}, {pixel}");
        }
    }
}

#[test]
fn only_outsides_are_seen_where_that_is_asked_for() {
    let corners = [
        at_depth_one(2.0, 2.0),
        at_depth_one(2.0, 20.0),
        at_depth_one(20.0, 2.0),
    ];
    let (surface, positions) = soup(corners.to_vec(), vec![[0.0; 2]; 3]);
    let normals = surface.normals(&positions);
    // Down, then up and right: counter-clockwise as one sees it, so its normal points to the camera.
    assert!(normals.iter().all(|n| n.z < -0.999));
    let count = |positions: &[Vec3], sides| {
        let normals = &surface.normals(positions)[..];
        let surface = &surface;
        let mesh = Mesh {
            surface,
            positions,
            normals,
        };
        let raster = rasterise(&mesh, &LENS, SIZE, sides).unwrap();
        raster.silhouette().iter().filter(|s| **s).count()
    };
    let turned = [positions[0], positions[2], positions[1]];
    assert!(count(&positions, Sides::Outside) > 100);
    assert_eq!(count(&turned, Sides::Outside), 0);
    assert_eq!(count(&turned, Sides::Both), count(&positions, Sides::Both));
}

#[test]
fn bands_and_threads_change_no_bit() {
    let mut rng = rng(3);
    let size = (300, 200);
    let lens = Lens {
        focal: 200.0,
        centre: [100.0, 150.0],
        near: 0.1,
    };
    let corners: Vec<Vec3> = (0..3 * 200)
        .map(|_| {
            let mut x = |r: f32| rng.random_range(-r..r);
            Vec3::new(x(1.0f32), x(1.5), 2.0 + x(1.0))
        })
        .collect();
    let uv = corners
        .iter()
        .map(|_| [rng.random(), rng.random()])
        .collect();
    let (surface, positions) = soup(corners, uv);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| drawn(&surface, &positions, &lens, size))
    };
    let one = with(1);
    assert!(one == with(4));
    // The same pixels one row at a time, as images of their own.
    for row in [0, 31, 32, 150, 299] {
        let centre = [lens.centre[0], lens.centre[1] - row as f32];
        let alone = drawn(&surface, &positions, &Lens { centre, ..lens }, (1, 200));
        for (a, b) in alone.hits.iter().zip(&one.hits[row * 200..]) {
            assert_eq!(a.is_hit(), b.is_hit());
            assert!(!a.is_hit() || (a.depth - b.depth).abs() < 1e-4);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (surface, positions) = ground();
    let normals = surface.normals(&positions);
    let mesh = Mesh {
        surface: &surface,
        positions: &positions[1..],
        normals: &normals,
    };
    let error = rasterise(&mesh, &LENS, SIZE, Sides::Both)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("4 positions") && error.contains("found 3"),
        "{error}"
    );
    let mesh = Mesh {
        positions: &positions,
        ..mesh
    };
    let lens = Lens { focal: 0.0, ..LENS };
    assert!(rasterise(&mesh, &lens, SIZE, Sides::Both).is_err());
    let face = Face {
        vertices: [0, 1, 2, 4],
        uv: [0; 4],
    };
    assert!(Surface::new(vec![face], vec![[0.0; 2]], 4).is_err());
    assert!(Surface::new(vec![], vec![[0.0, 1.5]], 4).is_err());
}
