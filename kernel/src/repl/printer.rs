//! What a cell says, on a terminal or in a pipe.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::figure::{self, Protocol};
use crate::output::{Bundle, Failure, Output, Progress, StreamName};
use crate::render;
use crate::terminal::harmless;

/// Prints the outputs of cells.
pub struct Printer {
    colours: bool,
    protocol: Protocol,
    bars: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
    /// Displays with an id, and whether they changed since they were drawn.
    figures: BTreeMap<String, (Bundle, bool)>,
    /// Standard output stands in the middle of a line.
    mid_line: bool,
}

impl Printer {
    /// A printer for standard output as it is.
    pub fn new() -> Printer {
        let terminal = std::io::stdout().is_terminal();
        Printer {
            colours: terminal && std::env::var_os("NO_COLOR").is_none(),
            protocol: match terminal || std::env::var_os("REBIT_FIGURES").is_some() {
                true => figure::protocol(),
                false => Protocol::Text,
            },
            bars: MultiProgress::new(),
            running: BTreeMap::new(),
            figures: BTreeMap::new(),
            mid_line: false,
        }
    }

    /// Prints one output.
    pub fn say(&mut self, output: Output) {
        match output {
            Output::Stream { name, text } => self.text(name, &text),
            Output::Display { id, data, .. } => {
                self.show(&data);
                if let Some(id) = id {
                    self.figures.insert(id, (data, false));
                }
            }
            // Redrawing would fill the screen: the last state is drawn when the cell has ended.
            Output::UpdateDisplay { id, data, .. } => {
                self.figures.insert(id, (data, true));
            }
            Output::ClearOutput { .. } => {}
            Output::Progress(progress) => self.progress(&progress),
            // The library shows their rows by displays of their own.
            Output::Claim(_) | Output::Finding(_) => {}
            Output::Result { data, .. } => self.show(&data),
        }
    }

    /// The cell has ended: draws what changed and ends the line.
    pub fn end_cell(&mut self) {
        for (_, bar) in std::mem::take(&mut self.running) {
            bar.abandon();
        }
        for (data, changed) in std::mem::take(&mut self.figures).into_values() {
            if changed {
                self.show(&data);
            }
        }
        self.fresh_line();
    }

    /// Prints why a cell failed.
    pub fn fail(&mut self, failure: &Failure) {
        self.fresh_line();
        let mut report = failure.traceback.join("\n");
        if report.is_empty() {
            report = format!("{}: {}", failure.ename, failure.evalue);
        }
        eprintln!("{}", self.coloured(&report));
    }

    /// Prints a page of help.
    pub fn page(&mut self, data: &Bundle) {
        self.show(data);
    }

    fn text(&mut self, name: StreamName, text: &str) {
        let print = || -> std::io::Result<()> {
            match name {
                StreamName::Stdout => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(text.as_bytes())?;
                    out.flush()
                }
                StreamName::Stderr => std::io::stderr().lock().write_all(text.as_bytes()),
            }
        };
        // A reader that has gone (`| head`) is no reason to stop the cell.
        let _ = match self.running.is_empty() {
            true => print(),
            false => self.bars.suspend(print),
        };
        if name == StreamName::Stdout && !text.is_empty() {
            self.mid_line = !text.ends_with('\n');
        }
    }

    fn fresh_line(&mut self) {
        if self.mid_line {
            self.text(StreamName::Stdout, "\n");
        }
    }

    /// The picture if the terminal can show it, else the plainest text there is.
    fn show(&mut self, data: &Bundle) {
        self.fresh_line();
        let columns = crossterm::terminal::size().map_or(80, |(columns, _)| columns as usize);
        if let Some(picture) = figure::draw(data, self.protocol, columns) {
            self.text(StreamName::Stdout, &picture);
            return;
        }
        let text = plain(data);
        if !text.is_empty() {
            let text = self.coloured(text.trim_end_matches('\n'));
            self.text(StreamName::Stdout, &format!("{text}\n"));
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if !std::io::stderr().is_terminal() {
            if progress.finished {
                eprintln!("{}", harmless(&render::progress_line(progress), false));
            }
            return;
        }
        let bar = self
            .running
            .entry(progress.id.clone())
            .or_insert_with(|| self.bars.add(bar(progress)));
        bar.set_position(progress.done);
        bar.set_message(harmless(&progress.note, false));
        if progress.finished {
            // It may have ended before its last step: the bar stays where it is.
            bar.abandon();
            self.running.remove(&progress.id);
        }
    }

    fn coloured(&self, text: &str) -> String {
        harmless(text, self.colours)
    }
}

impl Default for Printer {
    fn default() -> Self {
        Printer::new()
    }
}

fn bar(progress: &Progress) -> ProgressBar {
    let template = match progress.total {
        Some(_) => "{prefix} [{bar:30}] {pos}/{len} {per_sec} {eta} {msg}",
        None => "{prefix} {spinner} {pos} {per_sec} {elapsed} {msg}",
    };
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = match progress.total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.with_style(style)
        .with_prefix(harmless(&progress.label, false))
}

/// A bundle as text: its plain form, else its HTML without the tags, else the names of its forms.
fn plain(data: &Bundle) -> String {
    let form = |mime: &str| data.get(mime).and_then(|value| value.as_str());
    if let Some(text) = form("text/plain").or_else(|| form("text/markdown")) {
        return text.to_string();
    }
    if let Some(html) = form("text/html").filter(|html| !html.contains("<svg")) {
        return without_tags(html);
    }
    let names: Vec<&str> = data.keys().map(String::as_str).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("[{}]", names.join(", ")),
    }
}

/// HTML as text: rows become lines, cells are kept apart.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('>') else {
            return text;
        };
        let tag = &rest[start + 1..start + length];
        match tag.split([' ', '\n']).next().unwrap_or_default() {
            "/tr" | "br" | "br/" | "/p" | "/div" | "/li" | "/h1" | "/h2" | "/h3" | "/h4" => {
                text.push('\n');
            }
            "/td" | "/th" => text.push_str("  "),
            _ => {}
        }
        rest = &rest[start + length + 1..];
    }
    text.push_str(rest);
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_have_a_text() {
        let bundle = |forms: &[(&str, &str)]| -> Bundle {
            forms
                .iter()
                .map(|(mime, text)| (mime.to_string(), (*text).into()))
                .collect()
        };
        let both = bundle(&[("text/html", "<b>a</b>"), ("text/plain", "a!")]);
        assert_eq!(plain(&both), "a!");
        let table =
            "<table><tr><th>k</th><th>v</th></tr><tr><td>a &lt; b</td><td>1</td></tr></table>";
        assert_eq!(plain(&bundle(&[("text/html", table)])), "k  v\na < b  1");
        assert_eq!(
            plain(&bundle(&[("image/svg+xml", "<svg/>")])),
            "[image/svg+xml]"
        );
        assert_eq!(plain(&Bundle::new()), "");
    }
}
