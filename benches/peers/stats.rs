//! The middle of some figures, and how far they lie apart.

use serde::Serialize;

/// A median, the least and the most.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None of no figures.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let half = values.len() / 2;
        let upper = values.get(half).copied()?;
        let lower = values.get(half.saturating_sub(1)).copied()?;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(lower, upper)
        } else {
            upper
        };
        Some(Self { median, min, max })
    }
}

/// The value that this part of the sorted values does not exceed.
pub(crate) fn quantile(sorted: &[u32], part: f64) -> Option<f64> {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(place.saturating_sub(1))
        .map(|&value| f64::from(value))
}
