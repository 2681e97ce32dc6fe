//! A message of the library as an [`Output`].

use rebit_wire::Message;

use crate::output::{Bundle, Claim, Finding, Output, Progress};

/// What a message asks for.
pub enum Decoded {
    /// A value, which may be the cell's own.
    Display {
        /// By which it can be updated.
        id: Option<String>,
        /// Its forms.
        data: Bundle,
        /// About them.
        metadata: Bundle,
    },
    /// Anything else to show.
    Output(Output),
    /// The library ended a computation on request.
    Interrupted,
    /// A newer library has more to say than we understand.
    Nothing,
}

/// Reads a message, whose prefix the supervisor has taken off; what is none is text.
pub fn decode(line: &str) -> Decoded {
    Decoded::Output(match rebit_wire::message_of(line) {
        Some(Message::Display { id, data, metadata }) => {
            return Decoded::Display { id, data, metadata };
        }
        Some(Message::UpdateDisplay { id, data, metadata }) => {
            Output::UpdateDisplay { id, data, metadata }
        }
        Some(Message::ClearOutput { wait }) => Output::ClearOutput { wait },
        Some(Message::Progress {
            id,
            label,
            done,
            total,
            rate,
            eta_seconds,
            message,
            finished,
        }) => Output::Progress(Progress {
            id,
            label,
            done,
            total,
            rate,
            eta_seconds,
            note: message.unwrap_or_default(),
            finished,
        }),
        Some(Message::Claim {
            text,
            holds,
            ours,
            paper,
        }) => Output::Claim(Claim {
            text,
            holds,
            ours,
            paper,
        }),
        Some(Message::Finding {
            text,
            ours,
            paper,
            why,
        }) => Output::Finding(Finding {
            text,
            ours,
            paper,
            why,
        }),
        Some(Message::Interrupted) => return Decoded::Interrupted,
        Some(Message::Unknown) => return Decoded::Nothing,
        None => Output::stdout(format!("{line}\n")),
    })
}
