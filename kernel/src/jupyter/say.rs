//! What a cell says, as messages of the iopub channel.

use std::collections::HashSet;
use std::sync::Arc;

use jupyter_protocol::ExecutionCount;
use jupyter_protocol::messaging::{
    ClearOutput, DisplayData, ErrorOutput, ExecuteResult, JupyterMessage, Media, MediaType,
    Transient, UpdateDisplayData,
};
use serde_json::{Map, Value};

use super::iopub::IoPub;
use crate::output::{Bundle, Failure, Output};
use crate::render;

/// Publishes the outputs of one cell.
pub struct Voice {
    iopub: IoPub,
    cell: Arc<JupyterMessage>,
    count: ExecutionCount,
    /// Bars that are on the screen already.
    bars: HashSet<String>,
}

impl Voice {
    /// A voice for the request `cell`, which has the number `count`.
    pub fn new(iopub: IoPub, cell: Arc<JupyterMessage>, count: ExecutionCount) -> Self {
        Voice {
            iopub,
            cell,
            count,
            bars: HashSet::new(),
        }
    }

    /// Publishes one output.
    pub fn say(&mut self, output: Output) {
        match output {
            Output::Stream { name, text } => self.iopub.text(&self.cell, name, &text),
            Output::Display { id, data, metadata } => self.display(id, data, metadata),
            Output::UpdateDisplay { id, data, metadata } => self.update(id, data, metadata),
            Output::ClearOutput { wait } => {
                self.bars.clear();
                self.iopub.publish(&self.cell, ClearOutput { wait });
            }
            Output::Progress(progress) => {
                let id = format!("progress-{}", progress.id);
                let data = render::progress(&progress);
                match self.bars.insert(id.clone()) {
                    true => self.display(Some(id), data, Bundle::new()),
                    false => self.update(id, data, Bundle::new()),
                }
            }
            // The library shows their rows by displays of their own.
            Output::Claim(_) | Output::Finding(_) => {}
            Output::Result { data, metadata } => {
                let result = ExecuteResult {
                    execution_count: self.count,
                    data: media(data),
                    metadata: map(metadata),
                    // `None` would be sent as null, which the protocol does not know.
                    transient: Some(Transient::default()),
                };
                self.iopub.publish(&self.cell, result);
            }
        }
    }

    fn display(&self, id: Option<String>, data: Bundle, metadata: Bundle) {
        let message = DisplayData {
            data: media(data),
            metadata: map(metadata),
            transient: Some(Transient { display_id: id }),
        };
        self.iopub.publish(&self.cell, message);
    }

    fn update(&self, id: String, data: Bundle, metadata: Bundle) {
        let message = UpdateDisplayData {
            data: media(data),
            metadata: map(metadata),
            transient: Transient {
                display_id: Some(id),
            },
        };
        self.iopub.publish(&self.cell, message);
    }

    /// Publishes why the cell failed.
    pub fn fail(&self, failure: &Failure) {
        let error = ErrorOutput {
            ename: failure.ename.clone(),
            evalue: failure.evalue.clone(),
            traceback: failure.traceback.clone(),
        };
        self.iopub.publish(&self.cell, error);
    }
}

/// A bundle as the protocol crate's type; forms it does not understand are passed on as they are.
pub fn media(bundle: Bundle) -> Media {
    let forms = bundle.into_iter().map(|(mime, value)| {
        // What is large is text: the protocol crate's own reader would copy it several times.
        let value = match (mime.as_str(), value) {
            ("text/plain", Value::String(text)) => return MediaType::Plain(text),
            ("text/html", Value::String(text)) => return MediaType::Html(text),
            ("image/svg+xml", Value::String(text)) => return MediaType::Svg(text),
            ("image/png", Value::String(text)) => return MediaType::Png(text),
            (_, value) => value,
        };
        let single = Value::Object(Map::from_iter([(mime.clone(), value.clone())]));
        match serde_json::from_value::<Media>(single) {
            Ok(mut media) if media.content.len() == 1 => media.content.remove(0),
            _ => MediaType::Other((mime, value)),
        }
    });
    Media::new(forms.collect())
}

/// Metadata as a JSON object.
pub fn map(bundle: Bundle) -> Map<String, Value> {
    bundle.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bundles_survive_the_way_to_the_wire() {
        let bundle = Bundle::from([
            ("text/plain".to_string(), json!("a")),
            ("application/x-rebit+json".to_string(), json!({"k": [1, 2]})),
            ("text/html".to_string(), json!(7)),
            ("image/svg+xml".to_string(), json!("<svg/>\n")),
            ("image/png".to_string(), json!("iVBORw0K\nGgo=")),
        ]);
        let wire = serde_json::to_value(media(bundle)).unwrap();
        assert_eq!(
            wire,
            json!({"text/plain": "a", "application/x-rebit+json": {"k": [1, 2]}, "text/html": 7,
                "image/svg+xml": "<svg/>\n", "image/png": "iVBORw0K\nGgo="})
        );
    }
}
