use rebit::papers::lts::*;
use rebit::prelude::*;
fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let (state, n, epochs, lr, which) = (
        &a[1],
        a[2].parse::<usize>().unwrap(),
        a[3].parse::<usize>().unwrap(),
        a[4].parse::<f32>().unwrap(),
        a[5].as_str(),
    );
    let cifar = data::cifar10()?;
    let net = resnet20(10, rng(1));
    let bytes = std::fs::read(state).unwrap();
    let st = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, v) in st.tensors() {
        let name = name
            .strip_prefix("net.")
            .unwrap_or(if name.contains("optimiser.") {
                continue;
            } else {
                &name
            })
            .to_string();
        let d: Vec<f32> = v
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        net.set_parameter(&name, &d)?;
    }
    if which == "export" {
        net.save(
            "lib/weights/resnet20_cifar10.safetensors",
            &[("network", "ResNet-20, CIFAR-10")],
        )?;
        return Ok(());
    }
    let train_set = cifar.train.take(n, 1);
    let test = cifar
        .test
        .take(a.get(6).map_or(2000, |s| s.parse().unwrap()), 1);
    println!("fp {:.2}", try_accuracy(&net, &test, &Normalize::CIFAR10)?);
    let c = match which {
        "base" => LtsConfig::baseline(),
        "sine" => LtsConfig {
            threshold: Threshold::Sine,
            ..Default::default()
        },
        "random" => LtsConfig {
            selection: Selection::Random,
            ..Default::default()
        },
        "far" => LtsConfig {
            selection: Selection::Farthest,
            ..Default::default()
        },
        _ => LtsConfig::default(),
    };
    let mut lts = quantise(&net, c)?;
    let cfg = TrainConfig {
        epochs,
        lr,
        label: which.into(),
        seed: 3,
        ..Default::default()
    };
    let h = train_with(&net, &train_set, &test, &cfg, &mut lts)?;
    let r = lts.report();
    println!(
        "{which} final {:.2} mean3 {:.2} upd {:.1} bwd {:.1} exact {:.1} wrong {:?} settled {:?}",
        h.final_accuracy(),
        h.mean_accuracy(3),
        r.updates_eliminated,
        r.backward_flops_eliminated,
        r.backward_flops_exact,
        r.wrong_freeze,
        r.settled
    );
    println!(
        "share {:?}",
        r.frozen_share
            .iter()
            .step_by((r.frozen_share.len() / 20).max(1))
            .collect::<Vec<_>>()
    );
    println!("D median {:?}", {
        let mut d = lts.distances();
        d.sort_by(f32::total_cmp);
        d[d.len() / 2]
    });
    for e in &h.epochs {
        println!(
            "{} {:.1}s bwd {:.1} wgrad {:.1}",
            e.epoch, e.seconds, e.backward_seconds, e.weight_grad_seconds
        );
    }
    Ok(())
}
