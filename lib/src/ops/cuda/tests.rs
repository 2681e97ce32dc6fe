//! What is said of a kernel that leaves its buffer, where the driver reports that late, as a GPU does.

use std::process::Command;

use rebit_cuda_emulator::report_late;

use super::*;
use crate::{HostAccess as _, dev};

const MODULE: Module = Module {
    name: "rebit_relu",
    ptx: "",
    kernels: &["rebit_activate"],
};

/// Clamps one element more than there are.
fn too_many(buffer: &mut CudaBuffer) -> Result<()> {
    let (device, n) = (buffer.device(), buffer.elements() + 1);
    let arguments = (n, address(buffer), 0f32, 1f32, address(buffer));
    // SAFETY: there is none: under the emulator the page behind the buffer cannot be touched.
    unsafe { MODULE.launch(&device, "rebit_activate", each(n), arguments) }
}

/// Set for the process that waits for every launch.
const CHILD: &str = "REBIT_TEST_SYNC_CHILD";

#[test]
#[ignore = "run by the other test, in a process of its own: what it asks for is read once"]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    report_late(true);
    let mut buffer = crate::buffer(&[1.0; 100]).unwrap();
    println!(
        "LAUNCH {:?}",
        too_many(&mut buffer).map_err(|e| e.to_string())
    );
    println!("WAIT {:?}", buffer.view().map_err(|e| e.to_string()));
    report_late(false);
    // Nothing is left over in a device that goes on.
    dfdx::prelude::Synchronize::synchronize(&dev());
}

fn said(sync: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ops::cuda::tests::child", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env("REBIT_CUDA_SYNC", sync)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn a_fault_is_reported_by_the_next_wait_or_with_its_kernel_s_name_by_its_own_launch() {
    let line = |text: &str, word: &str| {
        let found = text.lines().find_map(|l| l.split_once(word));
        found.expect(text).1.to_string()
    };
    let usual = said("0");
    assert!(line(&usual, "LAUNCH ").starts_with("Ok"), "{usual}");
    assert!(line(&usual, "WAIT ").contains("ILLEGAL_ADDRESS"), "{usual}");
    let waiting = said("1");
    let launch = line(&waiting, "LAUNCH ");
    assert!(launch.contains("kernel rebit_activate: CUDA"), "{waiting}");
    assert!(launch.contains("ILLEGAL_ADDRESS"), "{waiting}");
}

#[test]
fn a_grid_that_no_gpu_has_is_refused() {
    let device = crate::buffer(&[1.0]).unwrap().device();
    let refused = |grid| {
        // SAFETY: nothing runs.
        let refused =
            unsafe { MODULE.launch(&device, "rebit_activate", blocks(grid, (1, 1)), (0,)) };
        refused.unwrap_err().to_string()
    };
    for grid in [
        (1, 65_536, 1),
        (1, 1, 65_536),
        (1 << 31, 1, 1),
        (1 << 40, 1, 1),
    ] {
        assert!(
            refused(grid).contains("kernel rebit_activate: a grid of"),
            "{grid:?}"
        );
    }
}
