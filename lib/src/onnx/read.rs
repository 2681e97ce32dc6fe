//! A graph that has been read: its constants as numbers, its attributes by name.

use std::collections::HashMap;
use std::path::Path;

use super::proto::{Attribute, Graph, Node, Tensor, data};
use crate::{Error, Result};

/// What a file that cannot be read asks for.
pub(super) const REMEDY: &str =
    "Export it again, or change the network so that it needs no such operator";

/// A constant of a graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub dims: Vec<usize>,
    pub values: Values,
    /// Whether its whole numbers are signed bytes.
    pub signed_bytes: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Floats(Vec<f32>),
    Wholes(Vec<i64>),
}

impl Constant {
    /// The numbers of a tensor; says what is wrong with it otherwise.
    pub fn of(tensor: &Tensor) -> Result<Constant, String> {
        let name = tensor.name.clone().unwrap_or_default();
        if !tensor.external_data.is_empty() {
            return Err(format!("keeps its constant {name:?} in another file"));
        }
        let dims: Option<Vec<usize>> = tensor
            .dims
            .iter()
            .map(|d| usize::try_from(*d).ok())
            .collect();
        let length = dims
            .as_ref()
            .and_then(|dims| dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
        let (Some(dims), Some(length)) = (dims, length) else {
            return Err(format!(
                "has a constant {name:?} of the dimensions {:?}",
                tensor.dims
            ));
        };
        let raw = tensor.raw_data.as_deref();
        let values = match tensor.data_type.unwrap_or_default() {
            data::FLOAT => Values::Floats(match raw {
                Some(raw) => raw
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect(),
                None => tensor.float_data.clone(),
            }),
            data::DOUBLE => Values::Floats(match raw {
                Some(raw) => raw
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f64::from_le_bytes(*b) as f32)
                    .collect(),
                None => tensor.double_data.iter().map(|v| *v as f32).collect(),
            }),
            data::INT64 => Values::Wholes(match raw {
                Some(raw) => raw
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| i64::from_le_bytes(*b))
                    .collect(),
                None => tensor.int64_data.clone(),
            }),
            kind @ (data::INT32 | data::INT8 | data::UINT8) => Values::Wholes(match (raw, kind) {
                (Some(raw), data::INT32) => {
                    let words = raw.as_chunks().0.iter();
                    words.map(|b| i64::from(i32::from_le_bytes(*b))).collect()
                }
                (Some(raw), data::INT8) => raw.iter().map(|b| i64::from(*b as i8)).collect(),
                (Some(raw), _) => raw.iter().map(|b| i64::from(*b)).collect(),
                (None, _) => tensor.int32_data.iter().map(|v| i64::from(*v)).collect(),
            }),
            kind => {
                return Err(format!(
                    "has a constant {name:?} of the type {kind}, which is not read"
                ));
            }
        };
        let found = match &values {
            Values::Floats(v) => v.len(),
            Values::Wholes(v) => v.len(),
        };
        match found == length {
            true => Ok(Constant {
                dims,
                values,
                signed_bytes: tensor.data_type == Some(data::INT8),
            }),
            false => Err(format!(
                "has a constant {name:?} of {found} numbers, its dimensions {dims:?} say {length}"
            )),
        }
    }

    pub fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::Floats(v) => Some(v),
            Values::Wholes(_) => None,
        }
    }

    pub fn wholes(&self) -> Option<&[i64]> {
        match &self.values {
            Values::Wholes(v) => Some(v),
            Values::Floats(_) => None,
        }
    }
}

/// A graph's nodes and constants.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub graph: Graph,
    pub constants: HashMap<String, Constant>,
}

