//! What a check found, and all findings as a table for people or as JSON for programs.

use serde::Serialize;
use std::fmt::{self, Write};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The gateway can serve, but not as well, as much or as long as it should.
    Warning,
    /// The gateway can't start, or can't serve as it is configured.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was looked at, in one or two words: the first column of the table.
    pub check: &'static str,
    /// What is there.
    pub found: String,
    /// What to do about it: one sentence with the command or the key. Absent where everything is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Everything is as it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, found: found.into(), remedy: None }
    }

    /// The gateway can serve all the same.
    pub fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, check, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// It stands in the way.
    pub fn problem(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, check, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All findings, in the order of the checks.
#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    problems: usize,
    warnings: usize,
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            problems: count(Level::Problem),
            warnings: count(Level::Warning),
            findings,
        }
    }

    /// How many findings stand in the way.
    pub fn problems(&self) -> usize {
        self.problems
    }

    /// A line for each finding, and below it what to do about it; at the end a line with the numbers.
    pub fn table(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        let mut out = String::new();
        for Finding { level, check, found, remedy } in &self.findings {
            let _ = writeln!(out, "{level:<8} {check:<width$}  {found}");
            if let Some(remedy) = remedy {
                let _ = writeln!(out, "{:<8} {:<width$}  -> {remedy}", "", "");
            }
        }
        let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let (problems, warnings) = (plural(self.problems, "problem"), plural(self.warnings, "warning"));
        let _ = writeln!(out, "\n{problems}, {warnings}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Finding::ok("kernel", "Linux 6.18"),
            Finding::warning("clock", "not synchronised", "timedatectl set-ntp true"),
            Finding::problem("open files", "too few", "raise LimitNOFILE="),
        ])
    }

    #[test]
    fn the_table_has_a_line_for_each_finding_and_one_for_its_remedy() {
        assert_eq!(
            report().table(),
            "ok       kernel      Linux 6.18\n\
             warning  clock       not synchronised\n\
            \x20                    -> timedatectl set-ntp true\n\
             problem  open files  too few\n\
            \x20                    -> raise LimitNOFILE=\n\
             \n1 problem, 1 warning\n"
        );
    }

    #[test]
    fn json_has_the_level_as_a_word_and_no_remedy_where_none_is_needed() {
        let json = serde_json::to_value(report()).expect("JSON");
        assert_eq!(json["problems"], 1);
        assert_eq!(json["findings"][2]["level"], "problem");
        assert_eq!(json["findings"][2]["remedy"], "raise LimitNOFILE=");
        assert!(json["findings"][0].get("remedy").is_none());
    }
}
