//! Progress bars in the forms a front end can show.

use rebit_wire::escape_html;

use crate::output::{Bundle, Progress};

/// Characters of a bar in plain text.
const BAR: usize = 30;

/// A bar with its label, count, rate, remaining time and note; an HTML `progress` element where that can
/// be shown.
pub fn progress(progress: &Progress) -> Bundle {
    let plain = progress_line(progress);
    let state = match (progress.finished, progress.total) {
        (_, Some(total)) => format!("value=\"{}\" max=\"{}\"", progress.done, total.max(1)),
        (true, None) => "value=\"1\" max=\"1\"".to_string(),
        (false, None) => String::new(),
    };
    let html = format!(
        "<div style=\"font-family:monospace;white-space:pre\">{} <progress {state} \
         style=\"width:20em;vertical-align:middle\"></progress> {}</div>",
        escape_html(&progress.label),
        escape_html(&figures(progress)),
    );
    bundle(plain, html)
}

/// The same as one line of text.
pub fn progress_line(progress: &Progress) -> String {
    let bar = match progress.total {
        Some(total) => {
            let share = progress.done.min(total) as f64 / total.max(1) as f64;
            let full = (share * BAR as f64).floor() as usize;
            format!(" [{}{}]", "#".repeat(full), "-".repeat(BAR - full))
        }
        None => String::new(),
    };
    format!("{}{bar} {}", progress.label, figures(progress))
        .trim_start()
        .to_string()
}

/// `120/400 · 35.2/s · 8 s left · loss 0.31`.
fn figures(progress: &Progress) -> String {
    let mut parts = vec![match progress.total {
        Some(total) => format!("{}/{total}", progress.done),
        None => progress.done.to_string(),
    }];
    if let Some(rate) = progress.rate.filter(|rate| *rate > 0.0) {
        parts.push(match rate < 1.0 {
            true => format!("{:.1} s each", 1.0 / rate),
            false => format!("{rate:.1}/s"),
        });
        parts.push(match (progress.finished, progress.eta_seconds) {
            (false, Some(left)) => format!("{} left", duration(left)),
            _ => duration(progress.done as f64 / rate),
        });
    }
    if !progress.note.is_empty() {
        parts.push(progress.note.clone());
    }
    parts.join(" · ")
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3600, whole % 3600 / 60),
    }
}

fn bundle(plain: String, html: String) -> Bundle {
    Bundle::from([
        ("text/plain".to_string(), plain.into()),
        ("text/html".to_string(), html.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64, total: Option<u64>, finished: bool) -> Progress {
        Progress {
            id: "a".into(),
            label: "epoch <1>".into(),
            done,
            total,
            rate: Some(done as f64 / 10.0),
            eta_seconds: Some(30.0),
            note: "loss 0.5".into(),
            finished,
        }
    }

    #[test]
    fn a_bar_shows_rate_and_remaining_time() {
        let line = progress_line(&at(50, Some(200), false));
        assert_eq!(
            line,
            "epoch <1> [#######-----------------------] 50/200 · 5.0/s · 30.0 s left · loss 0.5"
        );
        assert!(progress_line(&at(200, Some(200), true)).contains("· 10.0 s ·"));
        assert!(
            progress_line(&at(5, None, false))
                .starts_with("epoch <1> 5 · 2.0 s each · 30.0 s left")
        );
    }

    #[test]
    fn html_is_escaped() {
        let html = progress(&at(1, Some(2), false))["text/html"].to_string();
        assert!(
            html.contains("epoch &lt;1&gt;") && !html.contains("<1>"),
            "{html}"
        );
    }
}
