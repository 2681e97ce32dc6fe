//! Frames of the supervisor as [`Output`]s: text whole in UTF-8, forms of one value together, messages
//! of the library decoded.

mod message;
mod panic;
mod text;

use message::Decoded;
pub use panic::{ErrorReport, PanicReport, Place};
use text::take_whole;

use super::places::{Places, SOURCE};
use crate::output::{Bundle, Output, StreamName};
use crate::supervisor::frame::Frame;

/// How a line begins that `dbg!` writes.
const DEBUGGED: &str = "[src/lib.rs:";

/// Turns frames into outputs; one for a session's whole life.
#[derive(Default)]
pub struct Translator {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    forms: Bundle,
    in_value: bool,
    value: Option<Bundle>,
    /// A panic that may still be caught.
    panic: Option<PanicReport>,
    /// The panic that ended the cell.
    fatal: Option<PanicReport>,
    interrupted: bool,
    /// The running cell, or the last one.
    places: Places,
}

impl Translator {
    /// The running cell is this one.
    pub fn set_places(&mut self, places: Places) {
        self.places = places;
    }

    /// A new cell begins.
    pub fn begin_cell(&mut self, places: Places) {
        self.set_places(places);
        self.in_value = false;
        self.value = None;
        self.panic = None;
        self.fatal = None;
        self.interrupted = false;
    }

    /// Whether the library said that it ended a computation on request.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether something waits for its continuation.
    pub fn has_pending(&self) -> bool {
        !self.forms.is_empty()
    }

    /// Translates one frame.
    pub fn frame(&mut self, frame: &Frame, sink: &mut dyn FnMut(Output)) {
        match frame {
            Frame::Content { mime, body } => {
                self.settle_panic(sink);
                // The same form a second time is a second value.
                if self.forms.contains_key(mime) {
                    self.flush(sink);
                }
                let text = String::from_utf8_lossy(body).into_owned();
                self.forms.insert(mime.clone(), content(mime, text));
            }
            Frame::Stdout(bytes) => self.text(StreamName::Stdout, bytes, sink),
            Frame::Stderr(bytes) => self.text(StreamName::Stderr, bytes, sink),
            Frame::Wire(line) => {
                let line = String::from_utf8_lossy(line);
                self.flush(sink);
                match line.strip_prefix("cell:") {
                    Some("value") => self.in_value = true,
                    Some("value-end") => self.in_value = false,
                    Some(rest) => {
                        let report = rest.strip_prefix("panic ");
                        let report =
                            report.and_then(|r| serde_json::from_str::<PanicReport>(r).ok());
                        match report {
                            // It ends its thread, and nothing else.
                            Some(report) if report.thread.is_some() => {
                                self.tell_panic(&report, sink)
                            }
                            report => {
                                self.settle_panic(sink);
                                self.panic = report;
                            }
                        }
                    }
                    None => {
                        self.settle_panic(sink);
                        self.message(&line, sink);
                    }
                }
            }
            Frame::Complete => {
                self.flush(sink);
                // A panic that reached the end of the cell was caught by the user.
                self.settle_panic(sink);
                self.finish_text(sink);
            }
            Frame::Panic | Frame::UserError(_) | Frame::Exited { .. } => {
                self.flush(sink);
                if let Frame::Panic = frame {
                    self.in_value = false;
                    self.fatal = self.panic.take();
                }
            }
            Frame::Hello { .. } | Frame::Started | Frame::Lost(_) | Frame::Sync(_) => {}
        }
    }

    fn message(&mut self, line: &str, sink: &mut dyn FnMut(Output)) {
        match message::decode(line) {
            Decoded::Display { id, data, metadata } => self.show(id, data, metadata, sink),
            Decoded::Output(output) => sink(output),
            Decoded::Interrupted => self.interrupted = true,
            Decoded::Nothing => {}
        }
    }

    fn text(&mut self, name: StreamName, bytes: &[u8], sink: &mut dyn FnMut(Output)) {
        self.flush(sink);
        self.settle_panic(sink);
        let held = match name {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        };
        held.extend_from_slice(bytes);
        let mut text = take_whole(held);
        if name == StreamName::Stderr && text.contains(DEBUGGED) {
            text = self.in_readers_words(&text);
        }
        if !text.is_empty() {
            sink(Output::Stream { name, text });
        }
    }

    /// What `dbg!` writes, with the place as the reader knows it.
    fn in_readers_words(&self, text: &str) -> String {
        let mut pieces = text.split(DEBUGGED);
        let mut out = pieces.next().unwrap_or_default().to_string();
        for piece in pieces {
            let place = piece.split_once("] ").and_then(|(place, rest)| {
                let (line, column) = place.split_once(':')?;
                let place = Place {
                    file: SOURCE.to_string(),
                    line: line.parse().ok()?,
                    column: column.parse().ok()?,
                    ..Place::default()
                };
                Some((self.places.spot(&place)?, rest))
            });
            out += &match place {
                Some((spot, rest)) => {
                    format!("[{}:{}:{}] {rest}", spot.name, spot.line, spot.column)
                }
                None => format!("{DEBUGGED}{piece}"),
            };
        }
        out
    }

