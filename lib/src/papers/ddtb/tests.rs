//! What the specification promises of sites, gates and phases.

use rand::Rng as _;

use super::gate::{self, HIDDEN};
use super::*;
use crate::data::{Patches, Photo, SrPair};
use crate::nn::{
    EdsrConfig, Extent, Mode, Net, Operand, QuantiseGrad, RdnConfig, SrresnetConfig, Wants, edsr,
    rdn, srresnet,
};
use crate::quant::Range;
use crate::train::SrScore;
use crate::{Grads, HostAccess, Images, Result, from_vec, read, rng};

const TINY: EdsrConfig = EdsrConfig {
    scale: 2,
    blocks: 2,
    channels: 16,
    res_scale: 1.0,
    sites: true,
    strict: false,
};

fn photo(seed: u64) -> Photo {
    let mut rng = rng(seed);
    let mut rgb = Vec::new();
    for i in 0..40 * 40 * 3 {
        let (row, column) = (i / 3 / 40, i / 3 % 40);
        let wave = 120.0 + 70.0 * ((row as f32 + seed as f32 * column as f32) * 0.4).sin();
        rgb.push((wave + rng.random_range(-20.0..20.0)) as u8);
    }
    Photo {
        name: format!("photo {seed}"),
        height: 40,
        width: 40,
        rgb,
    }
}

fn patches() -> Patches {
    Patches::new(&[photo(1), photo(2), photo(3)], 2, 8).unwrap()
}

/// Two different images, so that gates have something to tell apart.
fn batch() -> Images {
    let [a, b] = [1, 5].map(|seed| photo(seed).shrunk(4).unwrap());
    let both = [read(&a.to_images()), read(&b.to_images())].concat();
    from_vec(both, (2, 3, 10, 10)).unwrap()
}

/// A calibrated, quantised network whose bounds are set.
fn started(config: &DdtbConfig) -> Result<(Net, Ddtb)> {
    let net = edsr(&TINY, rng(1))?;
    let mut ddtb = quantise(&net, config)?;
    ddtb.calibrate(&net, &patches(), &mut rng(2))?;
    ddtb.begin(&net)?;
    step(&net)?;
    Ok((net, ddtb))
}

/// A training pass forwards and backwards on [`batch`].
fn step(net: &Net) -> Result<Grads> {
    use dfdx::prelude::{Backward, SumTo, Trace};
    let y = net.forward_images(batch().leaky_trace(), Mode::Train)?;
    Ok((y.square().sum::<(), _>() / 1e4).backward())
}

/// The gradient of a parameter; zeros where the loss did not reach it.
fn gradient(net: &Net, grads: &mut Grads, name: &str) -> Vec<f32> {
    let value = net.parameter(name).unwrap().value;
    let found = grads.get_or_alloc_mut(&value).unwrap();
    found.view().unwrap().into_owned()
}

fn all_gated(phase_config: DdtbConfig) -> DdtbConfig {
    DdtbConfig {
        gates: Gates::DynamicIntensity(1.0),
        calibration: 3,
        ..phase_config
    }
}

#[test]
fn nothing_is_quantised_before_the_first_training_batch_sets_the_bounds() -> Result<()> {
    let net = edsr(&TINY, rng(1))?;
    let plain = edsr(
        &EdsrConfig {
            sites: false,
            ..TINY
        },
        rng(1),
    )?;
    let mut ddtb = quantise(&net, &DdtbConfig::dual(2))?;
    assert_eq!(
        read(&net.predict_images(&batch())?),
        read(&plain.predict_images(&batch())?)
    );
    ddtb.begin(&net)?;
    let error = net.predict_images(&batch()).unwrap_err().to_string();
    assert!(
        error.contains("body.0.identity") && error.contains("first training batch"),
        "{error}"
    );
    Ok(())
}