impl<'a> Source<'a> {
    pub fn new(path: &'a Path, graph: Graph) -> Result<Self> {
        let mut source = Source {
            path,
            graph,
            constants: HashMap::new(),
        };
        for tensor in &source.graph.initializer {
            let constant = Constant::of(tensor).map_err(|why| source.refuse(why))?;
            let name = tensor.name.clone().unwrap_or_default();
            source.constants.insert(name, constant);
        }
        // Other programs also write constants as nodes.
        for node in &source.graph.node {
            if node.op_type.as_deref() != Some("Constant") {
                continue;
            }
            let tensor = node.attribute.iter().find_map(|a| a.t.as_ref());
            if let (Some(tensor), Some(output)) = (tensor, node.output.first()) {
                let constant = Constant::of(tensor).map_err(|why| source.refuse(why))?;
                source.constants.insert(output.clone(), constant);
            }
        }
        Ok(source)
    }

    pub fn refuse(&self, why: impl ToString) -> Error {
        Error::data(self.path, why, REMEDY)
    }
}

/// One operator, with what it says of itself.
#[derive(Clone, Copy)]
pub(super) struct Op<'a> {
    pub source: &'a Source<'a>,
    pub node: &'a Node,
}

impl<'a> Op<'a> {
    pub fn kind(self) -> &'a str {
        self.node.op_type.as_deref().unwrap_or_default()
    }

    /// Its name, or that of what it writes.
    pub fn name(self) -> &'a str {
        match self.node.name.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => self.node.output.first().map_or("", String::as_str),
        }
    }

    pub fn refuse(self, why: impl std::fmt::Display) -> Error {
        self.source
            .refuse(format!("node {:?} ({}) {why}", self.name(), self.kind()))
    }

    pub fn input(self, i: usize) -> Option<&'a str> {
        let name = self.node.input.get(i)?.as_str();
        (!name.is_empty()).then_some(name)
    }

    /// The constant that is its `i`-th input.
    pub fn constant(self, i: usize) -> Result<Option<&'a Constant>> {
        let Some(name) = self.input(i) else {
            return Ok(None);
        };
        match self.source.constants.get(name) {
            Some(found) => Ok(Some(found)),
            None => Err(self.refuse(format!(
                "computes its input {name:?}; here it must be a constant"
            ))),
        }
    }

    /// The numbers of a constant input that must be there.
    pub fn floats(self, i: usize) -> Result<&'a [f32]> {
        let found = self.constant(i)?.and_then(Constant::floats);
        found.ok_or_else(|| self.refuse(format!("lacks numbers as its input {i}")))
    }

    /// The one number of an input that may be missing.
    pub fn float(self, i: usize) -> Result<Option<f32>> {
        match self.constant(i)?.and_then(Constant::floats) {
            Some([one]) => Ok(Some(*one)),
            Some(many) => Err(self.refuse(format!(
                "has {} numbers as its input {i}, not one",
                many.len()
            ))),
            None => Ok(None),
        }
    }

    pub fn wholes(self, i: usize) -> Result<&'a [i64]> {
        let found = self.constant(i)?.and_then(Constant::wholes);
        found.ok_or_else(|| self.refuse(format!("lacks whole numbers as its input {i}")))
    }

    fn attribute(self, name: &str) -> Option<&'a Attribute> {
        let mut all = self.node.attribute.iter();
        all.find(|a| a.name.as_deref() == Some(name))
    }

    pub fn int(self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(otherwise)
    }

    pub fn real(self, name: &str, otherwise: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(otherwise)
    }

    pub fn text(self, name: &str, otherwise: &'a str) -> &'a str {
        let bytes = self.attribute(name).and_then(|a| a.s.as_deref());
        bytes
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or(otherwise)
    }

    /// Lengths that an attribute lists.
    pub fn lengths(self, name: &str) -> Result<Vec<usize>> {
        let all = self.attribute(name).map_or(&[][..], |a| &a.ints);
        let all = all
            .iter()
            .map(|v| usize::try_from(*v).map_err(|_| self.refuse(format!("has {name} below 0"))));
        all.collect()
    }

    /// The one length that all entries of an attribute are.
    pub fn alike(self, name: &str, otherwise: usize) -> Result<usize> {
        let all = self.lengths(name)?;
        match all.first() {
            None => Ok(otherwise),
            Some(first) if all.iter().all(|v| v == first) => Ok(*first),
            Some(_) => Err(self.refuse(format!("has {name} {all:?}; here they must be alike"))),
        }
    }
}
