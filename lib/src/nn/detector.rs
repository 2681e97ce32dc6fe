//! A small detector of people: one level, no anchors, two heads.
//!
//! Each cell of a map with stride 8 says how sure it is that a person stands there (`score`, a logit) and how far the four
//! sides of the person's box are from its centre `(px, py)` (`boxes`, four numbers `t`, left, top, right, bottom):
//!
//! ```text
//! x1 = px - u e^t1    y1 = py - u e^t2    x2 = px + u e^t3    y2 = py + u e^t4        u = 16 pixels
//! ```
//!
//! Source: after Tian et al., "FCOS", [arXiv:1904.01355](https://arxiv.org/abs/1904.01355), section 3, with one level and
//! without centre-ness; the sizes are choices of this library.

use dfdx::prelude::HasShape;

use super::layers::Init;
use super::{Conv, Net, NetBuilder, NodeId};
use crate::boxes::{BoxXyxy, nms, usable};
use crate::data::Scene;
use crate::data::people::photo_batch;
use crate::metrics::{Detection, GalleryScene, Person};
use crate::ops::Recorder;
use crate::ops::box_decode::{BoxBase, try_box_decode};
use crate::ops::host::try_host_op;
use crate::ops::relu::Activation;
use crate::show::check_interrupt;
use crate::{Error, Images, Matrix, Result, Rng, read};

/// The node of the logits.
pub const SCORE: &str = "score";
/// The node of the distances.
pub const BOXES: &str = "boxes";
/// Pixels from one cell to the next.
pub const STRIDE: usize = 8;
/// The unit of the distances, in pixels.
pub const UNIT: f32 = 16.0;

/// Sizes of a [`detector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorConfig {
    /// Height and width of the scenes it is built for; it runs on others too.
    pub size: (usize, usize),
    /// Channels of the four convolutions, of which the first three have stride 2.
    pub widths: [usize; 4],
    /// Channels of the convolution before the distances.
    pub head: usize,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        DetectorConfig {
            size: (96, 160),
            widths: [16, 32, 64, 64],
            head: 48,
        }
    }
}

/// The detector: 3x3 convolutions with batch norm and ReLU, three of stride 2 and two more at the last width, then the two
/// heads. Its output is both of them, [`SCORE`] before [`BOXES`]; images are normalised as
/// [`PIXELS`](crate::data::people::PIXELS).
///
/// ```
/// use rebit::nn::{DetectorConfig, detector};
/// use rebit::prelude::*;
/// let net = detector(&DetectorConfig::default(), rng(0))?;
/// assert_eq!(net.output_extent(), Extent::new(5, 12, 20));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for scenes of less than 8x8 pixels.
pub fn detector(config: &DetectorConfig, rng: Rng) -> Result<Net> {
    let (height, width) = config.size;
    if height.min(width) < STRIDE {
        let what = format!("a detector for scenes of {height}x{width}");
        return Err(Error::invalid(
            what,
            "a cell is 8x8 pixels; take larger ones",
        ));
    }
    let mut b = NetBuilder::new(3, height, width, rng);
    let [.., last] = config.widths;
    let x = trunk(&mut b, config.widths.iter().chain([&last]))?;
    let head = Conv::new(1).with_bias().init(Init::UniformFanIn);
    let score = b.conv(SCORE, x, head)?;
    let y = block(&mut b, "_box", x, Conv::new(config.head))?;
    let boxes = b.conv(
        BOXES,
        y,
        Conv {
            channels: 4,
            ..head
        },
    )?;
    let both = b.concat("heads", &[score, boxes])?;
    let net = b.build(both)?;
    // Few cells hold a person: begin by expecting one in twenty.
    net.set_parameter("score.bias", &[-3.0])?;
    Ok(net)
}

/// Blocks of so many channels one behind the other, the first three at half the size of what they read.
pub(super) fn trunk<'a>(
    b: &mut NetBuilder,
    widths: impl IntoIterator<Item = &'a usize>,
) -> Result<NodeId> {
    let mut x = b.input();
    for (k, &channels) in widths.into_iter().enumerate() {
        let stride = if k < 3 { 2 } else { 1 };
        let conv = Conv::new(channels).stride(stride);
        x = block(b, &format!("{}", k + 1), x, conv)?;
    }
    Ok(x)
}

