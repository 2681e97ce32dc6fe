//! Networks by configuration: widths, strides, shortcuts, sites, files of others.

use crate::nn::*;
use crate::{Result, images, read, rng};

fn cifar(shortcut: Shortcut, sites: bool) -> Result<Net> {
    let config = CifarResnetConfig {
        shortcut,
        sites,
        ..CifarResnetConfig::default()
    };
    cifar_resnet_with(&config, rng(0))
}

#[test]
fn option_a_subsamples_and_pads_without_a_parameter() -> Result<()> {
    let net = cifar(Shortcut::PadChannels, false)?;
    // He et al., table 6: 0.27 million.
    assert_eq!(net.parameter_count(), 269_722);
    assert_eq!(net.layers().len(), 20);
    let x = images(2, 3, 32, 32, &mut rng(1));
    let around = ["layer1.2.bn2", "layer2.0.shortcut.pad"];
    let [x, y] = &net.predict_nodes(&[&x], &around)?[..] else {
        panic!("two nodes")
    };
    let (x, y) = (read(x), read(y));
    for (n, c, h, w) in [(0, 0, 0, 0), (1, 15, 15, 15), (0, 3, 7, 2)] {
        let small = x[((n * 16 + c) * 32 + 2 * h) * 32 + 2 * w];
        assert_eq!(y[((n * 32 + 8 + c) * 16 + h) * 16 + w], small);
    }
    let padded = |c: usize| !(8..24).contains(&c);
    let zero = |(i, y): (usize, &f32)| !padded(i / 256 % 32) || *y == 0.0;
    assert!(y.iter().enumerate().all(zero));
    Ok(())
}

#[test]
fn a_checkpoint_of_other_names_loads_and_one_of_another_network_says_so() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("theirs.safetensors");
    let theirs = cifar(Shortcut::PadChannels, false)?;
    let tensors = theirs.parameters().into_iter().map(|p| {
        let name = format!("module.{}", p.name.replace("fc.", "linear."));
        (name, p.dims.clone(), p.to_vec())
    });
    super::super::checkpoint::write_tensors(&path, tensors.collect(), Default::default())?;
    let ours = cifar_resnet_with(
        &CifarResnetConfig {
            shortcut: Shortcut::PadChannels,
            ..CifarResnetConfig::default()
        },
        rng(9),
    )?;
    let x = images(2, 3, 32, 32, &mut rng(1));
    let before = read(&ours.predict(&x)?);
    let error = ours.load(&path).unwrap_err().to_string();
    let told = ["of another network (0 of the", "Net::load_renamed", "more"];
    assert!(told.iter().all(|t| error.contains(t)), "{error}");
    assert!(!error.contains("train"), "{error}");
    assert_eq!(
        read(&ours.predict(&x)?),
        before,
        "nothing changes unless all fits"
    );
    let rename = |name: &str| name.replace("module.", "").replace("linear.", "fc.");
    ours.load_renamed(&path, rename)?;
    assert_eq!(read(&ours.predict(&x)?), read(&theirs.predict(&x)?));
    let error = ours
        .load_renamed(&path, |_| "fc.bias".into())
        .unwrap_err()
        .to_string();
    assert!(error.contains("two of its tensors"), "{error}");
    // The shortcuts of the other kind are what differs here.
    let error = cifar(Shortcut::Projection, false)?.load_renamed(&path, rename);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("lacks \"layer2.0.downsample.0.weight\""),
        "{error}"
    );
    let wide = CifarResnetConfig {
        widths: [16, 32, 65],
        shortcut: Shortcut::PadChannels,
        ..CifarResnetConfig::default()
    };
    let error = cifar_resnet_with(&wide, rng(0))?.load_renamed(&path, rename);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("fc.weight: the file has [10, 64], the network [10, 65]"),
        "{error}"
    );
    Ok(())
}

#[test]
fn sites_stand_behind_every_relu_and_change_nothing_without_quantisers() -> Result<()> {
    let (plain, sites) = (
        cifar(Shortcut::Projection, false)?,
        cifar(Shortcut::Projection, true)?,
    );
    assert_eq!(plain.sites(), []);
    let names: Vec<String> = sites.sites().into_iter().map(|s| s.name).collect();
    assert_eq!(names.len(), 19, "the stem and two in each of nine blocks");
    assert_eq!(
        names[..3],
        ["bn1.site", "layer1.0.bn1.site", "layer1.0.bn2.site"]
    );
    let x = images(2, 3, 32, 32, &mut rng(1));
    assert_eq!(read(&plain.predict(&x)?), read(&sites.predict(&x)?));
    sites.quantise_input(
        "layer3.2.bn2.site",
        Uniform::bits(2),
        crate::quant::Range::MinMax,
    )?;
    sites.calibrate(&x)?;
    assert_ne!(read(&plain.predict(&x)?), read(&sites.predict(&x)?));
    let mobile = MobilenetConfig {
        size: 32,
        classes: 10,
        sites: true,
        ..MobilenetConfig::default()
    };
    // Stem and 13 pairs; stem, two in each of 17 blocks but the first, and the head.
    assert_eq!(mobilenet_v1_with(&mobile, rng(0))?.sites().len(), 27);
    assert_eq!(mobilenet_v2_with(&mobile, rng(0))?.sites().len(), 35);
    let deep = ImagenetResnetConfig {
        depth: 50,
        size: 32,
        classes: 10,
        sites: true,
    };
    assert_eq!(
        imagenet_resnet_with(&deep, rng(0))?.sites().len(),
        1 + 3 * 16
    );
    Ok(())
}

