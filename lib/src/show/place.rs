//! Where the library runs, and how a message is said there.

use std::io::Write;
use std::sync::OnceLock;

use rebit_wire::{Message, MimeBundle, PREFIX_VARIABLE, Value};

/// Who listens to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// rebit's kernel, with the prefix of the session.
    Wire(String),
    /// The stock evcxr kernel or REPL.
    Evcxr,
    /// A person at a terminal, or a file.
    Text,
}

/// The place of this process.
pub(crate) fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| Place::from_env(|name| std::env::var(name).ok()))
}

/// Finds out where this process runs, while the environment says so.
pub(crate) fn knows_its_place() -> bool {
    *place() != Place::Text
}

impl Place {
    fn from_env(env: impl Fn(&str) -> Option<String>) -> Place {
        match env(PREFIX_VARIABLE).filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => Place::Wire(prefix),
            None if env("EVCXR_IS_RUNTIME").is_some() => Place::Evcxr,
            None => Place::Text,
        }
    }

    /// Says `message` on standard output. A reader that is gone is no reason to fail a computation.
    pub(crate) fn send(&self, message: &Message) {
        let said = self.say(message);
        if said.is_empty() {
            return;
        }
        super::progress::above_bars(|| {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(said.as_bytes()).and_then(|()| out.flush());
        });
    }

    /// The bytes that say `message` here; empty when this place has no way to.
    fn say(&self, message: &Message) -> String {
        match (self, message) {
            (Place::Wire(prefix), _) => rebit_wire::encode(prefix, message),
            (Place::Evcxr, Message::Display { data, .. }) => content_blocks(data),
            (Place::Text, Message::Display { data, .. }) => match plain_text(data) {
                Some(text) => text.trim_end_matches('\n').to_string() + "\n",
                None => String::new(),
            },
            // Live displays and loops have forms of their own outside the wire (live.rs, progress.rs).
            _ => String::new(),
        }
    }
}

/// evcxr's way to show something: one block a MIME type.
fn content_blocks(data: &MimeBundle) -> String {
    let mut out = String::new();
    for (mime, content) in data {
        let content = content_text(content);
        // The end mark inside the content would end the block early.
        let content = content.replace("EVCXR_END_CONTENT", "EVCXR_END_CONTENT\u{200b}");
        out += &format!("EVCXR_BEGIN_CONTENT {mime}\n{content}\nEVCXR_END_CONTENT\n");
    }
    out
}

fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a terminal can show of a bundle.
pub(crate) fn plain_text(data: &MimeBundle) -> Option<String> {
    ["text/plain", "text/markdown", "text/latex"]
        .iter()
        .find_map(|mime| data.get(*mime))
        .map(content_text)
}

/// Ends a cell's output: what was printed without a line feed is passed on, a request to stop that came
/// too late is forgotten. The kernel calls it after each cell.
pub fn end_of_cell() {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    super::interrupt::clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::bundle_of;

    fn table() -> Message {
        Message::Display {
            id: None,
            data: bundle_of("text/html", "<b>a</b>\n<i>b</i>", "a\nb"),
            metadata: MimeBundle::new(),
        }
    }

    #[test]
    fn the_place_follows_from_the_environment() {
        let with = |pairs: &'static [(&str, &str)]| {
            Place::from_env(|name| {
                let pair = pairs.iter().find(|(n, _)| *n == name);
                pair.map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(with(&[]), Place::Text);
        assert_eq!(with(&[("REBIT_WIRE", "")]), Place::Text);
        assert_eq!(with(&[("EVCXR_IS_RUNTIME", "1")]), Place::Evcxr);
        let ours = with(&[("EVCXR_IS_RUNTIME", "1"), ("REBIT_WIRE", "x:")]);
        assert_eq!(ours, Place::Wire("x:".into()));
    }

    #[test]
    fn our_kernel_gets_a_message_on_one_line() {
        let said = Place::Wire("x:".into()).say(&table());
        assert_eq!(rebit_wire::decode("x:", &said), Some(table()));
    }

    #[test]
    fn the_stock_kernel_gets_a_block_for_each_form() {
        let expected = "EVCXR_BEGIN_CONTENT text/html\n<b>a</b>\n<i>b</i>\nEVCXR_END_CONTENT\n\
                        EVCXR_BEGIN_CONTENT text/plain\na\nb\nEVCXR_END_CONTENT\n";
        assert_eq!(Place::Evcxr.say(&table()), expected);
    }

    #[test]
    fn a_terminal_gets_the_text() {
        assert_eq!(Place::Text.say(&table()), "a\nb\n");
        let said = Place::Text.say(&Message::ClearOutput { wait: true });
        assert_eq!(said, "");
    }
}
