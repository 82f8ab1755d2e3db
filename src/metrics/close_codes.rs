//! Codes of Close frames, by the party that sent them.

use crate::metrics::counters::Counter;
use crate::proto::websocket::relay::By;

/// The codes of RFC 6455 (7.4.1) and of the IANA registry that a label has; 1005 stands for a Close without a code.
const CODES: [u16; 13] = [1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];

/// The label of all other codes. Applications may use 3000 to 4999 as they like, so clients choose them.
const OTHER: &str = "other";

/// A counter for each party and code.
#[derive(Debug, Default)]
pub struct CloseCodes([[Counter; CODES.len() + 1]; By::ALL.len()]);

impl CloseCodes {
    /// Counts a Close that `by` sent.
    pub fn add(&self, by: By, code: u16) {
        let at = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len());
        self.0[by as usize][at].add(1);
    }

    /// All counters, with the labels `by` and `code`.
    pub fn all(&self) -> impl Iterator<Item = ([(&'static str, String); 2], &Counter)> {
        By::ALL.into_iter().flat_map(move |by| {
            self.0[by as usize].iter().enumerate().map(move |(at, counter)| {
                let code = CODES.get(at).map_or_else(|| OTHER.to_owned(), ToString::to_string);
                ([("by", by.word().to_owned()), ("code", code)], counter)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_applications_are_counted_together() {
        let codes = CloseCodes::default();
        for code in [1000, 4000, 4001] {
            codes.add(By::Client, code);
        }
        let counted: Vec<_> = codes.all().filter(|(_, counter)| counter.get() > 0).collect();
        let counted: Vec<_> = counted.iter().map(|(labels, n)| (labels[1].1.as_str(), n.get())).collect();
        assert_eq!(counted, [("1000", 1), ("other", 2)]);
    }
}
