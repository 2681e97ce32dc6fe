//! How good a network's answers are, and whether two orders agree.

use rebit::prelude::*;

/// Top-1 in percent and mean cross entropy.
pub fn judge(net: &Net, data: &Dataset) -> Result<(f32, f64)> {
    let (right, entropies) = answers(net, data)?;
    Ok((100.0 * right as f32 / data.len() as f32, mean(&entropies)))
}

/// How many answers are right, and the cross entropy of each.
pub fn answers(net: &Net, data: &Dataset) -> Result<(usize, Vec<f64>)> {
    let (logits, classes) = logits(net, data)?;
    let entropies = entropies(&logits, &data.labels, classes);
    let best = |(row, label): (&[f32], &u8)| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row[usize::from(*label)] == most
    };
    let rows = logits.chunks_exact(classes).zip(&data.labels);
    Ok((rows.filter(|r| best(*r)).count(), entropies))
}

/// Logits of all images in their order, and how many an image has.
pub fn logits(net: &Net, data: &Dataset) -> Result<(Vec<f32>, usize)> {
    let order: Vec<usize> = (0..data.len()).collect();
    let (mut all, mut classes) = (Vec::new(), 0);
    for part in order.chunks(250) {
        let found = net.predict(&data.images(part, &Normalize::CIFAR10))?;
        classes = found.shape().1;
        all.extend(read(&found));
    }
    Ok((all, classes))
}

/// The cross entropy of each row of logits.
pub fn entropies(logits: &[f32], labels: &[u8], classes: usize) -> Vec<f64> {
    let one = |(row, label): (&[f32], &u8)| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
        sum.ln() - f64::from(row[usize::from(*label)] - most)
    };
    logits.chunks_exact(classes).zip(labels).map(one).collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Ranks, for Spearman's correlation; there are no ties to speak of.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = rank as f64;
    }
    ranks
}

/// Spearman's correlation of ranks.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let squares = ranks(a)
        .into_iter()
        .zip(ranks(b))
        .map(|(a, b)| (a - b).powi(2));
    1.0 - 6.0 * squares.sum::<f64>() / (n * (n * n - 1.0))
}
