//! One image through the steps.

use rayon::prelude::*;

use super::graph::{Graph, What};
use super::kernel::Kernel;
use super::net::Arithmetic;
use super::packed::Packed;
use super::plan::{Plan, Step, Work};
use super::store::{Band, Geometry, Out, number};
use super::weights::Weights;
use crate::nn::{Extent, Layer};
use crate::ops::conv2d::{Conv2dKernel, ConvInput};
use crate::ops::parallel::wide;
use crate::ops::tape::zeros;
use crate::{Error, HostAccess, Result, buffer, dev};

type Rows = std::ops::Range<usize>;

/// Buffers of one thread, used again from image to image.
#[derive(Default)]
pub(super) struct Scratch {
    numbers: Vec<Vec<f32>>,
    levels: Vec<Vec<u8>>,
    padded: Vec<u32>,
}

/// What all images of a call have in common.
pub(super) struct Run<'a> {
    pub graph: &'a Graph,
    pub plan: &'a Plan,
    pub extents: &'a [Extent],
    pub kernel: Kernel,
    pub arithmetic: Arithmetic,
    /// Bands into which the rows of a layer are cut, one a thread.
    pub bands: usize,
}

impl Run<'_> {
    /// The answer to an image `(C, H, W)`, in the order `(H, W, C)`.
    pub fn image<'s>(&self, image: &[f32], scratch: &'s mut Scratch) -> Result<&'s [f32]> {
        scratch.numbers.resize_with(self.plan.buffers.0, Vec::new);
        scratch.levels.resize_with(self.plan.buffers.1, Vec::new);
        for step in &self.plan.steps {
            let done = self.step(step, image, scratch);
            done.map_err(|e| e.in_layer(&self.graph.nodes[step.node].name))?;
        }
        let buffer = self.plan.numbers[self.graph.output].unwrap_or_default();
        Ok(&scratch.numbers[buffer])
    }

    fn step(&self, step: &Step, image: &[f32], scratch: &mut Scratch) -> Result<()> {
        let extent = self.extents[step.node];
        let take = |all: &mut Vec<Vec<f32>>, at: usize| {
            let mut taken = std::mem::take(&mut all[at]);
            taken.resize(extent.len(), 0.0);
            taken
        };
        let mut numbers = step.numbers.map(|at| take(&mut scratch.numbers, at));
        let levels = step.levels.iter().map(|(grid, at)| {
            let mut taken = std::mem::take(&mut scratch.levels[*at]);
            taken.resize(extent.len(), 0);
            (*grid, taken)
        });
        let mut levels: Vec<(_, Vec<u8>)> = levels.collect();
        let mut padded = std::mem::take(&mut scratch.padded);
        let around = step.around.map(|node| self.numbers(scratch, node));
        let out = Out {
            channels: extent.channels,
            width: extent.width,
            first: 0,
            after: step.after,
            around: around.transpose()?,
            numbers: numbers.as_deref_mut(),
            levels: levels.iter_mut().map(|(g, l)| (*g, &mut l[..])).collect(),
        };
        let done = self.work(step, image, scratch, &mut padded, out);
        scratch.padded = padded;
        if let (Some(at), Some(numbers)) = (step.numbers, numbers) {
            scratch.numbers[at] = numbers;
        }
        for ((_, at), (_, levels)) in step.levels.iter().zip(levels) {
            scratch.levels[*at] = levels;
        }
        done
    }

    fn numbers<'s>(&self, scratch: &'s Scratch, node: usize) -> Result<&'s [f32]> {
        let buffer = self.plan.numbers[node];
        let buffer = buffer.ok_or_else(|| Error::invalid("its input", "was not kept"))?;
        Ok(&scratch.numbers[buffer])
    }

    fn work(
        &self,
        step: &Step,
        image: &[f32],
        scratch: &Scratch,
        padded: &mut Vec<u32>,
        mut out: Out,
    ) -> Result<()> {
        let mut all = match &step.work {
            Work::Image => channels_last(image, self.extents[0])?,
            Work::Levels {
                node,
                from,
                grid,
                buffer,
                packed,
            } => {
                let levels = &scratch.levels[*buffer][..];
                let (x, y) = (self.extents[*from], self.extents[*node]);
                if self.arithmetic == Arithmetic::Integer {
                    let how = (self.kernel, self.bands);
                    convolve_levels(packed, how, (levels, x, y), padded, out);
                    return Ok(());
                }
                let numbers: Vec<f32> = levels.iter().map(|l| number(*grid, *l)).collect();
                self.convolve(self.weights(*node)?, &numbers, x)?
            }
            Work::Numbers { node, from } => {
                let x = self.numbers(scratch, *from)?;
                self.convolve(self.weights(*node)?, x, self.extents[*from])?
            }
            Work::Plain { layer, reads } => {
                let inputs = reads
                    .iter()
                    .map(|&read| buffer(self.numbers(scratch, read)?));
                let inputs = inputs.collect::<Result<Vec<_>>>()?;
                let extents: Vec<Extent> = reads.iter().map(|&read| self.extents[read]).collect();
                plain(layer.as_ref(), &inputs, &extents, self.extents[step.node])?
            }
        };
        wide(
            #[inline(always)]
            || out.all(&mut all),
        );
        Ok(())
    }

    fn weights(&self, node: usize) -> Result<&Weights> {
        match &self.graph.nodes[node].what {
            What::Weighted(w) => Ok(w),
            _ => Err(Error::invalid("the layer", "has no weights")),
        }
    }

    /// A convolution of numbers, by the kernel of fake-quantised networks.
    fn convolve(&self, w: &Weights, x: &[f32], extent: Extent) -> Result<Vec<f32>> {
        let shape = w.window.shape(extent);
        let mut y = zeros(shape.output_len())?;
        let (x, weights, bias) = (buffer(x)?, buffer(&w.numbers())?, buffer(&w.bias)?);
        let x = ConvInput::new(&x, None);
        dev().conv2d_forward(&shape, x, &weights, Some(&bias), &mut y)?;
        Ok(y.view()?.into_owned())
    }
}

