//! The network that the tests of several papers work on.

use crate::nn::{CifarResnetConfig, Mode, Net, cifar_resnet_with};
use crate::{images, rng};

/// Five classes of 8x8 images, sites, and nine norms with the running statistics of some batches, so that there is
/// something to match.
pub(super) fn small_net() -> Net {
    let config = CifarResnetConfig {
        size: 8,
        widths: [4, 8, 8],
        blocks: 1,
        classes: 5,
        sites: true,
        ..CifarResnetConfig::default()
    };
    let net = cifar_resnet_with(&config, rng(1)).unwrap();
    for seed in 0..20 {
        let x = images(16, 3, 8, 8, &mut rng(seed)) * 0.5 + 0.3;
        net.run(&x, Mode::Train).unwrap();
    }
    net
}
