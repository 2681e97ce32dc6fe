use std::path::Path;

use prost::Message as _;

use super::proto::{Attribute, Graph, Model, Node, Tensor, data};
use super::*;
use crate::nn::layers::testing::net as built;
use crate::nn::layers::{Affine, Elementwise, PadChannels, Product};
use crate::nn::{
    Conv, EdsrConfig, Extent, Net, Norm, SrresnetConfig, edsr, mobilenet_v2_with,
    pretrained_resnet20, srresnet,
};
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;
use crate::ops::upsample::Upsample;
use crate::ptq::{PtqConfig, post_training};
use crate::{Images, Result, images, read, rng};

/// What a network becomes on its way through a file.
fn through(net: &Net) -> Result<Net> {
    import_onnx_bytes(Path::new("test.onnx"), &net.to_onnx()?)
}

fn apart(a: &Images, b: &Images) -> f32 {
    let (a, b) = (read(a), read(b));
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    a.iter()
        .zip(&b)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()))
        / largest
}

#[test]
fn networks_at_full_precision_come_back_the_same() -> Result<()> {
    let x = images(2, 3, 32, 32, &mut rng(1));
    let mobile = crate::nn::MobilenetConfig {
        size: 32,
        classes: 7,
        width: 0.35,
        stem_stride: 1,
        sites: true,
    };
    let mobile = mobilenet_v2_with(&mobile, rng(2))?;
    mobile.calibrate(&x)?;
    for net in [
        pretrained_resnet20()?,
        pretrained_resnet20()?.folded()?,
        mobile,
    ] {
        let back = through(&net)?;
        let error = apart(&back.predict_images(&x)?, &net.predict_images(&x)?);
        assert!(error < 1e-5, "{error}");
        // Parameters keep their names.
        let names = |net: &Net| {
            net.parameters()
                .into_iter()
                .map(|p| p.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&back), names(&net));
        assert_eq!(back.parameter_count(), net.parameter_count());
    }
    // Images of another size than the file was written with.
    let wide = images(1, 3, 12, 9, &mut rng(3));
    let small = EdsrConfig {
        blocks: 1,
        channels: 8,
        ..EdsrConfig::default()
    };
    let sr = SrresnetConfig {
        blocks: 1,
        channels: 8,
        ..SrresnetConfig::default()
    };
    for net in [edsr(&small, rng(4))?, srresnet(&sr, rng(5))?] {
        let back = through(&net)?;
        let error = apart(&back.predict_images(&wide)?, &net.predict_images(&wide)?);
        assert!(error < 1e-5, "{error}");
    }
    Ok(())
}

#[test]
fn every_layer_with_a_form_comes_back() -> Result<()> {
    let net = built((4, 8, 6), |b, x| {
        let c = b.conv(
            "conv",
            x,
            Conv {
                dilation: 2,
                padding: 2,
                ..Conv::new(8).groups(2).with_bias()
            },
        )?;
        let n = b.norm_with("bn", &[c, c], Norm::new(Activation::Relu6).without_affine())?;
        let p = b.max_pool(n, 3, 2, 1)?;
        let u = b.upsample(p, Upsample::Bilinear)?;
        let v = b.upsample(p, Upsample::BilinearAligned)?;
        let w = b.upsample(p, Upsample::Nearest(2))?;
        let both = b.layer("product", &[u, v], Product)?;
        let cat = b.concat("cat", &[both, w])?;
        let s = b.slice("slice", cat, 3..11)?;
        let pad = b.layer(
            "pad",
            &[s],
            PadChannels {
                before: 1,
                after: 3,
            },
        )?;
        let shuffle = b.pixel_shuffle("shuffle", pad, 2)?;
        let l = b.leaky_relu("leaky", shuffle, 0.2)?;
        let t = b.layer("tanh", &[l], Elementwise(Function::Tanh))?;
        let t = b.sigmoid("sigmoid", t)?;
        let a = b.layer(
            "affine",
            &[t],
            Affine {
                scale: 0.5,
                offset: vec![1.0, -2.0, 0.25].into(),
            },
        )?;
        let r = b.prelu("prelu", a)?;
        let r = b.avg_pool(r, (2, 3), (2, 3))?;
        let f = b.flatten(r)?;
        let f = b.linear("fc", f, 12)?;
        let f = b.reshape(f, Extent::new(3, 2, 2))?;
        let f = b.add("sum", f, f, Activation::Relu)?;
        let f = b.global_avg_pool(f)?;
        b.linear_with("last", f, 5, false)
    })?;
    let x = images(3, 4, 8, 6, &mut rng(1));
    net.calibrate(&x)?;
    let back = through(&net)?;
    let error = apart(&back.predict_images(&x)?, &net.predict_images(&x)?);
    assert!(error < 1e-5, "{error}");
    Ok(())
}

