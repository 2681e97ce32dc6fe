//! Pictures that move: a body that turns, as an animated PNG.

use std::path::Path;

use rayon::prelude::*;

use super::figure::Figure;
use super::images::images;
use crate::data::{Body, Photo, Portrait, Pose, Texture};
use crate::error::{Error, Result};
use crate::files;
use crate::ops::parallel::start_threads;
use crate::show::{MimeBundle, Show, base64_of, bundle_of};

/// A picture that moves. It ends a cell as an animated PNG, of which the first frame stands still where animation is not
/// shown.
#[derive(Clone, PartialEq)]
pub struct Animation {
    png: Vec<u8>,
    frames: Vec<Photo>,
}

/// A body that turns once around, in `frames` pictures, as many a second as make that three seconds.
///
/// ```
/// use rebit::data::{Portrait, Pose};
/// use rebit::prelude::*;
/// let world = World::new(WorldConfig::default())?;
/// let person = world.identity(3);
/// let pose = Pose::standing(person.stature, person.girth);
/// let small = Portrait { size: (48, 28), ..Portrait::default() };
/// let turning = plot::turntable(world.body(), &pose, &person.texture, 8, &small)?;
/// assert_eq!(turning.frames().len(), 8);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for less than one frame or more than 360, and those of [`Body`]'s `picture`.
pub fn turntable(
    body: &dyn Body,
    pose: &Pose,
    texture: &Texture,
    frames: usize,
    how: &Portrait,
) -> Result<Animation> {
    start_threads();
    if !(1..=360).contains(&frames) {
        let what = format!("a turntable of {frames} frames");
        return Err(Error::invalid(what, "has 1 to 360"));
    }
    let step = std::f32::consts::TAU / frames as f32;
    let picture = |k: usize| {
        let how = Portrait {
            around: how.around + step * k as f32,
            ..*how
        };
        body.picture(pose, Some(texture), &how)
    };
    let frames: Result<Vec<Photo>> = (0..frames).into_par_iter().map(picture).collect();
    Animation::new(frames?, 3.0)
}

impl Animation {
    /// Frames of one size that are shown again and again, each round in `seconds`.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a frame and for a time that is not positive, [`Error::Shape`] for frames of different
    /// sizes.
    pub fn new(frames: Vec<Photo>, seconds: f32) -> Result<Animation> {
        let Some(first) = frames.first() else {
            return Err(Error::invalid("an animation", "holds no frame"));
        };
        if !(seconds.is_finite() && seconds > 0.0) {
            let what = format!("an animation of {seconds} seconds");
            return Err(Error::invalid(what, "takes some time"));
        }
        let size = |p: &Photo| format!("{}x{} pixels", p.height, p.width);
        for (k, frame) in frames.iter().enumerate() {
            let same = (frame.height, frame.width) == (first.height, first.width);
            if !same || frame.rgb.len() != 3 * frame.height * frame.width || frame.rgb.is_empty() {
                let found = format!("frame {k} of {}", size(frame));
                return Err(Error::shape("animation", size(first), found));
            }
        }
        let delay = (1000.0 * seconds / frames.len() as f32).round();
        let png = encode(&frames, delay.clamp(1.0, 60_000.0) as u16);
        let png = png.map_err(|e| Error::invalid("an animated PNG", e))?;
        Ok(Animation { png, frames })
    }

    /// The file.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// The pictures.
    pub fn frames(&self) -> &[Photo] {
        &self.frames
    }

    /// Up to `count` of the pictures side by side, for places where nothing moves.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a figure that would be too large.
    pub fn sheet(&self, title: impl Into<String>, count: usize) -> Result<Figure> {
        let count = count.clamp(1, self.frames.len());
        let chosen = (0..count).map(|k| &self.frames[k * self.frames.len() / count]);
        images(title).photos(chosen).scale(1.0).try_figure()
    }

    /// Writes the animated PNG, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        files::save(path, &self.png)
    }
}

fn encode(frames: &[Photo], delay: u16) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut out = Vec::new();
    let (width, height) = (frames[0].width as u32, frames[0].height as u32);
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    if frames.len() > 1 {
        encoder.set_animated(frames.len() as u32, 0)?;
        encoder.set_frame_delay(delay, 1000)?;
    }
    let mut writer = encoder.write_header()?;
    for frame in frames {
        writer.write_image_data(&frame.rgb)?;
    }
    writer.finish()?;
    Ok(out)
}

impl Show for Animation {
    fn bundle(&self) -> MimeBundle {
        let (h, w) = (self.frames[0].height, self.frames[0].width);
        let kilobytes = self.png.len().div_ceil(1000);
        let text = format!(
            "[animation: {} frames of {h}x{w}, {kilobytes} KB; sheet() shows them side by side]",
            self.frames.len()
        );
        bundle_of("image/png", base64_of(&self.png), text)
    }
}

impl std::fmt::Debug for Animation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (h, w) = (self.frames[0].height, self.frames[0].width);
        write!(f, "Animation of {} frames of {h}x{w}", self.frames.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Capsules;

    fn turning(frames: usize) -> Animation {
        let body = Capsules::new();
        let texture = body.texture(0, 4, 0.0);
        let pose = Pose::standing(1.75, 1.0);
        let how = Portrait {
            size: (128, 64),
            ..Portrait::default()
        };
        turntable(&body, &pose, &texture, frames, &how).unwrap()
    }

    #[test]
    fn a_reader_gets_every_frame_back() {
        let animation = turning(24);
        assert!(animation.png().len() < 150_000, "{}", animation.png().len());
        let decoder = png::Decoder::new(std::io::Cursor::new(animation.png()));
        let mut reader = decoder.read_info().unwrap();
        let control = reader.info().animation_control.unwrap();
        assert_eq!((control.num_frames, control.num_plays), (24, 0));
        for frame in animation.frames() {
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            assert!(pixels == frame.rgb);
        }
        assert_ne!(animation.frames()[0].rgb, animation.frames()[12].rgb);
    }

    #[test]
    fn a_viewer_without_animation_sees_the_first_frame() {
        let animation = turning(3);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        animation.save(&path).unwrap();
        assert_eq!(Photo::read(&path).unwrap().rgb, animation.frames()[0].rgb);
        let bundle = animation.bundle();
        assert!(bundle["image/png"].as_str().unwrap().len() > 100);
        assert!(
            bundle["text/plain"]
                .as_str()
                .unwrap()
                .contains("3 frames of 128x64")
        );
        let sheet = animation.sheet("Around", 2).unwrap();
        assert_eq!(sheet.svg().matches("<image").count(), 2);
    }

    #[test]
    fn what_cannot_move_is_refused() {
        let frames = turning(2).frames().to_vec();
        let said =
            |frames: Vec<Photo>, seconds| Animation::new(frames, seconds).unwrap_err().to_string();
        assert!(said(Vec::new(), 1.0).contains("no frame"));
        assert!(said(frames.clone(), 0.0).contains("0 seconds"));
        let smaller = frames[0].crop(0, 0, 9, 9).unwrap();
        let e = said(vec![frames[0].clone(), smaller], 1.0);
        assert!(e.contains("128x64") && e.contains("frame 1 of 9x9"), "{e}");
        let body = Capsules::new();
        let (pose, texture) = (Pose::standing(1.7, 1.0), body.texture(0, 1, 0.0));
        assert!(turntable(&body, &pose, &texture, 0, &Portrait::default()).is_err());
    }
}
