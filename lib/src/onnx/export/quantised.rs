//! Activations and weights on levels: in their own units, or as whole numbers.

use super::{Export, Value, int, refuse};
use crate::Result;
use crate::integer::{Row, Weights};
use crate::nn::{NodeInfo, Operand, Param};
use crate::onnx::proto::data;
use crate::ops::affine_quant::AffineGrid;

/// Bits of a layer's weights, and of the inputs of all layers, from which programs run the layer in integers: they store its
/// bias in units of the sums. Where steps are fewer that unit is a visible part of one: the rounded bias of an 8-bit first
/// layer alone moves 0.8 of its 16,384 outputs to another 4-bit level, these 40 of those of the fifth layer, and at the end
/// the answer to 1.5 % of pictures (ResNet-20, 1,000 test images).
const WHOLE_BIAS: u32 = 7;

/// What the levels of a layer's input and weight stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// Their numbers, `(q + z) / s`: programs make `QLinearConv` of it.
    Numbers,
    /// The whole numbers `q + z`; scale and bias come behind the sum, which is then exact in floating point too.
    Wholes,
}

/// Values that have been put on levels: of which, on which grid, as what, and the name of the result.
pub(super) type OnLevels = (String, AffineGrid, Form, String);

/// A weight as bytes.
struct Container {
    kind: i32,
    raw: Vec<u8>,
    /// Zero points of the rows where they are not 0.
    zeros: Option<Vec<u8>>,
}

impl Container {
    /// The smallest that holds all rows: signed bytes, bytes with a zero point a row, words.
    fn of(rows: &[Row]) -> Container {
        let values = || rows.iter().flat_map(|r| &r.values).copied();
        if values().all(|v| i8::try_from(v).is_ok()) {
            return Container {
                kind: data::INT8,
                raw: values().map(|v| v as i8 as u8).collect(),
                zeros: None,
            };
        }
        let zeros: Option<Vec<u8>> = match common_zero(rows) {
            Some(zero) => Some(vec![zero; rows.len()]),
            None => rows.iter().map(|r| zero_of(span(&r.values))).collect(),
        };
        match zeros {
            Some(zeros) => Container {
                kind: data::UINT8,
                raw: rows
                    .iter()
                    .zip(&zeros)
                    .flat_map(|(r, z)| r.values.iter().map(|v| (v + i64::from(*z)) as u8))
                    .collect(),
                zeros: Some(zeros),
            },
            None => Container {
                kind: data::INT32,
                raw: values().flat_map(|v| (v as i32).to_le_bytes()).collect(),
                zeros: None,
            },
        }
    }
}

fn span(values: &[i64]) -> (i64, i64) {
    let ends = values.iter().copied();
    (ends.clone().min().unwrap_or(0), ends.max().unwrap_or(0))
}

/// The zero point with which a byte holds all numbers of a span.
fn zero_of((lowest, highest): (i64, i64)) -> Option<u8> {
    let zero = (-lowest).max(0);
    let fits = highest + zero <= 255;
    u8::try_from(zero).ok().filter(|_| fits)
}

/// The zero point that all rows can have.
fn common_zero(rows: &[Row]) -> Option<u8> {
    let spans = rows.iter().map(|r| span(&r.values));
    zero_of(spans.fold((0, 0), |a, b| (a.0.min(b.0), a.1.max(b.1))))
}

/// Units of rows; a row of zeros has any.
fn units(rows: &[Row]) -> Vec<f64> {
    let units = rows.iter().map(|r| r.unit);
    units.map(|u| if u == 0.0 { 1.0 } else { u }).collect()
}

/// A bias in units of the sums, and these units, where 32 bits hold it.
fn whole_bias(found: &Weights, rows: &[Row], grid: AffineGrid) -> Option<(Vec<i32>, Vec<f32>)> {
    let units = units(rows);
    let units = units
        .iter()
        .map(|u| f64::from(*u as f32) / f64::from(grid.scale));
    let units: Vec<f64> = units.collect();
    let pairs = found.bias.iter().zip(&units);
    let sums = pairs.map(|(b, u)| (f64::from(*b) / u).round_ties_even());
    let sums: Vec<f64> = sums.collect();
    let fits = sums.iter().all(|s| s.abs() <= f64::from(i32::MAX))
        && units.iter().all(|u| (*u as f32).is_normal());
    fits.then(|| {
        let whole = sums.iter().map(|s| *s as i32).collect();
        (whole, units.iter().map(|u| *u as f32).collect())
    })
}

