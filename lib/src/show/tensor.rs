//! A tensor for a reader: its shape, the spread of its elements, a corner of them.

use super::claims::four_digits;
use super::numbers::Notation;
use super::{MimeBundle, bundle_of, escape_html};

/// Rows of a corner.
const ROWS: usize = 6;
/// Columns of a corner.
const COLUMNS: usize = 8;

/// A type of elements that can be shown.
pub trait Element: Copy + 'static {
    /// Its name.
    const NAME: &'static str;
    /// The element as a number.
    fn number(self) -> f64;
}

macro_rules! element {
    ($($t:ident)*) => { $(impl Element for $t {
        const NAME: &'static str = stringify!($t);
        fn number(self) -> f64 { self as f64 }
    })* };
}
element!(f32 f64 i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

impl Element for bool {
    const NAME: &'static str = "bool";
    fn number(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// What is said about the elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorSummary {
    /// `Tensor (2, 3) f32`.
    title: String,
    /// Lowest, mean and highest of the elements that are numbers, where there are several.
    spread: Option<(f64, f64, f64)>,
    /// How many are no numbers, and infinite.
    odd: (usize, usize),
    /// Where the corner lies, in a tensor of more than two axes.
    place: String,
    /// The corner, row by row; whether there are more columns, more rows.
    corner: Vec<Vec<f64>>,
    more: (bool, bool),
}

impl TensorSummary {
    /// The summary of row-major elements.
    pub fn new<E: Element>(shape: &[usize], data: &[E]) -> TensorSummary {
        let (mut lowest, mut highest, mut sum, mut count) =
            (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0usize);
        let mut odd = (0, 0);
        for x in data.iter().map(|x| x.number()) {
            if x.is_nan() {
                odd.0 += 1;
            } else if x.is_infinite() {
                odd.1 += 1;
            } else {
                (lowest, highest) = (lowest.min(x), highest.max(x));
                (sum, count) = (sum + x, count + 1);
            }
        }
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().nth(1).copied().unwrap_or(1);
        let row = |r: usize| {
            let row = data.iter().skip(r * columns).take(columns.min(COLUMNS));
            row.map(|x| x.number()).collect()
        };
        let corner = match data.is_empty() {
            true => Vec::new(),
            false => (0..rows.min(ROWS)).map(row).collect(),
        };
        let place = match shape.len() {
            0..=2 => String::new(),
            axes => format!("[{}:, :]", "0, ".repeat(axes - 2)),
        };
        TensorSummary {
            title: format!("Tensor {} {}", shape_text(shape), E::NAME),
            spread: (count > 0 && data.len() > 1).then(|| (lowest, sum / count as f64, highest)),
            odd,
            place,
            corner,
            more: (columns > COLUMNS, rows > ROWS),
        }
    }

    /// The same under another title.
    pub fn titled(self, title: impl Into<String>) -> TensorSummary {
        let title = title.into();
        TensorSummary { title, ..self }
    }

    /// One line: shape, type, spread.
    pub fn line(&self) -> String {
        let mut parts = vec![self.title.clone()];
        parts.extend(self.numbers());
        parts.join(" · ")
    }

    fn numbers(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if let Some((lowest, mean, highest)) = self.spread {
            for (name, x) in [("min", lowest), ("mean", mean), ("max", highest)] {
                parts.push(format!("{name} {}", four_digits(x)));
            }
        }
        for (count, name) in [(self.odd.0, "NaN"), (self.odd.1, "infinite")] {
            if count > 0 {
                parts.push(format!("{count} {name}"));
            }
        }
        parts
    }

    /// The corner as text, row by row.
    fn cells(&self) -> Vec<Vec<String>> {
        if let [row] = self.corner.as_slice()
            && let [x] = row.as_slice()
        {
            return vec![vec![four_digits(*x)]];
        }
        let notation = Notation::of(self.corner.iter().flatten().copied());
        let mut rows: Vec<Vec<String>> = self
            .corner
            .iter()
            .map(|row| row.iter().map(|&x| notation.write(x)).collect())
            .collect();
        if self.more.0 {
            rows.iter_mut().for_each(|row| row.push("…".to_string()));
        }
        if self.more.1 {
            rows.push(vec!["…".to_string(); rows.first().map_or(0, Vec::len)]);
        }
        rows
    }

    /// As plain text.
    pub fn text(&self) -> String {
        let rows = self.cells();
        let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len))
            .map(|c| {
                rows.iter()
                    .map(|row| row[c].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut lines = vec![self.line()];
        lines.extend(Some(self.place.clone()).filter(|p| !p.is_empty() && !rows.is_empty()));
        for row in rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &w)| format!("{cell:>w$}"));
            lines.push(cells.collect::<Vec<_>>().join("  "));
        }
        lines.join("\n")
    }

    /// As HTML.
    pub fn html(&self) -> String {
        let mut table = String::new();
        for row in self.cells() {
            let cell = |text: &String| {
                format!("<td style=\"text-align:right;padding:1px 8px\">{text}</td>")
            };
            table += &format!("<tr>{}</tr>", row.iter().map(cell).collect::<String>());
        }
        let mut head = vec![format!("<b>{}</b>", escape_html(&self.title))];
        head.extend(self.numbers().iter().map(|text| escape_html(text)));
        head.extend(Some(self.place.clone()).filter(|p| !p.is_empty() && !table.is_empty()));
        format!(
            "<div>{}</div><table style=\"font-family:monospace\"><tbody>{table}</tbody></table>",
            head.join(" · ")
        )
    }

    /// Both.
    pub fn bundle(&self) -> MimeBundle {
        bundle_of("text/html", self.html(), self.text())
    }
}

