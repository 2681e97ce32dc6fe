//! Layers without weights.

use super::{Export, Value, float, int, ints, text};
use crate::Result;
use crate::nn::NodeInfo;
use crate::nn::layers::{
    Act, Add, Affine, AvgPool, Concat, Elementwise, Flatten, GlobalAvgPool, Identity, MaxPool,
    PadChannels, PixelShuffle, Prelu, Product, Reshape, Slice, Upsample,
};
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;
use crate::ops::upsample;

impl Export {
    /// A layer without weights of its own; none for one that has no ONNX form.
    pub(super) fn plain(&mut self, at: usize, info: &NodeInfo, x: &Value) -> Result<Option<Value>> {
        let name = info.name.as_str();
        let mut flat = x.flat;
        let xs = x.name.as_str();
        let done = if let Some(l) = info.layer_as::<Act>() {
            self.act(l.0, name, xs)
        } else if let Some(l) = info.layer_as::<Add>() {
            let other = self.input(at, 1, Some(flat));
            match l.0 {
                Activation::None => self.op("Add", name, &[xs, &other.name], Vec::new()),
                act => {
                    let sum = self.op(
                        "Add",
                        &format!("{name}.sum"),
                        &[xs, &other.name],
                        Vec::new(),
                    );
                    self.act(act, name, &sum)
                }
            }
        } else if info.layer_as::<Product>().is_some() {
            let other = self.input(at, 1, Some(flat));
            self.op("Mul", name, &[xs, &other.name], Vec::new())
        } else if info.layer_as::<Identity>().is_some() {
            self.op("Identity", name, &[xs], Vec::new())
        } else if let Some(l) = info.layer_as::<Elementwise>() {
            match l.0 {
                Function::LeakyRelu(slope) => {
                    self.op("LeakyRelu", name, &[xs], vec![float("alpha", slope)])
                }
                Function::Tanh => self.op("Tanh", name, &[xs], Vec::new()),
                Function::Sigmoid => self.op("Sigmoid", name, &[xs], Vec::new()),
            }
        } else if let Some(l) = info.layer_as::<Prelu>() {
            let slope = self.parameter(l.slope);
            self.op("PRelu", name, &[xs, &slope], Vec::new())
        } else if let Some(l) = info.layer_as::<Affine>() {
            let scale = self.floats(&format!("{name}.scale"), &[], &[l.scale]);
            let dims = [1, l.offset.len(), 1, 1];
            let dims = if flat { &dims[..2] } else { &dims[..] };
            let offset = self.floats(&format!("{name}.offset"), dims, &l.offset);
            let scaled = self.op("Mul", &format!("{name}.scaled"), &[xs, &scale], Vec::new());
            self.op("Add", name, &[&scaled, &offset], Vec::new())
        } else if info.layer_as::<Flatten>().is_some() {
            let already = std::mem::replace(&mut flat, true);
            match already {
                true => self.op("Identity", name, &[xs], Vec::new()),
                false => self.op("Flatten", name, &[xs], vec![int("axis", 1)]),
            }
        } else if let Some(l) = info.layer_as::<Reshape>() {
            flat = false;
            let dims = [
                0,
                l.to.channels as i64,
                l.to.height as i64,
                l.to.width as i64,
            ];
            let shape = self.wholes(&format!("{name}.shape"), &dims);
            self.op("Reshape", name, &[xs, &shape], Vec::new())
        } else {
            let map = match x.flat {
                true => self.map(x, self.nodes[info.reads[0]].extent),
                false => x.clone(),
            };
            flat = false;
            match self.spatial(at, info, &map.name)? {
                Some(done) => done,
                None => return Ok(None),
            }
        };
        Ok(Some(Value { name: done, flat }))
    }

    /// A layer that moves, pools or joins the pixels of maps.
    fn spatial(&mut self, at: usize, info: &NodeInfo, x: &str) -> Result<Option<String>> {
        let name = info.name.as_str();
        Ok(Some(if info.layer_as::<GlobalAvgPool>().is_some() {
            self.op("GlobalAveragePool", name, &[x], Vec::new())
        } else if let Some(l) = info.layer_as::<AvgPool>() {
            let attributes = vec![
                ints("kernel_shape", &[l.kernel.0, l.kernel.1]),
                ints("strides", &[l.stride.0, l.stride.1]),
            ];
            self.op("AveragePool", name, &[x], attributes)
        } else if let Some(l) = info.layer_as::<MaxPool>() {
            let attributes = vec![
                ints("kernel_shape", &[l.kernel; 2]),
                ints("pads", &[l.padding; 4]),
                ints("strides", &[l.stride; 2]),
            ];
            self.op("MaxPool", name, &[x], attributes)
        } else if info.layer_as::<Concat>().is_some() {
            let mut names = vec![x.to_string()];
            for i in 1..info.reads.len() {
                names.push(self.input(at, i, Some(false)).name);
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.op("Concat", name, &names, vec![int("axis", 1)])
        } else if let Some(l) = info.layer_as::<PadChannels>() {
            let pads = [0, l.before as i64, 0, 0, 0, l.after as i64, 0, 0];
            let pads = self.wholes(&format!("{name}.pads"), &pads);
            self.op("Pad", name, &[x, &pads], vec![text("mode", "constant")])
        } else if let Some(l) = info.layer_as::<Slice>() {
            let starts = self.wholes(&format!("{name}.starts"), &[l.range.start as i64]);
            let ends = self.wholes(&format!("{name}.ends"), &[l.range.end as i64]);
            let axes = self.wholes("channel_axis", &[1]);
            self.op("Slice", name, &[x, &starts, &ends, &axes], Vec::new())
        } else if let Some(l) = info.layer_as::<PixelShuffle>() {
            let attributes = vec![int("blocksize", l.factor), text("mode", "CRD")];
            self.op("DepthToSpace", name, &[x], attributes)
        } else if let Some(l) = info.layer_as::<Upsample>() {
            let factor = l.0.factor() as f32;
            let scales = self.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, factor, factor]);
            let (mode, places) = match l.0 {
                upsample::Upsample::Nearest(_) => ("nearest", "asymmetric"),
                upsample::Upsample::Bilinear => ("linear", "half_pixel"),
                upsample::Upsample::BilinearAligned => ("linear", "align_corners"),
            };
            let attributes = vec![
                text("coordinate_transformation_mode", places),
                text("mode", mode),
                text("nearest_mode", "floor"),
            ];
            self.op("Resize", name, &[x, "", &scales], attributes)
        } else {
            return Ok(None);
        }))
    }
}
