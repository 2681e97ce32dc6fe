//! PRW: frames of six cameras.

use std::collections::HashMap;
use std::path::Path;

use super::mat::{Mat, MatFile};
use super::{PersonQuery, SceneFile, SceneFiles};
use crate::error::{Error, Result};

/// The data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Prw {
    /// Frames for training.
    pub train: SceneFiles,
    /// Frames for tests.
    pub test: SceneFiles,
    /// The queries; scenes are those of `test`.
    pub queries: Vec<PersonQuery>,
}

/// PRW from its folder.
///
/// Identities are the data set's own numbers, which have gaps; -2 is a person nobody knows. Negative values are 0, and
/// boxes without area are dropped.
///
/// ```no_run
/// let data = rebit::data::people::prw("PRW-v16.04.20")?;
/// assert_eq!((data.train.len(), data.test.len(), data.queries.len()), (5_704, 6_112, 2_057));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; [`Error::Data`] for one that is damaged, of another version, or lacks
/// what is expected: it is named, with its place.
pub fn prw(folder: impl AsRef<Path>) -> Result<Prw> {
    let folder = folder.as_ref();
    let (train, _) = frames(folder, "train")?;
    let (test, index) = frames(folder, "test")?;
    Ok(Prw {
        queries: queries(&folder.join("query_info.txt"), &index)?,
        train,
        test,
    })
}

fn frames(folder: &Path, part: &str) -> Result<(SceneFiles, HashMap<String, usize>)> {
    let list = MatFile::read(&folder.join(format!("frame_{part}.mat")))?;
    let variable = format!("img_index_{part}");
    let cells = list.get(&variable)?.cells();
    let names: Vec<&str> = cells
        .and_then(|cells| cells.iter().map(Mat::text).collect())
        .map_err(|why| list.wrong(format!("{variable}: {why}")))?;
    let (mut files, mut index) = (Vec::new(), HashMap::new());
    for name in names {
        if index.insert(name.to_string(), files.len()).is_some() {
            return Err(list.wrong(format!("{variable}: {name:?} is listed twice")));
        }
        files.push(frame(folder, name)?);
    }
    let name = format!("PRW {part}");
    Ok((SceneFiles { name, files }, index))
}

fn frame(folder: &Path, name: &str) -> Result<SceneFile> {
    let file = MatFile::read(&folder.join(format!("annotations/{name}.jpg.mat")))?;
    let variables = ["box_new", "anno_file", "anno_previous"];
    let boxes = variables.iter().find_map(|v| file.find(v));
    let boxes = match boxes {
        Some(boxes) => boxes,
        // Says which ones are there.
        None => file.get(variables[0])?,
    };
    let rows = boxes.rows(5).map_err(|why| file.wrong(why))?;
    let digit = name
        .strip_prefix('c')
        .and_then(|n| n.chars().next())
        .and_then(|c| c.to_digit(10));
    let camera = digit.ok_or_else(|| {
        file.wrong(format!(
            "the name {name:?} does not begin with c and the number of a camera"
        ))
    })?;
    let mut out = SceneFile {
        path: folder.join(format!("frames/{name}.jpg")),
        camera,
        boxes: Vec::new(),
        identities: Vec::new(),
        visible: Vec::new(),
    };
    for row in rows {
        let [x, y, w, h] = [row[1], row[2], row[3], row[4]].map(|v| v.max(0.0));
        if w > 0.0 && h > 0.0 {
            out.boxes.push([x, y, x + w, y + h].map(|v| v as f32));
            out.identities
                .push((row[0] >= 0.0).then_some(row[0] as u32));
            out.visible.push(1.0);
        }
    }
    Ok(out)
}

/// Lines of `id x y width height frame`.
fn queries(path: &Path, index: &HashMap<String, usize>) -> Result<Vec<PersonQuery>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let mut out = Vec::new();
    for (k, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let wrong = |why: String| {
            let remedy = "A line is id x y width height frame, the frame one of frame_test.mat";
            Error::data(path, format!("line {}: {why}", k + 1), remedy)
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[id, x, y, w, h, frame] = words.as_slice() else {
            return Err(wrong(format!("6 values expected, found {}", words.len())));
        };
        let number = |v: &str| {
            v.parse::<f64>()
                .map_err(|_| wrong(format!("{v:?} is no number")))
        };
        let identity = id
            .parse()
            .map_err(|_| wrong(format!("{id:?} is no identity")))?;
        let [x, y] = [number(x)?.max(0.0), number(y)?.max(0.0)];
        let frame = frame.strip_suffix(".jpg").unwrap_or(frame);
        let scene = index
            .get(frame)
            .ok_or_else(|| wrong(format!("{frame:?} is no test frame")))?;
        out.push(PersonQuery {
            identity,
            scene: *scene,
            at: [x, y, x + number(w)?, y + number(h)?].map(|v| v as f32),
        });
    }
    Ok(out)
}
