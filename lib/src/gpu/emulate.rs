//! A CUDA kernel of one's own on a GPU that is not there.
//!
//! [`Emulated::compile`] takes the text of a `.cu` file, compiles it as C++ together with the project's emulator and
//! loads the result; [`Emulated::launch`] runs one of its kernels. Each CUDA thread is a fibre, barriers and warp
//! operations are meeting points, buffers end before a page that must not be touched: what is undefined on a GPU
//! (divergent barriers, wrong warp masks, dead-locks, accesses outside a buffer) comes back as an error that names
//! the line. A forgotten barrier shows as a result that depends on the [`Order`] of the threads.
//!
//! What emulation cannot show: the code that the GPU's compiler makes, threads that really run at the same time, the
//! order in which memory becomes visible, speed.

use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::Library;

use crate::error::{Error, Result};

/// The emulator, and the words that the library's own kernels share.
const PARTS: [(&str, &str); 9] = [
    (
        "cuda_emulator.h",
        include_str!("../../../tests/cuda-emulator/include/cuda_emulator.h"),
    ),
    (
        "driver.h",
        include_str!("../../../tests/cuda-emulator/include/driver.h"),
    ),
    (
        "scheduler.h",
        include_str!("../../../tests/cuda-emulator/include/scheduler.h"),
    ),
    (
        "scheduler.cpp",
        include_str!("../../../tests/cuda-emulator/scheduler.cpp"),
    ),
    (
        "memory.cpp",
        include_str!("../../../tests/cuda-emulator/memory.cpp"),
    ),
    (
        "driver.cpp",
        include_str!("../../../tests/cuda-emulator/driver.cpp"),
    ),
    ("common.cuh", include_str!("../ops/cuda/common.cuh")),
    ("conv.cuh", include_str!("../ops/cuda/conv.cuh")),
    ("quantiser.cuh", include_str!("../ops/cuda/quantiser.cuh")),
];

/// In which order the threads and blocks of a launch run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By number.
    #[default]
    Ascending,
    /// From the last to the first.
    Reversed,
    /// At random, another order after each barrier.
    Shuffled(u64),
}

impl Order {
    /// Three orders in which a right kernel gives one result.
    pub const THREE: [Order; 3] = [Order::Ascending, Order::Reversed, Order::Shuffled(7)];
}

/// How many blocks of how many threads, and in which order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x.
    pub blocks: u32,
    /// Threads of a block along x.
    pub threads: u32,
    /// Their order.
    pub order: Order,
}

impl Grid {
    /// As many blocks of 256 threads as give each of `n` elements a thread, at most 4096.
    pub fn each(n: usize) -> Grid {
        Grid {
            blocks: n.div_ceil(256).clamp(1, 4096) as u32,
            threads: 256,
            order: Order::Ascending,
        }
    }

    /// In another order.
    pub fn order(self, order: Order) -> Grid {
        Grid { order, ..self }
    }
}

/// One argument of a kernel, of the type that stands in its source.
#[derive(Debug)]
pub enum Argument<'a> {
    /// `size_t`.
    Size(usize),
    /// `int`.
    Int(i32),
    /// `float`.
    Float(f32),
    /// `bool`.
    Flag(bool),
    /// `const float *`: a copy of these numbers in the GPU's memory.
    Read(&'a [f32]),
    /// `float *`: as [`Read`](Self::Read), and copied back when the kernel has ended.
    Write(&'a mut [f32]),
}

type Alloc = unsafe extern "C" fn(*mut u64, usize) -> i32;
type Free = unsafe extern "C" fn(u64) -> i32;
type Find = unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const i8) -> i32;
type Start = unsafe extern "C" fn(
    *mut c_void,
    u32,
    u32,
    u32,
    u32,
    u32,
    u32,
    u32,
    *mut c_void,
    *mut *mut c_void,
    *mut *mut c_void,
) -> i32;
type SetOrder = unsafe extern "C" fn(u32, u64);
type Mistake = unsafe extern "C" fn(*mut u8, usize) -> usize;

