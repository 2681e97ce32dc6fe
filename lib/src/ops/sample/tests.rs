use dfdx::prelude::{Backward, Shape, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, numeric_gradient, wave};
use crate::tensors::{from_vec, images, read, rng};

fn how(boxes: usize, out: (usize, usize), border: Border) -> Sampling {
    Sampling {
        images: vec![0; boxes],
        out,
        border,
        constant_images: false,
    }
}

fn corners(boxes: &[[f32; 4]]) -> Matrix {
    from_vec(boxes.concat(), (boxes.len(), 4)).unwrap()
}

/// A map of one channel with rows 0 1 2 3, 4 5 6 7, 8 9 10 11.
fn ramp() -> Images {
    from_vec((0..12).map(|v| v as f32).collect(), (1, 1, 3, 4)).unwrap()
}

#[test]
fn a_box_of_whole_pixels_is_copied_and_a_turned_one_mirrored() {
    for border in [Border::Zero, Border::Clamp, Border::Edge] {
        let boxes = [
            [1.0, 1.0, 4.0, 3.0],
            [4.0, 1.0, 1.0, 3.0],
            [1.0, 3.0, 4.0, 1.0],
        ];
        let y = read(&sample(ramp(), corners(&boxes), how(3, (2, 3), border)));
        assert_eq!(y[..6], [5., 6., 7., 9., 10., 11.]);
        assert_eq!(y[6..12], [7., 6., 5., 11., 10., 9.]);
        assert_eq!(y[12..], [9., 10., 11., 5., 6., 7.]);
    }
}