fn block(b: &mut NetBuilder, name: &str, x: NodeId, conv: Conv) -> Result<NodeId> {
    let x = b.conv(&format!("conv{name}"), x, conv)?;
    b.norm(&format!("bn{name}"), x, Activation::Relu)
}

/// A cell of the detector's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The image of the batch.
    pub image: usize,
    /// Row of the map.
    pub row: usize,
    /// Column of the map.
    pub column: usize,
}

impl Cell {
    /// Its centre in the image, `(x, y)` in pixels.
    ///
    /// ```
    /// use rebit::nn::detector::Cell;
    /// assert_eq!(Cell { image: 0, row: 1, column: 0 }.centre(), [4.0, 12.0]);
    /// ```
    pub fn centre(self) -> [f32; 2] {
        let at = |k: usize| (k as f32 + 0.5) * STRIDE as f32;
        [at(self.column), at(self.row)]
    }

    /// Cell number `k` of maps of these rows and columns, image by image and row by row.
    pub fn number(k: usize, (rows, columns): (usize, usize)) -> Cell {
        Cell {
            image: k / (rows * columns),
            row: k / columns % rows,
            column: k % columns,
        }
    }
}

/// The boxes that some cells predict, rows `(x1, y1, x2, y2)` in pixels, out of the [`BOXES`] of a pass: with a gradient to
/// the distances of these cells.
///
/// ```
/// use rebit::nn::detector::{Cell, cell_boxes};
/// use rebit::prelude::*;
/// let maps: Images = from_vec(vec![0.0; 4 * 6], (1, 4, 2, 3))?;
/// let cell = Cell { image: 0, row: 1, column: 2 };
/// assert_eq!(read(&cell_boxes(maps, &[cell])?), [4.0, -4.0, 36.0, 28.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for maps of other than four channels, [`Error::Invalid`] for a cell that is not there.
pub fn cell_boxes<T: Recorder>(maps: Images<T>, cells: &[Cell]) -> Result<Matrix<T>> {
    let t = picked(maps, cells)?;
    let points = cells.iter().map(|c| c.centre()).collect();
    try_box_decode(
        t,
        BoxBase::Distances {
            points,
            scale: UNIT,
        },
    )
}

/// The numbers of some cells, a cell a row.
fn picked<T: Recorder>(maps: Images<T>, cells: &[Cell]) -> Result<Matrix<T>> {
    let (n, channels, rows, columns) = *maps.shape();
    if channels != 4 {
        let found = format!("({n}, {channels}, {rows}, {columns})");
        return Err(Error::shape(
            "cell_boxes",
            "distances (N, 4, rows, columns)",
            found,
        ));
    }
    let inside = |c: &&Cell| c.image < n && c.row < rows && c.column < columns;
    if let Some(cell) = cells.iter().find(|c| !inside(c)) {
        let why = format!("the maps are of {n} images, {rows}x{columns} cells");
        return Err(Error::invalid(format!("{cell:?}"), why));
    }
    let at = |c: &Cell, k: usize| ((c.image * 4 + k) * rows + c.row) * columns + c.column;
    let from: Vec<usize> = cells
        .iter()
        .flat_map(|c| (0..4).map(move |k| at(c, k)))
        .collect();
    let back = from.clone();
    try_host_op(
        maps,
        (cells.len(), 4),
        move |x, y| {
            y.iter_mut().zip(&from).for_each(|(y, &from)| *y = x[from]);
            Ok(())
        },
        move |_, dy, dx| {
            dy.iter().zip(&back).for_each(|(dy, &to)| dx[to] += dy);
            Ok(())
        },
    )
}

/// What counts as a detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectConfig {
    /// The lowest probability.
    pub score: f32,
    /// The largest IoU of two detections of a scene.
    pub nms: f32,
    /// The smallest height and width within the image, in pixels.
    pub least: f32,
}

