//! Code that evcxr's analyser need not read.
//!
//! Before each cell evcxr asks its analyser for the types of what the cell binds, and the analyser then infers all of the
//! cell, whatever types are written in it: a tenth of a second, in a session's first cell more than half a second. Where all types are
//! known already, the code stands in the call of a macro that does not exist. The analyser has nothing to infer there; our
//! `cargo` takes the call away, column for column, before rustc sees the cell.

use std::path::Path;

/// What stands around hidden code in the cells of a session.
#[derive(Clone, Debug)]
pub struct Hider {
    /// In front of it.
    pub begin: String,
    /// Behind it.
    pub end: String,
}

impl Hider {
    /// That of the session in this folder, whose name no cell contains by chance.
    pub fn of(session: &Path) -> Hider {
        let name = session.file_name().unwrap_or_default().to_string_lossy();
        let word: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        Hider {
            begin: format!("rebit_hidden_{word}!{{"),
            end: format!("/*rebit_hidden_{word}*/}};"),
        }
    }

    /// The code with nothing hidden, each of its characters where it was.
    pub fn revealed(&self, code: &str) -> String {
        let mut out = String::with_capacity(code.len());
        let mut rest = code;
        while let Some((before, hidden)) = rest.split_once(&self.begin)
            && let Some((inside, after)) = hidden.split_once(&self.end)
        {
            out += before;
            out += &" ".repeat(self.begin.len());
            out += inside;
            out += &" ".repeat(self.end.len());
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revealed_stands_where_it_was() {
        let hider = Hider::of(Path::new("a/12-x"));
        let Hider { begin, end } = &hider;
        assert_eq!(begin, "rebit_hidden_12_x!{");
        let code =
            format!("a;\n{begin}let ä = f()?;\n  g(ä);{end} let ä: T = ä;\n{begin}h(){end}\n");
        let plain = hider.revealed(&code);
        assert_eq!(plain.len(), code.len());
        for word in ["let ä = f()?;", "g(ä);", "let ä: T = ä;", "h()", "\n"] {
            assert_eq!(plain.find(word), code.find(word), "{word}");
        }
        let left: String = plain.split_whitespace().collect();
        assert_eq!(left, "a;letä=f()?;g(ä);letä:T=ä;h()");
        let of_another = "rebit_hidden_1!{f()/*rebit_hidden_1*/};";
        for code in ["", "let a = 1;", begin, end, of_another] {
            assert_eq!(hider.revealed(code), code);
        }
    }
}
