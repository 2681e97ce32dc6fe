//! The parameters of one network: their numbers on the device, and the tensors that stand for them on a tape.

use std::borrow::Cow;
use std::collections::HashSet;

use super::graph::near;
use super::param::{Param, ParamId};
use crate::ops::relu::ActivationKernel;
use crate::ops::tape::zeros;
use crate::{Buffer, Error, Grads, HostAccess, Result, dev};

/// The parameters of a network, lent to its layers and quantisers while it runs.
#[derive(Default)]
pub struct Params {
    /// Names, roles and tensors; a tensor is brought up to date when somebody asks for it.
    described: Vec<Param>,
    /// What kernels read and optimisers move.
    values: Vec<Buffer>,
    /// Parameters whose numbers moved since their tensor was written.
    stale: Vec<bool>,
    names: HashSet<String>,
}

impl Params {
    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A parameter's numbers on the device, for kernels.
    pub fn value(&self, id: ParamId) -> &Buffer {
        &self.values[id]
    }

    /// A parameter's numbers on the host: borrowed on the CPU, copied from a GPU.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver refuses.
    pub fn view(&self, id: ParamId) -> Result<Cow<'_, [f32]>> {
        self.values[id].view()
    }

    /// The first number of a parameter.
    ///
    /// # Errors
    /// As [`view`](Self::view); [`Error::Invalid`] for a parameter without numbers.
    pub fn one(&self, id: ParamId) -> Result<f32> {
        let first = self.view(id)?.first().copied();
        first.ok_or_else(|| Error::invalid(&self.described[id].name, "has no number"))
    }

    /// A parameter's numbers, to be changed.
    pub fn change(&mut self, id: ParamId) -> &mut Buffer {
        self.stale[id] = true;
        &mut self.values[id]
    }

    /// Replaces a parameter's numbers by as many others.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number.
    pub fn set(&mut self, id: ParamId, values: &[f32]) -> Result<()> {
        self.change(id).write(values)
    }

    /// Name, dimensions and role; the tensor may be out of date.
    pub fn describe(&self, id: ParamId) -> &Param {
        &self.described[id]
    }

    /// Adds `gradient` to what a backward pass has collected for the parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements.
    pub fn add_gradient(&self, grads: &mut Grads, id: ParamId, gradient: &Buffer) -> Result<()> {
        let sum = grads.get_or_alloc_mut(&self.described[id].value)?;
        if sum.elements() != gradient.elements() {
            return Err(Error::shape(
                "gradient",
                format!("{} numbers for {}", sum.elements(), self.described[id].name),
                gradient.elements(),
            ));
        }
        dev().accumulate(gradient, sum)
    }

    /// A parameter's numbers, to be moved by the gradient that a loss found for it.
    pub(crate) fn with_gradient<'a>(
        &'a mut self,
        id: ParamId,
        grads: &'a mut Grads,
    ) -> Result<(&'a mut Buffer, &'a Buffer)> {
        self.stale[id] = true;
        let gradient = grads.get_or_alloc_mut(&self.described[id].value)?;
        Ok((&mut self.values[id], gradient))
    }

    pub(crate) fn add(&mut self, param: Param) -> Result<ParamId> {
        if !self.names.insert(param.name.clone()) {
            return Err(taken(&param.name));
        }
        let mut value = zeros(param.len())?;
        value.write(&param.to_vec())?;
        self.values.push(value);
        self.stale.push(false);
        self.described.push(param);
        Ok(self.values.len() - 1)
    }

    /// Adds all of them, or none where one has a name that there is already.
    pub(crate) fn add_all(&mut self, params: Vec<Param>) -> Result<Vec<ParamId>> {
        match params.iter().find(|p| self.names.contains(&p.name)) {
            Some(param) => Err(taken(&param.name)),
            None => params.into_iter().map(|p| self.add(p)).collect(),
        }
    }

    /// Every parameter, with its numbers.
    pub(crate) fn all(&mut self) -> Result<&[Param]> {
        for (id, stale) in self.stale.iter_mut().enumerate() {
            if std::mem::take(stale) {
                self.described[id].value.copy_from(&self.values[id].view()?);
            }
        }
        Ok(&self.described)
    }

    /// The parameter of this name.
    pub(crate) fn find(&self, name: &str) -> Result<ParamId> {
        let found = self.described.iter().position(|p| p.name == name);
        found.ok_or_else(|| {
            let names = self.described.iter().map(|p| p.name.as_str());
            Error::invalid(
                format!("parameter {name:?}"),
                format!("is not in the network; {}", near(name, names)),
            )
        })
    }

    /// The same numbers under tensors of their own.
    pub(crate) fn duplicate(&self) -> Result<Params> {
        let mut copy = Params::default();
        for (param, value) in self.described.iter().zip(&self.values) {
            let values = value.view()?.into_owned();
            copy.add(Param::new(
                param.name.clone(),
                param.dims.clone(),
                param.role,
                values,
            )?)?;
        }
        Ok(copy)
    }
}

fn taken(name: &str) -> Error {
    let what = format!("parameter name {name:?}");
    Error::invalid(what, "used twice; give each layer its own name")
}
