//! Rows of a trained table, chosen by class indices.

use std::sync::Arc;

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::arity;
use crate::nn::builder::NetBuilder;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::{ParamId, Role};
use crate::ops::embedding::{EmbeddingKernel, EmbeddingShape};
use crate::ops::tape::zeros;
use crate::tensors::room;
use crate::{Error, HostAccess, Result, dev};

/// Settings of a table: rows drawn from the standard normal distribution, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding {
    /// Number of classes.
    pub rows: usize,
    /// Numbers of a row: channels of the result.
    pub channels: usize,
    /// What every number starts at; none: drawn.
    pub start: Option<f32>,
}

impl Embedding {
    /// A table of `rows` x `channels`.
    pub fn new(rows: usize, channels: usize) -> Self {
        Embedding {
            rows,
            channels,
            start: None,
        }
    }

    /// All numbers start at `value`: 1 for the scales of a conditional batch norm, 0 for its shifts.
    pub fn constant(mut self, value: f32) -> Self {
        self.start = Some(value);
        self
    }

    /// The layer, with a parameter `NAME.weight` of `(rows, channels)`.
    ///
    /// # Errors
    /// As [`EmbeddingShape::check`]: for a table without a number, or of more rows than an index can name.
    pub fn layer(self, b: &mut NetBuilder, name: &str) -> Result<Table> {
        let Embedding {
            rows,
            channels,
            start,
        } = self;
        let s = EmbeddingShape {
            pixels: 0,
            rows,
            channels,
        };
        s.check().map_err(|e| e.in_layer(name))?;
        let mut values = room("a table", &[rows, channels]).map_err(|e| e.in_layer(name))?;
        let count = rows * channels;
        match start {
            Some(value) => values.resize(count, value),
            None => {
                let rng = b.rng();
                values.extend((0..count).map(|_| rng.sample::<f32, _>(StandardNormal)));
            }
        }
        let name = format!("{name}.weight");
        let weight = b.param(&name, &[rows, channels], Role::Weight, values)?;
        Ok(Table {
            rows,
            channels,
            weight,
        })
    }
}

/// `y[p] = table[x[p]]` for each pixel `p` of a map of one channel that holds class indices, whole numbers from 0. The
/// table's gradient adds up where a row was read; indices have none. See [`crate::ops::embedding`].
#[derive(Clone, Copy, Debug)]
pub struct Table {
    rows: usize,
    channels: usize,
    weight: ParamId,
}

impl Table {
    fn shape(&self, batch: usize, x: Extent) -> EmbeddingShape {
        EmbeddingShape {
            pixels: batch * x.pixels(),
            rows: self.rows,
            channels: self.channels,
        }
    }
}

impl Layer for Table {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("embedding", inputs)?;
        match x.channels {
            1 => Ok(x.with_channels(self.channels)),
            _ => Err(Error::shape("embedding", "one channel of class indices", x)),
        }
    }

    fn parameters(&self) -> Vec<ParamId> {
        vec![self.weight]
    }

    fn with_parameters(&self, ids: &[ParamId]) -> Option<Arc<dyn Layer>> {
        let &[weight] = ids else { return None };
        Some(Arc::new(Table { weight, ..*self }))
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        let indices = cx.input(0);
        let (params, _, y) = cx.parts();
        dev().embedding(shape, indices, params.value(self.weight), y)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        if cx.wants_params() {
            let shape = self.shape(cx.batch(), cx.extents()[0]);
            let mut gradient = cx.take(self.rows * self.channels)?;
            dev().embedding_grad(shape, cx.input(0), cx.dy()?, &mut gradient, false)?;
            cx.give_param_grad(self.weight, gradient)?;
        }
        cx.with_dx(0, |_, dx, accumulate| {
            if !accumulate {
                dx.copy_from(&zeros(dx.elements())?)?;
            }
            Ok(())
        })
    }

    fn describe(&self) -> String {
        format!("embedding of {} classes", self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::nn::{Mode, check_gradients};
    use crate::{Images, from_vec, read};

    fn classes(values: &[f32]) -> Images {
        from_vec(values.to_vec(), (values.len(), 1, 1, 1)).unwrap()
    }

    #[test]
    fn rows_are_read_and_get_the_gradients_of_all_who_read_them() -> Result<()> {
        let net = net((1, 1, 1), |b, x| {
            b.embedding("table", x, Embedding::new(3, 2))
        })?;
        net.set_parameter("table.weight", &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0])?;
        let x = classes(&[2.0, 0.0, 2.0]);
        assert_eq!(read(&net.predict(&x)?), [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);
        let dy = from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (3, 2, 1, 1))?;
        let trace = net.trace(&x, Mode::Train)?;
        let grads = trace.backward(&[("table", &dy)], crate::nn::Wants::ALL)?;
        let table = net.parameter("table.weight")?;
        assert_eq!(
            read(&grads.get(&table.value)),
            [3.0, 4.0, 0.0, 0.0, 6.0, 8.0]
        );
        assert_eq!(read(&grads.get(&x)), [0.0; 3]);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() -> Result<()> {
        let net = net((1, 1, 1), |b, x| {
            let row = b.embedding("table", x, Embedding::new(4, 6))?;
            b.linear("fc", row, 3)
        })?;
        let worst = check_gradients(&net, &classes(&[0.0, 3.0, 2.0, 3.0]))?;
        assert!(worst.error < 0.01, "{worst}");
        Ok(())
    }

    #[test]
    fn what_is_no_class_is_refused_with_the_number() -> Result<()> {
        let net = net((1, 1, 1), |b, x| {
            b.embedding("table", x, Embedding::new(3, 2))
        })?;
        for wrong in [3.0, -1.0, 0.5, f32::NAN] {
            let error = net.predict(&classes(&[wrong])).unwrap_err().to_string();
            let named = error.contains("layer table: class index") && error.contains("0 to 2");
            assert!(named, "{error}");
        }
        Ok(())
    }
}
