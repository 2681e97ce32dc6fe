//! Running a network: the order of its nodes and the buffers between them.

mod backward;
mod inner;
mod quantised;
mod walk;

pub(crate) use inner::Inner;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::nn::Mode;
use crate::nn::extent::Extent;
use crate::nn::graph::{Graph, NodeId};
use crate::nn::layer::{ForwardPass, LayerInputs};
use crate::nn::params::Params;
use crate::nn::pass::{NodePass, Pass, StepTimes};
use crate::nn::pool::BufferPool;
use crate::nn::slots::NodeSlots;
use dfdx::prelude::HasShape;

use crate::ops::layout::LayoutKernel;
use crate::ops::tape::load;
use crate::show::check_interrupt;
use crate::{Buffer, Error, HostAccess, Images, Result, dev};

/// A pass that takes longer than this looks for an interrupt itself.
const LONG: Duration = Duration::from_secs(1);

/// A graph, with what changes while it runs; parameters are lent to it, by its own network or by one that it runs inside.
pub(crate) struct Exec {
    pub graph: Arc<Graph>,
    /// Quantisers by node.
    pub slots: Vec<NodeSlots>,
    pub pool: BufferPool,
    pub times: StepTimes,
    /// Whether ranges follow a pass in inference mode too.
    pub observing: bool,
    /// Extents of the last pass's nodes, and the inputs they follow from.
    sizes: (Vec<Extent>, Arc<[Extent]>),
}

impl Exec {
    pub fn new(graph: Arc<Graph>) -> Self {
        let nodes = &graph.nodes;
        let own: Vec<Extent> = nodes.iter().map(|n| n.extent).collect();
        let inputs = graph.inputs.iter().map(|&i| own[i]).collect();
        Exec {
            slots: nodes.iter().map(|_| NodeSlots::default()).collect(),
            sizes: (inputs, own.into()),
            graph,
            pool: BufferPool::default(),
            times: StepTimes::default(),
            observing: false,
        }
    }

    /// The extent of every node for inputs of these extents.
    pub fn extents(&mut self, inputs: &[Extent]) -> Result<Arc<[Extent]>> {
        if self.sizes.0 != inputs {
            let extents = self.graph.extents(inputs)?;
            self.sizes = (inputs.to_vec(), extents.into());
            // Buffers of the old sizes will not be asked for again soon.
            self.pool.clear();
        }
        Ok(self.sizes.1.clone())
    }

    /// An input from numbers in `(N, H, W, C)` order.
    pub fn input(&mut self, x: &[f32], extent: Extent) -> Result<(Buffer, Extent)> {
        let mut buffer = self.pool.take(x.len())?;
        buffer.write(x)?;
        Ok((buffer, extent))
    }

    /// An input from images.
    pub fn images(&mut self, x: &Images) -> Result<(Buffer, Extent)> {
        let (n, c, h, w) = *x.shape();
        let mut buffer = self.pool.take(n * c * h * w)?;
        let values = load(x)?;
        dev().to_channels_last(&values, c, h * w, &mut buffer)?;
        Ok((buffer, Extent::new(c, h, w)))
    }

    /// Runs the graph on inputs that [`input`](Self::input) made. Activations stay for a backward pass with `keep`;
    /// without, only those of `watched` nodes and of the output.
    pub fn forward(
        &mut self,
        params: &mut Params,
        inputs: Vec<(Buffer, Extent)>,
        mode: Mode,
        (keep, watched): (bool, &[NodeId]),
    ) -> Result<Pass> {
        let start = Instant::now();
        let mut pass = self.begin(inputs, mode)?;
        let graph = self.graph.clone();
        // What nobody looks at behind the last watched node is not computed. A training pass still moves every
        // running statistic and range.
        let last = match (
            keep || mode == Mode::Train || self.observing,
            watched.iter().max(),
        ) {
            (false, Some(&last)) => last + 1,
            _ => graph.nodes.len(),
        };
        for node in 0..last {
            if graph.layer(node).is_none() {
                continue;
            }
            // A short pass leaves an interrupt to the loop around it, which keeps its state first.
            if mode == Mode::Eval && !keep && start.elapsed() > LONG {
                check_interrupt()?;
            }
            self.step(&graph, params, node, &mut pass)?;
            if !keep {
                self.release_read(&graph, node, watched, &mut pass);
            }
        }
        self.times.forward += start.elapsed();
        Ok(pass)
    }

