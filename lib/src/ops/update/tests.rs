//! The rules against dfdx's own.

use dfdx::prelude::{AdamConfig, Cpu, Momentum, SgdConfig, TensorFromVec, WeightDecay};

use super::UpdateKernel;
use crate::buffer::HostAccess;
use crate::ops::{buffer as on_host, wave};
use crate::tensors::{Buffer, dev};

fn buffer(values: &[f32]) -> Buffer {
    crate::buffer(values).unwrap()
}

fn gradient(t: i32) -> Vec<f32> {
    let step = |v: &f32| v * (0.3 + 0.1 * t as f32) - 0.2;
    wave(300).iter().map(step).collect()
}

#[test]
fn sgd_is_dfdxs_to_the_last_bit() {
    let cpu = Cpu::default();
    for momentum in [
        None,
        Some(Momentum::Classic(0.9)),
        Some(Momentum::Nesterov(0.9)),
    ] {
        for weight_decay in [None, Some(WeightDecay::L2(1e-2))] {
            let rule = SgdConfig {
                lr: 0.1,
                momentum,
                weight_decay,
            };
            let mut theirs = cpu.tensor_from_vec(wave(300), (300,));
            let mut velocity = on_host(&[0.0; 300]);
            let mut ours = buffer(&wave(300));
            let mut speed = buffer(&[0.0; 300]);
            for t in 1..5 {
                let g = gradient(t);
                rule.try_update(&mut theirs, &mut velocity, &on_host(&g))
                    .unwrap();
                dev()
                    .sgd(&rule, &mut ours, &mut speed, &buffer(&g))
                    .unwrap();
                assert_eq!(*ours.view().unwrap(), theirs.as_vec(), "{rule:?}");
            }
        }
    }
}

#[test]
fn adam_is_dfdxs_to_the_last_bit() {
    let cpu = Cpu::default();
    let rule = AdamConfig::default();
    let mut theirs = cpu.tensor_from_vec(wave(300), (300,));
    let (mut first, mut second) = (on_host(&[0.0; 300]), on_host(&[0.0; 300]));
    let mut ours = buffer(&wave(300));
    let mut moments = [(); 2].map(|()| buffer(&[0.0; 300]));
    for t in 1..6 {
        let g = gradient(t);
        rule.try_update(t, &mut theirs, &mut first, &mut second, &on_host(&g))
            .unwrap();
        let [m, v] = &mut moments;
        dev().adam(&rule, t, &mut ours, m, v, &buffer(&g)).unwrap();
        assert_eq!(*ours.view().unwrap(), theirs.as_vec(), "step {t}");
    }
}

#[test]
fn what_a_rule_does_not_offer_is_refused() {
    let mut w = [(); 4].map(|()| buffer(&[1.0; 3]));
    let [w, a, b, g] = &mut w;
    let rule = SgdConfig {
        weight_decay: Some(WeightDecay::Decoupled(0.1)),
        ..SgdConfig::default()
    };
    assert!(dev().sgd(&rule, w, a, g).is_err());
    let rule = AdamConfig {
        weight_decay: Some(WeightDecay::L2(0.1)),
        ..AdamConfig::default()
    };
    assert!(dev().adam(&rule, 1, w, a, b, g).is_err());
    let longer = buffer(&[1.0; 4]);
    let error = dev().sgd(&SgdConfig::default(), w, a, &longer).unwrap_err();
    assert!(error.to_string().contains("`grad`"), "{error}");
}
