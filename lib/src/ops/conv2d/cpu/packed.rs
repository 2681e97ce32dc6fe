//! Weights and bias in the order in which the tiles read them.

use super::plan::Plan;
use super::source::BLOCK;

/// Output channels that one tile computes together.
pub(crate) struct OutBlock {
    /// First channel within the group.
    pub start: usize,
    /// Channels, at most `vectors * LANES`.
    pub lanes: usize,
    pub vectors: usize,
    /// Start of its weights within the packed weights of its pass and group.
    pub weights: usize,
}

/// Weights in the order in which the tiles read them.
pub(crate) struct Packed {
    pub blocks: Vec<OutBlock>,
    /// `[pass][group]` starts.
    pub starts: Vec<usize>,
    /// Floats of all weights; the bias follows, padded group by group.
    pub len: usize,
    /// Padded bias floats of a group.
    pub bias_per_group: usize,
}

impl Packed {
    pub fn new(plan: &Plan, lanes: usize) -> Self {
        let mut blocks = Vec::new();
        let mut starts = Vec::new();
        let mut len = 0;
        if plan.depthwise {
            for pass in &plan.passes {
                starts.push(len);
                len += plan.source.blocks() * pass.taps.len() * BLOCK;
            }
            return Packed {
                blocks,
                starts,
                len,
                bias_per_group: plan.source.blocks() * BLOCK,
            };
        }
        let mut start = 0;
        while start < plan.out_per_group {
            let left = plan.out_per_group - start;
            let vectors = if left > lanes { 2 } else { 1 };
            let here = left.min(vectors * lanes);
            blocks.push(OutBlock {
                start,
                lanes: here,
                vectors,
                weights: 0,
            });
            start += here;
        }
        for pass in &plan.passes {
            for _ in 0..plan.groups {
                starts.push(len);
                for b in &blocks {
                    len += plan.src_per_group * pass.taps.len() * b.vectors * lanes;
                }
            }
        }
        let mut offset = 0;
        for b in &mut blocks {
            // Multiplied by the taps of the pass when used.
            b.weights = offset;
            offset += plan.src_per_group * b.vectors * lanes;
        }
        let bias_per_group = blocks.iter().map(|b| b.vectors * lanes).sum();
        Packed {
            blocks,
            starts,
            len,
            bias_per_group,
        }
    }

    pub fn total(&self, plan: &Plan) -> usize {
        let groups = if plan.depthwise { 1 } else { plan.groups };
        self.len + groups * self.bias_per_group
    }

    /// Writes weights (OIHW) and bias into `out`.
    pub fn fill(
        &self,
        plan: &Plan,
        lanes: usize,
        w: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let (weights, biases) = out.split_at_mut(self.len);
        biases.fill(0.0);
        let plane = plan.kernel.0 * plan.kernel.1;
        if plan.depthwise {
            for (pass, &start) in plan.passes.iter().zip(&self.starts) {
                let mut rows = weights[start..].chunks_exact_mut(BLOCK);
                for block in 0..plan.source.blocks() {
                    let channels = (plan.out.2 - block * BLOCK).min(BLOCK);
                    for (tap, row) in pass.taps.iter().zip(&mut rows) {
                        let at = tap.ky * plan.kernel.1 + tap.kx;
                        row.fill(0.0);
                        for (c, r) in row[..channels].iter_mut().enumerate() {
                            *r = w[(block * BLOCK + c) * plane + at];
                        }
                    }
                }
            }
            if let Some(b) = bias {
                biases[..b.len()].copy_from_slice(b);
            }
            return;
        }
        // Distances in the weight between neighbouring outputs and neighbouring sources of this direction.
        let (out_step, src_step) = if plan.transposed {
            (plane, plan.out_per_group * plane)
        } else {
            (plan.src_per_group * plane, plane)
        };
        let group_step = plan.src_per_group * plan.out_per_group * plane;
        for (index, &start) in self.starts.iter().enumerate() {
            let (pass, group) = (&plan.passes[index / plan.groups], index % plan.groups);
            let group_weights = &w[group * group_step..(group + 1) * group_step];
            for b in &self.blocks {
                let width = b.vectors * lanes;
                let from = start + b.weights * pass.taps.len();
                let mut rows = weights[from..].chunks_exact_mut(width);
                for block in (0..plan.src_per_group).step_by(BLOCK) {
                    let channels = (plan.src_per_group - block).min(BLOCK);
                    for tap in &pass.taps {
                        let at = tap.ky * plan.kernel.1 + tap.kx + b.start * out_step;
                        for (c, row) in (block..block + channels).zip(&mut rows) {
                            let source =
                                group_weights[at + c * src_step..].iter().step_by(out_step);
                            for (r, &v) in row[..b.lanes].iter_mut().zip(source) {
                                *r = v;
                            }
                            row[b.lanes..].fill(0.0);
                        }
                    }
                }
            }
        }
        if let Some(bias) = bias {
            for (group, padded) in biases.chunks_exact_mut(self.bias_per_group).enumerate() {
                let mut at = 0;
                for b in &self.blocks {
                    let from = group * plan.out_per_group + b.start;
                    padded[at..at + b.lanes].copy_from_slice(&bias[from..from + b.lanes]);
                    at += b.vectors * lanes;
                }
            }
        }
    }
}
