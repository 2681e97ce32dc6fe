//! What a copy of channels promises.

use super::{ChannelsKernel, Part};
use crate::buffer::HostAccess;
use crate::tensors::{Buffer, dev};

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
