//! The boxes of a batch that the re-ID losses are computed on.

use super::{PersonSearchConfig, Unusable};
use crate::boxes::{BoxXyxy, iou, usable};
use crate::data::{Scene, images_from_nhwc};
use crate::nn::Activations;
use crate::nn::detector::{BOXES, Cell, SCORE, cell_boxes};
use crate::ops::host::try_host_op;
use crate::{Error, Matrix, Result, Taped, read};

/// How many of a scene's surest cells are looked at.
const LOOKED_AT: usize = 60;

/// Cells whose boxes are cut out, and who is in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposals {
    /// The cells.
    pub cells: Vec<Cell>,
    /// The box of each, as the detector has it now.
    pub boxes: Vec<BoxXyxy>,
    /// The identity of each.
    pub labels: Vec<u32>,
    /// Boxes that were left out since they cannot be cut out.
    pub dropped: usize,
}

/// The proposals of a detector's pass on these scenes: the surest cells first, without suppression, those whose box has
/// an IoU of at least [`overlap`](PersonSearchConfig::overlap) with the annotated box of somebody with an identity; at
/// most so many of a person and of a scene as `config` says. Everything else carries no re-ID loss.
///
/// # Errors
/// [`Error::Invalid`] for an identity beyond `identities`, and for a box that cannot be cut out where `config` refuses
/// these; as [`Activations::channels_last`].
pub fn proposals(
    pass: &Activations,
    scenes: &[&Scene],
    identities: usize,
    config: &PersonSearchConfig,
) -> Result<Proposals> {
    let Some(first) = scenes.first() else {
        return Ok(Proposals::default());
    };
    let size = (first.image.height, first.image.width);
    let maps = (size.0.div_ceil(8), size.1.div_ceil(8));
    let cells = maps.0 * maps.1;
    let scores = pass.channels_last(SCORE)?;
    let shape = [scenes.len(), maps.0, maps.1, 4];
    let distances = images_from_nhwc(&pass.channels_last(BOXES)?, shape)?;
    let mut out = Proposals::default();
    for (image, (scene, scores)) in scenes.iter().zip(scores.chunks_exact(cells)).enumerate() {
        let mut order: Vec<usize> = (0..cells).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(LOOKED_AT);
        let surest: Vec<Cell> = order
            .iter()
            .map(|&k| Cell {
                image,
                ..Cell::number(k, maps)
            })
            .collect();
        let corners = read(&cell_boxes(distances.clone(), &surest)?);
        let boxes: Vec<BoxXyxy> = corners
            .chunks_exact(4)
            .map(|b| [b[0], b[1], b[2], b[3]])
            .collect();
        let mut taken = vec![0; scene.annotated.len()];
        let before = out.cells.len();
        for (cell, b) in surest.iter().zip(&boxes) {
            if out.cells.len() - before >= config.per_scene {
                break;
            }
            if usable(&[*b], size, config.least).dropped > 0 {
                refuse(*b, config)?;
                out.dropped += 1;
                continue;
            }
            let Some(person) = person_of(*b, scene, config.overlap) else {
                continue;
            };
            let Some(label) = scene.identities[person] else {
                continue;
            };
            if label as usize >= identities {
                let why = format!("the re-ID network knows the identities 0..{identities}");
                let what = format!("identity {label} of {:?}", scene.image.name);
                return Err(Error::invalid(what, why));
            }
            if taken[person] >= config.per_person {
                continue;
            }
            taken[person] += 1;
            out.cells.push(*cell);
            out.boxes.push(*b);
            out.labels.push(label);
        }
    }
    Ok(out)
}

fn refuse(b: BoxXyxy, config: &PersonSearchConfig) -> Result<()> {
    match config.unusable {
        Unusable::Drop => Ok(()),
        Unusable::Refuse => Err(Error::invalid(
            format!("the box {b:?}"),
            format!(
                "has less than {} pixels within the image; Unusable::Drop leaves such boxes out",
                config.least
            ),
        )),
    }
}

/// The person whose annotated box this one overlaps most, if by enough.
fn person_of(b: BoxXyxy, scene: &Scene, least: f32) -> Option<usize> {
    let overlaps = scene.annotated.iter().map(|a| iou(*a, b)).enumerate();
    let best = overlaps.reduce(|x, y| if y.1 > x.1 { y } else { x });
    best.filter(|(_, overlap)| *overlap >= least)
        .map(|(k, _)| k)
}

/// The same boxes; a gradient that comes back is cut, box by box, to the length `most`, each coordinate in units of the
/// box's width or height.
///
/// ```
/// use rebit::papers::person_search::clipped;
/// use rebit::prelude::*;
/// let b: Matrix = from_vec(vec![0.0, 0.0, 10.0, 20.0], (1, 4))?;
/// let pull = clipped(b.leaky_trace(), 1.0)?.sum::<(), _>().backward().get(&b);
/// // (10, 20, 10, 20) in units of the box, of length 31.6, is cut to 1.
/// assert!((read(&pull)[0] - 1.0 / 1000f32.sqrt()).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for boxes of other than four coordinates.
pub fn clipped(boxes: Matrix<Taped>, most: f32) -> Result<Matrix<Taped>> {
    use dfdx::prelude::HasShape;
    let (count, four) = *boxes.shape();
    if four != 4 {
        let found = format!("({count}, {four})");
        return Err(Error::shape("clipped", "boxes (N, 4)", found));
    }
    try_host_op(
        boxes,
        (count, 4),
        |x, y| {
            y.copy_from_slice(x);
            Ok(())
        },
        move |x, dy, dx| {
            let rows = x.chunks_exact(4).zip(dy.chunks_exact(4));
            for ((b, dy), dx) in rows.zip(dx.chunks_exact_mut(4)) {
                let size = [b[2] - b[0], b[3] - b[1]];
                let squares = (0..4).map(|k| (dy[k] * size[k % 2]).powi(2));
                let length = squares.sum::<f32>().sqrt();
                let share = if length > most { most / length } else { 1.0 };
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = share * dy);
            }
            Ok(())
        },
    )
}
