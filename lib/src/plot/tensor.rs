//! What a reader sees of a tensor that ends a cell.

use dfdx::prelude::{HasShape, Shape, Storage, Tensor, Unit};

use super::images;
use crate::show::{Element, MimeBundle, Show, TensorSummary, display};

/// Batches of more images than this are shown as numbers.
const MOST_IMAGES: usize = 64;
/// What is smaller along an axis is no picture.
const SMALLEST_IMAGE: usize = 4;

/// An element of tensors that a reader sees. The work on a slice of them is compiled in the library, so that a cell
/// that ends in a tensor compiles little more than the copy of its elements.
pub trait ShownElement: Element + Unit {
    /// The forms of a tensor of this shape, from its row-major elements.
    fn bundle(shape: &[usize], data: &[Self]) -> MimeBundle;
    /// Shows such a tensor now.
    fn display(shape: &[usize], data: &[Self]);
}

macro_rules! shown_element {
    ($($t:ident)*) => { $(impl ShownElement for $t {
        fn bundle(shape: &[usize], data: &[Self]) -> MimeBundle {
            bundle(shape, data)
        }
        fn display(shape: &[usize], data: &[Self]) {
            display(&bundle(shape, data));
        }
    })* };
}
shown_element!(f32 f64 i8 i16 i32 i64 isize u8 u16 u32 u64 usize bool);

/// A tensor ends a cell with its shape, the spread of its elements and a corner of them; a batch of images
/// `(n, 1 or 3, h, w)`, or a single one `(3, h, w)` with values in `[0, 1]`, as a picture.
impl<S: Shape, E: ShownElement, D: Storage<E>, T> Show for Tensor<S, E, D, T> {
    fn bundle(&self) -> MimeBundle {
        let shape = self.shape().concrete();
        match is_empty(shape.as_ref()) {
            true => E::bundle(shape.as_ref(), &[]),
            false => E::bundle(shape.as_ref(), &self.as_vec()),
        }
    }

    fn evcxr_display(&self) {
        let shape = self.shape().concrete();
        match is_empty(shape.as_ref()) {
            true => E::display(shape.as_ref(), &[]),
            false => E::display(shape.as_ref(), &self.as_vec()),
        }
    }
}

/// dfdx's copy from a GPU looks at a first element.
fn is_empty(shape: &[usize]) -> bool {
    shape.contains(&0)
}

fn bundle<E: Element>(shape: &[usize], data: &[E]) -> MimeBundle {
    let summary = TensorSummary::new(shape, data);
    let picture = picture_shape(shape, data).and_then(|shape| {
        let data: Vec<f32> = data.iter().map(|x| x.number() as f32).collect();
        let grid = images(summary.line()).planes(&data, &shape, None);
        // Larger than a figure may be: numbers then.
        grid.try_figure().ok()
    });
    match picture {
        Some(figure) => {
            let mut bundle = figure.bundle();
            bundle.insert("text/plain".to_string(), summary.text().into());
            bundle
        }
        None => summary.bundle(),
    }
}

/// The shape `(n, c, h, w)` of what looks like images.
fn picture_shape<E: Element>(shape: &[usize], data: &[E]) -> Option<[usize; 4]> {
    if !E::NAME.starts_with('f') {
        return None;
    }
    let found = match *shape {
        [n, c @ (1 | 3), h, w] => [n, c, h, w],
        // Three of anything are not yet an image.
        [3, h, w] if data.iter().all(|x| (0.0..=1.0).contains(&x.number())) => [1, 3, h, w],
        _ => return None,
    };
    let [n, _, h, w] = found;
    ((1..=MOST_IMAGES).contains(&n) && h.min(w) >= SMALLEST_IMAGE).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{Matrix, Taped, from_vec, images as noise, linspace, randn, rng, scalar};
    use dfdx::prelude::*;

    fn forms(value: &impl Show) -> Vec<String> {
        value.bundle().into_keys().collect()
    }

    fn plain(value: &impl Show) -> String {
        value.bundle()["text/plain"].as_str().unwrap().to_string()
    }

    #[test]
    fn tensors_of_every_kind_show_their_shape_and_not_how_they_are_made() {
        let a = randn(300, 200, &mut rng(0));
        let taped: Matrix<Taped> = a.leaky_trace();
        let constant: Tensor<Rank2<2, 2>, f32, _> = Cpu::default().tensor([[1.0, 2.0], [3.0, 4.0]]);
        let labels: Tensor<Rank1<3>, usize, _> = Cpu::default().tensor([2, 0, 1]);
        for (text, title) in [
            (plain(&a), "Tensor (300, 200) f32 · min "),
            (plain(&taped), "Tensor (300, 200) f32 · min "),
            (
                plain(&constant),
                "Tensor (2, 2) f32 · min 1 · mean 2.5 · max 4\n1  2\n3  4",
            ),
            (
                plain(&labels),
                "Tensor (3,) usize · min 0 · mean 1 · max 2\n2  0  1",
            ),
            (plain(&scalar(0.0)), "Tensor () f32\n0"),
        ] {
            assert!(text.starts_with(title), "{text}");
            assert!(text.len() < 1000, "{text}");
        }
        assert_eq!(forms(&constant), ["text/html", "text/plain"]);
    }

    #[test]
    fn permuted_tensors_show_their_elements_in_their_order() {
        let a = from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 3)).unwrap();
        let text = plain(&a.permute::<_, Axes2<1, 0>>());
        assert!(text.ends_with("\n1  4\n2  5\n3  6"), "{text}");
    }

    #[test]
    fn images_are_pictures_and_feature_maps_are_numbers() {
        let picture = ["image/svg+xml", "text/plain"];
        assert_eq!(forms(&noise(2, 3, 8, 8, &mut rng(0))), picture);
        let unit = |shape: (usize, usize, usize)| {
            from_vec(linspace(0.0, 1.0, shape.0 * shape.1 * shape.2), shape).unwrap()
        };
        assert_eq!(forms(&unit((3, 8, 9))), picture);
        let numbers = ["text/html", "text/plain"];
        assert_eq!(forms(&unit((4, 8, 9))), numbers);
        assert_eq!(forms(&(unit((3, 8, 9)) * 2.0)), numbers);
        assert_eq!(forms(&noise(2, 16, 8, 8, &mut rng(0))), numbers);
        assert_eq!(forms(&noise(2, 3, 1, 1, &mut rng(0))), numbers);
        assert_eq!(forms(&noise(0, 3, 8, 8, &mut rng(0))), numbers);
    }
}
