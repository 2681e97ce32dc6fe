//! What Jupyter and the terminal know about the language of cells, on one lexer.
//!
//! | file | what is in it |
//! |---|---|
//! | [`lexer`] | tokens, names, keywords, brackets |
//! | [`commands`] | lines that are commands, and those which are answered without the session |
//! | [`is_complete`] | whether a cell is finished |
//! | [`place`] | what stands around the cursor |
//! | [`index`], `declared` | the library's public names, from its sources |
//! | [`known`] | completion and help from the index and from what earlier cells left behind |
//! | [`assist`] | the same with an analyser behind it |

pub mod assist;
pub mod commands;
mod declared;
pub mod index;
pub mod is_complete;
pub mod known;
pub mod lexer;
pub mod place;

/// One way to complete the text before the cursor.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Completion {
    /// What to insert between `start` and `end`.
    pub text: String,
    /// What to show in a list.
    pub label: String,
    /// Jupyter's kind: `function`, `module`, `keyword`, `instance`, `magic`, ...
    pub kind: String,
}

/// All completions at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Completions {
    /// First byte of the cell that is replaced.
    pub start: usize,
    /// Byte after the last one that is replaced.
    pub end: usize,
    /// The candidates.
    pub items: Vec<Completion>,
}

/// Help for one place in a cell.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Help {
    /// Signature and documentation as plain text.
    pub text: String,
    /// The same as Markdown.
    pub markdown: String,
}