#[test]
fn bounds_start_at_the_percentiles_of_the_first_batch() -> Result<()> {
    // Only the first site sees what the full-precision head says: later ones read quantised inputs.
    let net = edsr(&TINY, rng(1))?;
    let config = DdtbConfig {
        start: Range::Percentile(0.95),
        ..DdtbConfig::dual(2)
    };
    let mut ddtb = quantise(&net, &config)?;
    ddtb.begin(&net)?;
    let mut out = net.run(&batch(), Mode::Train)?;
    let mut seen = read(&out.images("head.0")?);
    let [lower, upper] = ddtb.bounds(&net)?[0];
    seen.sort_by(f32::total_cmp);
    let percentile = |p: f64| {
        let at = p * (seen.len() - 1) as f64;
        let (low, high) = (seen[at.floor() as usize], seen[at.ceil() as usize]);
        f64::from(low) + at.fract() * f64::from(high - low)
    };
    assert!((f64::from(lower) - percentile(0.05)).abs() < 1e-4);
    assert!((f64::from(upper) - percentile(0.95)).abs() < 1e-4);
    Ok(())
}

#[test]
fn symmetric_bounds_take_the_larger_percentile_and_pams_the_mean_maximum() -> Result<()> {
    let (net, ddtb) = started(&DdtbConfig {
        calibration: 2,
        ..DdtbConfig::pams(2)
    })?;
    let [low, high] = ddtb.bounds(&net)?[0];
    assert_eq!(low, -high);
    let mean_max = high;
    let (net, ddtb) = started(&DdtbConfig::symmetric(2))?;
    let (dual_net, dual) = started(&DdtbConfig::dual(2))?;
    let [_, bound] = ddtb.bounds(&net)?[0];
    let [l, u] = dual.bounds(&dual_net)?[0];
    assert_eq!(bound, u.max(-l));
    assert!(
        mean_max > bound,
        "a mean of maxima lies above a 99th percentile"
    );
    Ok(())
}

#[test]
fn exactly_the_floor_of_the_share_is_gated_and_it_is_the_most_intense() -> Result<()> {
    for (share, count) in [(0.0, 0), (0.3, 1), (0.5, 3), (0.67, 4), (1.0, 6)] {
        let config = DdtbConfig {
            gates: Gates::DynamicIntensity(share),
            calibration: 4,
            ..DdtbConfig::ddtb(2)
        };
        let (_, ddtb) = started(&config)?;
        let (names, gated) = (ddtb.site_names(), ddtb.gated());
        assert_eq!((names.len(), gated.len()), (6, count));
        let intensity = ddtb.dynamic_intensity();
        let gated = &gated;
        let of = |inside: bool| {
            let chosen = names.iter().zip(&intensity);
            let chosen = chosen.filter(move |(n, _)| gated.contains(n) == inside);
            chosen.map(|(_, i)| *i).collect::<Vec<f32>>()
        };
        let lowest_in = of(true).into_iter().fold(f32::INFINITY, f32::min);
        assert!(of(false).iter().all(|i| *i <= lowest_in));
    }
    // The paper's counts: EDSR 48 sites, RDN 145, SRResNet 32.
    assert_eq!(Gates::DynamicIntensity(0.3).count(48), 14);
    assert_eq!(Gates::DynamicIntensity(0.5).count(145), 72);
    assert_eq!(Gates::DynamicIntensity(0.1).count(32), 3);
    assert_eq!(Gates::DynamicIntensity(0.3).count(10), 3);
    Ok(())
}

#[test]
fn a_gate_at_one_is_the_static_quantiser_bit_for_bit() -> Result<()> {
    let (net, mut ddtb) = started(&all_gated(DdtbConfig::ddtb(2)))?;
    let at_rest = read(&net.predict_images(&batch())?);
    for site in ddtb.gated() {
        net.set_parameter(&format!("{site}.gate.conv2.weight"), &[0.0; 2 * HIDDEN])?;
    }
    ddtb.set_phase(Phase::Active);
    assert_eq!(read(&net.predict_images(&batch())?), at_rest);
    Ok(())
}