impl Export {
    /// How a layer with a weight on levels is written that reads `input`: as numbers where other programs run that in
    /// integers, which want one zero point for all rows.
    pub(super) fn form(&self, found: &Weights, input: Option<AffineGrid>) -> Form {
        let Some(grid) = input else {
            return Form::Numbers;
        };
        let rows = found.rows();
        let mut inputs = self
            .quantisers
            .iter()
            .filter(|q| q.operand == Operand::Input);
        let in_integers = found.bits >= WHOLE_BIAS
            && inputs.all(|q| q.bits >= WHOLE_BIAS)
            && common_zero(&rows).is_some()
            && whole_bias(found, &rows, grid).is_some();
        match in_integers {
            true => Form::Numbers,
            false => Form::Wholes,
        }
    }

    /// A value on the levels of a grid.
    pub(super) fn levels(
        &mut self,
        node: &NodeInfo,
        value: &Value,
        grid: AffineGrid,
        form: Form,
    ) -> Result<Value> {
        let same = |(of, g, f, _): &&OnLevels| *of == value.name && *g == grid && *f == form;
        if let Some((.., name)) = self.on_levels.iter().find(same) {
            return Ok(Value {
                name: name.clone(),
                flat: value.flat,
            });
        }
        // 0 is the level `zero - lowest` steps above the lowest one.
        let zero = -(grid.zero + grid.lowest);
        if !(0.0..=255.0).contains(&zero) {
            return refuse(
                node,
                format!(
                    "reads its input on a range without 0 (zero point {zero}), which has no ONNX form; widen it to hold 0 \
                     (Bounds::with_zero)"
                ),
            );
        }
        let name = format!("{}.levels{}", value.name, self.on_levels.len());
        let zero = self.constant(&format!("{name}.zero"), &[], data::UINT8, vec![zero as u8]);
        let at = |q: f32| (q + grid.zero) / grid.scale;
        // What is clipped, to what, and the scale and zero point of its rounding.
        let (x, ends, scale, lowest) = match form {
            Form::Numbers => {
                let scale = self.floats(&format!("{name}.scale"), &[], &[1.0 / grid.scale]);
                let ends = (at(grid.lowest), at(grid.highest));
                (value.name.clone(), ends, scale, zero.clone())
            }
            Form::Wholes => {
                let steps = self.floats(&format!("{name}.steps"), &[], &[grid.scale]);
                let shift = self.floats(&format!("{name}.shift"), &[], &[grid.zero]);
                let x = [&value.name, &steps].map(String::as_str);
                let x = self.op("Mul", &format!("{name}.scaled"), &x, Vec::new());
                let x = [x.as_str(), &shift];
                let x = self.op("Sub", &format!("{name}.shifted"), &x, Vec::new());
                let lowest = vec![-grid.lowest as u8];
                let lowest = self.constant(&format!("{name}.count"), &[], data::UINT8, lowest);
                let one = self.floats("levels.one", &[], &[1.0]);
                (x, (grid.lowest, grid.highest), one, lowest)
            }
        };
        let least = self.floats(&format!("{name}.lowest"), &[], &[ends.0]);
        let most = self.floats(&format!("{name}.highest"), &[], &[ends.1]);
        let clip = format!("{name}.clip");
        let clipped = self.op("Clip", &clip, &[&x, &least, &most], Vec::new());
        let whole = format!("{name}.quantised");
        let inputs = [clipped.as_str(), &scale, &lowest];
        let whole = self.op("QuantizeLinear", &whole, &inputs, Vec::new());
        let inputs = [whole.as_str(), &scale, &zero];
        let name = self.op("DequantizeLinear", &name, &inputs, Vec::new());
        let entry = (value.name.clone(), grid, form, name.clone());
        self.on_levels.push(entry);
        Ok(Value {
            name,
            flat: value.flat,
        })
    }

