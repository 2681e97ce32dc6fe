//! Activations looked at where a network keeps them: no tensor is made of them.

use std::borrow::Cow;

use super::Mode;
use super::activation_loss::BatchExtent;
use super::net::Net;
use super::run::find;
use crate::{HostAccess, Images, Result};

/// An activation as the network keeps it; see [`Net::look`].
pub struct Seen<'a> {
    /// Samples, and the extent of each.
    pub at: BatchExtent,
    /// `(N, H, W, C)` order; borrowed on the CPU, copied from a GPU.
    pub values: Cow<'a, [f32]>,
}

impl Net {
    /// Lets `f` look at the activations of named nodes, in the order of the names, in inference mode and without
    /// gradients: what [`predict_nodes`](Self::predict_nodes) gives as tensors, without a copy. Without names, the
    /// output.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let x = images(2, 3, 32, 32, &mut rng(1));
    /// let largest = net.look(&[&x], &["conv1", "fc"], |seen| {
    ///     assert_eq!((seen[0].at.batch, seen[0].at.extent.channels), (2, 16));
    ///     Ok(seen[1].values.iter().copied().fold(0.0, f32::max))
    /// })?;
    /// assert!(largest > 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`predict_nodes`](Self::predict_nodes), and those of `f`.
    pub fn look<R>(
        &self,
        inputs: &[&Images],
        names: &[&str],
        f: impl FnOnce(&[Seen]) -> Result<R>,
    ) -> Result<R> {
        let mut inner = self.lock();
        let nodes = find(&inner.graph, names)?;
        let x = inputs.iter().map(|x| inner.images(x));
        let x = x.collect::<Result<Vec<_>>>()?;
        let mut pass = inner.forward(x, Mode::Eval, false, &nodes)?;
        // What `f` calls may run this network too.
        drop(inner);
        let seen = nodes.iter().map(|&node| {
            let (batch, extent) = (pass.batch, pass.extents[node]);
            Ok(Seen {
                at: BatchExtent { batch, extent },
                values: pass.activation(node)?.view()?,
            })
        });
        let seen: Result<Vec<Seen>> = seen.collect();
        let found = seen.and_then(|seen| f(&seen));
        pass.release(&mut self.lock().pool);
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::{Result, images, nn::resnet8, read, rng};

    #[test]
    fn the_numbers_are_those_of_the_tensors() -> Result<()> {
        let net = resnet8(10, rng(0));
        let x = images(3, 3, 16, 16, &mut rng(1));
        let names = ["fc", "layer2.0.conv1", "fc"];
        let tensors = net.predict_nodes(&[&x], &names)?;
        net.look(&[&x], &names, |seen| {
            assert_eq!(seen.len(), 3);
            assert_eq!(read(&net.predict(&x)?), read(&tensors[0]));
            for (seen, tensor) in seen.iter().zip(&tensors) {
                let (of, pixels) = (seen.at.extent, seen.at.extent.pixels());
                assert_eq!(seen.at.elements(), seen.values.len());
                for (i, v) in read(tensor).into_iter().enumerate() {
                    let (sample, channel, pixel) =
                        (i / of.len(), i / pixels % of.channels, i % pixels);
                    let there = (sample * pixels + pixel) * of.channels + channel;
                    assert_eq!(v, seen.values[there]);
                }
            }
            Ok(())
        })?;
        assert!(net.look(&[&x], &["nothing"], |_| Ok(())).is_err());
        // What `f` refuses comes out, and the network runs again.
        let refused = net.look(&[&x], &["fc"], |_| -> Result<()> {
            Err(crate::Error::invalid("a look", "was refused"))
        });
        assert!(refused.unwrap_err().to_string().contains("was refused"));
        assert_eq!(read(&net.predict(&x)?), read(&tensors[0]));
        Ok(())
    }
}
