//! Learning-rate schedules as a factor over training progress.

use serde::{Deserialize, Serialize};

/// How the learning rate moves with progress `p` in `[0, 1)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// Factor 1 throughout.
    Constant,
    /// Multiplied by `factor` when progress reaches each entry of `at`.
    Steps {
        /// Multiplier at each step.
        factor: f32,
        /// Shares of the training at which it is applied.
        at: Vec<f32>,
    },
    /// Linear rise during `warmup`, then half a cosine down to 0.
    Cosine {
        /// Share of the training spent rising.
        warmup: f32,
    },
    /// `cycles` half cosines one after the other, each from 1 down to `floor` (warm restarts).
    Restarts {
        /// How often.
        cycles: usize,
        /// The lowest factor.
        floor: f32,
    },
    /// Linear rise during `warmup`, then linear fall to 0.
    Triangle {
        /// Share of the training spent rising.
        warmup: f32,
    },
    /// Multiplied by `factor` whenever the last `patience` scores were no better than the best before them.
    Plateau {
        /// Multiplier.
        factor: f32,
        /// Scores without a better one.
        patience: usize,
    },
}

impl Schedule {
    /// Ten times smaller at 1/4, 1/2 and 3/4, as 100, 200 and 300 of 400 epochs in the LTS code.
    pub fn quarters() -> Self {
        Schedule::Steps {
            factor: 0.1,
            at: vec![0.25, 0.5, 0.75],
        }
    }

    /// Halved `times` times at equal distances.
    ///
    /// ```
    /// use rebit::train::Schedule;
    /// assert_eq!(Schedule::halved(3).factor(0.6), 0.25);
    /// ```
    pub fn halved(times: usize) -> Self {
        let at = (1..=times).map(|i| i as f32 / (times + 1) as f32);
        Schedule::Steps {
            factor: 0.5,
            at: at.collect(),
        }
    }

    /// Half a cosine from 1 down to `floor`.
    ///
    /// ```
    /// use rebit::train::Schedule;
    /// assert!((Schedule::cosine(0.1).factor(0.5) - 0.55).abs() < 1e-6);
    /// ```
    pub fn cosine(floor: f32) -> Self {
        Schedule::Restarts { cycles: 1, floor }
    }

    /// The factor at progress `p` after these scores, larger being better: that of [`factor`](Self::factor), times what
    /// a plateau makes of the scores.
    ///
    /// ```
    /// use rebit::train::Schedule;
    /// let plateau = Schedule::Plateau { factor: 0.5, patience: 2 };
    /// assert_eq!(plateau.factor_after(0.3, &[50.0, 60.0, 59.0]), 1.0);
    /// assert_eq!(plateau.factor_after(0.3, &[50.0, 60.0, 59.0, 60.0]), 0.5);
    /// ```
    pub fn factor_after(&self, p: f32, scores: &[f32]) -> f32 {
        let Schedule::Plateau { factor, patience } = self else {
            return self.factor(p);
        };
        let (mut best, mut since, mut cuts) = (f32::NEG_INFINITY, 0, 0);
        for &score in scores {
            (best, since) = match score > best {
                true => (score, 0),
                false => (best, since + 1),
            };
            if since >= (*patience).max(1) {
                (cuts, since) = (cuts + 1, 0);
            }
        }
        factor.powi(cuts)
    }

    /// The factor at progress `p`.
    ///
    /// ```
    /// use rebit::train::Schedule;
    /// assert_eq!(Schedule::quarters().factor(0.2), 1.0);
    /// assert!((Schedule::quarters().factor(0.5) - 0.01).abs() < 1e-6);
    /// assert_eq!(Schedule::Triangle { warmup: 0.5 }.factor(0.25), 0.5);
    /// ```
    pub fn factor(&self, p: f32) -> f32 {
        let ramp = |warmup: f32| (p / warmup).min(1.0);
        let fall = |warmup: f32| ((p - warmup) / (1.0 - warmup)).clamp(0.0, 1.0);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Steps { factor, at } => {
                factor.powi(at.iter().filter(|&&a| p >= a).count() as i32)
            }
            Schedule::Cosine { warmup } if p < *warmup => ramp(*warmup),
            Schedule::Cosine { warmup } => {
                0.5 * (1.0 + (std::f32::consts::PI * fall(*warmup)).cos())
            }
            Schedule::Restarts { cycles, floor } => {
                let within = (p * *cycles as f32).fract();
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f32::consts::PI * within).cos())
            }
            Schedule::Plateau { .. } => 1.0,
            Schedule::Triangle { warmup } if p < *warmup => ramp(*warmup),
            Schedule::Triangle { warmup } => 1.0 - fall(*warmup),
        }
    }
}
