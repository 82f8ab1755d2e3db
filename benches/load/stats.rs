//! What was measured, and what may be said of it: medians with their spread, and nothing where something went wrong.

use std::time::Duration;

/// One round of one row.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What one unit cost, in the row's measure.
    pub value: f64,
    /// How much of its core the gateway used.
    pub busy: f64,
    pub faults: usize,
    pub first_fault: Option<String>,
    /// What else was seen, for people.
    pub note: String,
}

impl Sample {
    /// CPU time per unit in microseconds.
    pub fn cpu(
        spent: Duration,
        units: f64,
        wall: Duration,
        faults: usize,
        first_fault: Option<String>,
    ) -> Self {
        let value = spent.as_secs_f64() * 1e6 / units;
        let busy = spent.as_secs_f64() / wall.as_secs_f64();
        Self { value, busy, faults, first_fault, note: String::new() }
    }
}

impl From<super::Error> for Sample {
    /// A round that could not be measured.
    fn from(why: super::Error) -> Self {
        let (value, busy, note) = (f64::NAN, f64::NAN, String::new());
        Self { value, busy, faults: 1, first_fault: Some(why.to_string()), note }
    }
}

/// All rounds of one row.
#[derive(Debug)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    pub busy: f64,
}

/// Sums rounds up; what went wrong if anything did.
pub fn summary(samples: &[Sample]) -> Result<Summary, String> {
    let faults: usize = samples.iter().map(|sample| sample.faults).sum();
    if faults > 0 {
        let first = samples.iter().find_map(|sample| sample.first_fault.clone()).unwrap_or_default();
        return Err(format!("{faults} faults: {first}"));
    }
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err("nothing was measured".to_owned());
    }
    values.sort_by(f64::total_cmp);
    let mut busy: Vec<f64> = samples.iter().map(|sample| sample.busy).collect();
    busy.sort_by(f64::total_cmp);
    let middle = |sorted: &[f64]| {
        let half = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
    };
    Ok(Summary {
        median: middle(&values),
        least: values[0],
        most: values[values.len() - 1],
        busy: middle(&busy),
    })
}
