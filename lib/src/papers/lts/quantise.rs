//! LTS's quantisers put on a network.

use std::sync::{Arc, Mutex};

use super::criterion::{BuiltIn, Criterion};
use super::layer::{Freezing, LtsLayer, Noted, lock};
use super::observer::Lts;
use super::shadow::Shadow;
use super::{LtsConfig, Selection};
use crate::nn::{LayerInfo, Net, Slots};
use crate::ops::lts_weight::LtsState;
use crate::{Result, dev};

/// Rules that a run without freezing follows as shadows; the first is the method.
const RULES: [Selection; 3] = [Selection::Nearest, Selection::Random, Selection::Farthest];

/// Gives every layer of `net` an LTS quantiser and returns what steers them.
///
/// Bounds are set from the first training batch (three standard deviations), as in the authors' code.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for settings out of range or a network that is quantised already.
pub fn quantise(net: &Net, config: LtsConfig) -> Result<Lts> {
    attach(net, config, |index| match config.selection {
        Selection::Nearest => None,
        rule => {
            let seed = config.seed ^ (index << 32);
            Some(Box::new(BuiltIn { rule, seed }))
        }
    })
}

/// [`quantise`] with a [`Criterion`] of one's own in the place of [`LtsConfig::selection`]: `criterion` makes one for each
/// layer that may freeze, by its name.
///
/// # Errors
/// As [`quantise`].
pub fn quantise_by(
    net: &Net,
    config: LtsConfig,
    mut criterion: impl FnMut(&str) -> Box<dyn Criterion>,
) -> Result<Lts> {
    let names: Vec<String> = freezing(net, &config).map(|l| l.name).collect();
    attach(net, config, |index| Some(criterion(&names[index as usize])))
}

/// The layers whose weights may freeze.
fn freezing<'a>(net: &Net, config: &'a LtsConfig) -> impl Iterator<Item = LayerInfo> + use<'a> {
    let layers = net.layers().into_iter();
    layers.filter(|l| config.freezes(l.place))
}

/// Quantises; `criterion` makes that of a layer by its index, none for the method's own rule.
fn attach(
    net: &Net,
    config: LtsConfig,
    mut criterion: impl FnMut(u64) -> Option<Box<dyn Criterion>>,
) -> Result<Lts> {
    config.check()?;
    let infos = net.layers();
    let mut layers: Vec<Arc<Mutex<LtsLayer>>> = Vec::new();
    net.quantise(|info| {
        if !config.freezes(info.place) {
            return Ok(config.end(info.place));
        }
        let dims = net.parameter(&format!("{}.weight", info.name))?.dims;
        let layer = LtsLayer {
            name: info.name.clone(),
            macs: info.macs,
            channels: dims.first().copied().unwrap_or(1),
            state: LtsState::new(&dev(), info.weights)?,
            config,
            criterion: criterion(layers.len() as u64),
            rate: None,
            iteration: 0,
            flipped: 0,
            noted: Noted::new(info.weights),
        };
        let layer = Arc::new(Mutex::new(layer));
        layers.push(layer.clone());
        let (grid, range) = config.weight_grid(config.bits, false);
        let slots = Slots::weights(Freezing::new(layer, grid)?, range);
        Ok(config.with_input(slots, config.bits))
    })?;
    let lengths: Vec<usize> = layers.iter().map(|l| lock(l).len()).collect();
    let shadows = match config.freeze {
        true => Vec::new(),
        false => RULES
            .map(|rule| Shadow::built_in(rule, config.seed, &lengths))
            .into(),
    };
    let parameters = net.parameter_count();
    let macs = infos.iter().map(|l| l.macs).sum();
    Ok(Lts::new(config, layers, shadows, (parameters, macs)))
}