#[test]
fn the_static_phase_does_not_depend_on_the_gates_and_the_active_one_does() -> Result<()> {
    let (net, mut ddtb) = started(&all_gated(DdtbConfig::ddtb(2)))?;
    let both = |ddtb: &mut Ddtb| -> Result<[Vec<f32>; 2]> {
        let answers = [Phase::Static, Phase::Active].map(|phase| {
            ddtb.set_phase(phase);
            net.predict_images(&batch()).map(|y| read(&y))
        });
        let [a, b] = answers;
        Ok([a?, b?])
    };
    let before = both(&mut ddtb)?;
    for site in ddtb.gated() {
        let weights: Vec<f32> = (0..2 * HIDDEN)
            .map(|i| ((i % 7) as f32 - 3.0) * 0.1)
            .collect();
        net.set_parameter(&format!("{site}.gate.conv2.weight"), &weights)?;
    }
    let after = both(&mut ddtb)?;
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    Ok(())
}

#[test]
fn two_images_of_a_batch_get_different_factors_within_zero_and_two() -> Result<()> {
    let (net, mut ddtb) = started(&all_gated(DdtbConfig::ddtb(2)))?;
    ddtb.set_phase(Phase::Active);
    let records = ddtb.watch(&net, &[photo(1), photo(5)])?;
    assert!(
        records
            .iter()
            .all(|r| r.factors.len() == 2 && r.highest.len() == 2)
    );
    let flat = records.iter().flat_map(|r| r.factors.iter().flatten());
    assert!(flat.clone().all(|f| (0.0..2.0).contains(f)));
    assert!(records.iter().any(|r| r.factors[0] != r.factors[1]));
    Ok(())
}

#[test]
fn as_published_only_the_last_layer_of_a_gate_learns() -> Result<()> {
    let moved = |how, phase| -> Result<[bool; 3]> {
        let config = DdtbConfig {
            gate_gradient: how,
            ..all_gated(DdtbConfig::ddtb(2))
        };
        let (net, mut ddtb) = started(&config)?;
        ddtb.set_phase(phase);
        let mut grads = step(&net)?;
        let mut any = |part: &str| {
            let sites = ddtb.gated();
            let mut all = sites
                .iter()
                .flat_map(|s| gradient(&net, &mut grads, &format!("{s}.gate.{part}")));
            all.any(|g| g != 0.0)
        };
        Ok([any("conv1.weight"), any("bn.weight"), any("conv2.weight")])
    };
    for phase in [Phase::Static, Phase::Active] {
        assert_eq!(moved(GateGradient::Detached, phase)?, [false, false, true]);
        assert_eq!(moved(GateGradient::StraightThrough, phase)?, [true; 3]);
    }
    Ok(())
}

/// A gate on four channels whose numbers follow a formula, and the means of three samples.
fn formula_gate(gradient: GateGradient) -> Result<(Net, Images)> {
    let gate = gate::network(4, gradient, rng(0))?;
    let numbers = |n: usize, f: fn(usize) -> f32| (0..n).map(f).collect::<Vec<f32>>();
    let first = numbers(4 * HIDDEN, |i| (((i * 7) % 11) as f32 - 5.0) * 0.03);
    let last = numbers(2 * HIDDEN, |i| (((i * 5) % 11) as f32 - 5.0) * 0.02);
    gate.set_parameter("conv1.weight", &first)?;
    gate.set_parameter("bn.weight", &numbers(HIDDEN, |i| 1.0 + 0.01 * i as f32))?;
    gate.set_parameter("bn.bias", &numbers(HIDDEN, |i| 0.02 * i as f32 - 0.3))?;
    gate.set_parameter("conv2.weight", &last)?;
    let means = [
        [0.3, 1.7, -0.4, 2.2],
        [1.1, 0.2, 0.9, -0.6],
        [2.9, -0.9, 0.5, 1.3],
    ];
    Ok((gate, from_vec(means.concat(), (3, 4, 1, 1))?))
}

