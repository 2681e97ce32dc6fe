//! Files by which two programs start from the same numbers, and what a process tells of itself.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::{Value, json};

/// A tensor to write: its name, its shape, its numbers in row-major order.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Writes tensors for the other side.
pub fn write(path: &Path, tensors: &[Named]) {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, v)| bytes(v)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), data)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data);
        (name, view.expect("as many bytes as the shape has"))
    });
    serialize_to_file(views.collect::<Vec<_>>(), &None, path).expect("a file to exchange");
}

/// Reads what [`write`] wrote: the numbers by name.
pub fn read(path: &Path) -> HashMap<String, Vec<f32>> {
    let file = std::fs::read(path).expect("an exchanged file");
    let tensors = SafeTensors::deserialize(&file).expect("safetensors");
    let numbers = |view: TensorView| -> Vec<f32> {
        let chunks = view.data().as_chunks::<4>().0;
        chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let all = tensors.tensors().into_iter();
    all.map(|(name, view)| (name, numbers(view))).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// What came of the steps of a run.
#[derive(Default)]
pub struct Steps {
    pub losses: Vec<f32>,
    pub seconds: Vec<f64>,
    /// Of the processor, all threads together.
    pub processor_seconds: Vec<f64>,
}

impl Steps {
    /// Notes a step that has just ended.
    pub fn end(&mut self, begun: Begun, loss: f32) {
        self.seconds.push(begun.wall.elapsed().as_secs_f64());
        self.processor_seconds
            .push(processor_seconds() - begun.processor);
        self.losses.push(loss);
    }

    /// As an object for the other side, with the peak of the process's memory.
    pub fn describe(&self) -> Value {
        json!({
            "losses": self.losses,
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "peak_kilobytes": peak_kilobytes(),
        })
    }
}

/// When a step began.
pub struct Begun {
    wall: Instant,
    processor: f64,
}

impl Begun {
    pub fn now() -> Self {
        Begun {
            wall: Instant::now(),
            processor: processor_seconds(),
        }
    }
}

/// Processor time of this process, all threads together.
fn processor_seconds() -> f64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to the struct that it is lent.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    assert_eq!(failed, 0, "the system does not tell processor time");
    now.tv_sec as f64 + 1e-9 * now.tv_nsec as f64
}

/// Peak of the resident memory of this process, where the system tells it.
fn peak_kilobytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