#[test]
fn mobilenets_have_the_sizes_of_their_references_at_every_width() -> Result<()> {
    let sized = |width: f32| MobilenetConfig {
        width,
        ..MobilenetConfig::default()
    };
    // Parameters of the published models: Keras for the first version, torchvision's layout for the second.
    let v1 = |width| mobilenet_v1_with(&sized(width), rng(0)).map(|n| n.parameter_count());
    assert_eq!(
        (v1(1.0)?, v1(0.5)?, v1(0.25)?),
        (4_231_976, 1_331_592, 470_072)
    );
    let v2 = |width| mobilenet_v2_with(&sized(width), rng(0)).map(|n| n.parameter_count());
    assert_eq!((v2(1.0)?, v2(0.5)?), (3_504_872, 1_968_680));
    Ok(())
}

#[test]
fn a_stem_of_stride_one_keeps_small_images_large() -> Result<()> {
    let config = MobilenetConfig {
        size: 32,
        classes: 10,
        stem_stride: 1,
        ..MobilenetConfig::default()
    };
    let x = images(1, 3, 32, 32, &mut rng(1));
    for (net, last, stem) in [
        (
            mobilenet_v1_with(&config, rng(0))?,
            "features.stage5.unit2.pw_conv.bn",
            "features.init_block.bn",
        ),
        (
            mobilenet_v2_with(&config, rng(0))?,
            "features.18.1",
            "features.0.1",
        ),
    ] {
        let maps = net.predict_nodes(&[&x], &[stem, last])?;
        let side = |i: usize| {
            use dfdx::prelude::HasShape;
            maps[i].shape().2
        };
        assert_eq!((side(0), side(1)), (32, 2));
    }
    Ok(())
}

#[test]
fn images_that_strides_shrink_to_nothing_are_refused() {
    let mobile = |size, stem_stride| MobilenetConfig {
        size,
        stem_stride,
        ..MobilenetConfig::default()
    };
    let refused = [
        mobilenet_v1(1, 10, rng(0)).err(),
        mobilenet_v2(1, 10, rng(0)).err(),
        mobilenet_v2(31, 10, rng(0)).err(),
        mobilenet_v2_with(&mobile(15, 1), rng(0)).err(),
        imagenet_resnet(18, 1, 10, rng(0)).err(),
        cifar_resnet(3, 1, [4, 8, 8], 1, 10, rng(0)).err(),
    ];
    for error in refused {
        let error = error.expect("refused").to_string();
        assert!(error.contains("take images of at least"), "{error}");
    }
    assert!(mobilenet_v2_with(&mobile(16, 1), rng(0)).is_ok());
    assert!(mobilenet_v1_with(&mobile(32, 3), rng(0)).is_err());
    for width in [0.0, -1.0, f32::NAN, 1e9] {
        let config = MobilenetConfig {
            width,
            ..MobilenetConfig::default()
        };
        assert!(mobilenet_v1_with(&config, rng(0)).is_err());
    }
}

#[test]
fn sizes_beyond_any_memory_are_refused_with_the_layer() {
    type Attempt = fn(&mut NetBuilder, NodeId) -> Result<NodeId>;
    let attempts: [(&str, Attempt); 7] = [
        ("wide", |b, x| b.conv("wide", x, Conv::new(1 << 50))),
        ("wider", |b, x| b.conv("wider", x, Conv::new(1 << 61))),
        ("padded", |b, x| {
            let conv = Conv {
                padding: 1 << 40,
                ..Conv::new(2)
            };
            b.conv("padded", x, conv)
        }),
        ("still", |b, x| {
            let conv = Conv {
                dilation: 0,
                ..Conv::new(2)
            };
            b.conv("still", x, conv)
        }),
        ("answer", |b, x| {
            let flat = b.flatten(x)?;
            b.linear("answer", flat, usize::MAX)
        }),
        ("further", |b, _| {
            b.input_of("further", Extent::new(1 << 30, 1 << 30, 1 << 30))
        }),
        ("upsample", |b, x| {
            b.upsample(x, crate::ops::upsample::Upsample::Nearest(1 << 31))
        }),
    ];
    for (name, attempt) in attempts {
        let mut b = NetBuilder::new(3, 8, 8, rng(0));
        let x = b.input();
        let error = attempt(&mut b, x).expect_err(name).to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
}
