//! Sites: named places in a network where a paper may put an activation quantiser of its own.

use std::any::Any;
use std::borrow::Cow;

use super::net::{Inner, Net};
use super::param::{Param, ParamId};
use super::{Mode, graph::NodeId, graph::Op};
use crate::{Buffer, Error, HostAccess, Result};

/// What a quantiser keeps from its forward pass for its backward pass.
pub(crate) type Memo = Box<dyn Any + Send>;

/// The batch that a site sees; buffers are `(batch, pixels, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SiteBatch {
    pub batch: usize,
    pub pixels: usize,
    pub channels: usize,
    pub mode: Mode,
}

/// The network's parameters, lent to a site's quantiser.
pub(crate) struct SiteParams<'a> {
    stale: &'a mut [bool],
    values: &'a mut [Buffer],
    grads: &'a mut [Buffer],
}

impl SiteParams<'_> {
    pub fn values(&self, id: ParamId) -> Result<Cow<'_, [f32]>> {
        self.values[id].view()
    }

    /// Replaces a parameter's numbers, of the same length.
    pub fn set(&mut self, id: ParamId, values: &[f32]) -> Result<()> {
        self.stale[id] = true;
        self.values[id].write(values)
    }

    pub fn set_grad(&mut self, id: ParamId, values: &[f32]) -> Result<()> {
        self.grads[id].write(values)
    }
}

/// An activation quantiser with its own parameters and gradient.
pub(crate) trait SiteQuantiser: Send {
    /// `y = quantised x`.
    fn forward(
        &mut self,
        x: &Buffer,
        at: SiteBatch,
        params: &mut SiteParams,
        y: &mut Buffer,
    ) -> Result<Memo>;

    /// The gradient of `x`, added to `dx` with `accumulate`; those of parameters go through
    /// [`SiteParams::set_grad`].
    #[allow(clippy::too_many_arguments)]
    fn backward(
        &mut self,
        x: &Buffer,
        at: SiteBatch,
        memo: &Memo,
        dy: &Buffer,
        params: &mut SiteParams,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()>;
}

/// A site of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteInfo {
    pub node: NodeId,
    pub name: String,
    pub channels: usize,
}

impl Net {
    /// The network's sites in the order they run.
    pub(crate) fn sites(&self) -> Vec<SiteInfo> {
        let inner = self.lock();
        let nodes = inner.nodes.iter().enumerate();
        let sites = nodes.filter(|(_, n)| matches!(n.op, Op::Site));
        sites
            .map(|(node, n)| SiteInfo {
                node,
                name: n.name.clone(),
                channels: n.extent[2],
            })
            .collect()
    }

    /// Puts a quantiser at a site; `make` gets the indices of its new parameters.
    pub(crate) fn attach(
        &self,
        site: &SiteInfo,
        params: Vec<Param>,
        make: impl FnOnce(&[ParamId]) -> Box<dyn SiteQuantiser>,
    ) -> Result<()> {
        let mut inner = self.lock();
        if inner.sites[site.node].is_some() {
            return Err(Error::invalid(
                format!("site {}", site.name),
                "has a quantiser already; build the network anew",
            ));
        }
        let ids: Vec<ParamId> = params.into_iter().map(|p| inner.add_param(p)).collect();
        inner.sites[site.node] = Some(make(&ids));
        Ok(())
    }
}

impl Inner {
    pub(super) fn forward_site(
        &mut self,
        node: NodeId,
        x: &Buffer,
        at: SiteBatch,
        y: &mut Buffer,
    ) -> Result<Option<Memo>> {
        let Some(mut site) = self.sites[node].take() else {
            y.copy_from(x)?;
            return Ok(None);
        };
        let memo = site.forward(x, at, &mut self.lend(), y);
        self.sites[node] = Some(site);
        memo.map(Some)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward_site(
        &mut self,
        node: NodeId,
        x: &Buffer,
        at: SiteBatch,
        memo: &Memo,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let Some(mut site) = self.sites[node].take() else {
            return Err(Error::invalid(
                "site",
                "lost its quantiser between the passes",
            ));
        };
        let done = site.backward(x, at, memo, dy, &mut self.lend(), dx, accumulate);
        self.sites[node] = Some(site);
        done
    }

    /// The parameters alone, beside which a quantiser can be borrowed.
    pub fn lend(&mut self) -> SiteParams<'_> {
        SiteParams {
            stale: &mut self.stale,
            values: &mut self.values,
            grads: &mut self.grads,
        }
    }
}
