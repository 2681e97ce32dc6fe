//! Average precision of a ranking with ties.

/// `sum_n (R_n - R_(n-1)) P_n` over the distinct scores from the highest on, `R` being the recall among the entries that
/// are true; 0 where none is.
///
/// scikit-learn's `average_precision_score`.
pub(super) fn average_precision(mut entries: Vec<(f64, bool)>) -> f64 {
    let positives = entries.iter().filter(|e| e.1).count();
    if positives == 0 {
        return 0.0;
    }
    entries.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut hits, mut sum) = (0, 0, 0.0);
    for ties in entries.chunk_by(|a, b| a.0 == b.0) {
        let new = ties.iter().filter(|e| e.1).count();
        seen += ties.len();
        hits += new;
        sum += new as f64 / positives as f64 * (hits as f64 / seen as f64);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings_worked_by_hand() {
        let ap = |entries: &[(f64, bool)]| average_precision(entries.to_vec());
        // 1/1 and 2/3, each for half of the recall.
        assert_eq!(
            ap(&[(0.9, true), (0.8, false), (0.7, true)]),
            (1.0 + 2.0 / 3.0) / 2.0
        );
        // A tie is one threshold: 1 of 2, in either order.
        assert_eq!(ap(&[(0.9, true), (0.9, false)]), 0.5);
        assert_eq!(ap(&[(0.9, false), (0.9, true)]), 0.5);
        assert_eq!(ap(&[(0.9, false)]), 0.0);
        assert_eq!(ap(&[]), 0.0);
        // 0 and -0 are the same score.
        assert_eq!(ap(&[(0.0, false), (-0.0, true)]), 0.5);
    }
}