/// A convolution of levels, by a kernel and in so many bands.
fn convolve_levels(
    packed: &Packed,
    (kernel, parts): (Kernel, usize),
    (levels, x, y): (&[u8], Extent, Extent),
    padded: &mut Vec<u32>,
    out: Out,
) {
    let geometry = Geometry::of(packed, x, y);
    let mut bands = bands(out, y.height, parts);
    for group in 0..packed.groups() {
        packed.pad(levels, x, group, padded);
        let under = packed.needs_inputs();
        let under = under.then(|| packed.inputs_under(padded, x, &geometry));
        let job = Job {
            packed,
            group,
            padded,
            kernel,
            geometry: &geometry,
            under: under.as_deref(),
        };
        bands = match bands.len() {
            1 => bands.into_iter().map(|b| job.run(b)).collect(),
            _ => bands.into_par_iter().map(|b| job.run(b)).collect(),
        };
    }
}

/// One group of a convolution.
struct Job<'a> {
    packed: &'a Packed,
    group: usize,
    padded: &'a [u32],
    kernel: Kernel,
    geometry: &'a Geometry,
    under: Option<&'a [i32]>,
}

impl Job<'_> {
    /// Computes a band, and gives it back for the next group.
    fn run<'o>(&self, (rows, out): (Rows, Out<'o>)) -> (Rows, Out<'o>) {
        let mut band = Band {
            geometry: self.geometry,
            rows,
            inputs: self.under,
            out,
            numbers: Vec::new(),
            bytes: Vec::new(),
        };
        self.kernel
            .run(self.packed, self.group, self.padded, &mut band);
        (band.rows, band.out)
    }
}

/// The rows of an image in so many parts.
fn bands(out: Out, height: usize, parts: usize) -> Vec<(Rows, Out)> {
    let each = height.div_ceil(parts.max(1)).max(1);
    let mut bands = Vec::new();
    let (mut rest, mut row) = (out, 0);
    while row + each < height {
        let (band, others) = rest.split(each);
        bands.push((row..row + each, band));
        (rest, row) = (others, row + each);
    }
    bands.push((row..height, rest));
    bands
}

/// An image in the order of its pixels.
fn channels_last(image: &[f32], extent: Extent) -> Result<Vec<f32>> {
    if let Some(i) = image.iter().position(|v| v.is_nan()) {
        return Err(Error::invalid(
            format!("number {i} of an image"),
            "is NaN, which has no level; look for a broken image or a diverged run",
        ));
    }
    let pixels = extent.pixels();
    let mut numbers = vec![0.0; image.len()];
    if let [red, green, blue] = image.chunks_exact(pixels.max(1)).collect::<Vec<_>>()[..] {
        let planes = red.iter().zip(green).zip(blue);
        for (to, ((r, g), b)) in numbers.as_chunks_mut::<3>().0.iter_mut().zip(planes) {
            *to = [*r, *g, *b];
        }
        return Ok(numbers);
    }
    for (channel, plane) in image.chunks_exact(pixels.max(1)).enumerate() {
        let to = numbers.iter_mut().skip(channel).step_by(extent.channels);
        to.zip(plane).for_each(|(to, from)| *to = *from);
    }
    Ok(numbers)
}

/// A layer without weights on one image.
fn plain(
    layer: &dyn Layer,
    inputs: &[crate::Buffer],
    extents: &[Extent],
    extent: Extent,
) -> Result<Vec<f32>> {
    let y = crate::nn::forward_alone(layer, inputs.iter().collect(), extents, extent)?;
    Ok(y.view()?.into_owned())
}

/// The numbers of one convolution of levels.
#[cfg(test)]
pub(super) fn alone(
    packed: &Packed,
    kernel: Kernel,
    (levels, x): (&[u8], Extent),
    parts: usize,
) -> Vec<f32> {
    let y = packed.window.extent(x).expect("a window that fits");
    let mut numbers = vec![0.0; y.len()];
    let out = Out {
        channels: y.channels,
        width: y.width,
        first: 0,
        after: super::store::After::NOTHING,
        around: None,
        numbers: Some(&mut numbers),
        levels: Vec::new(),
    };
    convolve_levels(
        packed,
        (kernel, parts),
        (levels, x, y),
        &mut Vec::new(),
        out,
    );
    numbers
}