    /// A pass that stands before its first node.
    fn begin(&mut self, inputs: Vec<(Buffer, Extent)>, mode: Mode) -> Result<Pass> {
        let sizes: Vec<Extent> = inputs.iter().map(|(_, e)| *e).collect();
        let extents = self.extents(&sizes)?;
        let batch = self.batch(&inputs)?;
        let mut pass = Pass {
            batch,
            mode,
            extents,
            nodes: self
                .graph
                .nodes
                .iter()
                .map(|_| NodePass::default())
                .collect(),
        };
        for (&node, (x, _)) in self.graph.inputs.iter().zip(inputs) {
            pass.nodes[node].activation = Some(x);
        }
        Ok(pass)
    }

    /// Runs one node; an error names it.
    fn step(
        &mut self,
        graph: &Graph,
        params: &mut Params,
        node: NodeId,
        pass: &mut Pass,
    ) -> Result<()> {
        self.forward_node(graph, params, node, pass)
            .map_err(|e| e.in_layer(&graph.nodes[node].name))
    }

    /// Number of samples, the same in every input.
    fn batch(&self, inputs: &[(Buffer, Extent)]) -> Result<usize> {
        let wanted = self.graph.inputs.len();
        if inputs.len() != wanted {
            let expected = format!("{wanted} inputs");
            return Err(Error::shape("forward", expected, inputs.len()));
        }
        let mut batch = None;
        for (x, extent) in inputs {
            let samples = x.elements().checked_div(extent.len()).unwrap_or(0);
            if samples == 0 || samples * extent.len() != x.elements() {
                let expected = format!("samples of {extent}, at least one");
                let found = format!("{} numbers", x.elements());
                return Err(Error::shape("forward", expected, found));
            }
            if *batch.get_or_insert(samples) != samples {
                let expected = format!("{} samples in every input", batch.unwrap_or(0));
                return Err(Error::shape("forward", expected, samples));
            }
        }
        batch.ok_or_else(|| Error::invalid("forward", "the network has no input"))
    }

    fn forward_node(
        &mut self,
        graph: &Graph,
        params: &mut Params,
        node: NodeId,
        pass: &mut Pass,
    ) -> Result<()> {
        let here = &graph.nodes[node];
        let Some(layer) = &here.layer else {
            return Ok(());
        };
        let extents: Vec<Extent> = here.reads.iter().map(|&r| pass.extents[r]).collect();
        let extent = pass.extents[node];
        self.quantise_input(graph, params, node, pass)?;
        self.quantise_weight(graph, params, node, pass)?;
        let mine = &mut pass.nodes[node];
        if layer.is_identity()
            && let Some(value) = mine.input.as_mut().and_then(|q| q.value.take())
        {
            mine.activation = Some(value);
            return Ok(());
        }
        let (before, rest) = pass.nodes.split_at_mut(node);
        let mine = &mut rest[0];
        let mut inputs = Vec::with_capacity(here.reads.len());
        for (i, &read) in here.reads.iter().enumerate() {
            let on_levels = mine.input.as_ref().and_then(|q| q.value.as_ref());
            match on_levels {
                Some(value) if i == 0 => inputs.push(value),
                _ => inputs.push(kept(&before[read])?),
            }
        }
        let mut cx = ForwardPass {
            at: LayerInputs {
                name: &here.name,
                batch: pass.batch,
                mode: pass.mode,
                inputs,
                extents: &extents,
                extent,
                weight: mine.weight.as_ref().and_then(|q| q.value.as_ref()),
                fused: mine.input.as_ref().and_then(|q| q.fused).map(|f| f.quant),
            },
            output: self.pool.take(pass.batch * extent.len())?,
            params,
            pool: &mut self.pool,
            kept: Vec::new(),
            memo: None,
        };
        layer.forward(&mut cx)?;
        let ForwardPass {
            output, kept, memo, ..
        } = cx;
        (mine.activation, mine.kept, mine.memo) = (Some(output), kept, memo);
        Ok(())
    }

    /// Releases what `node` was the last to read.
    fn release_read(&mut self, graph: &Graph, node: NodeId, watched: &[NodeId], pass: &mut Pass) {
        let stays = |n: NodeId| n == graph.output || watched.contains(&n);
        for &read in &graph.nodes[node].reads {
            if graph.last_reader[read] == node && !stays(read) {
                pass.nodes[read].release(&mut self.pool);
            }
        }
        // What the node kept for a backward pass that will not come.
        let activation = pass.nodes[node].activation.take();
        pass.nodes[node].release(&mut self.pool);
        match activation {
            Some(unread) if graph.last_reader[node] == node && !stays(node) => {
                self.pool.give(unread);
            }
            activation => pass.nodes[node].activation = activation,
        }
    }
}

fn kept(node: &NodePass) -> Result<&Buffer> {
    let found = node.activation.as_ref();
    found.ok_or_else(|| Error::invalid("activation", "was released before its last reader"))
}
