//! Optimisers: what they own, which rule moves which of it.

use std::collections::{HashMap, HashSet};

use super::leaf::Leaf;
use super::rules::{Adam, Rule, RuleStep, Sgd, finite};
use crate::nn::{Net, Param, Role, StateTensor};
use crate::ops::tape::zeros;
use crate::{Buffer, Error, Grads, HostAccess, Result};

/// The kind of a state tensor that is no average.
const VALUE: &str = "value";

/// Moves what it owns by the gradients of a loss.
pub trait Optimiser {
    /// One update from the gradients that a loss's `backward` found; quantisers of weights have their say after it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a parameter that no group takes; when the device refuses.
    fn step(&mut self, grads: &mut Grads) -> Result<()>;

    /// A factor of all learning rates from the next step on: the schedule's.
    fn set_factor(&mut self, factor: f32);

    /// Everything that a checkpoint must hold: the numbers of what is owned, and those of the rules.
    ///
    /// # Errors
    /// When the device refuses.
    fn state(&self) -> Result<Vec<StateTensor>>;

    /// Takes the state of a checkpoint back; says which of it does not fit.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tensor that is not of this optimiser.
    fn restore(&mut self, state: &[StateTensor]) -> Result<()>;

    /// Whether [`state`](Self::state) holds the numbers of this network; if not, the trainer keeps them itself.
    fn owns(&self, _net: &Net) -> bool {
        false
    }
}

/// Something an optimiser may own.
#[derive(Clone)]
pub enum Owned {
    /// Every trainable parameter of a network, those added later included.
    Net(Net),
    /// A lone tensor.
    Leaf(Leaf),
}

impl From<&Net> for Owned {
    fn from(net: &Net) -> Self {
        Owned::Net(net.clone())
    }
}

impl From<&Leaf> for Owned {
    fn from(leaf: &Leaf) -> Self {
        Owned::Leaf(leaf.clone())
    }
}

/// Says of a parameter, by name and role, whether a group takes it.
pub type Picks = Box<dyn Fn(&str, Role) -> bool + Send>;

/// Which parameters a group takes.
pub enum Select {
    /// Those of a role.
    Role(Role),
    /// Those of which this is true, by name and role.
    Where(Picks),
    /// All that no other group takes.
    Rest,
}

impl From<Role> for Select {
    fn from(role: Role) -> Self {
        Select::Role(role)
    }
}

impl<F: Fn(&str, Role) -> bool + Send + 'static> From<F> for Select {
    fn from(f: F) -> Self {
        Select::Where(Box::new(f))
    }
}

impl Select {
    fn takes(&self, name: &str, role: Role) -> bool {
        match self {
            Select::Role(wanted) => *wanted == role,
            Select::Where(f) => f(name, role),
            Select::Rest => true,
        }
    }
}

/// An optimiser of groups, each with its rule.
pub struct Groups {
    /// The first that takes a parameter moves it; the last takes the rest.
    rules: Vec<(Select, Box<dyn Rule>)>,
    owned: Vec<Ownership>,
    steps: i32,
    factor: f32,
}

struct Ownership {
    of: Owned,
    /// By parameter: its rule and that rule's averages; `None` for one that is not trained.
    state: Vec<Option<State>>,
}

struct State {
    rule: usize,
    averages: Vec<Buffer>,
}

macro_rules! starts_groups {
    ($rule:ty) => {
        impl $rule {
            /// An optimiser by this rule that owns a network or a lone tensor.
            ///
            /// # Errors
            /// When memory cannot be had.
            pub fn over(self, owned: impl Into<Owned>) -> Result<Groups> {
                Groups::new(self).over(owned)
            }
        }
    };
}
starts_groups!(Sgd);
starts_groups!(Adam);

impl Groups {
    /// An optimiser that owns nothing yet.
    pub fn new(rule: impl Rule) -> Self {
        Groups {
            rules: vec![(Select::Rest, Box::new(rule))],
            owned: Vec::new(),
            steps: 0,
            factor: 1.0,
        }
    }

