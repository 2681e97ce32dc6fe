//! A cell in its session, as one source file.

/// The function that stands around cells.
pub const WRAPPER: &str = "rebit_cell";

/// The text of a file with a cell in it.
pub struct Source {
    /// The file.
    pub text: String,
    /// The byte of the file at which the cell begins.
    pub cell: usize,
    /// Lines for the table `[dependencies]` of the manifest.
    pub dependencies: Vec<String>,
}

impl Source {
    /// A cell behind what earlier cells left: lines `:dep ...`, items, and a typed `let` for each variable.
    pub fn new(preamble: &str, cell: &str) -> Source {
        let mut text = format!(
            "#![allow(unused)]\nuse rebit::prelude::*;\n\
             async fn {WRAPPER}() -> ::std::result::Result<(), ::std::boxed::Box<dyn ::std::error::Error>> {{\n"
        );
        let mut dependencies = Vec::new();
        for line in preamble.split_inclusive('\n') {
            match line.trim().strip_prefix(":dep ") {
                Some(dependency) => dependencies.extend(manifest_line(dependency)),
                None => text.push_str(line),
            }
        }
        text.push('\n');
        let begin = text.len();
        // A command is no Rust, but the cell's places stay where they are.
        for line in cell.split_inclusive('\n') {
            match line.trim_start().strip_prefix(":dep ") {
                Some(dependency) => {
                    dependencies.extend(manifest_line(dependency));
                    text.extend(line.chars().map(blank));
                }
                None => text.push_str(line),
            }
        }
        text.push_str("\n}\n");
        Source {
            text,
            cell: begin,
            dependencies,
        }
    }
}

/// White space of as many bytes.
fn blank(c: char) -> &'static str {
    match c {
        '\n' => "\n",
        c => &"    "[..c.len_utf8()],
    }
}

/// What `:dep` is given, as a line of the manifest.
fn manifest_line(dependency: &str) -> Option<String> {
    let dependency = dependency.trim();
    let name = |text: &str| {
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        !text.is_empty() && text.chars().all(named)
    };
    match dependency.split_once('=') {
        Some((key, _)) if name(key.trim()) => Some(dependency.to_string()),
        None if name(dependency) => Some(format!("{dependency} = \"*\"")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stands_behind_its_session() {
        let preamble = ":dep rand = \"0.9\"\nfn f() {}\nlet mut x: i32 = todo!();\n";
        let cell = ":dep 火 = \"1\"\n:dep log\nx.ab";
        let source = Source::new(preamble, cell);
        assert_eq!(source.dependencies, ["rand = \"0.9\"", "log = \"*\""]);
        assert!(
            source
                .text
                .contains("fn f() {}\nlet mut x: i32 = todo!();\n")
        );
        let shown = &source.text[source.cell..];
        assert_eq!(shown.len(), cell.len() + "\n}\n".len(), "places stay");
        assert!(shown.ends_with("\nx.ab\n}\n") && !shown.contains(":dep"));
    }
}
