//! What could stand for the rise of the cross entropy where there are no labels.

/// Names of [`measures`], in their order.
pub const NAMES: [&str; 9] = [
    "KL(p, q)",
    "KL(q, p)",
    "Jensen-Shannon",
    "squares of logits",
    "squares of softmax",
    "absolute differences of softmax",
    "cross entropy with own answers",
    "answers that change",
    "second order of KL",
];

/// Means over images of each measure, for logits at full precision and with a layer on levels.
pub fn measures(exact: &[f32], on_levels: &[f32], classes: usize) -> [f64; NAMES.len()] {
    let mut sums = [0.0; NAMES.len()];
    let rows = exact
        .chunks_exact(classes)
        .zip(on_levels.chunks_exact(classes));
    for (y, yq) in rows {
        let (lp, lq) = (log_softmax(y), log_softmax(yq));
        let (p, q): (Vec<f64>, Vec<f64>) = (exps(&lp), exps(&lq));
        let each = |f: &dyn Fn(usize) -> f64| (0..classes).map(f).sum::<f64>();
        let moved = |k: usize| f64::from(yq[k]) - f64::from(y[k]);
        let middle = |k: usize| (0.5 * (p[k] + q[k])).max(f64::MIN_POSITIVE).ln();
        let mean = each(&|k| p[k] * moved(k));
        let (own, its) = (largest(y), largest(yq));
        let found = [
            each(&|k| p[k] * (lp[k] - lq[k])),
            each(&|k| q[k] * (lq[k] - lp[k])),
            0.5 * each(&|k| p[k] * (lp[k] - middle(k)) + q[k] * (lq[k] - middle(k))),
            each(&|k| moved(k).powi(2)),
            each(&|k| (q[k] - p[k]).powi(2)),
            each(&|k| (q[k] - p[k]).abs()),
            lp[own] - lq[own],
            f64::from(u8::from(own != its)),
            0.5 * each(&|k| p[k] * (moved(k) - mean).powi(2)),
        ];
        sums.iter_mut().zip(found).for_each(|(sum, v)| *sum += v);
    }
    sums.map(|sum| sum * classes as f64 / exact.len().max(1) as f64)
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let most = f64::from(row[largest(row)]);
    let sum: f64 = row.iter().map(|v| (f64::from(*v) - most).exp()).sum();
    row.iter()
        .map(|v| f64::from(*v) - most - sum.ln())
        .collect()
}

fn exps(logs: &[f64]) -> Vec<f64> {
    logs.iter().map(|l| l.exp()).collect()
}

fn largest(row: &[f32]) -> usize {
    let places = (0..row.len()).rev();
    places
        .max_by(|a, b| row[*a].total_cmp(&row[*b]))
        .unwrap_or_default()
}