    /// Owns a further network or lone tensor.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that it owns already.
    pub fn over(mut self, owned: impl Into<Owned>) -> Result<Self> {
        let of = owned.into();
        let twice = self.owned.iter().any(|o| match (&o.of, &of) {
            (Owned::Net(a), Owned::Net(b)) => a.is_same(b),
            (Owned::Leaf(a), Owned::Leaf(b)) => a.is_same(b),
            _ => false,
        });
        if twice {
            let why = "is owned already: every tensor is moved once a step";
            return Err(Error::invalid("this network or tensor", why));
        }
        let state = Vec::new();
        self.owned.push(Ownership { of, state });
        Ok(self)
    }

    /// Moves the parameters of a role (or those that a function of name and role picks) by a rule of their own. Lone
    /// tensors have the role [`Role::Weight`].
    pub fn group(mut self, select: impl Into<Select>, rule: impl Rule) -> Self {
        let last = self.rules.len() - 1;
        self.rules.insert(last, (select.into(), Box::new(rule)));
        // Averages of rules that were chosen before do not fit the new order.
        self.owned.iter_mut().for_each(|o| o.state.clear());
        self
    }

    /// Updates made so far.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// The averages of a parameter that has none yet.
    fn fresh(rules: &[(Select, Box<dyn Rule>)], param: &Param) -> Result<Option<State>> {
        if !param.is_trainable() {
            return Ok(None);
        }
        let takes = |(select, _): &(Select, Box<dyn Rule>)| select.takes(&param.name, param.role);
        let rule = rules.iter().position(takes).unwrap_or(rules.len() - 1);
        let averages = rules[rule].1.averages().iter();
        Ok(Some(State {
            rule,
            averages: averages
                .map(|_| zeros(param.len()))
                .collect::<Result<_>>()?,
        }))
    }
}

impl Ownership {
    /// Averages for what has come to be owned since.
    fn grow(&mut self, rules: &[(Select, Box<dyn Rule>)]) -> Result<()> {
        match &self.of {
            Owned::Net(net) => {
                let inner = net.lock();
                for id in self.state.len()..inner.params.len() {
                    let fresh = Groups::fresh(rules, inner.params.describe(id))?;
                    self.state.push(fresh);
                }
            }
            Owned::Leaf(leaf) if self.state.is_empty() => {
                let takes = |(s, _): &(Select, Box<dyn Rule>)| s.takes(&leaf.name(), Role::Weight);
                let rule = rules.iter().position(takes).unwrap_or(rules.len() - 1);
                let averages = rules[rule].1.averages().iter();
                self.state.push(Some(State {
                    rule,
                    averages: averages.map(|_| leaf.zeros_like()).collect::<Result<_>>()?,
                }));
            }
            Owned::Leaf(_) => {}
        }
        Ok(())
    }

    /// Names of what is owned, in the order of `state`.
    fn names(&self) -> Vec<String> {
        match &self.of {
            Owned::Net(net) => {
                let inner = net.lock();
                let ids = 0..inner.params.len();
                ids.map(|id| inner.params.describe(id).name.clone())
                    .collect()
            }
            Owned::Leaf(leaf) => vec![leaf.name()],
        }
    }
}

