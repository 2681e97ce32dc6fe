//! The LTS weight quantiser on dfdx's tape.

use dfdx::prelude::{HasShape, Merge, PutTape, ReshapeTo, Shape, Tensor};

use super::{LtsCounts, LtsState, LtsStep, LtsWeightKernel};
use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::fake_quant::{FakeQuant, TapedBounds};
use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, load, split_flat, store, zeros};
use crate::tensors::{Buffer, Dev, Scalar, Vector, dev};

/// Quantises a weight to `2q - 1` in `[-1, 1]`, reading frozen entries from `state`; with a `step` (training)
/// the state moves, without one (evaluation) it stays. See the [module](super) for the rule.
///
/// A frozen entry of `w` gets no gradient; the bounds get theirs from all entries.
///
/// ```
/// use rebit::ops::lts_weight::{LtsState, LtsStep, lts_weight};
/// use rebit::prelude::*;
/// let w = from_vec(vec![-0.9, 0.3, 1.0], (3,))?;
/// let (lower, upper) = (from_vec(vec![-1.0], ())?, from_vec(vec![1.0], ())?);
/// let mut state = LtsState::new(&dev(), 3)?;
/// let step = LtsStep { momentum: 0.0, threshold: Some(0.2) };
/// for _ in 0..2 {
///     lts_weight(w.clone(), lower.clone(), upper.clone(), 2, &mut state, Some(step));
/// }
/// // Distances in level steps: 0.15, 0.05 and 0.
/// assert_eq!(state.frozen, [true, true, true]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_lts_weight`] fails.
#[track_caller]
pub fn lts_weight<S, T, R, Q>(
    w: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    bits: u32,
    state: &mut LtsState<Buffer>,
    step: Option<LtsStep>,
) -> Tensor<S, f32, Dev, T>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    or_panic(try_lts_weight(w, lower, upper, bits, state, step)).0
}

/// See [`lts_weight`]; also tells what the forward saw.
///
/// # Errors
/// As [`LtsWeightKernel::lts_weight_forward`] and [`levels`](crate::ops::fake_quant::levels).
pub fn try_lts_weight<S, T, R, Q>(
    w: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    bits: u32,
    state: &mut LtsState<Buffer>,
    step: Option<LtsStep>,
) -> Result<(Tensor<S, f32, Dev, T>, LtsCounts)>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    let shape = *w.shape();
    let (w, tape) = split_flat(w)?;
    let (bounds, tape) = TapedBounds::split(lower, upper, tape)?;
    let f = FakeQuant::weight(bounds.values(), bits)?;
    let forward = run(w, bounds, f, state, step, T::OWNS_TAPE)?;
    let y = forward.y.try_reshape_like(&shape)?;
    let tape = match forward.backward {
        Some(backward) => tape.record(backward),
        None => tape,
    };
    Ok((y.put_tape(tape), forward.counts))
}

struct Forward {
    y: Vector,
    counts: LtsCounts,
    /// Where one was asked for: it keeps a copy of the state.
    backward: Option<BackwardOp>,
}

fn run(
    w: Vector,
    bounds: TapedBounds,
    f: FakeQuant,
    state: &mut LtsState<Buffer>,
    step: Option<LtsStep>,
    gradient: bool,
) -> Result<Forward> {
    let values = load(&w)?;
    let mut y = zeros(values.elements())?;
    let counts = dev().lts_weight_forward(&values, f, step, state, &mut y)?;
    let y = store(y, *w.shape())?;
    let backward = gradient.then(|| {
        // The state of this forward: the caller's moves on before the gradient is asked for.
        let then = state.clone();
        bounds.backward(&y, move |grads, dy| {
            let dw = grads.get_or_alloc_mut(&w)?;
            dev().lts_weight_grad(&values, f, &then, dy, dw, true)
        })
    });
    Ok(Forward {
        y,
        counts,
        backward,
    })
}