#[test]
fn quantised_networks_come_back_on_the_same_levels() -> Result<()> {
    let x = images(6, 3, 32, 32, &mut rng(1));
    let float = pretrained_resnet20()?;
    for config in [
        PtqConfig::bits(8),
        PtqConfig::bits(8).weights(7),
        PtqConfig::bits(3).inputs(5),
        PtqConfig::bits(4).weights_only(),
        PtqConfig::bits(6).per_tensor(),
    ] {
        let (q, _) = post_training(&float, &x, &config)?;
        let back = through(&q)?;
        assert_eq!(back.quantisers().len(), q.quantisers().len());
        for (ours, theirs) in q.quantisers().iter().zip(back.quantisers()) {
            assert_eq!((&ours.layer, ours.operand), (&theirs.layer, theirs.operand));
            // Fewer bits may hold a weight that leaves its outermost levels alone.
            assert!(theirs.bits <= ours.bits, "{ours:?} {theirs:?}");
        }
        let error = apart(&back.predict_images(&x)?, &q.predict_images(&x)?);
        // Reciprocals of scales are rounded: a value on an edge may move by a step.
        assert!(error < 0.05, "{error} {config:?}");
        if config.input_bits.is_some() {
            back.integer()?;
        }
    }
    Ok(())
}

#[test]
fn an_export_is_what_the_standard_says() -> Result<()> {
    let x = images(4, 3, 32, 32, &mut rng(1));
    let (q, _) = post_training(&pretrained_resnet20()?, &x, &PtqConfig::bits(4))?;
    let model = Model::decode(&q.to_onnx()?[..]).unwrap();
    assert_eq!(
        (model.ir_version, model.opset_import[0].version),
        (Some(7), Some(13))
    );
    let graph = model.graph.unwrap();
    let kinds = |kind: &str| {
        graph
            .node
            .iter()
            .filter(|n| n.op_type.as_deref() == Some(kind))
            .count()
    };
    assert_eq!(
        (kinds("Conv"), kinds("Gemm"), kinds("BatchNormalization")),
        (21, 1, 0)
    );
    assert_eq!(kinds("Clip"), kinds("QuantizeLinear"));
    // A quantiser reads a clip; a weight has no zero point and a scale for each row; nothing is reshaped behind.
    let by = |name: &str| graph.node.iter().find(|n| n.output[0] == name);
    for node in &graph.node {
        let reads = |i: usize| by(&node.input[i]).and_then(|n| n.op_type.clone());
        match node.op_type.as_deref() {
            Some("QuantizeLinear") => assert_eq!(reads(0).as_deref(), Some("Clip")),
            Some("Conv" | "Gemm") => {
                assert_eq!(reads(0).as_deref(), Some("DequantizeLinear"));
                let weight = by(&node.input[1]).unwrap();
                assert_eq!(
                    (weight.op_type.as_deref(), weight.input.len()),
                    (Some("DequantizeLinear"), 2)
                );
                let whole = graph
                    .initializer
                    .iter()
                    .find(|t| t.name.as_deref() == Some(&weight.input[0]));
                assert_eq!(whole.unwrap().data_type, Some(data::INT8));
            }
            Some("Reshape" | "Flatten") => {
                assert_ne!(reads(0).as_deref(), Some("DequantizeLinear"))
            }
            _ => {}
        }
    }
    Ok(())
}