#[test]
fn literal_logits_of_a_gate() -> Result<()> {
    // Worked out in double precision from the formula of the module, by other code.
    let (gate, x) = formula_gate(GateGradient::Detached)?;
    let trained = read(&gate.run(&x, Mode::Train)?.matrix("conv2")?);
    let expected = [
        -0.203577, 0.135718, 1.017886, 0.067859, -0.814309, -0.067859,
    ];
    crate::ops::assert_close(&trained, &expected, 1e-5);
    // A tenth of the batch is in the running statistics now, of the unbiased variance.
    let mean = gate.parameter("bn.running_mean")?.to_vec();
    let var = gate.parameter("bn.running_var")?.to_vec();
    crate::ops::assert_close(&mean[..3], &[0.0, 0.0063333, -0.038], 1e-6);
    crate::ops::assert_close(&var[..3], &[0.91083, 0.9048133, 0.91083], 1e-6);
    let expected = [-0.423962, 0.211981, -0.03533, 0.03533, -0.423962, 0.211981];
    crate::ops::assert_close(&read(&gate.predict(&x)?), &expected, 1e-5);
    Ok(())
}

#[test]
fn a_gates_last_layer_has_the_gradient_of_its_own_formula() -> Result<()> {
    // The logits are linear in the ternary weights, which count as the weights themselves: dL/dw = d^T h.
    let (gate, x) = formula_gate(GateGradient::Detached)?;
    let mut pass = gate.run(&x, Mode::Train)?;
    let logit = read(&pass.matrix("conv2")?)[0];
    let d = from_vec(vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0], (3, 2, 1, 1))?;
    let mut grads = pass.backward(&[("conv2", &d)], Wants::PARAMETERS)?;
    let g = gradient(&gate, &mut grads, "conv2.weight");
    let ternary =
        |i: usize| [-0.1, -0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1][(i * 5) % 11];
    let sum: f32 = (0..HIDDEN).map(|i| g[i] * ternary(i)).sum();
    assert!((sum - logit).abs() < 1e-5);
    assert!(g[HIDDEN..].iter().all(|g| *g == 0.0));
    assert_eq!(
        gradient(&gate, &mut grads, "conv1.weight"),
        [0.0; 4 * HIDDEN]
    );
    Ok(())
}

#[test]
fn literal_gradients_of_a_gate_that_is_trained_throughout() -> Result<()> {
    // Worked out in double precision, by other code, of 1, 0; 0, -1; 1/2, 1/4 for the logits.
    let (gate, x) = formula_gate(GateGradient::StraightThrough)?;
    let d = from_vec(vec![1.0, 0.0, 0.0, -1.0, 0.5, 0.25], (3, 2, 1, 1))?;
    let pass = gate.run(&x, Mode::Train)?;
    let mut grads = pass.backward(&[("conv2", &d)], Wants::PARAMETERS)?;
    let mut assert = |name: &str, expected: &[f32], within: f32| {
        let found = gradient(&gate, &mut grads, name);
        crate::ops::assert_close(&found[..expected.len()], expected, within);
    };
    let bias = [-0.1, 0.075, 0.1, -0.1, 0.1, 0.025, 0.0, -0.125];
    assert("bn.bias", &bias, 1e-5);
    let weight = [
        -0.141412, 0.053025, 0.070706, -0.141333, 0.070706, 0.03535, 0.0, -0.053447,
    ];
    assert("bn.weight", &weight, 1e-5);
    let first = [
        6.5e-5, -6.5e-5, 2.2e-5, -6.5e-5, -0.446208, 0.446208, 0.446319, -0.446375, -0.240433,
        0.240433, -0.240389, 0.480799,
    ];
    assert("conv1.weight", &first, 1e-4);
    assert("conv2.weight", &[1.357181, 0.339295, 0.67859, 0.0], 1e-5);
    Ok(())
}

#[test]
fn constant_inputs_leave_gates_finite() -> Result<()> {
    let (gate, _) = formula_gate(GateGradient::Detached)?;
    for value in [0.0, 3.5] {
        let x = from_vec(vec![value; 8], (2, 4, 1, 1))?;
        let logits = read(&gate.run(&x, Mode::Train)?.matrix("conv2")?);
        assert!(logits.iter().all(|c| c.is_finite()));
    }
    Ok(())
}

