//! A panic of a cell, and its place in the cell.

/// A panic as the library reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// Source file.
    #[serde(default)]
    pub file: String,
    /// Line, from 1.
    #[serde(default)]
    pub line: usize,
    /// Column, from 1.
    #[serde(default)]
    pub column: usize,
}

impl PanicReport {
    /// Line and column in the user's cell, found by the text of the compiled line.
    pub fn place_in(&self, generated: &str, cell: &str) -> Option<(usize, usize)> {
        if self.file != "src/lib.rs" {
            return None;
        }
        let compiled = generated.lines().nth(self.line.checked_sub(1)?)?;
        let wanted = compiled.trim();
        if wanted.is_empty() {
            return None;
        }
        let same = |line: &&str| line.trim() == wanted;
        let holds = |line: &&str| !line.trim().is_empty() && line.contains(wanted);
        let lines: Vec<&str> = cell.lines().collect();
        let at = lines
            .iter()
            .position(same)
            .or_else(|| lines.iter().position(holds))?;
        let start = compiled.len() - compiled.trim_start().len();
        let inside = lines[at].find(wanted)?;
        let column = (self.column.saturating_sub(1)).saturating_sub(start) + inside;
        Some((at + 1, column + 1))
    }

    /// As Rust itself prints it.
    pub fn text(&self) -> String {
        let PanicReport {
            message,
            file,
            line,
            column,
        } = self;
        format!("thread panicked at {file}:{line}:{column}:\n{message}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_in_the_cell() {
        let panic = PanicReport {
            message: "boom".into(),
            file: "src/lib.rs".into(),
            line: 2,
            column: 7,
        };
        let generated = "fn run() {\nx = 1; panic!(\"boom\");\n}";
        let cell = "let y = 2;\n  x = 1; panic!(\"boom\");";
        assert_eq!(panic.place_in(generated, cell), Some((2, 9)));
        assert_eq!(panic.place_in(generated, "other"), None);
    }
}
