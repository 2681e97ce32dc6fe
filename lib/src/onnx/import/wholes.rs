//! Layers on whole numbers, as [`Net::export_onnx`](crate::nn::Net::export_onnx) writes them, back in the form of quantisers.
//!
//! ```text
//! x, Mul s, Sub z, Clip, QuantizeLinear 1, DequantizeLinear 1, Conv of whole weights, Mul m, Add b
//! x, Clip, QuantizeLinear 1/s, DequantizeLinear 1/s, Conv of weights in units of m s, with the bias b
//! ```

use std::collections::HashMap;

use crate::onnx::proto::Node;
use crate::onnx::read::{Constant, Source, Values};

/// Who writes and who reads each name.
struct Links {
    writer: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
}

/// An activation on whole numbers.
struct Activation {
    scaling: usize,
    shift: usize,
    clip: usize,
    quantise: usize,
    dequantise: usize,
    scale: f32,
    /// Of the clip, as numbers.
    ends: [f32; 2],
}

/// A layer that reads one.
struct Layer {
    product: usize,
    /// The `DequantizeLinear` of its weight.
    weight: usize,
    scaling: usize,
    bias: Option<usize>,
    /// What a unit of the sum of each row is.
    units: Vec<f32>,
}

fn kind(node: &Node) -> &str {
    node.op_type.as_deref().unwrap_or_default()
}

fn output(node: &Node) -> &str {
    node.output.first().map_or("", String::as_str)
}

impl Links {
    fn of(nodes: &[Node]) -> Links {
        let mut links = Links {
            writer: HashMap::new(),
            readers: HashMap::new(),
        };
        for (i, node) in nodes.iter().enumerate() {
            for name in &node.output {
                links.writer.insert(name.clone(), i);
            }
            for name in &node.input {
                links.readers.entry(name.clone()).or_default().push(i);
            }
        }
        links
    }

    /// The node of a kind that writes the first input of another.
    fn before(&self, source: &Source, node: usize, of: &str) -> Option<usize> {
        let name = source.graph.node[node].input.first()?;
        let found = *self.writer.get(name)?;
        (kind(&source.graph.node[found]) == of).then_some(found)
    }

    /// The only node that reads another, of a kind.
    fn behind(&self, source: &Source, node: usize, of: &str) -> Option<usize> {
        let [only] = self.readers.get(output(&source.graph.node[node]))?[..] else {
            return None;
        };
        let reader = &source.graph.node[only];
        let first = reader.input.first()? == output(&source.graph.node[node]);
        (first && kind(reader) == of).then_some(only)
    }
}

fn numbers<'s>(source: &'s Source, node: usize, input: usize) -> Option<&'s [f32]> {
    let name = source.graph.node[node].input.get(input)?;
    source.constants.get(name)?.floats()
}

fn number(source: &Source, node: usize, input: usize) -> Option<f32> {
    match numbers(source, node, input)? {
        [one] => Some(*one),
        _ => None,
    }
}

fn activation(source: &Source, links: &Links, dequantise: usize) -> Option<Activation> {
    let quantise = links.before(source, dequantise, "QuantizeLinear")?;
    let clip = links.before(source, quantise, "Clip")?;
    let shift = links.before(source, clip, "Sub")?;
    let scaling = links.before(source, shift, "Mul")?;
    for (node, behind) in [
        (scaling, "Sub"),
        (shift, "Clip"),
        (clip, "QuantizeLinear"),
        (quantise, "DequantizeLinear"),
    ] {
        links.behind(source, node, behind)?;
    }
    let unit = number(source, quantise, 1)? == 1.0 && number(source, dequantise, 1)? == 1.0;
    let (scale, zero) = (number(source, scaling, 1)?, number(source, shift, 1)?);
    let at = |q: f32| (q + zero) / scale;
    let ends = [number(source, clip, 1)?, number(source, clip, 2)?].map(at);
    (unit && scale.is_normal()).then_some(Activation {
        scaling,
        shift,
        clip,
        quantise,
        dequantise,
        scale,
        ends,
    })
}