/// The chain rule through the factors: bounds and logits against finite differences of the quantised network's loss
/// would see the steps, so the gradient of one site is compared with the closed form instead.
#[test]
fn bounds_get_the_sum_of_their_samples_gradients() -> Result<()> {
    use crate::nn::Quantise;
    let (net, ddtb) = started(&DdtbConfig::dual(2))?;
    let [l, u] = ddtb.bounds(&net)?[0];
    let mut inner = net.lock();
    let site = inner.graph.find("body.0.identity")?;
    let mut placed = inner.slots[site].input.take().unwrap();
    let quantiser = &mut placed.quantiser;
    let values: Vec<f32> = (0..64)
        .map(|i| 1.5 * l + (1.5 * u - 1.5 * l) * i as f32 / 63.0)
        .collect();
    let (x, dy) = (
        crate::buffer(&values)?,
        crate::buffer(&crate::ops::wave(64))?,
    );
    let (mut y, mut dx) = (crate::buffer(&[0.0; 64])?, crate::buffer(&[0.0; 64])?);
    let extent = Extent::new(16, 1, 2);
    let mut cx = Quantise::of_input(&x, &mut y, (2, extent), Mode::Train, &mut inner.params);
    quantiser.quantise(&mut cx)?;
    let memo = cx.memo.take();
    let mut grads = Grads::leaky();
    quantiser.gradient(&mut QuantiseGrad {
        operand: Operand::Input,
        batch: 2,
        extent,
        x: &x,
        dy: &dy,
        dx: &mut dx,
        accumulate: false,
        range: &[],
        factor: 1.0,
        params: &inner.params,
        grads: &mut grads,
        memo: memo.as_ref(),
        range_grad: None,
    })?;
    let (x, dy, y, dx) = (x.view()?, dy.view()?, y.view()?, dx.view()?);
    let (mut dl, mut du) = (0.0, 0.0);
    for i in 0..64 {
        let r = (y[i] - x[i].clamp(l, u)) / (u - l);
        du += dy[i] * (f32::from(u8::from(x[i] > u)) + r);
        dl += dy[i] * (f32::from(u8::from(x[i] < l)) - r);
        assert_eq!(dx[i], if x[i] > l && x[i] < u { dy[i] } else { 0.0 });
    }
    drop(inner);
    let found = gradient(&net, &mut grads, "body.0.identity.bounds");
    crate::ops::assert_close(&found, &[dl, du], 1e-4);
    Ok(())
}

#[test]
fn two_bits_after_a_relu_are_four_levels_with_dual_bounds_and_two_with_a_symmetric_one()
-> Result<()> {
    for (config, most) in [(DdtbConfig::dual(2), 4), (DdtbConfig::symmetric(2), 2)] {
        let (net, mut ddtb) = started(&config)?;
        let records = ddtb.watch(&net, &[photo(4)])?;
        let behind_relu: Vec<usize> = records
            .iter()
            .filter(|r| r.name.ends_with("relu"))
            .map(|r| r.levels.used())
            .collect();
        assert_eq!(behind_relu, [most, most]);
        assert!(
            records
                .iter()
                .all(|r| r.levels.used() <= 4 && r.levels.entropy() <= 2.0)
        );
    }
    Ok(())
}

#[test]
fn strict_feeds_the_first_convolution_what_the_quantiser_made() -> Result<()> {
    let outputs = [false, true].map(|strict| -> Result<Vec<f32>> {
        let net = edsr(&EdsrConfig { strict, ..TINY }, rng(1))?;
        let mut ddtb = quantise(&net, &DdtbConfig::dual(2))?;
        ddtb.begin(&net)?;
        step(&net)?;
        Ok(read(&net.predict_images(&batch())?))
    });
    let [loose, strict] = outputs;
    assert_ne!(loose?, strict?);
    Ok(())
}

