//! A person as a file that other programs open: OBJ, with material and texture beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::body::Body;
use super::pose::Pose;
use super::texture::Texture;
use crate::error::{Error, Result};
use crate::files;

/// The files of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Vertices, texture coordinates, normals and faces.
    pub obj: PathBuf,
    /// The material, which names the texture.
    pub mtl: PathBuf,
    /// The texture.
    pub png: PathBuf,
}

impl dyn Body + '_ {
    /// Writes a body in a pose and under a texture as Wavefront OBJ: `path` with its material (`.mtl`) and texture (`.png`)
    /// beside it, each whole or not at all, the OBJ last. y is up and the person looks towards +z at a yaw of 0, so the
    /// left hand is at +x; texture coordinates run from the bottom left, as the format has them. Lengths are metres.
    ///
    /// ```
    /// use rebit::data::Pose;
    /// use rebit::prelude::*;
    /// let world = World::new(WorldConfig::default())?;
    /// let folder = std::env::temp_dir().join("rebit-doc-export");
    /// std::fs::create_dir_all(&folder).unwrap();
    /// let person = world.identity(3);
    /// let pose = Pose::standing(person.stature, person.girth);
    /// let files = world.body().export_obj(folder.join("person.obj"), &pose, &person.texture)?;
    /// assert!(files.png.ends_with("person.png"));
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that does not end in `.obj` or is not text, for a pose that is not finite;
    /// [`Error::Shape`] for a texture of another size than the body's; [`Error::Io`] when a file cannot be written.
    pub fn export_obj(
        &self,
        path: impl AsRef<Path>,
        pose: &Pose,
        texture: &Texture,
    ) -> Result<Exported> {
        let obj = path.as_ref().to_path_buf();
        let ends = obj
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("obj"));
        // The names stand in the files: a blank or a line's end would end them.
        let stem = obj.file_stem().and_then(|s| s.to_str());
        let plain = |s: &&str| !s.is_empty() && !s.contains(char::is_whitespace);
        let (true, Some(stem)) = (ends, stem.filter(plain)) else {
            let why = "take a name without blanks that ends in .obj";
            return Err(Error::invalid(obj.display(), why));
        };
        let side = self.side();
        if texture.side != side || texture.rgb.len() != 3 * side * side {
            let expected = format!("a texture of {side}x{side} for {}", self.name());
            return Err(Error::shape(
                "export_obj",
                expected,
                format!("{0}x{0}", texture.side),
            ));
        }
        let text = self.obj(pose, stem)?;
        let (mtl, png) = (obj.with_extension("mtl"), obj.with_extension("png"));
        let material =
            format!("newmtl {stem}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {stem}.png\n");
        texture.save(&png)?;
        for (file, text) in [(&mtl, &material), (&obj, &text)] {
            files::save(file, text.as_bytes())?;
        }
        Ok(Exported { obj, mtl, png })
    }

    fn obj(&self, pose: &Pose, stem: &str) -> Result<String> {
        let surface = self.surface();
        let positions = self.posed(pose);
        if positions.iter().any(|p| !p.is_finite()) {
            return Err(Error::invalid(format!("{pose:?}"), "is not finite"));
        }
        let mut out = format!("# {} of rebit\nmtllib {stem}.mtl\no {stem}\n", self.name());
        // Writing to a text cannot fail.
        for p in &positions {
            let _ = writeln!(out, "v {:.6} {:.6} {:.6}", p.x, p.y, p.z);
        }
        for [u, v] in surface.uv() {
            let _ = writeln!(out, "vt {u:.6} {:.6}", 1.0 - v);
        }
        for n in surface.normals(&positions) {
            let _ = writeln!(out, "vn {:.5} {:.5} {:.5}", n.x, n.y, n.z);
        }
        let _ = writeln!(out, "usemtl {stem}");
        for face in surface.faces() {
            let mut corners: Vec<(u32, u32)> = Vec::with_capacity(4);
            for (&vertex, &uv) in face.vertices.iter().zip(&face.uv) {
                // A triangle says a corner twice.
                if corners.iter().all(|(v, _)| *v != vertex) {
                    corners.push((vertex, uv));
                }
            }
            if corners.len() < 3 {
                continue;
            }
            out.push('f');
            for (vertex, uv) in corners {
                let _ = write!(out, " {0}/{1}/{0}", vertex + 1, uv + 1);
            }
            out.push('\n');
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Capsules, Photo};

    /// What a reader of OBJ makes of a file.
    #[derive(Default)]
    struct Read {
        v: Vec<[f32; 3]>,
        vt: Vec<[f32; 2]>,
        faces: Vec<Vec<(usize, usize)>>,
    }

    fn read(path: &Path) -> Read {
        let mut out = Read::default();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let numbers = || words[1..].iter().map(|w| w.parse().unwrap());
            match words.first() {
                Some(&"v") => out
                    .v
                    .push(numbers().collect::<Vec<f32>>().try_into().unwrap()),
                Some(&"vt") => out
                    .vt
                    .push(numbers().collect::<Vec<f32>>().try_into().unwrap()),
                Some(&"f") => {
                    let corner = |word: &&str| {
                        let mut parts = word.split('/').map(|p| p.parse::<usize>().unwrap() - 1);
                        (parts.next().unwrap(), parts.next().unwrap())
                    };
                    out.faces.push(words[1..].iter().map(corner).collect());
                }
                _ => {}
            }
        }
        out
    }

    #[test]
    fn an_export_holds_the_surface_and_a_red_left_glove_stays_left() {
        let folder = tempfile::tempdir().unwrap();
        let capsules = Capsules::new();
        let body: &dyn Body = &capsules;
        let mut texture = Texture {
            side: 64,
            rgb: vec![128; 64 * 64 * 3],
        };
        // The lower end of the left forearm.
        for row in 27..32 {
            for column in 40..52 {
                texture.rgb[(row * 64 + column) * 3..][..3].copy_from_slice(&[255, 0, 0]);
            }
        }
        let path = folder.path().join("person.obj");
        let files = body
            .export_obj(&path, &Pose::standing(1.75, 1.0), &texture)
            .unwrap();
        let found = read(&path);
        let surface = body.surface();
        assert_eq!(
            (found.v.len(), found.vt.len()),
            (surface.vertices(), surface.uv().len())
        );
        assert_eq!(found.faces.len(), surface.faces().len());
        // Poles are triangles.
        assert_eq!(
            found.faces.iter().filter(|f| f.len() == 3).count(),
            10 * 2 * 16
        );
        let photo = Photo::read(&files.png).unwrap();
        assert_eq!(photo.rgb, texture.rgb);
        let mut red = 0;
        for (vertex, uv) in found.faces.iter().flatten() {
            let [u, v] = found.vt[*uv];
            let (column, row) = ((u * 64.0) as usize, ((1.0 - v) * 64.0) as usize);
            if photo.rgb[(row.min(63) * 64 + column.min(63)) * 3..][..3] == [255, 0, 0] {
                let [x, y, _] = found.v[*vertex];
                assert!(x > 0.1 && y < 1.1, "{x} {y}");
                red += 1;
            }
        }
        assert!(red > 50);
        let mtl = std::fs::read_to_string(files.mtl).unwrap();
        assert!(mtl.contains("map_Kd person.png"));
    }

    #[test]
    fn faces_run_counter_clockwise_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        let capsules = Capsules::new();
        let body: &dyn Body = &capsules;
        let grey = Texture {
            side: 64,
            rgb: vec![128; 64 * 64 * 3],
        };
        let path = folder.path().join("a.obj");
        body.export_obj(&path, &Pose::standing(1.7, 1.0), &grey)
            .unwrap();
        let found = read(&path);
        // Divergence: outward faces enclose a positive volume, that of a person.
        let volume: f32 = found
            .faces
            .iter()
            .flat_map(|f| (2..f.len()).map(|k| [f[0].0, f[k - 1].0, f[k].0]))
            .map(|t| {
                let [a, b, c] = t.map(|v| glam::Vec3::from_array(found.v[v]));
                a.dot(b.cross(c)) / 6.0
            })
            .sum();
        assert!((0.04..0.12).contains(&volume), "{volume}");
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let capsules = Capsules::new();
        let body: &dyn Body = &capsules;
        let grey = |side: usize| Texture {
            side,
            rgb: vec![9; side * side * 3],
        };
        let pose = Pose::standing(1.7, 1.0);
        let said = |path: &str, pose: &Pose, side: usize| {
            let result = body.export_obj(path, pose, &grey(side));
            result.unwrap_err().to_string()
        };
        assert!(said("a.ply", &pose, 64).contains(".obj"));
        assert!(said("a b.obj", &pose, 64).contains("blanks"));
        assert!(said("a.obj", &pose, 32).contains("32x32"));
        // A file stands where the folder is to be.
        let file = tempfile::NamedTempFile::new().unwrap();
        let within = file.path().join("a.obj").display().to_string();
        assert!(said(&within, &pose, 64).contains(&file.path().display().to_string()));
        let nowhere = Pose {
            yaw: f32::NAN,
            ..pose
        };
        assert!(said("a.obj", &nowhere, 64).contains("finite"));
        assert!(!Path::new("a.obj").exists());
    }

    #[test]
    fn the_other_side_of_the_other_side_is_the_same_texel() {
        let body = Capsules::new();
        let mirror = body.mirror();
        let mut moved = 0;
        for (texel, other) in mirror.iter().enumerate() {
            assert_eq!(mirror[*other as usize] as usize, texel);
            moved += usize::from(*other as usize != texel);
        }
        assert!(moved > 3500);
        // What people wear is symmetric but for the widths of stripes that do not divide the trunk.
        let texture = body.texture(0, 1, 0.0);
        let same = mirror
            .iter()
            .enumerate()
            .filter(|(texel, other)| texture.colour(*texel) == texture.colour(**other as usize));
        assert!(same.count() > 3600);
    }
}