/// The graph of ResNet-20 quantised by a recipe.
fn graph_of(config: &PtqConfig) -> Result<Graph> {
    let x = images(4, 3, 32, 32, &mut rng(1));
    let (q, _) = post_training(&pretrained_resnet20()?, &x, config)?;
    Ok(Model::decode(&q.to_onnx()?[..]).unwrap().graph.unwrap())
}

#[test]
fn weights_that_no_signed_byte_holds_stay_bytes() -> Result<()> {
    // Ranges by channel: zero points of their own, so the sums are of whole numbers.
    let graph = graph_of(&PtqConfig::minmax(8))?;
    let constant = |name: &str| {
        let mut all = graph.initializer.iter();
        all.find(|t| t.name.as_deref() == Some(name)).unwrap()
    };
    let mut own = 0;
    for node in &graph.node {
        if node.op_type.as_deref() != Some("DequantizeLinear") {
            continue;
        }
        let whole = graph.initializer.iter();
        let Some(whole) = whole
            .clone()
            .find(|t| t.name.as_deref() == Some(&node.input[0]))
        else {
            continue;
        };
        let is_weight = whole.dims.len() > 1;
        assert!(!is_weight || whole.data_type != Some(data::INT32));
        if let (true, Some(zero)) = (is_weight, node.input.get(2)) {
            let zeros = constant(zero).raw_data.clone().unwrap();
            assert_eq!(zeros.len() as i64, whole.dims[0]);
            let scales = constant(&node.input[1]).raw_data.clone().unwrap();
            // Where zero points differ nothing may take the layer for one that runs in integers.
            if zeros.iter().any(|z| *z != zeros[0]) {
                own += 1;
                assert!(
                    scales
                        .as_chunks()
                        .0
                        .iter()
                        .all(|s| f32::from_le_bytes(*s) == 1.0)
                );
            }
        }
    }
    assert!(own > 10, "{own} weights have zero points of their own");
    // One range a tensor: one zero point, and the form that runs in integers.
    let graph = graph_of(&PtqConfig::minmax(8).per_tensor())?;
    let kind = |node: &Node, kind: &str| node.op_type.as_deref() == Some(kind);
    assert!(!graph.node.iter().any(|n| kind(n, "Mul") || kind(n, "Sub")));
    // But not where some layer reads few levels: a bias in units of the sums would move them.
    let graph = graph_of(&PtqConfig::minmax(4).first_last(8).per_tensor())?;
    let mut products = graph.node.iter();
    assert!(products.all(|n| !(kind(n, "Conv") || kind(n, "Gemm")) || n.input.len() == 2));
    Ok(())
}