/// The compiled kernels of one source.
///
/// ```
/// use rebit::gpu::{Argument::*, Emulated, Grid};
/// let twice = Emulated::compile(
///     r#"
/// #include "common.cuh"
/// KERNEL(BLOCK) twice(size_t n, const float *x, float *y) { EACH(i, n) y[i] = 2 * x[i]; }
/// "#,
/// )?;
/// let (x, mut y) = ([1.0, 2.5, -3.0], [0.0; 3]);
/// twice.launch("twice", Grid::each(3), &mut [Size(3), Read(&x), Write(&mut y)])?;
/// assert_eq!(y, [2.0, 5.0, -6.0]);
/// # Ok::<(), rebit::Error>(())
/// ```
pub struct Emulated {
    alloc: Alloc,
    free: Free,
    find: Find,
    start: Start,
    set_order: SetOrder,
    mistake: Mistake,
    // Behind the functions that live in it.
    _library: Library,
}

impl std::fmt::Debug for Emulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emulated")
    }
}

impl Emulated {
    /// Compiles the text of a `.cu` file; its kernels begin with `KERNEL(threads) name(` at the start of a line, as the
    /// library's own do (`common.cuh`, which may be included).
    ///
    /// # Errors
    /// [`Error::Device`] with the compiler's words, or when there is no C++ compiler (`$CXX`, else `c++`);
    /// [`Error::Invalid`] for a source without a kernel; [`Error::Io`].
    pub fn compile(source: &str) -> Result<Emulated> {
        let names = kernels(source);
        if names.is_empty() {
            return Err(Error::invalid(
                "CUDA source",
                "holds no kernel; one begins with `KERNEL(threads) name(` at the start of a line",
            ));
        }
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.path().join(name);
            std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
            Ok(path)
        };
        for (name, text) in PARTS {
            write(name, text)?;
        }
        write("kernel.cu", source)?;
        let mut unit = String::from("#include \"cuda_emulator.h\"\n#include \"kernel.cu\"\n");
        for (name, threads) in names {
            unit += &format!("EMULATOR_KERNEL({name}, {threads})\n");
        }
        write("unit.cpp", &unit)?;
        build(folder.path())?;
        let path = folder.path().join("kernel.so");
        // SAFETY: the library is ours but for the kernels, whose code runs only in `launch`; what runs at loading are the
        // initialisers of a few tables.
        let library = unsafe { Library::new(&path) }.map_err(|e| device(path.display(), e))?;
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the types are those of driver.cpp.
                *unsafe { library.get($name) }.map_err(|e| device("emulator", e))?
            };
        }
        Ok(Emulated {
            alloc: symbol!(b"cuMemAlloc_v2\0"),
            free: symbol!(b"cuMemFree_v2\0"),
            find: symbol!(b"cuModuleGetFunction\0"),
            start: symbol!(b"cuLaunchKernel\0"),
            set_order: symbol!(b"cuda_emulator_order\0"),
            mistake: symbol!(b"cuda_emulator_mistake\0"),
            _library: library,
        })
    }

    /// Runs a kernel to its end. `arguments` must be those of its source, in number, order and type: as on a GPU, nobody
    /// checks that.
    ///
    /// # Errors
    /// [`Error::Device`] for a kernel that is not in the source, for memory that cannot be had, and for what the kernel
    /// did wrong, with the line.
    pub fn launch(&self, kernel: &str, grid: Grid, arguments: &mut [Argument]) -> Result<()> {
        let name = CString::new(kernel).map_err(|e| device(kernel, e))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: writes `function`; the module is not looked at.
        unsafe { (self.find)(&mut function, std::ptr::null_mut(), name.as_ptr().cast()) };
        self.complaint()?;
        let mut buffers = Buffers {
            of: self,
            at: Vec::new(),
        };
        let mut words = Vec::with_capacity(arguments.len());
        for argument in arguments.iter() {
            words.push(match argument {
                Argument::Size(n) => *n as u64,
                Argument::Int(i) => u64::from(*i as u32),
                Argument::Float(x) => u64::from(x.to_bits()),
                Argument::Flag(yes) => u64::from(*yes),
                Argument::Read(values) => buffers.put(values)?,
                Argument::Write(values) => buffers.put(values)?,
            });
        }
        let mut pointers: Vec<*mut c_void> = words
            .iter_mut()
            .map(|w| std::ptr::from_mut(w).cast())
            .collect();
        let (kind, seed) = match grid.order {
            Order::Ascending => (0, 0),
            Order::Reversed => (1, 0),
            Order::Shuffled(seed) => (2, seed),
        };
        // SAFETY: the function was found; each pointer leads to a little-endian word that begins with the argument; the
        // emulator catches what the kernel does outside its buffers.
        unsafe {
            (self.set_order)(kind, seed);
            let stream: *mut c_void = std::ptr::null_mut();
            let (blocks, threads) = (grid.blocks, grid.threads);
            let arguments = pointers.as_mut_ptr();
            (self.start)(
                function,
                blocks,
                1,
                1,
                threads,
                1,
                1,
                0,
                stream,
                arguments,
                std::ptr::null_mut(),
            );
        }
        self.complaint()?;
        for (argument, word) in arguments.iter_mut().zip(words) {
            if let Argument::Write(values) = argument
                && word != 0
            {
                // SAFETY: the buffer has as many numbers and lives until `buffers` is dropped.
                let from = unsafe { std::slice::from_raw_parts(word as *const f32, values.len()) };
                values.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// What the last call did wrong.
    fn complaint(&self) -> Result<()> {
        let mut text = vec![0; 4096];
        // SAFETY: `text` has the room that is named.
        let length = unsafe { (self.mistake)(text.as_mut_ptr(), text.len()) };
        match length {
            0 => Ok(()),
            n => Err(Error::Device(
                String::from_utf8_lossy(&text[..n]).into_owned(),
            )),
        }
    }
}

/// Memory of the emulated GPU, freed with it.
struct Buffers<'a> {
    of: &'a Emulated,
    at: Vec<u64>,
}

impl Buffers<'_> {
    /// A copy of these numbers; an empty one has no address.
    fn put(&mut self, values: &[f32]) -> Result<u64> {
        if values.is_empty() {
            return Ok(0);
        }
        let mut at = 0;
        // SAFETY: writes `at`.
        let refused = unsafe { (self.of.alloc)(&mut at, size_of_val(values)) };
        if refused != 0 {
            return Err(Error::Device("no memory for a buffer".into()));
        }
        self.at.push(at);
        // SAFETY: the allocation is that large, of this process, and nobody else's.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), at as *mut f32, values.len()) };
        Ok(at)
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        for at in &self.at {
            // SAFETY: each was allocated once.
            unsafe { (self.of.free)(*at) };
        }
    }
}

