//! What concerns the whole process: machines without a usable GPU, mistakes of kernels, buffers that nobody frees.
//!
//! One test, for the emulator's machine and its count of buffers are the process's.

use cudarc::driver::{LaunchAsync, LaunchConfig};
use cudarc::nvrtc::Ptx;
use dfdx::prelude::{Cache, Cuda, Storage};
use rebit::gpu;
use rebit::ops::conv2d::{Conv2dKernel, ConvInput, ConvShape};
use rebit::ops::fake_quant::{Bounds, FakeQuant, FakeQuantKernel};
use rebit::ops::lts_weight::{LtsState, LtsStep, LtsWeightKernel};
use rebit::ops::relu::{Activation, ActivationKernel};
use rebit_cuda_emulator::{
    Machine, launches, live_allocations, pretend, spoilt_allocations, take_mistake,
};

#[test]
fn the_driver_s_word_reaches_the_user() {
    machines_without_a_usable_gpu_are_named();
    memory_that_is_not_there_is_an_error();
    a_kernel_that_leaves_its_buffer_is_an_error();
    every_buffer_is_freed();
}

fn machines_without_a_usable_gpu_are_named() {
    let whole = Machine::default();
    for (machine, words) in [
        (
            Machine {
                devices: 0,
                ..whole
            },
            "CUDA_ERROR_NO_DEVICE",
        ),
        (
            Machine {
                driver_version: 11_080,
                ..whole
            },
            "supports CUDA 11.8; the kernels need 12.0",
        ),
        (
            Machine {
                capability: 6,
                ..whole
            },
            "compute capability 6.0; the kernels need 7.0",
        ),
        (
            Machine {
                memory: 1 << 20,
                ..whole
            },
            "take smaller batches, or end other programs that use the GPU",
        ),
    ] {
        pretend(machine);
        assert!(!gpu::is_available(), "{machine:?}");
        let error = gpu::probe().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    pretend(whole);
    let usable = gpu::probe().unwrap();
    assert!(gpu::is_available());
    assert_eq!((usable.capability, usable.cuda), ((7, 0), (12, 0)));
    // One that was found is not looked for again.
    pretend(Machine {
        memory: 1 << 20,
        ..whole
    });
    assert_eq!(gpu::probe().unwrap(), usable);
    pretend(whole);
}

fn memory_that_is_not_there_is_an_error() {
    let device = Cuda::default();
    pretend(Machine {
        memory: 100 << 20,
        ..Machine::default()
    });
    let x: <Cuda as Storage<f32>>::Vec = device.try_alloc_len(20 << 20).unwrap();
    let error = Storage::<f32>::try_alloc_len(&device, 20 << 20)
        .err()
        .unwrap();
    let error = rebit::Error::from(error).to_string();
    assert!(error.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{error}");
    pretend(Machine::default());
    drop(x);
    device.empty_cache();
}

/// A launch with a length that is not the buffer's: what the library's checks prevent, and what the emulator must see.
fn a_kernel_that_leaves_its_buffer_is_an_error() {
    let device = Cuda::default();
    let mut y: <Cuda as Storage<f32>>::Vec = device.try_alloc_len(100).unwrap();
    let raw = y.device();
    raw.load_ptx(Ptx::from_src(""), "test", &["rebit_activate"])
        .unwrap();
    let kernel = raw.get_func("test", "rebit_activate").unwrap();
    let config = LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (256, 1, 1),
        shared_mem_bytes: 0,
    };
    let (x, low, high) = (*cudarc::driver::DevicePtr::device_ptr(&*y), 0f32, 1f32);
    // SAFETY: there is none: under the emulator the page behind the buffer cannot be touched.
    let refused = unsafe { kernel.launch(config, (101usize, x, low, high, &mut y)) };
    let refused = refused.unwrap_err();
    assert_eq!(refused.0 as u32, 700);
    let said = take_mistake().unwrap();
    let expected = "rebit_activate: out of bounds: thread (100, 0, 0) of block (0, 0, 0) reads 0 bytes behind the end of a buffer of 400 bytes";
    assert_eq!(said, expected);
}

fn every_buffer_is_freed() {
    let (before, launched) = (live_allocations(), launches());
    {
        let device = Cuda::default();
        let n = 3000;
        let make = |n| -> <Cuda as Storage<f32>>::Vec { device.try_alloc_len(n).unwrap() };
        let (x, mut y, mut dx) = (make(n), make(n), make(n));
        let f = FakeQuant::weight(Bounds::new(-1.0, 1.0), 2).unwrap();
        let mut state = LtsState::new(&device, n).unwrap();
        let step = Some(LtsStep {
            momentum: 0.9,
            threshold: Some(0.1),
        });
        let s = ConvShape::linear(30, 100, 7);
        let (w, mut z) = (make(700), make(210));
        for _ in 0..3 {
            device.activate(Activation::Relu, &x, &mut y).unwrap();
            device.fake_quant_grad(&x, f, &y, &mut dx, false).unwrap();
            device
                .lts_weight_forward(&x, f, step, &mut state, &mut y)
                .unwrap();
            device
                .conv2d_forward(&s, ConvInput::new(&x, None), &w, None, &mut z)
                .unwrap();
            let mut dw = make(700);
            device
                .conv2d_grad_weight(&s, ConvInput::new(&x, None), &z, &mut dw, None)
                .unwrap();
        }
        let within = live_allocations();
        assert!(within > before);
        drop((x, y, dx, state, w, z));
        device.empty_cache();
    }
    gpu::free_scratch();
    assert!(launches() > launched + 10);
    assert_eq!(live_allocations(), before, "buffers left over");
    assert_eq!(spoilt_allocations(), 0);
}
