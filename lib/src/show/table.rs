//! A table: HTML in a notebook, aligned columns on a terminal.

use super::claims::four_digits;
use super::{MimeBundle, Show, Spread, bundle_of, escape_html};

/// One cell of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text, aligned left.
    Text(String),
    /// A number, aligned right.
    Number(f64),
    /// A whole number, aligned right, with all its digits.
    Integer(i128),
    /// A mean and its spread, aligned right.
    Spread(Spread),
}

impl Cell {
    fn is_number(&self) -> bool {
        !matches!(self, Cell::Text(_))
    }

    fn text(&self, decimals: Option<usize>) -> String {
        match (self, decimals) {
            (Cell::Text(text), _) => text.clone(),
            (Cell::Number(x), Some(decimals)) => format!("{x:.decimals$}"),
            (Cell::Number(x), None) => four_digits(*x),
            (Cell::Integer(n), _) => n.to_string(),
            (Cell::Spread(s), Some(d)) => format!("{s:.d$}"),
            (Cell::Spread(s), None) => s.to_string(),
        }
    }
}

macro_rules! cell_from {
    ($($t:ty => $make:expr),* $(,)?) => { $(impl From<$t> for Cell {
        fn from(value: $t) -> Cell { $make(value) }
    })* };
}
cell_from!(
    &str => |t: &str| Cell::Text(t.to_string()),
    &String => |t: &String| Cell::Text(t.clone()),
    String => Cell::Text,
    bool => |b| Cell::Text(if b { "yes" } else { "no" }.to_string()),
    f64 => Cell::Number,
    f32 => |x| Cell::Number(x as f64),
    Spread => Cell::Spread,
    u8 => |n| Cell::Integer(n as i128),
    u32 => |n| Cell::Integer(n as i128),
    u64 => |n| Cell::Integer(n as i128),
    usize => |n| Cell::Integer(n as i128),
    i32 => |n| Cell::Integer(n as i128),
    i64 => |n| Cell::Integer(n as i128),
);

/// What can be a row: a tuple of mixed values, an array or a vector of equal ones.
pub trait IntoRow {
    /// The cells, from left to right.
    fn into_row(self) -> Vec<Cell>;
}

impl<T: Into<Cell>, const N: usize> IntoRow for [T; N] {
    fn into_row(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Cell>> IntoRow for Vec<T> {
    fn into_row(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}

macro_rules! row_from_tuple {
    ($($name:ident)+) => {
        impl<$($name: Into<Cell>),+> IntoRow for ($($name,)+) {
            #[allow(non_snake_case)]
            fn into_row(self) -> Vec<Cell> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}
row_from_tuple!(A);
row_from_tuple!(A B);
row_from_tuple!(A B C);
row_from_tuple!(A B C D);
row_from_tuple!(A B C D E);
row_from_tuple!(A B C D E F);
row_from_tuple!(A B C D E F G);
row_from_tuple!(A B C D E F G H);

/// A table with a head, rows and perhaps a caption.
///
/// ```
/// use rebit::show::Table;
/// let table = Table::new(["method", "accuracy"]).row(("LTS", 91.183)).decimals(1);
/// assert_eq!(table.to_string(), "method  accuracy\n------  --------\nLTS         91.2\n");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
    caption: Option<String>,
    decimals: Option<usize>,
}

impl Table {
    /// A table with these column heads.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Table {
            head: head.into_iter().map(Into::into).collect(),
            ..Table::default()
        }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(mut self, row: impl IntoRow) -> Self {
        self.push(row);
        self
    }

    /// Adds a row to a table that is being filled in a loop.
    pub fn push(&mut self, row: impl IntoRow) {
        self.rows.push(row.into_row());
    }

    /// What the table shows, above it.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = Some(caption.into());
        self
    }

    /// Digits after the point of all numbers; four significant digits if not set.
    pub fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = Some(decimals);
        self
    }

    fn columns(&self) -> usize {
        let widest = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        self.head.len().max(widest)
    }

    /// A column is aligned right when it holds numbers and nothing else (empty cells aside).
    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        let blank = |cell: &Cell| matches!(cell, Cell::Text(t) if t.is_empty() || t == "-");
        let any = self
            .rows
            .iter()
            .any(|row| row.get(column).is_some_and(Cell::is_number));
        any && cells.all(|cell| cell.is_number() || blank(cell))
    }

