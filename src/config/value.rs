//! The kinds of values that a key can have: how each is read, what was expected when it is wrong, and how it is printed.
//!
//! Reading and printing stand side by side, so that what `check --effective` prints reads back to the same values. Words
//! are in [`crate::config::choice`], addresses, names and URLs in [`crate::config::address`].
//!
//! Durations and sizes have no library: `humantime` and `bytesize` accept spellings that the contract does not have
//! (`1h 30m`, `1.5k`, a number without a unit) and print some that it does not read.

use crate::config::model::Rate;
use crate::config::problem::Report;
use crate::proto::millis::millis;
use std::marker::PhantomData;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// A kind that is one value of TOML: from the value of the file to the value as used, and back to text.
pub(crate) trait Scalar {
    type Value;
    /// Whether a problem may show a text that was found for it; not if a secret may stand in it.
    fn may_show(_text: &str) -> bool {
        true
    }
    /// The value, or what was expected instead, so that it reads well after the word "expected".
    fn parse(value: &DeValue<'_>) -> Result<Self::Value, String>;
    /// The value as TOML.
    fn print(value: &Self::Value) -> String;
}

/// A kind of what a key can hold: a scalar, or values that can have problems on several lines.
pub(crate) trait Kind {
    type Value;
    /// The value; `None` when at least one problem was reported.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<Self::Value>;
    /// The value as TOML.
    fn write(value: &Self::Value) -> String;
}

impl<S: Scalar> Kind for S {
    type Value = S::Value;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<S::Value> {
        match S::parse(value.get_ref()) {
            Ok(value) => Some(value),
            Err(expected) => {
                let found = match value.get_ref() {
                    DeValue::String(text) if !S::may_show(text) => "a text that is not shown".to_owned(),
                    DeValue::String(_) => report.excerpt(&value.span()),
                    DeValue::Table(_) => "a table".to_owned(),
                    // a list may hold the very text that should stand in its place, and so a secret
                    _ if !S::may_show(report.source(&value.span())) => {
                        "something that is not shown".to_owned()
                    }
                    _ => report.excerpt(&value.span()),
                };
                report.add(key, &value.span(), found, expected);
                None
            }
        }
    }

    fn write(value: &S::Value) -> String {
        S::print(value)
    }
}

/// A text in the quotes of TOML.
pub(crate) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The text of a value; what was expected if it is no text.
pub(crate) fn text<'v>(value: &'v DeValue<'_>, expected: impl FnOnce() -> String) -> Result<&'v str, String> {
    value.as_str().ok_or_else(expected)
}

/// An unsigned number of any width, by way of the widest.
pub(crate) trait Whole: Copy {
    fn from_wide(wide: u64) -> Option<Self>;
    fn wide(self) -> u64;
}

macro_rules! whole {
    ($($int:ty),+) => { $(impl Whole for $int {
        fn from_wide(wide: u64) -> Option<Self> { wide.try_into().ok() }
        fn wide(self) -> u64 { self.try_into().unwrap_or(u64::MAX) }
    })+ };
}
whole!(u16, u32, u64, usize);

/// An unsigned integer of TOML in any radix.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).ok()
}

/// A whole number between two bounds, both included.
pub(crate) struct Count<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: Whole, const MIN: u64, const MAX: u64> Scalar for Count<T, MIN, MAX> {
    type Value = T;

    fn parse(value: &DeValue<'_>) -> Result<T, String> {
        integer(value)
            .filter(|number| (MIN..=MAX).contains(number))
            .and_then(T::from_wide)
            .ok_or_else(|| format!("a whole number from {MIN} to {MAX}"))
    }

    fn print(value: &T) -> String {
        value.wide().to_string()
    }
}

const KIB: u64 = 1024;
const UNITS: [(&str, u64); 7] = [
    ("GiB", KIB * KIB * KIB),
    ("GB", 1_000_000_000),
    ("MiB", KIB * KIB),
    ("MB", 1_000_000),
    ("KiB", KIB),
    ("KB", 1000),
    ("B", 1),
];

/// A number of bytes between two bounds, both included, with its unit.
pub(crate) struct Size<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