impl Optimiser for Groups {
    fn step(&mut self, grads: &mut Grads) -> Result<()> {
        finite("factor of the learning rate", self.factor)?;
        self.rules.iter().try_for_each(|(_, rule)| rule.check())?;
        self.steps += 1;
        let step = RuleStep {
            number: self.steps,
            factor: self.factor,
        };
        for owned in &mut self.owned {
            owned.grow(&self.rules)?;
            let Ownership { of, state } = owned;
            match of {
                Owned::Leaf(leaf) => {
                    for State { rule, averages } in state.iter_mut().flatten() {
                        let rule = &self.rules[*rule].1;
                        leaf.update(grads, |w, g| rule.update(step, w, averages, g))?;
                    }
                }
                Owned::Net(net) => {
                    let mut inner = net.lock();
                    for (id, state) in state.iter_mut().enumerate() {
                        let Some(State { rule, averages }) = state else {
                            continue;
                        };
                        let (w, g) = inner.params.with_gradient(id, grads)?;
                        self.rules[*rule].1.update(step, w, averages, g)?;
                    }
                    for (node, weight) in inner.acting_weights() {
                        let state = state.get_mut(weight).and_then(Option::as_mut);
                        let averages = state.into_iter().flat_map(|s| &mut s.averages);
                        let mut averages: Vec<&mut Buffer> = averages.collect();
                        inner.after_step((node, weight), &mut averages)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn set_factor(&mut self, factor: f32) {
        self.factor = factor;
    }

    fn state(&self) -> Result<Vec<StateTensor>> {
        let mut found = Vec::new();
        for (i, owned) in self.owned.iter().enumerate() {
            let mut put = |kind: &str, name: &str, dims: Vec<usize>, values: Vec<f32>| {
                found.push((format!("{i}.{kind}.{name}"), dims, values));
            };
            match &owned.of {
                Owned::Net(net) => net
                    .state()?
                    .into_iter()
                    .for_each(|(name, dims, values)| put(VALUE, &name, dims, values)),
                Owned::Leaf(leaf) => {
                    let values = leaf.to_vec();
                    put(VALUE, &leaf.name(), vec![values.len()], values);
                }
            }
            for (name, state) in owned.names().iter().zip(&owned.state) {
                let Some(State { rule, averages }) = state else {
                    continue;
                };
                let kinds = self.rules[*rule].1.averages();
                for (kind, average) in kinds.iter().zip(averages) {
                    let values = average.view()?.into_owned();
                    put(kind, name, vec![values.len()], values);
                }
            }
        }
        found.push((
            "steps".into(),
            vec![1],
            vec![f32::from_bits(self.steps as u32)],
        ));
        Ok(found)
    }

    fn restore(&mut self, state: &[StateTensor]) -> Result<()> {
        let by_name: HashMap<&str, &StateTensor> =
            state.iter().map(|t| (t.0.as_str(), t)).collect();
        let missing = |name: &str, kind: &str| {
            Error::invalid(
                format!("optimiser state of {name:?}"),
                format!("the checkpoint has no {kind} that fits"),
            )
        };
        for (i, owned) in self.owned.iter_mut().enumerate() {
            match &owned.of {
                Owned::Net(net) => {
                    let prefix = format!("{i}.{VALUE}.");
                    let own = state.iter().filter_map(|(name, dims, values)| {
                        let name = name.strip_prefix(&prefix)?;
                        Some((name.to_string(), dims.clone(), values.clone()))
                    });
                    net.restore(&own.collect::<Vec<_>>())?;
                }
                Owned::Leaf(leaf) => {
                    let name = leaf.name();
                    let found = by_name.get(format!("{i}.{VALUE}.{name}").as_str());
                    let (_, _, values) = found.ok_or_else(|| missing(&name, VALUE))?;
                    leaf.set(values)?;
                }
            }
            owned.state.clear();
            owned.grow(&self.rules)?;
            // What has not been through a step when the state was made has no averages in it.
            let begun = averaged(&by_name, i);
            let names = owned.names();
            for (name, slot) in names.iter().zip(&mut owned.state) {
                let Some(State { rule, averages }) = slot else {
                    continue;
                };
                if !begun.contains(name.as_str()) {
                    continue;
                }
                for (kind, average) in self.rules[*rule].1.averages().iter().zip(averages) {
                    match by_name.get(format!("{i}.{kind}.{name}").as_str()) {
                        Some((_, _, values)) if values.len() == average.elements() => {
                            average.write(values)?;
                        }
                        _ => return Err(missing(name, kind)),
                    }
                }
            }
        }
        let steps = by_name.get("steps").and_then(|(_, _, steps)| steps.first());
        self.steps = steps.map_or(0, |s| s.to_bits() as i32);
        Ok(())
    }

    fn owns(&self, net: &Net) -> bool {
        let mut owned = self.owned.iter();
        owned.any(|o| matches!(&o.of, Owned::Net(of) if of.is_same(net)))
    }
}

/// Names of what has averages in a state, of owner `i`.
fn averaged<'a>(state: &HashMap<&'a str, &StateTensor>, i: usize) -> HashSet<&'a str> {
    let prefix = format!("{i}.");
    let names = state.keys().filter_map(|key| {
        let (kind, name) = key.strip_prefix(prefix.as_str())?.split_once('.')?;
        (kind != VALUE).then_some(name)
    });
    names.collect()
}
