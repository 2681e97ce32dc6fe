//! What the tests of layers share.

use crate::nn::{Conv, Mode, Net, NetBuilder, NodeId, Wants, check_gradients};
use crate::{Images, Result, images, read, rng};

/// The network that `layers` makes of an input of `(channels, height, width)`.
pub fn net(
    (c, h, w): (usize, usize, usize),
    layers: impl FnOnce(&mut NetBuilder, NodeId) -> Result<NodeId>,
) -> Result<Net> {
    let mut b = NetBuilder::new(c, h, w, rng(1));
    let x = b.input();
    let y = layers(&mut b, x)?;
    b.build(y)
}

/// Compares the gradients of `layers` between two convolutions (so that they get one and hand one on) with finite
/// differences.
#[track_caller]
pub fn assert_gradients(
    size: (usize, usize, usize),
    layers: impl FnOnce(&mut NetBuilder, NodeId) -> Result<NodeId>,
) {
    let around = |b: &mut NetBuilder, x: NodeId| {
        let x = b.conv("before", x, Conv::new(size.0).with_bias())?;
        let x = layers(b, x)?;
        b.conv("after", x, Conv::new(3).kernel(1))
    };
    let net = net(size, around).unwrap();
    let x = images(2, size.0, size.1, size.2, &mut rng(2));
    let worst = check_gradients(&net, &x).unwrap();
    assert!(worst.error < 0.01, "{worst}");
}

/// The gradient of the sum of a network's output by its input.
pub fn sum_gradient(net: &Net, x: &Images) -> Result<Vec<f32>> {
    use dfdx::prelude::HasShape;
    let y = net.predict_images(x)?;
    let ones = crate::from_vec(vec![1.0; read(&y).len()], *y.shape())?;
    let trace = net.trace(x, Mode::Eval)?;
    let grads = trace.backward(&[(&net.output_name(), &ones)], Wants::INPUT)?;
    Ok(read(&grads.get(x)))
}
