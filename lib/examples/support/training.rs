//! The library's own training step, timed.

use rebit::prelude::*;

use super::exchange::{Begun, Steps};

/// Times each step of a training.
#[derive(Default)]
struct Record {
    begun: Option<Begun>,
    steps: Steps,
}

impl Observer for Record {
    fn before_step(&mut self, _: Step, _: &Net) -> Result<()> {
        self.begun = Some(Begun::now());
        Ok(())
    }

    fn after_step(&mut self, _: Step, _: &Net, loss: f32) -> Result<()> {
        let begun = self.begun.take().expect("a step began");
        self.steps.end(begun, loss);
        Ok(())
    }
}

/// Trains on one batch of 3x32x32 images again and again, each time as an epoch of its own.
pub fn repeat(net: &Net, images: Vec<u8>, labels: Vec<u8>, steps: usize) -> Result<Steps> {
    let batch_size = labels.len();
    let data = Dataset {
        name: "one batch".into(),
        images,
        labels,
        classes: (0..10).map(|k| k.to_string()).collect(),
        channels: 3,
        height: 32,
        width: 32,
    };
    let config = TrainConfig {
        epochs: steps,
        batch_size,
        augment: None,
        normalize: data::Normalize {
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        schedule: Schedule::Constant,
        show: false,
        ..TrainConfig::default()
    };
    let mut record = Record::default();
    train_with(net, &data, &data.subset(0..0), &config, &mut record)?;
    Ok(record.steps)
}