impl Default for DetectConfig {
    /// Probability 0.5 and IoU 0.4, as public person-search code does; 4 pixels is a choice of this library.
    fn default() -> Self {
        DetectConfig {
            score: 0.5,
            nms: 0.4,
            least: 4.0,
        }
    }
}

/// What a detector finds in each of some images, best first; boxes are cut to the image.
///
/// ```
/// use rebit::nn::detector::{DetectConfig, detect};
/// use rebit::prelude::*;
/// let net = rebit::nn::detector(&rebit::nn::DetectorConfig::default(), rng(0))?;
/// let found = detect(&net, &images(2, 3, 96, 160, &mut rng(1)), &DetectConfig::default())?;
/// assert_eq!(found.len(), 2);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for images that the network does not take, [`Error::Invalid`] for a network without the two heads and
/// for one that answers with NaN.
pub fn detect(net: &Net, images: &Images, config: &DetectConfig) -> Result<Vec<Vec<Detection>>> {
    let (count, _, height, width) = *images.shape();
    let heads = net.predict_nodes(&[images], &[SCORE, BOXES])?;
    let [score, maps] = &heads[..] else {
        return Err(Error::invalid("detect", "needs the nodes score and boxes"));
    };
    let (_, _, rows, columns) = *score.shape();
    let logits = read(score);
    if logits.iter().any(|v| v.is_nan()) {
        return Err(Error::invalid("detect", "the network's scores hold NaN"));
    }
    let sure = |k: &usize| probability(logits[*k]) >= config.score;
    let numbers: Vec<usize> = (0..logits.len()).filter(sure).collect();
    let cells: Vec<Cell> = numbers
        .iter()
        .map(|&k| Cell::number(k, (rows, columns)))
        .collect();
    let corners = read(&cell_boxes(maps.clone(), &cells)?);
    let mut found: Vec<(Vec<BoxXyxy>, Vec<f32>)> = vec![Default::default(); count];
    for ((b, cell), k) in corners.chunks_exact(4).zip(&cells).zip(&numbers) {
        let (boxes, scores) = &mut found[cell.image];
        boxes.push([b[0], b[1], b[2], b[3]]);
        scores.push(probability(logits[*k]));
    }
    let inside = |b: BoxXyxy| {
        let x = |v: f32| v.clamp(0.0, width as f32);
        let y = |v: f32| v.clamp(0.0, height as f32);
        [x(b[0]), y(b[1]), x(b[2]), y(b[3])]
    };
    let of_image = |(boxes, scores): (Vec<BoxXyxy>, Vec<f32>)| {
        let kept = usable(&boxes, (height, width), config.least).kept;
        let boxes: Vec<BoxXyxy> = kept.iter().map(|&k| inside(boxes[k])).collect();
        let scores: Vec<f32> = kept.iter().map(|&k| scores[k]).collect();
        let best = nms(&boxes, &scores, config.nms)?;
        Ok(best
            .into_iter()
            .map(|k| Detection {
                at: boxes[k],
                score: scores[k],
            })
            .collect())
    };
    found.into_iter().map(of_image).collect()
}

/// [`detect`] in scenes, sixteen at a time, beside the people who are there at their tight boxes: what
/// [`detection`](crate::metrics::detection) measures. The detections have no features.
///
/// # Errors
/// As [`detect`]; [`Error::Shape`] for scenes of different sizes; [`Error::Interrupted`].
pub fn found_in(net: &Net, scenes: &[Scene], config: &DetectConfig) -> Result<Vec<GalleryScene>> {
    let mut all = Vec::with_capacity(scenes.len());
    for part in scenes.chunks(16) {
        check_interrupt()?;
        let batch = photo_batch(part.iter().map(|s| &s.image))?;
        for (scene, detections) in part.iter().zip(detect(net, &batch, config)?) {
            let people = scene.boxes.iter().zip(&scene.identities);
            all.push(GalleryScene {
                camera: scene.camera,
                people: people
                    .map(|(&at, &identity)| Person { identity, at })
                    .collect(),
                detections,
                features: Vec::new(),
            });
        }
    }
    Ok(all)
}