    fn cell_text(&self, row: &[Cell], column: usize) -> String {
        let cell = row.get(column);
        cell.map_or(String::new(), |cell| cell.text(self.decimals))
    }

    fn head_text(&self, column: usize) -> &str {
        self.head.get(column).map_or("", String::as_str)
    }

    /// The table as HTML.
    pub fn html(&self) -> String {
        let columns = self.columns();
        let align = |c: usize| if self.is_numeric(c) { "right" } else { "left" };
        let aligns: Vec<&str> = (0..columns).map(align).collect();
        let mut html = String::from("<table>");
        let add = |html: &mut String, tag: &str, c: usize, text: &str| {
            let align = aligns[c];
            let text = escape_html(text);
            *html +=
                &format!("<{tag} style=\"text-align:{align};padding:3px 12px\">{text}</{tag}>");
        };
        html += "<thead><tr>";
        (0..columns).for_each(|c| add(&mut html, "th", c, self.head_text(c)));
        html += "</tr></thead><tbody>";
        for row in &self.rows {
            html += "<tr>";
            (0..columns).for_each(|c| add(&mut html, "td", c, &self.cell_text(row, c)));
            html += "</tr>";
        }
        html += "</tbody></table>";
        let Some(caption) = &self.caption else {
            return html;
        };
        // A `<caption>` is no wider than its table, and a long one over two columns is a tower of words.
        let style = "font-weight:bold;padding:4px 0;max-width:60em";
        let caption = escape_html(caption);
        format!(
            "<figure style=\"margin:0\"><figcaption style=\"{style}\">{caption}</figcaption>{html}</figure>"
        )
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.columns();
        let mut lines: Vec<Vec<String>> = Vec::new();
        lines.push(
            (0..columns)
                .map(|c| self.head_text(c).to_string())
                .collect(),
        );
        for row in &self.rows {
            lines.push((0..columns).map(|c| self.cell_text(row, c)).collect());
        }
        let width = |c: usize| {
            lines
                .iter()
                .map(|l| l[c].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        lines.insert(1, widths.iter().map(|&w| "-".repeat(w)).collect());
        if let Some(caption) = &self.caption {
            writeln!(f, "{caption}")?;
        }
        for line in lines {
            let mut text = String::new();
            for (c, cell) in line.iter().enumerate() {
                let (gap, width) = (if c > 0 { "  " } else { "" }, widths[c]);
                text += &match self.is_numeric(c) {
                    true => format!("{gap}{cell:>width$}"),
                    false => format!("{gap}{cell:<width$}"),
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

impl Show for Table {
    fn bundle(&self) -> MimeBundle {
        bundle_of("text/html", self.html(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::spread;

    fn example() -> Table {
        Table::new(["method", "top-1, %", "runs"])
            .row(("no <freezing>", 91.5, 3))
            .row(("LTS", spread(91.25, 0.5), 12))
            .row(("none yet", "-"))
            .caption("2 bit & 4 bit")
    }

    #[test]
    fn text_is_aligned_left_and_numbers_right() {
        let expected = [
            "2 bit & 4 bit",
            "method             top-1, %  runs",
            "-------------  ------------  ----",
            "no <freezing>          91.5     3",
            "LTS            91.25 ± 0.50    12",
            "none yet                  -",
            "",
        ];
        assert_eq!(example().to_string(), expected.join("\n"));
    }

    #[test]
    fn html_is_escaped_and_aligned() {
        let html = example().html();
        assert!(html.contains(">no &lt;freezing&gt;</td>"), "{html}");
        assert!(
            html.contains("text-align:right;padding:3px 12px\">91.5</td>"),
            "{html}"
        );
        assert!(
            html.contains(">2 bit &amp; 4 bit</figcaption><table>"),
            "{html}"
        );
        assert_eq!(html.matches("<tr>").count(), 4);
        assert_eq!(html.matches("<td").count(), 9);
    }

    #[test]
    fn a_table_without_rows_or_heads_is_shown_too() {
        assert_eq!(Table::new(["a"]).to_string(), "a\n-\n");
        assert_eq!(
            Table::default().row((1, 2.5)).to_string(),
            "\n-  ---\n1  2.5\n"
        );
    }
}