    /// A weight as what its form says.
    pub(super) fn weight_levels(&mut self, param: &Param, found: &Weights, form: Form) -> String {
        let rows = found.rows();
        let held = Container::of(&rows);
        let name = &param.name;
        let whole = self.constant(&format!("{name}.whole"), &param.dims, held.kind, held.raw);
        let scales = match form {
            Form::Numbers => units(&rows).iter().map(|u| *u as f32).collect(),
            Form::Wholes => vec![1.0; rows.len()],
        };
        let scale = self.floats(&format!("{name}.scale"), &[rows.len()], &scales);
        let mut inputs = vec![whole, scale];
        if let Some(zeros) = held.zeros {
            let zero = format!("{name}.zero");
            inputs.push(self.constant(&zero, &[rows.len()], data::UINT8, zeros));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.op("DequantizeLinear", name, &inputs, vec![int("axis", 0)])
    }

    /// The bias of a layer whose levels stand for numbers: in units of its sums where there are such.
    pub(super) fn bias_levels(
        &mut self,
        layer: &str,
        found: &Weights,
        input: Option<AffineGrid>,
    ) -> String {
        let bias = format!("{layer}.bias");
        let length = [found.bias.len()];
        let whole = input.and_then(|grid| whole_bias(found, &found.rows(), grid));
        let Some((sums, units)) = whole else {
            return self.floats(&bias, &length, &found.bias);
        };
        let raw = sums.iter().flat_map(|s| s.to_le_bytes()).collect();
        let whole = self.constant(&format!("{bias}.whole"), &length, data::INT32, raw);
        let scale = self.floats(&format!("{bias}.scale"), &length, &units);
        let inputs = [whole.as_str(), &scale];
        self.op("DequantizeLinear", &bias, &inputs, vec![int("axis", 0)])
    }

    /// Sums of whole numbers as the layer's numbers: `sum * scale + bias`, by channel.
    pub(super) fn scaled(
        &mut self,
        info: &NodeInfo,
        sums: &Value,
        (found, grid): (&Weights, AffineGrid),
        biased: bool,
    ) -> String {
        let rows = found.rows();
        // As `IntegerNet` computes it.
        let scales = units(&rows).into_iter();
        let scales: Vec<f32> = scales.map(|u| (u / f64::from(grid.scale)) as f32).collect();
        let dims = [scales.len(), 1, 1];
        let dims = if sums.flat { &dims[..1] } else { &dims[..] };
        let layer = &info.name;
        let scale = self.floats(&format!("{layer}.scale"), dims, &scales);
        let name = match biased {
            true => format!("{layer}.scaled"),
            false => layer.clone(),
        };
        let y = self.op("Mul", &name, &[&sums.name, &scale], Vec::new());
        if !biased {
            return y;
        }
        let bias = self.floats(&format!("{layer}.bias"), dims, &found.bias);
        self.op("Add", layer, &[&y, &bias], Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[&[i64]]) -> Vec<Row> {
        let row = |values: &&[i64]| Row {
            values: values.to_vec(),
            unit: 0.5,
        };
        values.iter().map(row).collect()
    }

    #[test]
    fn literal_containers() {
        let of = |values: &[&[i64]]| {
            let held = Container::of(&rows(values));
            (held.kind, held.raw, held.zeros)
        };
        // Signed bytes where they are enough.
        let bytes = of(&[&[-128, 3], &[127, 0]]);
        assert_eq!(bytes, (data::INT8, vec![128, 3, 127, 0], None));
        // One zero point for all rows where there is one.
        let common = of(&[&[-10, 200], &[-55, 7]]);
        assert_eq!(
            common,
            (data::UINT8, vec![45, 255, 0, 62], Some(vec![55, 55]))
        );
        // Otherwise each row's own: -200 to 55 and 0 to 255 are 456 numbers.
        let own = of(&[&[-200, 55], &[0, 255]]);
        assert_eq!(own, (data::UINT8, vec![0, 255, 0, 255], Some(vec![200, 0])));
        // A row far from 0.
        let (kind, raw, zeros) = of(&[&[300, 310]]);
        assert_eq!((kind, zeros), (data::INT32, None));
        assert_eq!(raw, [44, 1, 0, 0, 54, 1, 0, 0]);
    }

    #[test]
    fn a_zero_point_holds_the_whole_span_and_0() {
        assert_eq!(zero_of((-255, 0)), Some(255));
        assert_eq!(zero_of((0, 255)), Some(0));
        assert_eq!(zero_of((5, 255)), Some(0));
        assert_eq!((zero_of((-256, 0)), zero_of((-1, 255))), (None, None));
    }
}
