//! What a network from images to images promises.

use dfdx::prelude::*;

use crate::nn::*;
use crate::ops::relu::Activation;
use crate::{Images, Result, from_vec, randn, read, rng};

/// Every node that only such networks have, a sum around them, and a batch norm between them.
fn image_net() -> Result<Net> {
    let mut b = NetBuilder::new(3, 5, 4, rng(5));
    let x = b.affine("shift", b.input(), 0.8, vec![0.1, -0.2, 0.3])?;
    let head = b.conv("head", x, Conv::new(4).with_bias())?;
    let y = b.prelu("rectifier", head)?;
    let y = b.site("site", y)?;
    let y = b.conv("body", y, Conv::new(4))?;
    let y = b.norm("norm", y, Activation::None)?;
    let y = b.concat("joined", &[y, head, x])?;
    let y = b.conv("mix", y, Conv::new(8).kernel(1).with_bias())?;
    let y = b.pixel_shuffle("shuffle", y, 2)?;
    let y = b.conv("tail", y, Conv::new(3).with_bias())?;
    let net = b.build(y)?;
    // Every channel stays on its side of the rectifier's corner, so that the network is smooth.
    net.set_parameter("head.bias", &[4.0, -4.0, 4.0, -4.0])?;
    Ok(net)
}

fn batch() -> Images {
    let flat = read(&randn(1, 2 * 3 * 5 * 4, &mut rng(6)));
    from_vec(flat, (2, 3, 5, 4)).expect("2 images of 3x5x4")
}

/// A smooth scalar of the output.
fn loss(net: &Net, x: &Images, mode: Mode) -> Result<f64> {
    let y = net.forward_images(x.leaky_trace(), mode)?.as_vec();
    let terms = y.iter().enumerate();
    Ok(terms
        .map(|(i, v)| f64::from(*v).powi(2) * (1.0 + i as f64 / 50.0))
        .sum())
}

#[test]
fn gradients_of_every_parameter_and_of_the_images_are_those_of_finite_differences() -> Result<()> {
    for mode in [Mode::Train, Mode::Eval] {
        let (net, x) = (image_net()?, batch());
        let y = net.forward_images(x.leaky_trace(), mode)?;
        let shape = *y.shape();
        let n = shape.0 * shape.1 * shape.2 * shape.3;
        let scale = from_vec((0..n).map(|i| 1.0 + i as f32 / 50.0).collect(), shape)?;
        let grads = (y.square() * scale).sum::<(), _>().backward();
        let h = 3e-2_f32;
        let mut worst = (0.0_f32, String::new());
        let mut compare = |name: &str, ours: f32, plus: f64, minus: f64| {
            let numeric = ((plus - minus) / f64::from(2.0 * h)) as f32;
            let error = (ours - numeric).abs() / numeric.abs().max(1.0);
            if error > worst.0 {
                worst = (error, format!("{name}: {ours} against {numeric}"));
            }
        };
        let mut names = Vec::new();
        for p in net.parameters().iter().filter(|p| p.is_trainable()) {
            let start = p.to_vec();
            let ours = read(&grads.get(&p.value));
            for at in [0, p.len() / 3, p.len() - 1] {
                let moved = |by: f32| -> Result<f64> {
                    let mut data = start.clone();
                    data[at] += by;
                    net.set_parameter(&p.name, &data)?;
                    loss(&net, &x, mode)
                };
                compare(&p.name, ours[at], moved(h)?, moved(-h)?);
            }
            net.set_parameter(&p.name, &start)?;
            names.push(p.name.clone());
        }
        let ours = read(&grads.get(&x));
        for at in 0..ours.len() {
            let moved = |by: f32| -> Result<f64> {
                let mut data = read(&x);
                data[at] += by;
                loss(&net, &from_vec(data, *x.shape())?, mode)
            };
            compare("images", ours[at], moved(h)?, moved(-h)?);
        }
        assert!(names.iter().any(|n| n == "rectifier.weight"), "{names:?}");
        assert!(worst.0 < 2e-2, "{mode:?} {}", worst.1);
    }
    Ok(())
}

#[test]
fn every_image_size_gives_the_same_pixels_as_a_crop_far_from_its_border() -> Result<()> {
    let net = image_net()?;
    let flat = read(&randn(1, 3 * 12 * 12, &mut rng(7)));
    let whole = from_vec(flat.clone(), (1, 3, 12, 12))?;
    // Rows and columns 1 to 11: an odd size, cut from the middle.
    let mut cut = Vec::new();
    for c in 0..3 {
        for row in 1..12 {
            let start = c * 144 + row * 12 + 1;
            cut.extend_from_slice(&flat[start..start + 11]);
        }
    }
    let cut = from_vec(cut, (1, 3, 11, 11))?;
    let (large, small) = (net.predict_images(&whole)?, net.predict_images(&cut)?);
    assert_eq!(small.shape(), &(1, 3, 22, 22));
    let (large, small) = (read(&large), read(&small));
    // Two 3x3 convolutions before and one behind the shuffle reach three low-resolution pixels.
    for c in 0..3 {
        for row in 6..16 {
            for column in 6..16 {
                let a = large[c * 576 + (row + 2) * 24 + column + 2];
                let b = small[c * 484 + row * 22 + column];
                assert!((a - b).abs() < 1e-5, "{c} {row} {column}: {a} and {b}");
            }
        }
    }
    Ok(())
}
