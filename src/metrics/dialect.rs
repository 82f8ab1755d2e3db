//! The text formats of `/metrics`, and how one is made of the other.

/// The text formats in which the page can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

impl Dialect {
    /// The format for a scraper with this `Accept` field: OpenMetrics if it is named there, else that of Prometheus.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of `Content-Type` for this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Rewrites a page of OpenMetrics in the format of Prometheus, where the family of a counter has the name of its samples, and
/// an info is a gauge.
pub(crate) fn prometheus_text(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 256);
    let mut help = None;
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(words) = line.strip_prefix("# HELP ") {
            help = words.split_once(' ').map(|(_, text)| text);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|words| words.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.take().unwrap_or_default();
            out += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_field_chooses_the_format() {
        assert_eq!(
            Dialect::accepted("application/openmetrics-text;version=1.0.0,*/*;q=0.1"),
            Dialect::OpenMetrics
        );
        assert_eq!(Dialect::accepted("*/*"), Dialect::Prometheus);
    }
}