fn size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn size_text(bytes: u64) -> String {
    let (unit, factor) =
        UNITS.into_iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

impl<T: Whole, const MIN: u64, const MAX: u64> Scalar for Size<T, MIN, MAX> {
    type Value = T;

    fn parse(value: &DeValue<'_>) -> Result<T, String> {
        let expected = || {
            let (min, max) = (size_text(MIN), size_text(MAX));
            format!("a size with its unit from \"{min}\" to \"{max}\", such as \"64KiB\" or \"16KB\"")
        };
        let bytes = size(text(value, expected)?).filter(|bytes| (MIN..=MAX).contains(bytes));
        bytes.and_then(T::from_wide).ok_or_else(expected)
    }

    fn print(value: &T) -> String {
        quote(&size_text(value.wide()))
    }
}

/// A length of time from 1 ms to 365 days: never zero, and never so long that a deadline could overflow.
pub(crate) struct Span;

const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

fn span(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = TIMES.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*millis).map(Duration::from_millis)
}

impl Scalar for Span {
    type Value = Duration;

    fn parse(value: &DeValue<'_>) -> Result<Duration, String> {
        let expected = || {
            "a duration with its unit from \"1ms\" to \"8760h\", such as \"1500ms\", \"5s\", \"10m\" or \"1h\""
                .to_owned()
        };
        let time = span(text(value, expected)?).filter(|time| !time.is_zero() && *time <= SPAN_MAX);
        time.ok_or_else(expected)
    }

    fn print(value: &Duration) -> String {
        let millis = millis(*value);
        let (unit, factor) = TIMES
            .into_iter()
            .rev()
            .find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor))
            .unwrap_or(("ms", 1));
        quote(&format!("{}{unit}", millis / factor))
    }
}

/// A number of events in a second, a minute or an hour.
pub(crate) struct PerTime;

fn rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.split_once('/')?;
    let per = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let count = count.parse().ok().filter(|count: &u32| digits && *count > 0)?;
    Some(Rate { count, per })
}

impl Scalar for PerTime {
    type Value = Rate;

    fn parse(value: &DeValue<'_>) -> Result<Rate, String> {
        let expected = || "a rate above zero, such as \"50/s\", \"600/m\" or \"1000/h\"".to_owned();
        rate(text(value, expected)?).ok_or_else(expected)
    }

    fn print(value: &Rate) -> String {
        let unit = match value.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        quote(&format!("{}/{unit}", value.count))
    }
}

/// Another kind, or `"off"`, which is read as `None`.
pub(crate) struct OrOff<S>(PhantomData<S>);

impl<S: Scalar> Scalar for OrOff<S> {
    type Value = Option<S::Value>;

    fn parse(value: &DeValue<'_>) -> Result<Self::Value, String> {
        if value.as_str() == Some("off") {
            return Ok(None);
        }
        S::parse(value).map(Some).map_err(|expected| format!("{expected}, or \"off\""))
    }

    fn print(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| quote("off"), S::print)
    }
}

/// A list of values of one kind; an entry that is given twice is a problem.
pub(crate) struct List<S>(PhantomData<S>);

impl<S: Scalar<Value: PartialEq>> Kind for List<S> {
    type Value = Vec<S::Value>;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<Self::Value> {
        let Some(items) = value.get_ref().as_array() else {
            let found = match S::may_show(report.source(&value.span())) {
                true => report.excerpt(&value.span()),
                false => "something that is not shown".to_owned(),
            };
            report.add(key, &value.span(), found, "a list in brackets");
            return None;
        };
        let before = report.problems.len();
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let Some(read) = S::read(item, key, report) else { continue };
            if values.contains(&read) {
                let found = format!("{} a second time", report.excerpt(&item.span()));
                report.add(key, &item.span(), found, "each entry once");
            }
            values.push(read);
        }
        (report.problems.len() == before).then_some(values)
    }

    fn write(values: &Self::Value) -> String {
        let items: Vec<_> = values.iter().map(S::print).collect();
        format!("[{}]", items.join(", "))
    }
}