fn device(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::Device(format!("{what}: {why}"))
}

/// `(name, threads)` of the kernels of a source: `KERNEL(threads) name(`.
fn kernels(source: &str) -> Vec<(&str, &str)> {
    let starts = source.match_indices("KERNEL(");
    starts
        .filter(|(at, _)| *at == 0 || source.as_bytes()[at - 1] == b'\n')
        .filter_map(|(at, word)| {
            let (threads, rest) = source[at + word.len()..].split_once(')')?;
            let name = rest.trim_start().split('(').next()?.trim_end();
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            (!name.is_empty() && name.chars().all(is_name)).then_some((name, threads))
        })
        .collect()
}

/// Compiles what lies in `folder` into `kernel.so`.
fn build(folder: &Path) -> Result<()> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let output = Command::new(&compiler)
        .current_dir(folder)
        .args(["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC"])
        // Fibres change stacks under the compiler's feet; and two loaded kernels do not share their tables.
        .args([
            "-fno-stack-protector",
            "-Wl,-Bsymbolic",
            "-I.",
            "-o",
            "kernel.so",
        ])
        .args(["unit.cpp", "scheduler.cpp", "memory.cpp", "driver.cpp"])
        .output()
        .map_err(|e| {
            device(
                format!("the C++ compiler `{compiler}` does not start"),
                format!("{e}; install one (Debian: g++) or name it in CXX"),
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(device("the kernel does not compile", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::Argument::*;
    use super::*;

    const SOURCE: &str = r#"#include "common.cuh"
KERNEL(BLOCK) add(size_t n, const float *x, float by, bool twice, float *y) {
    EACH(i, n) y[i] += twice ? 2 * (x[i] + by) : x[i] + by;
}
KERNEL(BLOCK) beyond(size_t n, float *y) { EACH(i, n + 1) y[i] = 1; }
KERNEL(64)
neighbours(int barrier, float *y) {
    __shared__ float of_all[64];
    of_all[threadIdx.x] = threadIdx.x;
    if (barrier) __syncthreads();
    y[threadIdx.x] = of_all[(threadIdx.x + 1) % 64];
}
KERNEL(64)
divergent(float *y) {
    if (threadIdx.x < 3)
        __syncthreads();
    else
        __syncthreads();
}
"#;

    #[test]
    fn kernels_are_found_at_the_starts_of_lines() {
        let names: Vec<&str> = kernels(SOURCE).into_iter().map(|k| k.0).collect();
        assert_eq!(names, ["add", "beyond", "neighbours", "divergent"]);
        assert!(matches!(
            Emulated::compile("int x;"),
            Err(Error::Invalid { .. })
        ));
    }

    #[test]
    fn a_kernel_computes_and_its_mistakes_are_told() -> Result<()> {
        let gpu = Emulated::compile(SOURCE)?;
        let x: Vec<f32> = (0..1000).map(|k| k as f32).collect();
        for order in Order::THREE {
            let mut y = vec![1.0; 1000];
            let grid = Grid::each(1000).order(order);
            let arguments = &mut [Size(1000), Read(&x), Float(0.5), Flag(true), Write(&mut y)];
            gpu.launch("add", grid, arguments)?;
            assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x + 2.0));
        }
        let mut y = [0.0; 4];
        let beyond = gpu.launch("beyond", Grid::each(4), &mut [Size(4), Write(&mut y)]);
        let said = beyond.unwrap_err().to_string();
        assert!(
            said.contains("behind the end of a buffer of 16 bytes"),
            "{said}"
        );
        let unknown = gpu.launch("nobody", Grid::each(1), &mut []).unwrap_err();
        assert!(unknown.to_string().contains("nobody"), "{unknown}");
        let one_block = Grid {
            threads: 64,
            ..Grid::each(1)
        };
        let divergent = gpu.launch("divergent", one_block, &mut [Write(&mut y)]);
        let said = divergent.unwrap_err().to_string();
        assert!(
            said.contains("divergent barrier") && said.contains("kernel.cu"),
            "{said}"
        );
        // The GPU is as good as before.
        let neighbours = |barrier: i32| -> Result<Vec<Vec<f32>>> {
            Order::THREE
                .map(|order| {
                    let mut y = vec![0.0; 64];
                    gpu.launch(
                        "neighbours",
                        one_block.order(order),
                        &mut [Int(barrier), Write(&mut y)],
                    )?;
                    Ok(y)
                })
                .into_iter()
                .collect()
        };
        let right = neighbours(1)?;
        assert!(right.iter().all(|y| *y == right[0]) && right[0][63] == 0.0 && right[0][0] == 1.0);
        let wrong = neighbours(0)?;
        assert!(wrong[0] != wrong[1] || wrong[0] != wrong[2]);
        Ok(())
    }

    #[test]
    fn what_the_compiler_says_is_told() {
        let wrong = Emulated::compile("KERNEL(64) f(float *y) { y[0] = nothing; }").unwrap_err();
        assert!(wrong.to_string().contains("kernel.cu:1"), "{wrong}");
    }
}
