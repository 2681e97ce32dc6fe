//! A network in integers: what a notebook does with it.

use std::fmt;
use std::sync::Mutex;

use dfdx::prelude::HasShape;
use rayon::prelude::*;

use super::graph::{Graph, What};
use super::kernel::Kernel;
use super::plan::{Plan, Work};
use super::run::{Run, Scratch};
use crate::nn::Extent;
use crate::show::check_interrupt;
use crate::{Error, Images, Matrix, Result, from_vec, read};

/// Images of a thread between two looks for an interrupt.
const AT_ONCE: usize = 256;

/// How sums of products are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Exactly, in integers.
    #[default]
    Integer,
    /// As the fake-quantised network makes them, in floating point by the same kernels: its answers, bit for bit. Slow; for
    /// tests, and to see what the other rounding comes to.
    Reference,
}

/// A convolution or linear layer of an [`IntegerNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerLayer {
    /// Name of the layer.
    pub name: String,
    /// Number of its weights.
    pub weights: usize,
    /// Bits of a weight.
    pub weight_bits: u32,
    /// Bits of its input; none where it reads numbers.
    pub input_bits: Option<u32>,
    /// The largest sum, in size, that any input can give in any of its output channels: below `2^31`. None where it reads
    /// numbers.
    pub largest_sum: Option<u32>,
}

/// A quantised network that computes with levels; see the [module](super). Made by [`Net::integer`](crate::nn::Net::integer)
/// or read from a file ([`load`](Self::load)).
pub struct IntegerNet {
    pub(super) graph: Graph,
    plan: Plan,
    kernel: Kernel,
    arithmetic: Arithmetic,
    free: Mutex<Vec<Scratch>>,
}

impl IntegerNet {
    pub(super) fn of(graph: Graph) -> Result<IntegerNet> {
        graph.check()?;
        let kernel = Kernel::best();
        Ok(IntegerNet {
            plan: Plan::of(&graph, kernel),
            graph,
            kernel,
            arithmetic: Arithmetic::default(),
            free: Mutex::default(),
        })
    }

    /// The same network with other instructions; the answers are the same.
    ///
    /// ```
    /// use rebit::integer::Kernel;
    /// use rebit::prelude::*;
    /// let x = images(4, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&resnet20(10, rng(0)), &x, &PtqConfig::bits(8))?;
    /// let quick = read(&q.integer()?.predict(&x)?);
    /// assert_eq!(quick, read(&q.integer()?.with_kernel(Kernel::Plain)?.predict(&x)?));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for instructions that this processor lacks.
    pub fn with_kernel(self, kernel: Kernel) -> Result<IntegerNet> {
        if !kernel.is_available() {
            return Err(Error::invalid(
                format!("kernel {kernel:?}"),
                format!("this processor has {:?}", Kernel::available()),
            ));
        }
        Ok(IntegerNet {
            plan: Plan::of(&self.graph, kernel),
            kernel,
            ..self
        })
    }