fn model(nodes: Vec<Node>, initializer: Vec<Tensor>) -> Vec<u8> {
    let net = built((2, 4, 4), |b, x| b.activation("relu", x, Activation::Relu)).unwrap();
    let mut model = Model::decode(&net.to_onnx().unwrap()[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    (graph.node, graph.initializer) = (nodes, initializer);
    model.encode_to_vec()
}

fn node(op: &str, inputs: &[&str], attribute: Vec<Attribute>) -> Node {
    Node {
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: vec!["relu".into()],
        name: Some("the_node".into()),
        op_type: Some(op.into()),
        attribute,
        domain: None,
    }
}

#[test]
fn what_cannot_be_read_is_named_with_its_node() {
    let refused = |bytes: &[u8]| {
        import_onnx_bytes(Path::new("theirs.onnx"), bytes)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let lstm = refused(&model(vec![node("LSTM", &["input"], vec![])], vec![]));
    assert!(
        lstm.contains("theirs.onnx")
            && lstm.contains("\"the_node\" (LSTM)")
            && lstm.contains("not known"),
        "{lstm}"
    );
    let missing = refused(&model(vec![node("Relu", &["nothing"], vec![])], vec![]));
    assert!(missing.contains("\"nothing\""), "{missing}");
    let computed = refused(&model(
        vec![node("Conv", &["input", "input"], vec![])],
        vec![],
    ));
    assert!(
        computed.contains("(Conv)") && computed.contains("must be a constant"),
        "{computed}"
    );
    let kernel = Tensor {
        dims: vec![1, 2, 3, 1],
        data_type: Some(data::FLOAT),
        float_data: vec![0.5; 6],
        name: Some("w".into()),
        ..Tensor::default()
    };
    let oblong = refused(&model(
        vec![node("Conv", &["input", "w"], vec![])],
        vec![kernel.clone()],
    ));
    assert!(oblong.contains("3x1"), "{oblong}");
    let short = Tensor {
        float_data: vec![0.5; 5],
        ..kernel.clone()
    };
    let short = refused(&model(vec![], vec![short]));
    assert!(
        short.contains("\"w\"") && short.contains("5 numbers"),
        "{short}"
    );
    let negative = Tensor {
        dims: vec![-1, 2],
        ..kernel
    };
    assert!(refused(&model(vec![], vec![negative])).contains("[-1, 2]"));
    assert!(refused(b"no protobuf at all").contains("is no ONNX file"));
    assert!(refused(&[]).contains("no graph"));
    assert!(
        refused(
            &Model {
                graph: Some(Graph::default()),
                ..Model::default()
            }
            .encode_to_vec()
        )
        .contains("no input")
    );
}

#[test]
fn damage_never_panics() {
    let net = built((2, 4, 4), |b, x| {
        let x = b.conv("conv", x, Conv::new(3).with_bias()).unwrap();
        let x = b.activation("relu", x, Activation::Relu).unwrap();
        let x = b.global_avg_pool(x).unwrap();
        b.linear("fc", x, 2)
    });
    let x = images(4, 2, 4, 4, &mut rng(1));
    let (q, _) = post_training(&net.unwrap(), &x, &PtqConfig::bits(3)).unwrap();
    let whole = q.to_onnx().unwrap();
    let path = Path::new("damaged.onnx");
    for at in 0..whole.len() {
        // Some damage is no damage to the format: a name, or a weight. What is read then runs or is refused.
        import_onnx_bytes(path, &whole[..at]).ok();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(net) = import_onnx_bytes(path, &flipped) {
            net.predict_images(&x).ok();
        }
    }
}

#[test]
fn what_has_no_form_is_named_and_an_older_file_stays() -> Result<()> {
    let two = {
        let mut b = crate::nn::NetBuilder::new(2, 4, 4, rng(0));
        let other = b.input_of("noise", Extent::new(2, 4, 4))?;
        let x = b.add("sum", b.input(), other, Activation::None)?;
        b.build(x)?
    };
    let error = two.to_onnx().unwrap_err().to_string();
    assert!(error.contains("layer noise"), "{error}");
    let net = built((2, 4, 4), |b, x| b.conv("conv", x, Conv::new(2)))?;
    net.quantise(|_| {
        Ok(
            crate::nn::Slots::none()
                .inputs(crate::nn::Affine::bits(8), crate::quant::Range::MinMax),
        )
    })?;
    net.set_range("conv", crate::nn::Operand::Input, &[1.0, 2.0])?;
    let error = net.to_onnx().unwrap_err().to_string();
    assert!(
        error.contains("layer conv") && error.contains("without 0"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, b"before").unwrap();
    assert!(net.export_onnx(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    assert!(pretrained_resnet20()?.export_onnx(folder.path()).is_err());
    Ok(())
}
