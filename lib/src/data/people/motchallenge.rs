//! MOTChallenge: frames of a video, and a text file with a box a line.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::{SceneFile, SceneFiles, pictures, stem};
use crate::error::{Error, Result};

/// The frames of a MOTChallenge sequence with the people of its `gt.txt`.
///
/// A line is `frame,id,x,y,width,height,considered[,class,visibility]` or, in the release of 2015,
/// `frame,id,x,y,width,height,considered,X,Y,Z`. Lines that are not to be considered (0), and of other classes than
/// pedestrians (1), are passed over, boxes without area too. The number of a frame is the number in its file's name plus
/// `offset`: 0 for the files of the data set itself, whose first frame is `000001.jpg`. Frames without a file, and files
/// without people, are in order.
///
/// ```no_run
/// use rebit::data::people::motchallenge;
/// let scenes = motchallenge("MOT17-09/gt/gt.txt", "MOT17-09/img1", 0)?;
/// for scene in scenes.iter() {
///     println!("{} people", scene?.boxes.len());
/// }
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] for what cannot be read; [`Error::Data`] with the line of `gt.txt` for one that is not as above, and for a
/// person who is twice in a frame, and for two files with the number of one frame.
pub fn motchallenge(
    gt: impl AsRef<Path>,
    frames: impl AsRef<Path>,
    offset: i64,
) -> Result<SceneFiles> {
    let (gt, frames) = (gt.as_ref(), frames.as_ref());
    let mut files = Vec::new();
    let mut of_frame = HashMap::new();
    for path in pictures(frames)? {
        let digits: String = stem(&path).chars().filter(char::is_ascii_digit).collect();
        let Ok(number) = digits.parse::<i64>() else {
            let remedy = "Name frames by their numbers, as 000001.jpg";
            return Err(Error::data(
                path,
                "has no number of a frame in its name",
                remedy,
            ));
        };
        if let Some(other) = of_frame.insert(number + offset, files.len()) {
            let first: &SceneFile = &files[other];
            let why = format!(
                "is frame {}, as is {}",
                number + offset,
                first.path.display()
            );
            return Err(Error::data(path, why, "Remove one of the two"));
        }
        files.push(SceneFile {
            path,
            camera: 0,
            boxes: Vec::new(),
            identities: Vec::new(),
            visible: Vec::new(),
        });
    }
    let text = std::fs::read_to_string(gt).map_err(|e| Error::io(gt, e))?;
    let mut seen = HashSet::new();
    for (k, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let wrong = |why: String| {
            let remedy =
                "A line is frame,id,x,y,width,height,considered, then class,visibility or X,Y,Z";
            Error::data(gt, format!("line {}: {why}", k + 1), remedy)
        };
        let values: Vec<f64> = line
            .split(',')
            .map(|v| {
                v.trim()
                    .parse::<f64>()
                    .map_err(|_| wrong(format!("{:?} is no number", v.trim())))
            })
            .collect::<Result<_>>()?;
        let (7.., true) = (values.len(), values.iter().all(|v| v.is_finite())) else {
            return Err(wrong(format!(
                "at least 7 finite numbers expected, found {line:?}"
            )));
        };
        let whole = |v: f64| v.fract() == 0.0 && (0.0..1e9).contains(&v);
        if !whole(values[0]) || !whole(values[1]) {
            return Err(wrong(format!(
                "frame and id are whole numbers, found {} and {}",
                values[0], values[1]
            )));
        }
        if !seen.insert((values[0] as i64, values[1] as u32)) {
            return Err(wrong(format!(
                "person {} is twice in frame {}",
                values[1], values[0]
            )));
        }
        let pedestrian = values.len() != 9 || values[7] == 1.0;
        let [x, y, w, h] = [values[2], values[3], values[4], values[5]];
        if values[6] == 0.0 || !pedestrian || w <= 0.0 || h <= 0.0 {
            continue;
        }
        if let Some(&file) = of_frame.get(&(values[0] as i64)) {
            let file = &mut files[file];
            file.boxes.push([x, y, x + w, y + h].map(|v| v as f32));
            file.identities.push(Some(values[1] as u32));
            let visible = if values.len() == 9 {
                values[8] as f32
            } else {
                1.0
            };
            file.visible.push(visible.clamp(0.0, 1.0));
        }
    }
    let name = gt
        .parent()
        .and_then(Path::parent)
        .map(stem)
        .unwrap_or_default();
    Ok(SceneFiles { name, files })
}
