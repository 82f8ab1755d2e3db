//! Durations of requests by route, method and status. Most of the combinations never happen, so each has its memory from its
//! first request on.

use crate::metrics::counters::Histogram;
use crate::metrics::labels::RequestRoute;
use std::sync::OnceLock;
use std::time::Duration;

/// Methods with a label of their own; the last one stands for all others.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", "other"];

/// Statuses with a label of their own. A node or a stream manager may answer with any other one.
pub const STATUSES: [u16; 26] = [
    101, 200, 201, 202, 204, 206, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 429,
    499, 500, 502, 503, 504,
];

/// The label of a status that is not among [`STATUSES`].
pub const OTHER_STATUS: &str = "other";

const CODES: usize = STATUSES.len() + 1;
const CELLS: usize = RequestRoute::COUNT * METHODS.len() * CODES;

/// A histogram for each combination of route, method and status that has happened.
#[derive(Debug)]
pub struct Requests(Box<[OnceLock<Box<Histogram>>]>);

impl Default for Requests {
    fn default() -> Self {
        Self((0..CELLS).map(|_| OnceLock::new()).collect())
    }
}

/// The number of a method: its place in [`METHODS`].
pub fn method_number(method: &str) -> usize {
    METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1)
}

impl Requests {
    /// Counts a request with its duration. `method` is a number of [`method_number`].
    pub fn observe(&self, route: RequestRoute, method: usize, status: u16, took: Duration) {
        let code = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let cell = cell(route as usize, method.min(METHODS.len() - 1), code);
        self.0[cell].get_or_init(Box::default).observe(took);
    }

    /// The histograms of a route and the number of a method, each with its status; `None` stands for all other statuses.
    pub fn of(&self, route: RequestRoute, method: usize) -> impl Iterator<Item = (Option<u16>, &Histogram)> {
        (0..CODES).filter_map(move |code| {
            Some((STATUSES.get(code).copied(), &**self.0[cell(route as usize, method, code)].get()?))
        })
    }

    /// The histogram of a combination, if it has happened.
    pub fn get(&self, combination: Combination) -> Option<&Histogram> {
        self.0[combination.cell].get().map(|histogram| &**histogram)
    }
}

const fn cell(route: usize, method: usize, code: usize) -> usize {
    (route * METHODS.len() + method) * CODES + code
}

/// A combination of route, method and status.
#[derive(Debug, Clone, Copy)]
pub struct Combination {
    cell: usize,
}

impl Combination {
    /// All combinations that there can be, in the order of their labels.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CELLS).map(|cell| Self { cell })
    }

    /// The labels `route`, `method` and `code`.
    pub fn labels(self) -> [(&'static str, String); 3] {
        let (rest, code) = (self.cell / CODES, self.cell % CODES);
        let route = RequestRoute::ALL[rest / METHODS.len()].word();
        let code = STATUSES.get(code).map_or_else(|| OTHER_STATUS.to_owned(), ToString::to_string);
        [("route", route.to_owned()), ("method", METHODS[rest % METHODS.len()].to_owned()), ("code", code)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_combination_has_a_histogram_of_its_own() {
        let requests = Requests::default();
        let took = Duration::from_millis(1);
        requests.observe(RequestRoute::Whip, method_number("POST"), 201, took);
        requests.observe(RequestRoute::Whip, method_number("POST"), 201, took);
        requests.observe(RequestRoute::Other, method_number("BREW"), 418, took);
        let seen: Vec<_> = Combination::all()
            .filter_map(|one| Some((one.labels().map(|(_, value)| value), requests.get(one)?.count())))
            .collect();
        assert_eq!(
            seen,
            [
                (["whip", "POST", "201"].map(str::to_owned), 2),
                (["other", "other", "other"].map(str::to_owned), 1)
            ]
        );
    }
}