#[test]
fn the_networks_have_the_sizes_and_sites_of_their_references() -> Result<()> {
    let edsr4 = edsr(
        &EdsrConfig {
            scale: 4,
            sites: true,
            ..EdsrConfig::default()
        },
        rng(0),
    )?;
    assert_eq!(
        (edsr4.parameter_count(), edsr4.sites().len()),
        (1_517_571, 48)
    );
    let sites = SrresnetConfig {
        sites: true,
        ..SrresnetConfig::default()
    };
    let net = srresnet(&sites, rng(0))?;
    let block = 2 * 36_864 + 2 * 128 + 1;
    let count = 15_552 + 1 + 16 * block + 36_864 + 128 + 2 * (147_456 + 1) + 15_552;
    assert_eq!((net.parameter_count(), net.sites().len()), (count, 32));
    let net = rdn(
        &RdnConfig {
            sites: true,
            ..RdnConfig::default()
        },
        rng(0),
    )?;
    assert_eq!(
        (net.parameter_count(), net.sites().len()),
        (22_123_395, 145)
    );
    Ok(())
}

#[test]
fn every_network_trains_a_step_in_two_bits() -> Result<()> {
    let small_rdn = RdnConfig {
        blocks: 2,
        convs: 2,
        channels: 16,
        sites: true,
        scale: 2,
    };
    let small_srresnet = SrresnetConfig {
        blocks: 2,
        channels: 16,
        sites: true,
        scale: 2,
    };
    let nets = [
        edsr(&TINY, rng(1))?,
        rdn(&small_rdn, rng(1))?,
        srresnet(&small_srresnet, rng(1))?,
    ];
    for net in nets {
        let config = all_gated(DdtbConfig::ddtb(2));
        let mut ddtb = quantise(&net, &config)?;
        ddtb.calibrate(&net, &patches(), &mut rng(2))?;
        ddtb.begin(&net)?;
        step(&net)?;
        ddtb.set_phase(Phase::Active);
        let mut grads = step(&net)?;
        assert!(
            read(&net.predict_images(&batch())?)
                .iter()
                .all(|v| v.is_finite())
        );
        let bits: Vec<_> = net
            .layers()
            .iter()
            .map(|l| (l.name.clone(), l.bits))
            .collect();
        for (name, bits) in bits {
            let body = name.starts_with("body.") && name != "body.last";
            assert_eq!(bits, body.then_some(2), "{name}");
        }
        let names = ddtb.site_names();
        assert!(names.iter().all(|s| {
            gradient(&net, &mut grads, &format!("{s}.bounds"))
                .iter()
                .all(|g| g.is_finite())
        }));
    }
    Ok(())
}

#[test]
fn a_quantised_run_is_the_same_twice_and_reports_what_happened() -> Result<()> {
    let plain = EdsrConfig {
        sites: false,
        ..TINY
    };
    let teacher = edsr(&plain, rng(1))?;
    let test = [SrPair::new(&photo(7), 2)?];
    let config = DdtbConfig {
        batch: 2,
        calibration: 2,
        ..DdtbConfig::ddtb(2).iterations(20)
    };
    let run = || {
        let student = quantised_edsr(&teacher, &plain)?;
        train(&student, &teacher, &patches(), &test, &config)
    };
    let (a, b) = (run()?, run()?);
    assert_eq!((a.loss.clone(), a.score), (b.loss, b.score));
    assert_eq!((a.loss.len(), a.bounds.len()), (20, 20));
    assert_eq!(a.quantisers.gated().len(), 1);
    assert!(a.quantisers.gate_loss() >= 0.0);
    let (first, last) = (&a.bounds[0].1, &a.bounds[19].1);
    assert!(
        first.iter().zip(last).all(|(f, l)| f != l),
        "all bounds are trained"
    );
    let (gates, rest) = a.quantisers.storage_bits(&a.net);
    assert_eq!(gates, 2 * (16 * 32 + 64));
    assert!(rest > 32 * 16 * 9 * 16);
    Ok(())
}

