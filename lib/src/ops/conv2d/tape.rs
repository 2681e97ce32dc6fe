//! Convolution of dfdx tensors, recorded on dfdx's tape.

use dfdx::prelude::*;

use super::{Conv2dKernel, ConvInput, ConvShape, GradTo};
use crate::error::{Error, Result};
use crate::ops::tape::{
    BackwardOp, Recorder, Scratch, add_gradient, add_images_gradient, backward_of, channels_last,
    load, load_images, scratch, store_images, zeros,
};
use crate::tensors::{Buffer, Grads, Images, Shape4, Vector, dev};

/// How a convolution walks over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step between neighbouring outputs.
    pub stride: usize,
    /// Zero pixels added on each side.
    pub padding: usize,
    /// Distance between neighbouring kernel elements.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions {
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }
    }
}

/// Two-dimensional convolution (see the [module](super) for formula and gradient) of `x` (samples, channels, height,
/// width) with `w` (out, in/groups, kh, kw); the result is (samples, out, out height, out width).
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ops::conv2d::{Conv2dOptions, conv2d};
/// let x = rebit::from_vec((1..=9).map(|v| v as f32).collect(), (1, 1, 3, 3))?;
/// let w = rebit::from_vec(vec![1.0, 0.0, 0.0, -1.0], (1, 1, 2, 2))?;
/// let y = conv2d(x, w, None, Conv2dOptions::default());
/// assert_eq!(rebit::read(&y), [-4.0; 4]); // 1 - 5, 2 - 6, 4 - 8, 5 - 9
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_conv2d`] returns an error.
pub fn conv2d<T, R>(x: Images<T>, w: Images<R>, bias: Option<Vector>, o: Conv2dOptions) -> Images<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    try_conv2d(x, w, bias, o).unwrap_or_else(|e| panic!("{e}"))
}

/// [`conv2d`] that returns its errors.
///
/// # Errors
/// [`Error::Shape`] when channels, groups, bias or kernel size do not fit, [`Error::Invalid`] for a zero size.
pub fn try_conv2d<T, R>(
    x: Images<T>,
    w: Images<R>,
    bias: Option<Vector>,
    o: Conv2dOptions,
) -> Result<Images<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let (x, tape) = T::split_images(x)?;
    let (w, w_tape) = R::split_images(w)?;
    let (y, backward) = record(x, w, bias, o)?;
    Ok(y.put_tape(tape.merge(w_tape).record(backward)))
}

/// The convolution of contiguous tensors and its backward pass.
pub(crate) fn record(
    x: Images,
    w: Images,
    bias: Option<Vector>,
    o: Conv2dOptions,
) -> Result<(Images, BackwardOp)> {
    let (y, saved) = forward(x, w, bias, o)?;
    let shape = *y.shape();
    let backward = backward_of(&y, move |grads, dy| saved.run(shape, dy, grads));
    Ok((y, backward))
}

/// What the backward pass needs.
struct Backward {
    s: ConvShape,
    x: Images,
    w: Images,
    bias: Option<Vector>,
    /// The input in the kernels' order.
    input: Scratch,
    weight: Scratch,
}

fn forward(
    x: Images,
    w: Images,
    bias: Option<Vector>,
    o: Conv2dOptions,
) -> Result<(Images, Backward)> {
    let s = shape(
        *x.shape(),
        *w.shape(),
        bias.as_ref().map(|b| b.shape().0),
        o,
    )?;
    let input = load_images(&x)?;
    let weight = load(&w)?;
    let bias_buffer = bias.as_ref().map(load).transpose()?;
    let mut output = scratch(s.output_len())?;
    dev().conv2d_forward(
        &s,
        ConvInput::new(&input, None),
        &weight,
        bias_buffer.as_deref(),
        &mut output,
    )?;
    let y = store_images(&output, (s.batch, s.out_channels, s.out_h(), s.out_w()))?;
    let backward = Backward {
        s,
        x,
        w,
        bias,
        input,
        weight,
    };
    Ok((y, backward))
}

impl Backward {
    fn run(self, shape: Shape4, dy: &Buffer, grads: &mut Grads) -> Result<()> {
        let (s, d) = (self.s, dev());
        let dy = channels_last(shape, dy)?;
        let mut dx = scratch(s.input_len())?;
        d.conv2d_grad_input(
            &s,
            &dy,
            &self.weight,
            ConvInput::new(&self.input, None),
            GradTo::Overwrite(&mut dx),
        )?;
        add_images_gradient(grads, &self.x, &dx)?;
        let (mut dw, mut db) = (scratch(s.weight_len())?, zeros(s.out_channels)?);
        let bias = self.bias.as_ref().map(|_| &mut db);
        d.conv2d_grad_weight(&s, ConvInput::new(&self.input, None), &dy, &mut dw, bias)?;
        add_gradient(grads, &self.w, &dw)?;
        match &self.bias {
            Some(bias) => add_gradient(grads, bias, &db),
            None => Ok(()),
        }
    }
}

/// The geometry of `x * w`, checked.
fn shape(
    (batch, in_channels, in_h, in_w): (usize, usize, usize, usize),
    (out_channels, per_group, kh, kw): (usize, usize, usize, usize),
    bias: Option<usize>,
    o: Conv2dOptions,
) -> Result<ConvShape> {
    let s = ConvShape {
        batch,
        in_h,
        in_w,
        in_channels,
        out_channels,
        kernel: (kh, kw),
        stride: o.stride,
        padding: o.padding,
        dilation: o.dilation,
        groups: o.groups,
    };
    s.check()?;
    if per_group * o.groups != in_channels {
        return Err(Error::shape(
            "conv2d",
            format!(
                "a weight ({out_channels}, {}, {kh}, {kw}) for an input {:?} in {} groups",
                in_channels / o.groups,
                (batch, in_channels, in_h, in_w),
                o.groups
            ),
            format!("a weight {:?}", (out_channels, per_group, kh, kw)),
        ));
    }
    if let Some(found) = bias.filter(|&b| b != out_channels) {
        return Err(Error::shape(
            "conv2d",
            format!("a bias ({out_channels},)"),
            format!("a bias ({found},)"),
        ));
    }
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{from_vec, read};
    use dfdx::tensor_ops::Backward as _;

    fn sum_of_squares(x: &[f32], w: &[f32], b: &[f32], o: Conv2dOptions) -> f64 {
        let x = from_vec(x.to_vec(), (2, 2, 4, 3)).unwrap();
        let w = from_vec(w.to_vec(), (4, 2 / o.groups, 2, 3)).unwrap();
        let b = from_vec(b.to_vec(), (4,)).unwrap();
        let y = read(&conv2d(x, w, Some(b), o));
        y.iter().map(|&v| 0.5 * f64::from(v) * f64::from(v)).sum()
    }

    #[test]
    fn a_turned_image_gets_the_gradient_of_its_own_order() {
        let o = Conv2dOptions::default();
        let x = from_vec((0..6).map(|k| k as f32).collect(), (1, 1, 2, 3)).unwrap();
        let w = from_vec(vec![1.0, 10.0], (1, 1, 1, 2)).unwrap();
        // Rows and columns change places: 3 rows of 2, convolved to a column of 3.
        let turned = x.leaky_trace().permute::<_, Axes4<0, 1, 3, 2>>();
        let y = conv2d(turned, w, None, o);
        assert_eq!(read(&y), [30.0, 41.0, 52.0]);
        let weights = from_vec(vec![1.0, 2.0, 3.0], (1, 1, 3, 1)).unwrap();
        let grads = (y * weights).sum::<(), _>().backward();
        let dx = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        assert_eq!(read(&grads.get(&x)), dx);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (stride, padding, dilation, groups) in [(1, 1, 1, 1), (2, 1, 1, 2), (1, 2, 2, 2)] {
            let o = Conv2dOptions {
                stride,
                padding,
                dilation,
                groups,
            };
            let wave = |n: usize, f: f32| (0..n).map(|k| (k as f32 * f).sin()).collect::<Vec<_>>();
            let (x, w, b) = (wave(48, 0.7), wave(48 / groups, 1.3), wave(4, 2.1));
            let tx = from_vec(x.clone(), (2, 2, 4, 3)).unwrap();
            let tw = from_vec(w.clone(), (4, 2 / groups, 2, 3)).unwrap();
            let tb = from_vec(b.clone(), (4,)).unwrap();
            let y = conv2d(tx.leaky_trace(), tw.clone(), Some(tb.clone()), o);
            let loss = (y.square() * 0.5).sum::<(), _>();
            let grads = loss.backward();
            let check = |what: &str, k: usize, got: f32, plus: f64, minus: f64| {
                let want = (plus - minus) / 0.02;
                let error = (f64::from(got) - want).abs();
                assert!(
                    error < 2e-3 * want.abs().max(1.0),
                    "{what}[{k}]: {got}, not {want}"
                );
            };
            let nudged = |v: &[f32], k: usize, by: f32| {
                let mut v = v.to_vec();
                v[k] += by;
                v
            };
            for (k, &g) in read(&grads.get(&tx)).iter().enumerate() {
                let f = |by| sum_of_squares(&nudged(&x, k, by), &w, &b, o);
                check("dx", k, g, f(0.01), f(-0.01));
            }
            for (k, &g) in read(&grads.get(&tw)).iter().enumerate() {
                let f = |by| sum_of_squares(&x, &nudged(&w, k, by), &b, o);
                check("dw", k, g, f(0.01), f(-0.01));
            }
            for (k, &g) in read(&grads.get(&tb)).iter().enumerate() {
                let f = |by| sum_of_squares(&x, &w, &nudged(&b, k, by), o);
                check("db", k, g, f(0.01), f(-0.01));
            }
        }
    }

    #[test]
    fn refusals_name_both_shapes() {
        let x = || from_vec(vec![0.0; 2 * 3 * 16], (2, 3, 4, 4)).unwrap();
        let w = from_vec(vec![0.0; 4 * 2 * 9], (4, 2, 3, 3)).unwrap();
        let error = try_conv2d(x(), w, None, Conv2dOptions::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "conv2d: expected a weight (4, 3, 3, 3) for an input (2, 3, 4, 4) in 1 groups, found a weight (4, 2, 3, 3)"
        );
        let w = from_vec(vec![0.0; 4 * 3 * 9], (4, 3, 3, 3)).unwrap();
        let b = from_vec(vec![0.0; 3], (3,)).unwrap();
        let error = try_conv2d(x(), w, Some(b), Conv2dOptions::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "conv2d: expected a bias (4,), found a bias (3,)"
        );
    }
}