fn layer(source: &Source, links: &Links, product: usize, scale: f32) -> Option<Layer> {
    let node = &source.graph.node[product];
    let [_, weight] = &node.input[..] else {
        return None;
    };
    let weight = *links.writer.get(weight)?;
    let scaling = links.behind(source, product, "Mul")?;
    let bias = links.behind(source, scaling, "Add");
    let bias = bias.filter(|b| numbers(source, *b, 1).is_some());
    let whole = numbers(source, weight, 1)?;
    let scales = numbers(source, scaling, 1)?;
    let fits = matches!(kind(node), "Conv" | "Gemm")
        && kind(&source.graph.node[weight]) == "DequantizeLinear"
        && whole.iter().all(|s| *s == 1.0)
        && whole.len() == scales.len();
    fits.then(|| Layer {
        product,
        weight,
        scaling,
        bias,
        units: scales.iter().map(|m| m * scale).collect(),
    })
}

/// Rewrites what stands on whole numbers; leaves a graph of other programs as it is.
pub(super) fn as_numbers(source: &mut Source) {
    let links = Links::of(&source.graph.node);
    let mut gone = vec![false; source.graph.node.len()];
    for node in 0..source.graph.node.len() {
        if kind(&source.graph.node[node]) != "DequantizeLinear" {
            continue;
        }
        let Some(found) = activation(source, &links, node) else {
            continue;
        };
        let readers = links.readers.get(output(&source.graph.node[node]));
        let readers = readers.into_iter().flatten();
        let layers = readers.map(|r| layer(source, &links, *r, found.scale));
        let Some(layers) = layers.collect::<Option<Vec<Layer>>>() else {
            continue;
        };
        (gone[found.scaling], gone[found.shift]) = (true, true);
        rewrite_activation(source, &found);
        for layer in layers {
            gone[layer.scaling] = true;
            layer.bias.into_iter().for_each(|b| gone[b] = true);
            rewrite_layer(source, &layer);
        }
    }
    let mut gone = gone.into_iter();
    source.graph.node.retain(|_| !gone.next().unwrap_or(false));
}

/// Makes an input of a node another constant.
fn set(source: &mut Source, node: usize, input: usize, values: Vec<f32>) {
    let node = &mut source.graph.node[node];
    let name = format!("{}:{input}", output(node));
    let dims = if values.len() == 1 {
        vec![]
    } else {
        vec![values.len()]
    };
    let constant = Constant {
        dims,
        values: Values::Floats(values),
        signed_bytes: false,
    };
    node.input
        .resize(node.input.len().max(input + 1), String::new());
    node.input[input].clone_from(&name);
    source.constants.insert(name, constant);
}

fn rewrite_activation(source: &mut Source, found: &Activation) {
    let nodes = &mut source.graph.node;
    let x = nodes[found.scaling].input[0].clone();
    nodes[found.clip].input[0] = x;
    // One zero point for both: that of the numbers.
    let zero = nodes[found.dequantise].input.get(2).cloned();
    nodes[found.quantise].input.truncate(2);
    nodes[found.quantise].input.extend(zero);
    let [lowest, highest] = found.ends;
    set(source, found.clip, 1, vec![lowest]);
    set(source, found.clip, 2, vec![highest]);
    set(source, found.quantise, 1, vec![1.0 / found.scale]);
    set(source, found.dequantise, 1, vec![1.0 / found.scale]);
}

fn rewrite_layer(source: &mut Source, layer: &Layer) {
    set(source, layer.weight, 1, layer.units.clone());
    if let Some(bias) = layer.bias
        && let Some(values) = numbers(source, bias, 1)
    {
        let values = values.to_vec();
        set(source, layer.product, 2, values);
    }
    let last = layer.bias.unwrap_or(layer.scaling);
    let nodes = &mut source.graph.node;
    nodes[layer.product].output = nodes[last].output.clone();
    nodes[layer.product].name = nodes[last].name.clone();
}