    /// The same network with sums made another way.
    ///
    /// ```
    /// use rebit::integer::Arithmetic;
    /// use rebit::prelude::*;
    /// let x = images(4, 3, 32, 32, &mut rng(1));
    /// let (q, _) = post_training(&resnet20(10, rng(0)), &x, &PtqConfig::bits(4))?;
    /// let reference = q.integer()?.with_arithmetic(Arithmetic::Reference);
    /// assert_eq!(read(&reference.predict(&x)?), read(&q.predict(&x)?));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> IntegerNet {
        IntegerNet { arithmetic, ..self }
    }

    /// The instructions it runs on.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Extent of the images that the network was built for.
    pub fn input_extent(&self) -> Extent {
        self.graph.image()
    }

    /// Convolutions and linear layers in the order they run.
    pub fn layers(&self) -> Vec<IntegerLayer> {
        let of = |(i, node): (usize, &super::graph::Node)| {
            let What::Weighted(w) = &node.what else {
                return None;
            };
            let source = &self.graph.nodes[node.reads[0]];
            let grid = self.graph.grid_of(i);
            let bits = node.input.or(source.input).map(|(bits, _)| bits);
            Some(IntegerLayer {
                name: node.name.clone(),
                weights: w.levels.len(),
                weight_bits: w.bits,
                input_bits: grid.and(bits),
                largest_sum: grid.map(|g| w.largest_sum(g) as u32),
            })
        };
        self.graph.nodes.iter().enumerate().filter_map(of).collect()
    }

    /// Bytes of the weights as they lie in memory, in the order that the kernel reads them.
    pub fn weight_bytes(&self) -> usize {
        let bytes = self.plan.steps.iter().map(|step| match &step.work {
            Work::Levels { packed, .. } => packed.bytes(),
            _ => 0,
        });
        bytes.sum()
    }

    /// Logits of a batch `(N, C, H, W)`: `(N, classes)`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the batch does not fit the network or the network does not end in a vector;
    /// [`Error::Invalid`] for NaN in an image, which has no level.
    pub fn predict(&self, x: &Images) -> Result<Matrix> {
        let Extent {
            channels,
            height,
            width,
        } = self.input_extent();
        let (n, c, h, w) = *x.shape();
        if (c, h, w) != (channels, height, width) {
            return Err(Error::shape(
                "predict",
                format!("images (N, {channels}, {height}, {width})"),
                format!("({n}, {c}, {h}, {w})"),
            ));
        }
        let (values, extent) = self.run(x)?;
        if extent.pixels() != 1 {
            return Err(Error::shape(
                "logits",
                "a network that ends in a vector",
                extent,
            ));
        }
        from_vec(values, (n, extent.channels))
    }

    /// Images from images, of any height and width that the layers accept.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_images(&self, x: &Images) -> Result<Images> {
        let (values, extent) = self.run(x)?;
        let n = x.shape().0;
        let mut first = Vec::with_capacity(values.len());
        for image in values.chunks_exact(extent.len().max(1)) {
            for channel in 0..extent.channels {
                first.extend(image.iter().skip(channel).step_by(extent.channels));
            }
        }
        from_vec(first, (n, extent.channels, extent.height, extent.width))
    }

    /// The answers in the order `(N, H, W, C)`, and the extent of one.
    fn run(&self, x: &Images) -> Result<(Vec<f32>, Extent)> {
        let (n, c, h, w) = *x.shape();
        let extents = self.graph.extents(Extent::new(c, h, w))?;
        let (own, extent) = (extents[0].len(), extents[self.graph.output]);
        if n == 0 || own == 0 {
            return Err(Error::shape(
                "predict",
                "at least one image",
                format!("{:?}", x.shape()),
            ));
        }
        // A GPU's buffers, which layers without weights compute on, stay in their thread.
        let threads = if cfg!(feature = "cuda") {
            1
        } else {
            rayon::current_num_threads()
        };
        let each = n.div_ceil(threads);
        let run = Run {
            graph: &self.graph,
            plan: &self.plan,
            extents: &extents,
            kernel: self.kernel,
            arithmetic: self.arithmetic,
            bands: threads.div_ceil(n),
        };
        let images = read(x);
        let mut answers = vec![0.0; n * extent.len()];
        let part = |(answers, images): (&mut [f32], &[f32])| {
            let mut scratch = self.scratch().pop().unwrap_or_default();
            let pairs = answers.chunks_exact_mut(extent.len());
            for (answer, image) in pairs.zip(images.chunks_exact(own)) {
                answer.copy_from_slice(run.image(image, &mut scratch)?);
            }
            self.scratch().push(scratch);
            Ok::<(), Error>(())
        };
        // A part of a thread, at most so many images, so that an interrupt is seen between two of them.
        let each = each.min(AT_ONCE);
        let (answer, image) = (each * extent.len(), each * own);
        match n <= each {
            // Bands are joined within the pool: from outside, each layer would wait for a thread to wake and to answer.
            true if run.bands > 1 => rayon::scope(|_| part((&mut answers, &images)))?,
            true => part((&mut answers, &images))?,
            false => {
                let parts = answers.chunks_mut(threads * answer);
                for (answers, images) in parts.zip(images.chunks(threads * image)) {
                    check_interrupt()?;
                    match threads {
                        1 => part((answers, images))?,
                        _ => answers
                            .par_chunks_mut(answer)
                            .zip(images.par_chunks(image))
                            .try_for_each(part)?,
                    }
                }
            }
        }
        Ok((answers, extent))
    }

    fn scratch(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        // Buffers without meaning: a panic elsewhere spoils none.
        self.free
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for IntegerNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>10} {:>7} {:>7} {:>14}",
            "layer", "weights", "bits", "input", "largest sum"
        )?;
        for l in self.layers() {
            let input = l.input_bits.map_or("float".into(), |b| b.to_string());
            let sum = l.largest_sum.map_or("-".into(), |s| s.to_string());
            let (name, weights, bits) = (l.name, l.weights, l.weight_bits);
            writeln!(f, "{name:<24} {weights:>10} {bits:>7} {input:>7} {sum:>14}")?;
        }
        write!(f, "{:?} instructions", self.kernel)
    }
}
