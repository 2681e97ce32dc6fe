//! What a copy of channels promises.

use dfdx::prelude::{Backward, SumTo, Trace};

use super::{ChannelsKernel, Part, slice, try_slice};
use crate::buffer::HostAccess;
use crate::tensors::{Buffer, Images, dev, from_vec, read};

#[test]
fn a_part_lands_at_its_place_and_the_rest_stays() {
    // Two pixels of three channels, of which the last two become channels 1 and 2 of four.
    let x = buffer(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut y = buffer(&[0.0; 8]);
    let (from, to) = (Part { of: 3, start: 1 }, Part { of: 4, start: 1 });
    dev().copy_channels(2, from, &x, to, &mut y).unwrap();
    assert_eq!(*y.view().unwrap(), [0., 2., 3., 0., 0., 5., 6., 0.]);
}

#[test]
fn adding_keeps_what_was_there() {
    let x = buffer(&[1.0, 2.0, 3.0, 4.0]);
    let mut y = buffer(&[10.0; 6]);
    let (from, to) = (Part { of: 2, start: 0 }, Part { of: 3, start: 1 });
    dev().add_channels(2, from, &x, to, &mut y).unwrap();
    assert_eq!(*y.view().unwrap(), [10., 11., 12., 10., 13., 14.]);
}

#[test]
fn a_slice_and_its_gradient() {
    let x: Images = from_vec((0..12).map(|v| v as f32).collect(), (1, 3, 2, 2)).unwrap();
    let y = slice(x.leaky_trace(), 1..2);
    assert_eq!(read(&y), [4.0, 5.0, 6.0, 7.0]);
    let grads = y.square().sum::<(), _>().backward();
    let expected = [0., 0., 0., 0., 8., 10., 12., 14., 0., 0., 0., 0.];
    assert_eq!(read(&grads.get(&x)), expected);
}

#[test]
fn ranges_beyond_the_channels_are_refused() {
    let x = || -> Images { from_vec(vec![0.0; 12], (1, 3, 2, 2)).unwrap() };
    for range in [0..0, 2..4, 5..6, usize::MAX - 1..usize::MAX] {
        let error = try_slice(x(), range).unwrap_err().to_string();
        assert!(error.contains("0..3"), "{error}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let (x, mut y) = (buffer(&[0.0; 6]), buffer(&[0.0; 8]));
    let (whole, room) = (Part { of: 3, start: 0 }, Part { of: 4, start: 2 });
    let error = dev().copy_channels(3, whole, &x, room, &mut y).unwrap_err();
    assert!(error.to_string().contains("Part { of: 4, start: 2 }"));
    let start = Part { of: 4, start: 0 };
    assert!(dev().copy_channels(3, whole, &x, start, &mut y).is_ok());
    let mut longer = buffer(&[0.0; 12]);
    assert!(
        dev()
            .copy_channels(3, whole, &x, start, &mut longer)
            .is_err()
    );
}

fn buffer(values: &[f32]) -> Buffer {
    crate::buffer(values).unwrap()
}
