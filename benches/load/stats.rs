//! Samples and their summary: medians with their spread, and no figure when a fault occurred.

use std::time::Duration;

/// One round of one row.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The cost of one unit of work, in the unit of the row.
    pub value: f64,
    /// The share of its core that the gateway used, 0 to 1.
    pub busy: f64,
    pub faults: usize,
    pub first_fault: Option<String>,
    /// Further figures, as text.
    pub note: String,
}

impl Sample {
    /// A sample of CPU time: `spent` for `units` of work over the duration `wall`. Its value is in microseconds per unit.
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
    pub min: f64,
    pub max: f64,
    pub busy: f64,
}

/// Summarises the rounds of a row. The error says which fault occurred.
pub fn summary(samples: &[Sample]) -> Result<Summary, String> {
    let faults: usize = samples.iter().map(|sample| sample.faults).sum();
    if faults > 0 {
        let first = samples.iter().find_map(|sample| sample.first_fault.clone()).unwrap_or_default();
        return Err(format!("{faults} faults, the first: {first}"));
    }
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err("no round has a figure".to_owned());
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
        min: values[0],
        max: values[values.len() - 1],
        busy: middle(&busy),
    })
}