/// `(2, 3)`, `(5,)`, `()`: as Rust writes a tuple.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => {
            let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!("({})", lengths.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<E: Element>(shape: &[usize], data: &[E]) -> String {
        TensorSummary::new(shape, data).text()
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            text(&[2, 3], &[0.5f32, -12.25, 3.0, 4.0, 5.0, 6.125]),
            "Tensor (2, 3) f32 · min -12.25 · mean 1.062 · max 6.125\n\
             0.50  -12.25  3.00\n4.00    5.00  6.12"
        );
    }

    #[test]
    fn a_large_tensor_shows_its_corner() {
        let data: Vec<f32> = (0..2 * 3 * 8 * 9).map(|i| i as f32).collect();
        let shown = text(&[2, 3, 8, 9], &data);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "Tensor (2, 3, 8, 9) f32 · min 0 · mean 215.5 · max 431"
        );
        assert_eq!(lines[1], "[0, 0, :, :]");
        assert_eq!(lines[2], " 0   1   2   3   4   5   6   7  …");
        assert_eq!(lines[7], "45  46  47  48  49  50  51  52  …");
        assert_eq!(lines[8].trim_start().chars().next(), Some('…'));
        assert_eq!(lines.len(), 9);
    }

    #[test]
    fn what_is_no_number_is_counted_and_shown() {
        let shown = text(&[4], &[f32::NAN, 1.5, f32::INFINITY, 2.5]);
        assert_eq!(
            shown,
            "Tensor (4,) f32 · min 1.5 · mean 2 · max 2.5 · 1 NaN · 1 infinite\n\
             NaN  1.500  inf  2.500"
        );
        assert_eq!(text(&[1], &[f64::NAN]), "Tensor (1,) f64 · 1 NaN\nNaN");
    }

    #[test]
    fn a_single_number_and_none_at_all() {
        assert_eq!(text(&[], &[0.25f32]), "Tensor () f32\n0.25");
        assert_eq!(text::<f32>(&[0, 3], &[]), "Tensor (0, 3) f32");
        assert_eq!(text(&[2], &[true, false]).lines().last(), Some("1  0"));
    }

    #[test]
    fn html_holds_the_same() {
        let html = TensorSummary::new(&[1, 2], &[1.0f32, 2.0]).html();
        for part in [
            "<b>Tensor (1, 2) f32</b>",
            "min 1",
            "max 2",
            ">1</td>",
            ">2</td>",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
    }
}