#[test]
fn enlarging_is_bilinear_and_the_border_decides_at_the_edge() {
    // Columns 2 and 3 of row 0 as four cells: places 2.25, 2.75, 3.25, 3.75, centres at 2.5 and 3.5.
    let boxes = [[2.0, 0.0, 4.0, 1.0]];
    let clamped = read(&sample(
        ramp(),
        corners(&boxes),
        how(1, (1, 4), Border::Clamp),
    ));
    assert_eq!(clamped, [2.0, 2.25, 2.75, 3.0]);
    // Without clamping the pixel to the left counts, and zero to the right.
    let zero = read(&sample(
        ramp(),
        corners(&boxes),
        how(1, (1, 4), Border::Zero),
    ));
    assert_eq!(zero, [1.75, 2.25, 2.75, 0.75 * 3.0]);
    // Halfway out of the image, and wholly.
    let boxes = [
        [-1.0, 0.0, 1.0, 1.0],
        [40.0, 40.0, 60.0, 60.0],
        [-9e30, 0.0, -8e30, 1.0],
    ];
    let x = from_vec(vec![8.0; 12], (1, 1, 3, 4)).unwrap();
    let y = read(&sample(
        x.clone(),
        corners(&boxes),
        how(3, (1, 2), Border::Zero),
    ));
    assert_eq!(y, [0.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
    let y = read(&sample(x, corners(&boxes), how(3, (1, 2), Border::Clamp)));
    assert_eq!(y, [8.0; 6]);
}

#[test]
fn the_edge_reaches_half_a_pixel_around_the_image() {
    // Places -0.75, -0.25, 0.25, 0.75: the first lies further out than half a pixel before the image's edge.
    let boxes = [[-1.0, 0.0, 1.0, 1.0], [3.0, 0.0, 5.0, 1.0]];
    let how = how(2, (1, 4), Border::Edge);
    let y = read(&sample(ramp(), corners(&boxes), how));
    assert_eq!(y, [0.0, 0.0, 0.0, 0.25, 2.75, 3.0, 3.0, 0.0]);
    let x = from_vec(vec![8.0; 12], (1, 1, 3, 4)).unwrap();
    let how = Sampling {
        images: vec![0, 0],
        out: (1, 4),
        border: Border::Edge,
        constant_images: false,
    };
    let y = read(&sample(x, corners(&boxes), how));
    assert_eq!(y, [0.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 0.0]);
}

/// IntraQ's crop, then PyTorch's resize: half-pixel places clamped to the crop.
#[test]
fn clamped_sampling_is_cutting_out_and_resizing() {
    let x = images(1, 2, 9, 8, &mut rng(3));
    let values = read(&x);
    let (top, left, height, width, size) = (2, 1, 5, 6, 8);
    let boxes = [[1.0, 2.0, 7.0, 7.0]];
    let y = read(&sample(
        x,
        corners(&boxes),
        how(1, (size, size), Border::Clamp),
    ));
    let tap = |o: usize, n: usize| {
        let at = ((o as f32 + 0.5) * n as f32 / size as f32 - 0.5).max(0.0);
        let first = at.floor() as usize;
        (first, (first + 1).min(n - 1), at - first as f32)
    };
    for c in 0..2 {
        for i in 0..size {
            for j in 0..size {
                let (m0, m1, t) = tap(i, height);
                let (n0, n1, u) = tap(j, width);
                let at = |m: usize, n: usize| values[(c * 9 + top + m) * 8 + left + n];
                let above = (1.0 - u) * at(m0, n0) + u * at(m0, n1);
                let below = (1.0 - u) * at(m1, n0) + u * at(m1, n1);
                let expected = (1.0 - t) * above + t * below;
                assert_close(&[y[(c * size + i) * size + j]], &[expected], 1e-5);
            }
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let shape = (2, 2, 5, 6);
    let values: Vec<f32> = wave(120).iter().map(|v| 2.0 * v).collect();
    // No place within a step of the centre of a pixel, where the slope changes; one box turned, one partly outside.
    let boxes = [
        0.63, 0.37, 4.41, 4.22, 5.13, 0.91, 1.77, 3.86, -0.83, 1.31, 3.47, 6.77,
    ];
    for border in [Border::Zero, Border::Clamp, Border::Edge] {
        let how = Sampling {
            images: vec![1, 0, 1],
            out: (3, 4),
            border,
            constant_images: false,
        };
        let result = |x: &[f32], boxes: &[f32]| {
            let x: Images = from_vec(x.to_vec(), shape).unwrap();
            let boxes: Matrix = from_vec(boxes.to_vec(), (3, 4)).unwrap();
            let y = read(&sample(x, boxes, how.clone()));
            let weights = wave(y.len());
            y.iter().zip(&weights).map(|(y, w)| y * w).sum::<f32>()
        };
        let x: Images = from_vec(values.clone(), shape).unwrap();
        let b: Matrix = from_vec(boxes.to_vec(), (3, 4)).unwrap();
        let y = sample(x.leaky_trace(), b.leaky_trace(), how.clone());
        let weights: Images = from_vec(wave(y.shape().num_elements()), *y.shape()).unwrap();
        let grads = (y * weights).sum::<(), _>().backward();
        let by_image = numeric_gradient(&values, 1e-2, |x| result(x, &boxes));
        assert_close(&read(&grads.get(&x)), &by_image, 2e-3);
        let by_box = numeric_gradient(&boxes, 2e-3, |boxes| result(&values, boxes));
        assert_close(&read(&grads.get(&b)), &by_box, 1e-2);
    }
}

/// On a plane the gradient of a box is known: each edge counts by how near a cell lies to it.
#[test]
fn on_a_slope_every_edge_gets_its_share() {
    let boxes = corners(&[[1.1, 0.9, 3.1, 2.1]]);
    let x = ramp().leaky_trace();
    let y = sample(x, boxes.leaky_trace(), how(1, (1, 2), Border::Zero));
    let grads = y.sum::<(), _>().backward();
    // Slopes 1 along x and 4 along y; t = 1/4 and 3/4 along x, 1/2 along y.
    assert_close(&read(&grads.get(&boxes)), &[1.0, 4.0, 1.0, 4.0], 1e-5);
}

/// Boxes inside, mirrored, partly and wholly outside, tiny, and one that is not finite.
const BOXES: [[f32; 4]; 6] = [
    [0.63, 0.37, 4.41, 4.22],
    [5.13, 0.91, 1.77, 3.86],
    [-0.83, 1.31, 3.47, 6.77],
    [40.0, 1.0, 50.0, 2.0],
    [2.2, 2.2, 2.3, 2.25],
    [f32::NAN, 0.0, 4.0, 3.0],
];

#[test]
fn the_order_of_tensors_has_the_same_bits_on_any_number_of_threads() {
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let (images, given) = ([1, 0, 1, 0, 1, 1], crate::ops::buffer(&BOXES.concat()));
    for (channels, border) in
        (1..=6).flat_map(|c| [Border::Zero, Border::Clamp, Border::Edge].map(|b| (c, b)))
    {
        let s = SampleShape {
            batch: 2,
            image: (5, 6),
            channels,
            boxes: BOXES.len(),
            out: (4, 3),
            border,
        };
        let boxes = || Boxes {
            corners: &given,
            images: &images,
        };
        let (x, dy) = (wave(s.in_len()), wave(s.out_len()));
        let turned = |x: &[f32], pixels: usize| {
            let mut y = vec![0.0; x.len()];
            crate::ops::layout::nchw_to_nhwc(x, channels, pixels, &mut y);
            y
        };
        let zeros = |len: usize| crate::ops::buffer(&vec![0.0; len]);
        let cpu = crate::ops::cpu();
        let pixels = || {
            let [x, dy] = [(&x, 30), (&dy, 12)].map(|(v, n)| crate::ops::buffer(&turned(v, n)));
            let (mut y, mut dx, mut d) = (zeros(s.out_len()), zeros(s.in_len()), zeros(24));
            SampleKernel::sample(&cpu, s, &x, boxes(), &mut y).unwrap();
            cpu.sample_grad_images(s, boxes(), &dy, &mut dx, false)
                .unwrap();
            cpu.sample_grad_boxes(s, &x, boxes(), &dy, &mut d).unwrap();
            (bits(&y), bits(&dx), bits(&d))
        };
        let planes = || {
            let (x, dy) = (crate::ops::buffer(&x), crate::ops::buffer(&dy));
            let (mut y, mut dx, mut d) = (zeros(s.out_len()), zeros(s.in_len()), zeros(24));
            cpu.sample_planes(s, &x, boxes(), &mut y).unwrap();
            cpu.sample_planes_grad_images(s, boxes(), &dy, &mut dx)
                .unwrap();
            cpu.sample_planes_grad_boxes(s, &x, boxes(), &dy, &mut d)
                .unwrap();
            (bits(&turned(&y, 12)), bits(&turned(&dx, 30)), bits(&d))
        };
        let with = |threads: usize, of: &(dyn Fn() -> _ + Sync)| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(of)
        };
        let one: (Vec<u32>, Vec<u32>, Vec<u32>) = with(1, &pixels);
        assert!(one == with(1, &planes), "{channels} channels, {border:?}");
        assert!(one == with(7, &planes), "{channels} channels, {border:?}");
    }
}

#[test]
fn constant_images_get_no_gradient_and_boxes_the_same_one() {
    // The order of tensors, and the other one.
    for channels in [3, 6] {
        let x = images(2, channels, 5, 6, &mut rng(3));
        let run = |constant_images: bool| {
            let b = corners(&BOXES[..5]);
            let how = Sampling {
                images: vec![1, 0, 1, 0, 1],
                out: (4, 3),
                border: Border::Zero,
                constant_images,
            };
            let y = sample(x.leaky_trace(), b.leaky_trace(), how);
            let weights: Images = from_vec(wave(y.shape().num_elements()), *y.shape()).unwrap();
            let values = read(&y);
            let mut grads = (y * weights).sum::<(), _>().backward();
            let of_boxes = read(&grads.get(&b));
            let of_images = grads.get_or_alloc_mut(&x).unwrap();
            let of_images = crate::HostAccess::view(of_images).unwrap().into_owned();
            (values, of_boxes, of_images)
        };
        let ((y, boxes, dx), (same_y, same_boxes, none)) = (run(false), run(true));
        assert_eq!((y, boxes), (same_y, same_boxes));
        assert!(dx.iter().any(|v| *v != 0.0) && none.iter().all(|v| *v == 0.0));
    }
}

#[test]
fn images_without_a_box_get_no_gradient_and_no_boxes_give_nothing() {
    let x: Images = from_vec(vec![1.0; 8], (2, 1, 2, 2)).unwrap();
    let one = Sampling {
        images: vec![1],
        out: (2, 2),
        border: Border::Zero,
        constant_images: false,
    };
    let y = sample(x.leaky_trace(), corners(&[[0.0, 0.0, 2.0, 2.0]]), one);
    let grads = y.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [0., 0., 0., 0., 1., 1., 1., 1.]);
    let none = how(0, (2, 2), Border::Zero);
    let y = sample(x.leaky_trace(), corners(&[]), none);
    assert_eq!(*y.shape(), (0, 1, 2, 2));
}

#[test]
fn nan_is_read_and_a_box_that_is_not_finite_gives_nan() {
    let mut values = vec![1.0; 12];
    values[0] = f32::NAN;
    let x: Images = from_vec(values, (1, 1, 3, 4)).unwrap();
    let boxes = [
        [0.0, 0.0, 4.0, 3.0],
        [f32::NAN, 0.0, 4.0, 3.0],
        [0.0, 0.0, 4.0, f32::INFINITY],
    ];
    for border in [Border::Zero, Border::Clamp, Border::Edge] {
        let y = read(&sample(x.clone(), corners(&boxes), how(3, (3, 4), border)));
        let nan: Vec<bool> = y.iter().map(|v| v.is_nan()).collect();
        assert!(nan[0] && !nan[1..12].contains(&true), "{border:?}");
        assert!(!nan[12..].contains(&false), "{border:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let boxes = || corners(&[[0.0, 0.0, 1.0, 1.0]]);
    let zero = Border::Zero;
    let error = try_sample(ramp(), boxes(), how(2, (1, 1), zero)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sample: expected boxes (2, 4), one for each named image, found boxes (1, 4)"
    );
    let beyond = Sampling {
        images: vec![1],
        ..how(1, (1, 1), zero)
    };
    let error = try_sample(ramp(), boxes(), beyond).unwrap_err().to_string();
    assert_eq!(error, "image 1 of box 0: images lie in 0..1");
    assert!(try_sample(ramp(), boxes(), how(1, (0, 1), zero)).is_err());
    assert!(try_sample(ramp(), boxes(), how(1, (1 << 40, 1 << 40), zero)).is_err());
}
