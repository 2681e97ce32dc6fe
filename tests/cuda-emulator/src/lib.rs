//! A CUDA driver that runs kernels on the CPU, for tests where there is no GPU.
//!
//! Linking this crate supplies the symbols of `libcuda`, `libcublas` and `libnvrtc` that cudarc 0.9 and dfdx 0.13 call:
//! the library's real launches run, against the same `.cu` sources compiled as C++. Each CUDA thread is a fibre;
//! barriers and warp operations are meeting points that the scheduler resolves, so it reports divergent barriers,
//! warp masks with absent lanes, dead-locks and accesses outside a buffer. A missing barrier shows as results that
//! depend on the [`Order`] of the threads.
//!
//! With the feature `dfdx` dfdx's own kernels are compiled too, so that tests may write their losses in dfdx's
//! operations; those of half precision and of `to_dtype` are not.
//!
//! What emulation cannot show: the code that the GPU's compiler makes, threads that really run at the same time,
//! the order in which memory becomes visible, speed.

/// In which order threads and blocks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Ascending,
    /// From the last to the first.
    Reversed,
    /// At random, another order after each barrier.
    Shuffled(u64),
    /// Not at all: grid and block are checked, and nothing runs. For launches too large to be emulated.
    OnlyChecked,
}

mod sys {
    unsafe extern "C" {
        pub fn cuda_emulator_order(kind: u32, seed: u64);
        pub fn cuda_emulator_mistake(text: *mut u8, room: usize) -> usize;
        pub safe fn cuda_emulator_late(wanted: bool);
        pub safe fn cuda_emulator_launches() -> u64;
        pub safe fn cuda_emulator_foreign() -> u64;
        pub safe fn cuda_emulator_waited() -> u64;
        pub safe fn cuda_emulator_allocated() -> u64;
        pub safe fn cuda_emulator_allocations() -> usize;
        pub safe fn cuda_emulator_spoilt() -> usize;
        pub safe fn cuda_emulator_machine(devices: i32, version: i32, major: i32, memory: usize);
    }
}

/// Chooses the order for what the calling thread launches from now on.
pub fn set_order(order: Order) {
    let (kind, seed) = match order {
        Order::Ascending => (0, 0),
        Order::Reversed => (1, 0),
        Order::Shuffled(seed) => (2, seed),
        Order::OnlyChecked => (3, 0),
    };
    // SAFETY: the four kinds are those of `emulator::Order::Kind`.
    unsafe { sys::cuda_emulator_order(kind, seed) }
}

/// What the calling thread's last launch or copy did wrong; asking forgets it.
pub fn take_mistake() -> Option<String> {
    let mut text = vec![0; 4096];
    // SAFETY: `text` has the room that is named.
    let length = unsafe { sys::cuda_emulator_mistake(text.as_mut_ptr(), text.len()) };
    text.truncate(length);
    (length > 0).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Whether mistakes of kernels are reported as a GPU reports them: by the next call that waits, and by every one after it,
/// until this is called again. Otherwise the launch itself reports them.
pub fn report_late(wanted: bool) {
    sys::cuda_emulator_late(wanted);
}

/// Kernels launched by this process.
pub fn launches() -> u64 {
    sys::cuda_emulator_launches()
}

/// Those of them that are dfdx's own kernels, not the library's.
pub fn foreign_launches() -> u64 {
    sys::cuda_emulator_foreign()
}

/// Times that this process has waited for the GPU: what a program does at each of its steps, a GPU cannot hide.
pub fn waits() -> u64 {
    sys::cuda_emulator_waited()
}

/// Times that this process has asked for memory, given back since or not.
pub fn allocations() -> u64 {
    sys::cuda_emulator_allocated()
}

/// Buffers that are allocated and not yet freed.
pub fn live_allocations() -> usize {
    sys::cuda_emulator_allocations()
}

/// Freed buffers before whose start somebody had written.
pub fn spoilt_allocations() -> usize {
    sys::cuda_emulator_spoilt()
}

/// What the driver says about the machine, for the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// GPUs.
    pub devices: i32,
    /// `1000 * major + 10 * minor` of the CUDA version that the driver supports.
    pub driver_version: i32,
    /// Major number of the compute capability.
    pub capability: i32,
    /// Bytes of a GPU's memory.
    pub memory: usize,
}

impl Default for Machine {
    fn default() -> Self {
        Machine {
            devices: 1,
            driver_version: 12_000,
            capability: 7,
            memory: usize::MAX,
        }
    }
}

/// Lets the driver speak for another machine from now on.
pub fn pretend(machine: Machine) {
    sys::cuda_emulator_machine(
        machine.devices,
        machine.driver_version,
        machine.capability,
        machine.memory,
    );
}
