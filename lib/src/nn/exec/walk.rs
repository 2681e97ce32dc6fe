//! Several batches led through a network side by side, a node of all of them at a time.

use super::Inner;
use crate::nn::Mode;
use crate::nn::activation_loss::BatchExtent;
use crate::nn::graph::NodeId;
use crate::nn::look::Seen;
use crate::nn::net::Net;
use crate::nn::pass::Pass;
use crate::nn::run::find;
use crate::show::check_interrupt;
use crate::{HostAccess, Images, Result};

impl Net {
    /// Leads batches through a network of one input side by side, in inference mode and up to the last of the named nodes, a
    /// node of all of them at a time. `f` looks at each named node in the order they run (its place among the names, the node
    /// in each batch) and says whether it changed the node's parameters; then the node runs again before what reads it does.
    /// So what layer after layer adjusts costs one pass, where [`look`](Self::look) takes one for each layer. Without names,
    /// the output; without a batch nothing runs.
    ///
    /// All batches are in memory at once: [`walk_peak`](Self::walk_peak).
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// let batches = [images(2, 3, 32, 32, &mut rng(1)), images(1, 3, 32, 32, &mut rng(2))];
    /// let mut seen = Vec::new();
    /// net.walk(&batches, &["fc", "conv1"], |name, at| {
    ///     seen.push((name, at[0].at.batch, at[1].at.batch));
    ///     Ok(false)
    /// })?;
    /// assert_eq!(seen, [(1, 2, 1), (0, 2, 1)]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`look`](Self::look), and those of `f`.
    pub fn walk(
        &self,
        batches: &[Images],
        names: &[&str],
        f: impl FnMut(usize, &[Seen]) -> Result<bool>,
    ) -> Result<()> {
        let mut inner = self.lock();
        let stops = find(&inner.graph, names)?;
        let mut passes = Vec::with_capacity(batches.len());
        for x in batches {
            let input = inner.images(x)?;
            passes.push(inner.begin(vec![input], Mode::Eval)?);
        }
        drop(inner);
        if passes.is_empty() {
            return Ok(());
        }
        let walked = self.lead(&mut passes, &stops, f);
        let mut inner = self.lock();
        passes.iter_mut().for_each(|p| p.release(&mut inner.pool));
        walked
    }

    fn lead(
        &self,
        passes: &mut [Pass],
        stops: &[NodeId],
        mut f: impl FnMut(usize, &[Seen]) -> Result<bool>,
    ) -> Result<()> {
        let graph = self.lock().graph.clone();
        let end = stops.iter().max().map_or(0, |last| last + 1);
        for node in (0..end).filter(|n| graph.layer(*n).is_some()) {
            check_interrupt()?;
            let mut inner = self.lock();
            let Inner { params, exec } = &mut *inner;
            for pass in passes.iter_mut() {
                exec.step(&graph, params, node, pass)?;
            }
            drop(inner);
            let again = match stops.iter().position(|stop| *stop == node) {
                Some(name) => f(name, &seen(passes, node)?)?,
                None => false,
            };
            let mut inner = self.lock();
            let Inner { params, exec } = &mut *inner;
            for pass in passes.iter_mut() {
                if again {
                    pass.nodes[node].release(&mut exec.pool);
                    exec.step(&graph, params, node, pass)?;
                }
                exec.release_read(&graph, node, &[], pass);
            }
        }
        Ok(())
    }

    /// The most numbers of activations that [`walk`](Self::walk) keeps at once for so many images of the network's own size.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// assert_eq!(net.walk_peak(128), 128 * net.walk_peak(1));
    /// // The images and the first of sixteen channels, at least.
    /// assert!(net.walk_peak(1) >= (3 + 16) * 32 * 32);
    /// ```
    pub fn walk_peak(&self, images: usize) -> usize {
        let graph = self.lock().graph.clone();
        let len = |node: NodeId| graph.nodes[node].extent.len();
        let mut live: usize = graph.inputs.iter().map(|&n| len(n)).sum();
        let mut peak = live;
        for node in (0..graph.nodes.len()).filter(|n| graph.layer(*n).is_some()) {
            let reads = &graph.nodes[node].reads;
            live += len(node);
            // The first input once more, on its levels.
            peak = peak.max(live + reads.first().map_or(0, |&r| len(r)));
            let mut read: Vec<NodeId> = reads.clone();
            read.sort_unstable();
            read.dedup();
            let done = read.into_iter().filter(|&r| graph.last_reader[r] == node);
            live -= done.map(len).sum::<usize>();
        }
        peak * images
    }
}

/// A node of each pass.
fn seen(passes: &[Pass], node: NodeId) -> Result<Vec<Seen<'_>>> {
    let seen = passes.iter().map(|pass| {
        let (batch, extent) = (pass.batch, pass.extents[node]);
        Ok(Seen {
            at: BatchExtent { batch, extent },
            values: pass.activation(node)?.view()?,
        })
    });
    seen.collect()
}

#[cfg(test)]
mod tests {
    use crate::nn::{Conv, NetBuilder};
    use crate::{Error, Result, from_vec, images, rng};

    #[test]
    fn a_changed_layer_runs_again_before_what_reads_it() -> Result<()> {
        let mut b = NetBuilder::new(1, 1, 1, rng(0));
        let x = b.conv("a", b.input(), Conv::new(1).kernel(1).with_bias())?;
        let x = b.conv("b", x, Conv::new(1).kernel(1).with_bias())?;
        let net = b.build(x)?;
        for (name, value) in [("a.weight", 2.0), ("a.bias", 0.0), ("b.weight", 3.0)] {
            net.set_parameter(name, &[value])?;
        }
        net.set_parameter("b.bias", &[0.0])?;
        let batches = [
            from_vec(vec![1.0, 2.0], (2, 1, 1, 1))?,
            from_vec(vec![5.0], (1, 1, 1, 1))?,
        ];
        let mut seen = Vec::new();
        net.walk(&batches, &["a", "b"], |name, at| {
            seen.push(
                at.iter()
                    .flat_map(|s| s.values.to_vec())
                    .collect::<Vec<_>>(),
            );
            if name == 0 {
                net.set_parameter("a.bias", &[10.0])?;
            }
            Ok(name == 0)
        })?;
        assert_eq!(seen, [[2.0, 4.0, 10.0], [36.0, 42.0, 60.0]]);
        Ok(())
    }

    #[test]
    fn refusals_come_out_and_the_network_runs_again() -> Result<()> {
        let net = crate::nn::resnet8(10, rng(0));
        let x = [images(1, 3, 16, 16, &mut rng(1))];
        assert!(net.walk(&x, &["nothing"], |_, _| Ok(false)).is_err());
        let refused = net.walk(&x, &["fc"], |_, _| {
            Err(Error::invalid("a walk", "was refused"))
        });
        assert!(refused.unwrap_err().to_string().contains("was refused"));
        net.walk(&[], &["fc"], |_, _| {
            Err(Error::invalid("a walk", "of nothing"))
        })?;
        net.predict(&x[0])?;
        Ok(())
    }
}
