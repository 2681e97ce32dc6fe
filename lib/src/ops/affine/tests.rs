//! What the scaled sums promise.

use super::AffineKernel;
use crate::buffer::HostAccess;
use crate::tensors::{Buffer, dev};

#[test]
fn every_channel_has_its_own_offset() {
    let x = buffer(&[1.0, 2.0, 3.0, 4.0]);
    let mut y = buffer(&[f32::NAN; 4]);
    dev().affine(2.0, &[10.0, -1.0], &x, &mut y).unwrap();
    assert_eq!(*y.view().unwrap(), [12.0, 3.0, 16.0, 7.0]);
}

#[test]
fn a_mixture_weighs_both_sides() {
    let (mut into, from) = (buffer(&[1.0, -2.0]), buffer(&[10.0, 20.0]));
    dev().mix(0.5, &mut into, 0.25, &from).unwrap();
    assert_eq!(*into.view().unwrap(), [3.0, 4.0]);
}

#[test]
fn without_a_weight_the_old_numbers_do_not_matter() {
    let (mut into, from) = (buffer(&[f32::NAN, f32::INFINITY]), buffer(&[1.0, 2.0]));
    dev().mix(0.0, &mut into, 3.0, &from).unwrap();
    assert_eq!(*into.view().unwrap(), [3.0, 6.0]);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let (x, mut y) = (buffer(&[0.0; 6]), buffer(&[0.0; 6]));
    let error = dev().affine(1.0, &[0.0; 4], &x, &mut y).unwrap_err();
    assert_eq!(
        error.to_string(),
        "affine: expected whole pixels of 4 channels, found 6 elements"
    );
    assert!(dev().affine(1.0, &[], &x, &mut y).is_err());
    assert!(dev().mix(1.0, &mut y, 1.0, &buffer(&[0.0; 5])).is_err());
}

fn buffer(values: &[f32]) -> Buffer {
    crate::buffer(values).unwrap()
}