fn probability(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::nn::Mode;
    use crate::{from_vec, images, rng};

    fn small() -> Net {
        let config = DetectorConfig {
            size: (32, 40),
            widths: [4, 4, 8, 8],
            head: 4,
        };
        detector(&config, rng(3)).unwrap()
    }

    #[test]
    fn cells_are_picked_with_their_gradients() {
        let values = (0..2 * 4 * 6).map(|v| v as f32 / 50.0).collect();
        let maps: Images = from_vec(values, (2, 4, 2, 3)).unwrap();
        let cell = Cell {
            image: 1,
            row: 0,
            column: 2,
        };
        let boxes = cell_boxes(maps.leaky_trace(), &[cell, cell]).unwrap();
        let t: Vec<f32> = (0..4).map(|k| (24 + 6 * k + 2) as f32 / 50.0).collect();
        let d = t.iter().map(|t| UNIT * t.exp()).collect::<Vec<_>>();
        let expected = [20.0 - d[0], 4.0 - d[1], 20.0 + d[2], 4.0 + d[3]];
        let found = read(&boxes);
        for k in 0..8 {
            assert!((found[k] - expected[k % 4]).abs() < 1e-4);
        }
        let slopes = read(&boxes.sum::<(), _>().backward().get(&maps));
        // Each of two rows gives the same slope to the one cell.
        for (k, slope) in slopes.iter().enumerate() {
            let of = (0..4).find(|c| k == 24 + 6 * c + 2);
            let sign = |c: usize| if c < 2 { -2.0 } else { 2.0 };
            let expected = of.map_or(0.0, |c| sign(c) * d[c]);
            assert!((slope - expected).abs() < 1e-3, "{k}: {slope} {expected}");
        }
        let far = Cell { row: 2, ..cell };
        let error = cell_boxes(maps, &[far]).unwrap_err().to_string();
        assert!(error.contains("2x3 cells"), "{error}");
    }

    #[test]
    fn a_network_that_is_sure_everywhere_finds_boxes_within_the_image() {
        let net = small();
        net.set_parameter("score.weight", &vec![0.0; 8 * 9])
            .unwrap();
        let x = images(2, 3, 32, 40, &mut rng(1));
        let none = detect(&net, &x, &DetectConfig::default()).unwrap();
        assert!(none.iter().all(Vec::is_empty));
        net.set_parameter("score.bias", &[2.0]).unwrap();
        let found = detect(&net, &x, &DetectConfig::default()).unwrap();
        assert!(found.iter().all(|f| !f.is_empty()));
        for d in found.iter().flatten() {
            assert!(d.at[0] >= 0.0 && d.at[1] >= 0.0 && d.at[2] <= 40.0 && d.at[3] <= 32.0);
            assert!((d.score - probability(2.0)).abs() < 1e-6);
        }
        net.set_parameter("score.bias", &[f32::NAN]).unwrap();
        let error = detect(&net, &x, &DetectConfig::default()).unwrap_err();
        assert!(error.to_string().contains("NaN"));
    }

    #[test]
    fn it_runs_on_scenes_of_other_sizes_and_refuses_tiny_ones() {
        let net = small();
        let found = detect(
            &net,
            &images(1, 3, 64, 48, &mut rng(1)),
            &DetectConfig::default(),
        );
        assert_eq!(found.unwrap().len(), 1);
        let tiny = DetectorConfig {
            size: (7, 40),
            ..DetectorConfig::default()
        };
        assert!(detector(&tiny, rng(0)).is_err());
        let mut pass = net
            .run(&images(1, 3, 32, 40, &mut rng(1)), Mode::Eval)
            .unwrap();
        assert_eq!(*pass.images(SCORE).unwrap().shape(), (1, 1, 4, 5));
        assert_eq!(*pass.images(BOXES).unwrap().shape(), (1, 4, 4, 5));
    }
}
