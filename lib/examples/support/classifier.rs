//! What the recipes of classifiers share: their arguments, and the file that they end with.

use std::path::PathBuf;

use rebit::data::Cifar10;
use rebit::prelude::*;

/// `[EPOCHS] [OUT.safetensors]`.
pub struct Arguments {
    epochs: usize,
    out: PathBuf,
}

impl Arguments {
    /// Those of the program, or these where they are missing.
    pub fn read(epochs: usize, out: &str) -> Arguments {
        let mut args = std::env::args().skip(1);
        Arguments {
            epochs: args
                .next()
                .map_or(Ok(epochs), |e| e.parse())
                .expect("EPOCHS is a number"),
            out: args.next().unwrap_or(out.into()).into(),
        }
    }

    /// Trains by a recipe and writes the weights, with the name of the network; the state after each epoch lies beside them.
    pub fn train(
        self,
        network: &str,
        net: &Net,
        data: &Cifar10,
        recipe: TrainConfig,
    ) -> Result<()> {
        let Arguments { epochs, out } = self;
        let config = TrainConfig {
            epochs,
            checkpoint: Some(out.with_extension("state.safetensors")),
            ..recipe
        };
        let history = try_train(net, &data.train, &data.test, &config)?;
        let accuracy = format!("{:.2}", history.final_accuracy());
        net.save(
            &out,
            &[
                ("network", network),
                ("epochs", &epochs.to_string()),
                ("top1", &accuracy),
            ],
        )?;
        println!(
            "{accuracy} % top-1 on the test images; {} written",
            out.display()
        );
        Ok(())
    }
}