#[test]
fn a_resumed_run_is_the_run_and_has_its_gates() -> Result<()> {
    let plain = EdsrConfig {
        sites: false,
        ..TINY
    };
    let teacher = edsr(&plain, rng(1))?;
    let test = [SrPair::new(&photo(7), 2)?];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = DdtbConfig {
        batch: 2,
        calibration: 2,
        show: false,
        checkpoint: Some(folder.path().join("ddtb.run")),
        ..DdtbConfig::ddtb(2).iterations(6)
    };
    let run = || {
        let student = quantised_edsr(&teacher, &plain)?;
        train(&student, &teacher, &patches(), &test, &config)
    };
    // The second finds the finished run on disk and only reads it back.
    let (whole, again) = (run()?, run()?);
    assert_eq!((&whole.loss, &whole.bounds), (&again.loss, &again.bounds));
    assert_eq!(whole.score, again.score);
    assert_eq!(whole.net.state()?, again.net.state()?);
    let site = &whole.quantisers.gated()[0];
    let name = format!("{site}.gate.bn.running_mean");
    assert_ne!(again.net.parameter(&name)?.to_vec(), [0.0; HIDDEN]);
    Ok(())
}

#[test]
fn a_workbench_averages_over_seeds_and_names_what_it_lacks() -> Result<()> {
    let size = EdsrConfig {
        sites: false,
        ..TINY
    };
    let mut bench = Workbench {
        teacher: edsr(&size, rng(1))?,
        size,
        patches: patches(),
        test: vec![SrPair::new(&photo(7), 2)?],
        benchmark: vec![SrPair::new(&photo(8), 2)?],
        trials: Vec::new(),
    };
    for seed in 1..=2 {
        let config = DdtbConfig {
            batch: 2,
            ..DdtbConfig::dual(2).iterations(2).seeded(seed)
        };
        bench.run("dual", config)?;
    }
    let scores: Vec<f32> = bench
        .of("dual", 2)
        .iter()
        .map(|t| t.held_out.psnr)
        .collect();
    assert_eq!(scores.len(), 2);
    let spread = bench.spread("dual", 2)?;
    assert!((spread.mean - f64::from(scores[0] + scores[1]) / 2.0).abs() < 1e-5);
    let deviation = f64::from((scores[0] - scores[1]).abs()) / 2f64.sqrt();
    assert!((spread.spread - deviation).abs() < 1e-5);
    assert!(bench.benchmark_psnr("dual", 2).is_some() && bench.benchmark_psnr("dual", 3).is_none());
    let error = bench.psnr("DDTB", 2).unwrap_err().to_string();
    assert!(error.contains("\"DDTB\" at 2 bits"), "{error}");
    Ok(())
}

#[test]
fn nan_in_a_bound_or_a_gate_is_an_error_that_names_the_site() -> Result<()> {
    for part in ["bounds", "gate.bn.weight", "gate.conv1.weight"] {
        let (net, mut ddtb) = started(&DdtbConfig {
            show: false,
            ..DdtbConfig::default()
        })?;
        ddtb.set_phase(Phase::Active);
        let mut state = net.state()?;
        let (name, _, values) = state
            .iter_mut()
            .find(|(name, ..)| name.ends_with(part))
            .expect("a gated site");
        values.fill(f32::NAN);
        let name = name.clone();
        net.restore(&state)?;
        let error = net.predict_images(&batch()).unwrap_err().to_string();
        let site = name.strip_suffix(&format!(".{part}")).unwrap();
        assert!(error.contains(site), "{name}: {error}");
    }
    Ok(())
}

