//! The steps of a network: what is computed in one go, and which buffers hold what lies between.

use std::sync::Arc;

use super::graph::{Graph, What};
use super::kernel::Kernel;
use super::packed::Packed;
use super::plain::Plain;
use super::store::After;
use crate::nn::Layer;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;

/// What a step computes its numbers from.
pub(super) enum Work {
    /// The image.
    Image,
    /// The node's weights on levels of another node, which lie in this buffer.
    Levels {
        node: usize,
        from: usize,
        grid: AffineGrid,
        buffer: usize,
        packed: Packed,
    },
    /// The node's weights on another node's numbers.
    Numbers { node: usize, from: usize },
    /// A layer without weights.
    Plain {
        layer: Arc<dyn Layer>,
        reads: Vec<usize>,
    },
}

/// A step, with what follows it at once.
pub(super) struct Step {
    pub work: Work,
    /// The node whose value comes out.
    pub node: usize,
    /// A node whose numbers are added.
    pub around: Option<usize>,
    pub after: After,
    /// Buffer of its numbers, where somebody reads them.
    pub numbers: Option<usize>,
    /// Grids and buffers of its levels.
    pub levels: Vec<(AffineGrid, usize)>,
}

impl Step {
    /// Nodes whose numbers it reads.
    pub fn reads_numbers(&self) -> Vec<usize> {
        let own = match &self.work {
            Work::Image | Work::Levels { .. } => Vec::new(),
            Work::Numbers { from, .. } => vec![*from],
            Work::Plain { reads, .. } => reads.clone(),
        };
        own.into_iter().chain(self.around).collect()
    }
}

/// The steps in their order.
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// Buffers of numbers and of levels.
    pub buffers: (usize, usize),
    /// By node: the buffer that holds its numbers while they are read.
    pub numbers: Vec<Option<usize>>,
}

impl Plan {
    pub fn of(graph: &Graph, kernel: Kernel) -> Plan {
        let mut plan = Plan {
            steps: steps(graph, kernel),
            buffers: (0, 0),
            numbers: vec![None; graph.nodes.len()],
        };
        plan.want(graph.output);
        plan.place(graph.output);
        plan
    }

    /// Finds out who is read as what; drops what nobody reads.
    fn want(&mut self, output: usize) {
        let count = self.numbers.len();
        let mut numbers = vec![false; count];
        let mut levels: Vec<Vec<AffineGrid>> = vec![Vec::new(); count];
        numbers[output] = true;
        for step in self.steps.iter_mut().rev() {
            step.numbers = numbers[step.node].then_some(0);
            step.levels = levels[step.node].iter().map(|g| (*g, 0)).collect();
            if step.numbers.is_none() && step.levels.is_empty() {
                continue;
            }
            for read in step.reads_numbers() {
                numbers[read] = true;
            }
            if let Work::Levels { from, grid, .. } = &step.work
                && !levels[*from].contains(grid)
            {
                levels[*from].push(*grid);
            }
        }
        self.steps
            .retain(|s| s.numbers.is_some() || !s.levels.is_empty());
    }

    /// Gives every value a buffer, which is used again behind its last reader.
    fn place(&mut self, output: usize) {
        let count = self.numbers.len();
        let (mut last_numbers, mut last_levels) = (vec![0; count], vec![0; count]);
        for (i, step) in self.steps.iter().enumerate() {
            step.reads_numbers()
                .into_iter()
                .for_each(|r| last_numbers[r] = i);
            if let Work::Levels { from, .. } = step.work {
                last_levels[from] = i;
            }
        }
        last_numbers[output] = usize::MAX;
        let (mut free_numbers, mut free_levels) = (Vec::new(), Vec::new());
        let mut levels: Vec<Vec<(AffineGrid, usize)>> = vec![Vec::new(); count];
        for i in 0..self.steps.len() {
            let step = &mut self.steps[i];
            if step.numbers.is_some() {
                let buffer = take(&mut free_numbers, &mut self.buffers.0);
                (step.numbers, self.numbers[step.node]) = (Some(buffer), Some(buffer));
            }
            for (_, buffer) in &mut step.levels {
                *buffer = take(&mut free_levels, &mut self.buffers.1);
            }
            levels[step.node] = step.levels.clone();
            if let Work::Levels {
                from, grid, buffer, ..
            } = &mut step.work
            {
                let found = levels[*from].iter().find(|(g, _)| g == grid);
                *buffer = found.map_or(0, |(_, b)| *b);
            }
            // Everything whose last reader this was.
            for read in 0..count {
                if last_numbers[read] == i
                    && let Some(buffer) = self.numbers[read]
                    && i > 0
                {
                    free_numbers.push(buffer);
                }
                if last_levels[read] == i && i > 0 {
                    free_levels.extend(levels[read].drain(..).map(|(_, b)| b));
                }
            }
        }
    }
}

fn take(free: &mut Vec<usize>, count: &mut usize) -> usize {
    free.pop().unwrap_or_else(|| {
        *count += 1;
        *count - 1
    })
}

fn steps(graph: &Graph, kernel: Kernel) -> Vec<Step> {
    let nodes = &graph.nodes;
    let mut readers = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        node.reads.iter().for_each(|&read| readers[read].push(i));
    }
    let mut done = vec![false; nodes.len()];
    let mut steps = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        if std::mem::replace(&mut done[i], true) {
            continue;
        }
        let mut step = Step {
            work: Work::Image,
            node: i,
            around: None,
            after: After::NOTHING,
            numbers: None,
            levels: Vec::new(),
        };
        match &node.what {
            What::Image(_) => {}
            What::Weighted(w) => {
                let from = node.reads[0];
                step.work = match graph.grid_of(i) {
                    Some(grid) => Work::Levels {
                        node: i,
                        from,
                        grid,
                        buffer: 0,
                        packed: Packed::new(w, grid, kernel),
                    },
                    None => Work::Numbers { node: i, from },
                };
                follow(graph, &readers, &mut step, &mut done);
            }
            What::Plain(plain) => {
                step.work = Work::Plain {
                    layer: plain.layer(),
                    reads: node.reads.clone(),
                };
                step.after.site = node.input.map(|(_, grid)| grid);
            }
        }
        steps.push(step);
    }
    steps
}

/// Takes what alone reads a convolution into its step: rectifier, sum, site.
fn follow(graph: &Graph, readers: &[Vec<usize>], step: &mut Step, done: &mut [bool]) {
    let begin = step.node;
    loop {
        let [reader] = readers[step.node][..] else {
            return;
        };
        if step.node == graph.output || done[reader] {
            return;
        }
        let node = &graph.nodes[reader];
        let plain = step.after.act == Activation::None;
        match &node.what {
            What::Plain(Plain::Act(act)) if plain => step.after.act = *act,
            What::Plain(Plain::Add(act)) if plain && step.around.is_none() => {
                let other = node.reads.iter().copied().find(|r| *r != step.node);
                // What is added must be there when the convolution runs.
                let Some(other) = other.filter(|o| *o < begin && done[*o]) else {
                    return;
                };
                step.around = Some(other);
                step.after.act = *act;
            }
            What::Plain(Plain::Identity) => {
                step.after.site = node.input.map(|(_, grid)| grid);
            }
            _ => return,
        }
        (step.node, done[reader]) = (reader, true);
        if step.after.site.is_some() {
            return;
        }
    }
}
