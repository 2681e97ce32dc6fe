//! `tests/peers/run gpu`: what every kernel reaches of the GPU's own limits.
//!
//! ```text
//! bench_gpu [SECONDS]     one JSON object: the GPU, its limits, a row for each kernel
//! ```
//!
//! Two limits: the memory's rate, measured by a copy within the GPU, and the rate of single-precision instructions, from
//! the number of cores and their clock. The kernels are compiled without fused multiply-adds, so that a product and a sum
//! are two instructions, but convolutions ask for them (`fmaf`), which makes them one. Whichever would take longer is a
//! work's limit, and its share is that time by the measured one. Calls are timed as a network makes them, with what they
//! copy to and from the host. Maps of a network fit a large GPU's cache: they may exceed what its memory allows.

use std::time::Instant;

use cudarc::driver::result;
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use dfdx::prelude::Synchronize;
use rebit::{Buffer, Error, HostAccess, Result, dev, gpu};
use serde_json::{Value, json};

#[path = "support/gpu_works.rs"]
mod works;

/// Elements of the copy that measures the memory: four times the largest cache of a GPU.
const COPIED: usize = 1 << 26;

/// One call of a kernel face: what it must move and compute at least.
pub struct Work {
    name: String,
    /// Bytes read and written, each once.
    bytes: usize,
    /// Products and sums.
    flops: usize,
    /// Whether a product and its sum are one instruction.
    fused: bool,
    call: Box<dyn FnMut() -> Result<()>>,
}

/// What the GPU can do in a second.
struct Limits {
    bytes: f64,
    instructions: f64,
}

fn main() {
    let found = match gpu::probe() {
        Ok(found) => found,
        Err(why) => {
            eprintln!("no GPU was measured: {why}");
            return;
        }
    };
    let wanted = std::env::args()
        .nth(1)
        .map_or(0.2, |s| s.parse().expect("SECONDS"));
    match measure(&found, wanted) {
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("bench_gpu: {error}");
            std::process::exit(1);
        }
    }
}

fn measure(found: &gpu::Gpu, wanted: f64) -> Result<Value> {
    let emulated = found.is_emulated();
    let copied = if emulated { 1 << 14 } else { COPIED };
    let x = rebit::buffer(&vec![1.0; copied])?;
    let mut y = rebit::buffer(&vec![0.0; copied])?;
    let copy = time(wanted, &mut || y.copy_from(&x))?;
    drop((x, y));
    let limits = Limits {
        bytes: (2 * 4 * copied) as f64 / copy,
        instructions: instructions(found)?,
    };
    let mut rows = Vec::new();
    for mut work in works::all(emulated)? {
        let seconds = time(wanted, &mut work.call)?;
        rows.push(limits.row(&work, seconds, emulated));
    }
    Ok(json!({
        "gpu": found.name,
        "emulated": emulated,
        "capability": format!("{}.{}", found.capability.0, found.capability.1),
        "gigabytes_per_second": limits.bytes / 1e9,
        "gigaflops": limits.instructions / 1e9,
        "gigaflops_fused": 2.0 * limits.instructions / 1e9,
        "rows": rows,
    }))
}

impl Limits {
    fn row(&self, work: &Work, seconds: f64, emulated: bool) -> Value {
        let instructions = work.flops as f64 / if work.fused { 2.0 } else { 1.0 };
        let (memory, arithmetic) = (
            work.bytes as f64 / self.bytes,
            instructions / self.instructions,
        );
        let of_memory = memory >= arithmetic;
        json!({
            "work": work.name,
            "bytes_or_flops": if of_memory { work.bytes } else { work.flops },
            "limit": if of_memory { "memory" } else { "arithmetic" },
            "seconds": seconds,
            // An emulated GPU has a limit only in name.
            "share_of_limit": (!emulated).then_some(memory.max(arithmetic) / seconds),
        })
    }
}

/// Median over rounds of the seconds of a call, whose launches are waited for at the end of a round.
fn time(wanted: f64, call: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let device = dev();
    let mut round = |calls: usize| -> Result<f64> {
        let start = Instant::now();
        (0..calls).try_for_each(|_| call())?;
        device.try_synchronize()?;
        Ok(start.elapsed().as_secs_f64() / calls as f64)
    };
    // The first call translates the kernel for the GPU.
    round(1)?;
    let once = round(1)?.max(1e-6);
    let calls = (wanted / 5.0 / once).clamp(1.0, 1e4) as usize;
    let mut rounds = (0..5).map(|_| round(calls)).collect::<Result<Vec<_>>>()?;
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[2])
}

/// Single-precision instructions a second: multiprocessors x cores of each x clock.
fn instructions(found: &gpu::Gpu) -> Result<f64> {
    if found.is_emulated() {
        // An emulated GPU has no cores to count.
        return Ok(f64::INFINITY);
    }
    let cores = match found.capability {
        (7, _) | (8, 0) => 64,
        _ => 128,
    };
    let attribute = |a| -> Result<f64> {
        let device = result::device::get(0).map_err(|e| Error::Device(e.to_string()))?;
        // SAFETY: `device` came from the driver.
        let value = unsafe { result::device::get_attribute(device, a) };
        value
            .map(f64::from)
            .map_err(|e| Error::Device(e.to_string()))
    };
    let processors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    let kilohertz = attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
    Ok(processors * f64::from(cores) * kilohertz * 1e3)
}

/// A buffer of `len` numbers between -1 and 1.
pub fn filled(len: usize) -> Result<Buffer> {
    let of = |k: usize| ((k * 7919) % 1000) as f32 * 0.002 - 1.0;
    rebit::buffer(&(0..len).map(of).collect::<Vec<_>>())
}