#[test]
fn settings_that_contradict_each_other_are_refused() -> Result<()> {
    let refused = |config: DdtbConfig| {
        let net = edsr(&TINY, rng(1)).unwrap();
        quantise(&net, &config)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    let gated = DdtbConfig {
        gates: Gates::Random(0.5),
        ..DdtbConfig::symmetric(2)
    };
    assert!(refused(gated).contains("dual bounds"));
    let low = DdtbConfig {
        start: Range::Percentile(0.2),
        ..DdtbConfig::dual(2)
    };
    assert!(refused(low).contains("percentile 0.2"));
    let mean = DdtbConfig {
        start: Range::MeanMaxAbs,
        ..DdtbConfig::dual(2)
    };
    assert!(refused(mean).contains("percentile"));
    assert!(refused(DdtbConfig::dual(0)).contains("bits"));
    let plain = edsr(
        &EdsrConfig {
            sites: false,
            ..TINY
        },
        rng(1),
    )?;
    assert!(
        quantise(&plain, &DdtbConfig::dual(2))
            .err()
            .unwrap()
            .to_string()
            .contains("sites: true")
    );
    let net = edsr(&TINY, rng(1))?;
    let mut ddtb = quantise(&net, &DdtbConfig::ddtb(2))?;
    assert!(
        ddtb.begin(&net)
            .unwrap_err()
            .to_string()
            .contains("calibrate")
    );
    Ok(())
}

#[test]
fn replaced_factors_speak_for_the_gates_until_they_are_taken_back() -> Result<()> {
    let (net, mut ddtb) = started(&all_gated(DdtbConfig::ddtb(2)))?;
    ddtb.set_phase(Phase::Active);
    let own = read(&net.predict_images(&batch())?);
    let photos = [photo(4).shrunk(4)?];
    let gates: Vec<[f32; 2]> = ddtb
        .watch(&net, &photos)?
        .iter()
        .map(|r| r.factors[0])
        .collect();

    // A photograph's own factors change nothing; others do; `None` gives the gates back.
    let image = photos[0].to_images();
    let before = read(&net.predict_images(&image)?);
    ddtb.replace_factors(Some(&gates))?;
    assert_eq!(read(&net.predict_images(&image)?), before);
    let others: Vec<[f32; 2]> = gates.iter().map(|_| [0.5, 1.5]).collect();
    ddtb.replace_factors(Some(&others))?;
    assert_ne!(read(&net.predict_images(&image)?), before);
    let seen = ddtb.watch(&net, &photos)?;
    assert!(seen.iter().all(|r| r.factors == [[0.5, 1.5]]));
    ddtb.replace_factors(None)?;
    assert_eq!(read(&net.predict_images(&batch())?), own);

    // A factor of 1 everywhere is the static phase.
    ddtb.replace_factors(Some(&vec![[1.0, 1.0]; gates.len()]))?;
    let ones = read(&net.predict_images(&image)?);
    ddtb.replace_factors(None)?;
    ddtb.set_phase(Phase::Static);
    assert_eq!(read(&net.predict_images(&image)?), ones);

    for (wrong, said) in [
        (vec![[1.0, 1.0]], "gated sites"),
        (vec![[0.0, 1.0]; gates.len()], "positive"),
    ] {
        let error = ddtb.replace_factors(Some(&wrong)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    Ok(())
}

#[test]
fn a_lead_pairs_the_seeds_and_has_the_error_of_their_mean() -> Result<()> {
    let trial = |method: &str, seed: u64, psnr: f32| Trial {
        method: method.into(),
        config: DdtbConfig::dual(2).seeded(seed),
        held_out: SrScore { psnr, ssim: 0.9 },
        benchmark: None,
    };
    let bench = Workbench {
        teacher: edsr(&TINY, rng(1))?,
        size: TINY,
        patches: patches(),
        test: Vec::new(),
        benchmark: Vec::new(),
        trials: vec![
            trial("a", 1, 31.0),
            trial("a", 2, 34.0),
            trial("a", 3, 99.0),
            trial("b", 2, 33.0),
            trial("b", 1, 28.0),
        ],
    };
    // 3 and 1: mean 2, deviation sqrt(2), error 1.
    let lead = bench.lead("a", "b", 2)?;
    assert!(
        (lead.mean - 2.0).abs() < 1e-6 && (lead.spread - 1.0).abs() < 1e-6,
        "{lead:?}"
    );
    assert!(
        bench
            .lead("a", "c", 2)
            .unwrap_err()
            .to_string()
            .contains('c')
    );
    assert!(bench.lead("a", "b", 3).is_err());
    Ok(())
}
