//! Collects what cells say into the outputs of a notebook file.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::output::{Bundle, Failure, Output, StreamName};

/// Longer texts keep their beginning and end.
const LONGEST_TEXT: usize = 1 << 20;

/// Outputs of all cells of one notebook.
#[derive(Default)]
pub struct Recorder {
    cells: Vec<Vec<Value>>,
    /// Where the displays with an id stand: cell and place.
    displays: HashMap<String, Vec<(usize, usize)>>,
    clear_at_next: bool,
}

impl Recorder {
    /// The next cell begins.
    pub fn begin_cell(&mut self) {
        self.cells.push(Vec::new());
        self.clear_at_next = false;
    }

    /// Takes one output of the running cell; progress bars, claims and findings are not stored (the
    /// library displays a row for each of the latter).
    pub fn take(&mut self, output: &Output, count: u32) {
        match output {
            Output::Stream { name, text } => {
                self.clear_if_asked();
                self.stream(*name, text);
            }
            Output::Display { id, data, metadata } => {
                self.clear_if_asked();
                self.push(
                    id.as_deref(),
                    json!({
                        "output_type": "display_data", "data": stored(data), "metadata": metadata,
                    }),
                );
            }
            Output::Result { data, metadata } => {
                self.clear_if_asked();
                self.push(
                    None,
                    json!({
                        "output_type": "execute_result", "data": stored(data),
                        "metadata": metadata, "execution_count": count,
                    }),
                );
            }
            Output::UpdateDisplay { id, data, metadata } => {
                for (cell, place) in self.displays.get(id).into_iter().flatten() {
                    let output = &mut self.cells[*cell][*place];
                    output["data"] = stored(data);
                    output["metadata"] = json!(metadata);
                }
            }
            Output::ClearOutput { wait: true } => self.clear_at_next = true,
            Output::ClearOutput { wait: false } => self.clear(),
            Output::Progress(_) | Output::Claim(_) | Output::Finding(_) => {}
        }
    }

    /// The running cell ended with an error.
    pub fn fail(&mut self, failure: &Failure) {
        self.push(
            None,
            json!({
                "output_type": "error", "ename": failure.ename, "evalue": failure.evalue,
                "traceback": failure.traceback,
            }),
        );
    }

    /// Outputs of the cells so far, in order.
    pub fn cells(&self) -> &[Vec<Value>] {
        &self.cells
    }

    fn push(&mut self, id: Option<&str>, output: Value) {
        let cell = self.cells.len() - 1;
        let place = self.cells[cell].len();
        if let Some(id) = id {
            let places = self.displays.entry(id.to_string()).or_default();
            places.push((cell, place));
        }
        self.cells[cell].push(output);
    }

    fn stream(&mut self, name: StreamName, text: &str) {
        let cell = self.cells.len() - 1;
        if let Some(last) = self.cells[cell].last_mut()
            && last["output_type"] == "stream"
            && last["name"] == name.as_str()
        {
            if let Value::String(old) = &mut last["text"] {
                append(old, text);
            }
            return;
        }
        let mut whole = String::new();
        append(&mut whole, text);
        self.push(
            None,
            json!({"output_type": "stream", "name": name.as_str(), "text": whole}),
        );
    }

    fn clear_if_asked(&mut self) {
        if std::mem::take(&mut self.clear_at_next) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.clear_at_next = false;
        let cell = self.cells.len() - 1;
        self.cells[cell].clear();
        for places in self.displays.values_mut() {
            places.retain(|(c, _)| *c != cell);
        }
    }
}

/// A bundle as the format stores it.
fn stored(data: &Bundle) -> Value {
    json!(data)
}

/// Appends text as a terminal would show it: a carriage return goes back to the line's beginning.
fn append(whole: &mut String, text: &str) {
    let mut rest = text;
    if whole.ends_with('\r') && !rest.starts_with('\n') {
        let line = whole.rfind('\n').map_or(0, |at| at + 1);
        whole.truncate(line);
    }
    while let Some(at) = rest.find('\r') {
        whole.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if rest.is_empty() {
            // What comes next decides.
            whole.push('\r');
        } else if !rest.starts_with(['\n', '\r']) {
            let line = whole.rfind('\n').map_or(0, |at| at + 1);
            whole.truncate(line);
        }
    }
    whole.push_str(rest);
    if whole.contains("\r\n") {
        *whole = whole.replace("\r\n", "\n");
    }
    shorten(whole);
}

fn shorten(whole: &mut String) {
    const NOTE: &str = "\n... (left out) ...\n";
    if whole.len() <= 2 * LONGEST_TEXT {
        return;
    }
    let boundary = |from: usize| {
        (from..)
            .find(|&i| whole.is_char_boundary(i))
            .unwrap_or(from)
    };
    let head = boundary(LONGEST_TEXT / 2);
    let tail = boundary(whole.len() - LONGEST_TEXT / 2);
    let short = format!("{}{NOTE}{}", &whole[..head], &whole[tail..]);
    *whole = short;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(id: Option<&str>, text: &str) -> Output {
        Output::Display {
            id: id.map(str::to_string),
            data: Bundle::from([("text/plain".to_string(), json!(text))]),
            metadata: Bundle::new(),
        }
    }

    fn record(outputs: &[Output]) -> Vec<Value> {
        let mut recorder = Recorder::default();
        recorder.begin_cell();
        outputs.iter().for_each(|o| recorder.take(o, 1));
        recorder.cells[0].clone()
    }

    #[test]
    fn neighbouring_texts_of_one_stream_are_one_output() {
        let outputs = record(&[
            Output::stdout("a"),
            Output::stdout("b\n"),
            Output::stderr("c"),
            Output::stdout("d"),
        ]);
        assert_eq!(outputs.len(), 3);
        assert_eq!(outputs[0]["text"], "ab\n");
    }

    #[test]
    fn carriage_returns_rewrite_the_line() {
        let outputs = record(&[
            Output::stdout("start\n 10 %"),
            Output::stdout("\r 20 %"),
            Output::stdout("\r"),
            Output::stdout("100 %\r\n"),
            Output::stdout("end"),
        ]);
        assert_eq!(outputs[0]["text"], "start\n100 %\nend");
    }

    #[test]
    fn an_update_replaces_its_display_also_in_an_earlier_cell() {
        let mut recorder = Recorder::default();
        recorder.begin_cell();
        recorder.take(&display(Some("loss"), "1"), 1);
        recorder.begin_cell();
        let update = Output::UpdateDisplay {
            id: "loss".to_string(),
            data: Bundle::from([("text/plain".to_string(), json!("2"))]),
            metadata: Bundle::new(),
        };
        recorder.take(&update, 2);
        assert_eq!(recorder.cells[0][0]["data"]["text/plain"], "2");
        assert!(recorder.cells[1].is_empty());
    }

    #[test]
    fn clearing_waits_when_asked_to() {
        let clear = |wait| Output::ClearOutput { wait };
        assert!(record(&[display(None, "a"), clear(false)]).is_empty());
        assert_eq!(record(&[display(None, "a"), clear(true)]).len(), 1);
        let outputs = record(&[display(None, "a"), clear(true), display(None, "b")]);
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0]["data"]["text/plain"], "b");
    }

    #[test]
    fn very_long_text_keeps_its_ends() {
        let outputs = record(&[
            Output::stdout("é".repeat(2 << 20)),
            Output::stdout("the end"),
        ]);
        let text = outputs[0]["text"].as_str().unwrap();
        assert!(text.len() < 2 << 20 && text.ends_with("the end") && text.contains("left out"));
    }
}
