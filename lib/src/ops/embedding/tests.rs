//! What rows of a table promise, on the device of the build.

use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::buffer::{HostAccess, buffer};
use crate::ops::{assert_close, numeric_gradient, wave};
use crate::tensors::{Buffer, from_vec, read, scalar, vector};

fn table(values: &[f32], channels: usize) -> Matrix {
    from_vec(values.to_vec(), (values.len() / channels, channels)).unwrap()
}

const SHAPE: EmbeddingShape = EmbeddingShape {
    pixels: 3,
    rows: 2,
    channels: 2,
};

fn of(values: &[f32]) -> Buffer {
    buffer(values).unwrap()
}

#[test]
fn literal_rows_and_gradient() {
    let t = table(&[0.0, 1.0, 10.0, 11.0, 20.0, 21.0], 2);
    let y = embedding(&vector(&[2.0, -0.0, 2.0]), t.leaky_trace());
    assert_eq!(*y.shape(), (3, 2));
    assert_eq!(read(&y), [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);
    let weights = table(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
    let grads = (y * weights).sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&t)), [3.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let indices = vector(&[3.0, 0.0, 3.0, 2.0, 3.0]);
    let values = wave(12);
    let by: Vec<f32> = (1..=15).map(|k| k as f32 / 8.0).collect();
    let loss = |v: &[f32]| {
        let y = read(&embedding(&indices, table(v, 3)));
        y.iter().zip(&by).map(|(y, by)| y * y * by).sum::<f32>()
    };
    let t = table(&values, 3);
    let y = embedding(&indices, t.leaky_trace()).square() * table(&by, 3);
    let grads = y.sum::<(), _>().backward();
    let numeric = numeric_gradient(&values, 1e-2, loss);
    assert_close(&read(&grads.get(&t)), &numeric, 2e-3);
}

#[test]
fn indices_of_any_layout_are_read_in_order() {
    use dfdx::prelude::BroadcastTo;
    let one = scalar(1.0).broadcast_like(&(4,));
    let y = embedding(&one, table(&[5.0, 7.0], 1));
    assert_eq!(read(&y), [7.0; 4]);
}

#[test]
fn gradients_add_up_when_asked_and_overwrite_otherwise() {
    let (indices, dy) = (of(&[1.0, 0.0, 1.0]), of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let mut sum = of(&[f32::NAN; 4]);
    let add = |sum: &mut Buffer, accumulate| {
        dev()
            .embedding_grad(SHAPE, &indices, &dy, sum, accumulate)
            .unwrap();
    };
    add(&mut sum, false);
    assert_eq!(*sum.view().unwrap(), [3.0, 4.0, 6.0, 8.0]);
    add(&mut sum, true);
    assert_eq!(*sum.view().unwrap(), [6.0, 8.0, 12.0, 16.0]);
}

#[test]
fn a_nan_spoils_the_pixels_that_read_it_and_no_other() {
    let y = read(&embedding(
        &vector(&[1.0, 0.0, 1.0]),
        table(&[1.0, 2.0, f32::NAN, 4.0], 2),
    ));
    let nan: Vec<bool> = y.iter().map(|v| v.is_nan()).collect();
    assert_eq!(nan, [true, false, false, false, true, false]);
}

#[test]
fn the_first_index_that_is_no_class_is_named() {
    let t = || table(&[0.0; 6], 2);
    for (wrong, text) in [
        (3.0, "3"),
        (-1.0, "-1"),
        (0.5, "0.5"),
        (2.5, "2.5"),
        (1e30, "1000000000000000000000000000000"),
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let error = try_embedding(&vector(&[2.0, wrong, 7.0]), t()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }));
        let expected = format!("class index {text}: must be a whole number from 0 to 2");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_is_no_class_adds_no_gradient() {
    let (indices, dy) = (of(&[f32::NAN, 1.0, 0.5]), of(&[1.0; 6]));
    let mut sum = of(&[0.0; 4]);
    dev()
        .embedding_grad(SHAPE, &indices, &dy, &mut sum, false)
        .unwrap();
    assert_eq!(*sum.view().unwrap(), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn no_pixels_are_no_rows_and_an_empty_table_is_refused() {
    let t = table(&[1.0, 2.0], 2);
    let y = embedding(&vector(&[]), t.leaky_trace());
    assert_eq!((*y.shape(), read(&y)), ((0, 2), vec![]));
    let none: Matrix = from_vec(vec![], (0, 2)).unwrap();
    let error = try_embedding(&vector(&[]), none).unwrap_err().to_string();
    assert!(error.contains("a table of 0 x 2"), "{error}");
    let mut nothing = of(&[3.0; 4]);
    let s = EmbeddingShape { pixels: 0, ..SHAPE };
    dev()
        .embedding_grad(s, &of(&[]), &of(&[]), &mut nothing, false)
        .unwrap();
    assert_eq!(*nothing.view().unwrap(), [0.0; 4]);
}

#[test]
fn tables_that_no_index_reaches_or_no_memory_holds_are_refused() {
    let refused = |pixels, rows, channels| {
        let s = EmbeddingShape {
            pixels,
            rows,
            channels,
        };
        s.check().unwrap_err().to_string()
    };
    assert!(refused(1, MOST_ROWS + 1, 1).contains("at most 16777216 rows"));
    assert!(refused(1, 2, usize::MAX / 2).contains("at most"));
    assert!(refused(usize::MAX / 2, 1, 4).contains("at most"));
    let s = EmbeddingShape {
        rows: MOST_ROWS,
        ..SHAPE
    };
    s.check().unwrap();
    // The last row of the largest table, and what would be one more.
    assert_eq!(s.row(16_777_215.0), Some(MOST_ROWS - 1));
    assert_eq!(s.row(16_777_216.0), None);
}

#[test]
fn buffers_of_another_length_are_refused_by_name() {
    let (three, four, six) = (of(&[0.0; 3]), of(&[0.0; 4]), of(&[0.0; 6]));
    let said = |result: Result<()>, name: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    };
    let mut y = of(&[0.0; 6]);
    said(
        dev().embedding(SHAPE, &four, &four, &mut y),
        "3 elements in `indices`",
    );
    said(
        dev().embedding(SHAPE, &three, &six, &mut y),
        "4 elements in `table`",
    );
    let mut short = of(&[0.0; 4]);
    said(
        dev().embedding(SHAPE, &three, &four, &mut short),
        "6 elements in `y`",
    );
    said(
        dev().embedding_grad(SHAPE, &three, &four, &mut short, false),
        "6 elements in `dy`",
    );
    said(
        dev().embedding_grad(SHAPE, &three, &six, &mut y, false),
        "4 elements in `dtable`",
    );
}