    fn finish_text(&mut self, sink: &mut dyn FnMut(Output)) {
        for (name, held) in [
            (StreamName::Stdout, &mut self.stdout),
            (StreamName::Stderr, &mut self.stderr),
        ] {
            if !held.is_empty() {
                let text = String::from_utf8_lossy(&std::mem::take(held)).into_owned();
                sink(Output::Stream { name, text });
            }
        }
    }

    /// A panic that did not end the cell is shown as Rust shows it.
    fn settle_panic(&mut self, sink: &mut dyn FnMut(Output)) {
        if let Some(panic) = self.panic.take() {
            self.tell_panic(&panic, sink);
        }
    }

    fn tell_panic(&self, panic: &PanicReport, sink: &mut dyn FnMut(Output)) {
        let place = self.places.words(&panic.place);
        sink(Output::stderr(panic.text(&place)));
    }

    /// Sends the forms collected so far as one value.
    pub fn flush(&mut self, sink: &mut dyn FnMut(Output)) {
        if self.forms.is_empty() {
            return;
        }
        let data = std::mem::take(&mut self.forms);
        self.show(None, data, Bundle::new(), sink);
    }

    fn show(
        &mut self,
        id: Option<String>,
        data: Bundle,
        metadata: Bundle,
        sink: &mut dyn FnMut(Output),
    ) {
        if self.in_value && self.value.is_none() && id.is_none() {
            self.value = Some(data.clone());
            sink(Output::Result { data, metadata });
        } else {
            sink(Output::Display { id, data, metadata });
        }
    }

    /// The value of an evcxr command.
    pub fn command_value(&mut self, data: Bundle, sink: &mut dyn FnMut(Output)) {
        if self.value.is_none() {
            self.value = Some(data.clone());
            sink(Output::Result {
                data,
                metadata: Bundle::new(),
            });
        }
    }

    /// The value of the cell.
    pub fn take_value(&mut self) -> Option<Bundle> {
        self.value.take()
    }

    /// The panic that ended the cell.
    pub fn take_panic(&mut self) -> Option<PanicReport> {
        self.fatal.take().or_else(|| self.panic.take())
    }
}

/// JSON types are kept as JSON.
fn content(mime: &str, text: String) -> serde_json::Value {
    if mime.ends_with("json")
        && let Ok(value) = serde_json::from_str(&text)
    {
        return value;
    }
    serde_json::Value::String(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(frames: &[Frame]) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut translator = Translator::default();
        for frame in frames {
            translator.frame(frame, &mut |o| outputs.push(o));
        }
        translator.flush(&mut |o| outputs.push(o));
        outputs
    }

    fn form(mime: &str, body: &str) -> Frame {
        Frame::Content {
            mime: mime.into(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn wire(text: &str) -> Frame {
        Frame::Wire(text.as_bytes().to_vec())
    }

    #[test]
    fn characters_are_not_cut() {
        let bytes = "aé漢".as_bytes();
        for cut in 0..bytes.len() {
            let outputs = translate(&[
                Frame::Stdout(bytes[..cut].to_vec()),
                Frame::Stdout(bytes[cut..].to_vec()),
                Frame::Complete,
            ]);
            let text: String = outputs
                .iter()
                .map(|o| match o {
                    Output::Stream { text, .. } => text.as_str(),
                    _ => "?",
                })
                .collect();
            assert_eq!(text, "aé漢", "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let outputs = translate(&[Frame::Stdout(vec![b'a', 0xff, b'b', 0xc3]), Frame::Complete]);
        assert_eq!(
            outputs,
            [Output::stdout("a\u{fffd}b"), Output::stdout("\u{fffd}")]
        );
    }

    #[test]
    fn forms_of_one_value_stay_together() {
        let outputs = translate(&[
            form("text/html", "1"),
            form("text/plain", "2"),
            form("text/html", "3"),
            Frame::Stdout(b"x".to_vec()),
        ]);
        assert_eq!(outputs.len(), 3);
        assert!(matches!(&outputs[0], Output::Display { data, .. } if data.len() == 2));
        assert!(matches!(&outputs[1], Output::Display { data, .. } if data.len() == 1));
        assert_eq!(outputs[2], Output::stdout("x"));
    }

    #[test]
    fn the_value_is_a_result_and_figures_before_it_are_not() {
        let outputs = translate(&[
            form("text/html", "figure"),
            wire("cell:value"),
            form("text/plain", "7"),
            wire("cell:value-end"),
        ]);
        assert!(matches!(outputs[0], Output::Display { .. }));
        assert!(matches!(outputs[1], Output::Result { .. }));
    }

    #[test]
    fn a_caught_panic_is_text_and_an_uncaught_one_is_kept() {
        let report =
            wire(r#"cell:panic {"message":"boom","file":"src/lib.rs","line":3,"column":5}"#);
        let caught = translate(&[report.clone(), Frame::Complete]);
        assert!(matches!(&caught[0], Output::Stream { text, .. } if text.contains("boom")));
        let mut translator = Translator::default();
        let mut outputs = Vec::new();
        for frame in [&report, &Frame::Panic, &Frame::Complete] {
            translator.frame(frame, &mut |o| outputs.push(o));
        }
        assert_eq!(translator.take_panic().unwrap().message, "boom");
        assert!(outputs.is_empty());
    }
}
