//! The oracle of W3C Trace Context: a second reader, written from the text of the specification, has to agree.

use crate::proto::http::trace_context::{TraceFields, TraceParent};

/// Asserts that both fields are read as the reference reads them, and written so that they are read the same again. The input
/// is a value of `traceparent`, a line feed and a value of `tracestate`.
pub fn trace_context(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let parent = &input[..end];
    let state = input.get(end + 1..).and_then(|state| std::str::from_utf8(state).ok());
    let read = TraceFields::read(Some(parent), state);
    let Some(expected) = reference_parent(parent) else {
        assert_eq!(read, None, "{}", String::from_utf8_lossy(parent));
        return;
    };
    let read = read.unwrap_or_else(|| panic!("expected {expected}"));
    assert_eq!(read.parent.to_string(), expected);
    assert_eq!(TraceParent::read(expected.as_bytes()), Some(read.parent));
    assert_eq!(read.parent.is_sampled(), expected.ends_with(['1', '3']));
    state_is_right(state, read.state.as_deref());
    written_fields_are_read_the_same(&read);
}

/// The value of version 00 that says the same.
fn reference_parent(value: &[u8]) -> Option<String> {
    // what a later version appends may be anything
    let value = String::from_utf8_lossy(value);
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags, ref more @ ..] = parts[..] else { return None };
    let digits = |text: &str, count: usize| {
        text.len() == count && text.chars().all(|digit| "0123456789abcdef".contains(digit))
    };
    let is_zero = |text: &str| text.chars().all(|digit| digit == '0');
    let fits = digits(version, 2) && digits(trace, 32) && digits(span, 16) && digits(flags, 2);
    if !fits || version == "ff" || is_zero(trace) || is_zero(span) || (version == "00" && !more.is_empty()) {
        return None;
    }
    // of the last digit only the two lowest bits have a meaning
    let flag = ["00", "01", "02", "03"][flags.chars().last()?.to_digit(16)? as usize % 4];
    Some(format!("00-{trace}-{span}-{flag}"))
}

/// Asserts that what is kept of a `tracestate` is all of it, or whole members of one that is too long, or nothing.
fn state_is_right(came: Option<&str>, kept: Option<&str>) {
    let members = |text: &str| -> Vec<String> {
        let trimmed = text.split(',').map(|member| member.trim_matches([' ', '\t']).to_owned());
        trimmed.filter(|member| !member.is_empty()).collect()
    };
    let came = came.unwrap_or_default();
    let all = members(came);
    let is_valid = came.split(',').count() <= 32 && all.iter().all(|member| is_member(member));
    match kept {
        None => {
            let long = came.len() > 512 && all.iter().all(|member| member.len() > 128);
            assert!(!is_valid || all.is_empty() || long, "dropped: {came}");
        }
        Some(kept) => {
            assert!(is_valid && !kept.is_empty() && kept.len() <= 512, "kept: {kept}");
            assert!(came.len() > 512 || came == kept, "changed: {came}");
            if came.len() > 512 {
                let short: Vec<_> = all.iter().filter(|member| member.len() <= 128).collect();
                let kept = members(kept);
                assert!(kept.iter().eq(short.iter().copied().take(kept.len())), "another order: {came}");
                let next = short.get(kept.len()).map_or(512, |member| member.len());
                assert!(kept.join(",").len() + 1 + next > 512, "{came}");
            }
        }
    }
}

/// A member by the grammar of list-member.
fn is_member(member: &str) -> bool {
    let Some(equals) = member.find('=') else { return false };
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    let begins = key.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@";
    let key_fits = begins && key.len() <= 256 && key.chars().all(|letter| letters.contains(letter));
    let printable = |letter: char| (' '..='~').contains(&letter) && letter != ',' && letter != '=';
    key_fits
        && !value.is_empty()
        && value.len() <= 256
        && value.chars().all(printable)
        && value.trim_end_matches(' ').len() == value.len()
}

fn written_fields_are_read_the_same(fields: &TraceFields) {
    let mut head = String::new();
    fields.write(&mut head);
    let lines: Vec<&str> = head.split_terminator("\r\n").collect();
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let read = TraceFields::read(value("traceparent").map(str::as_bytes), value("tracestate"));
    assert_eq!(read.as_ref(), Some(fields));
    assert_eq!(lines.len(), 1 + usize::from(fields.state.is_some()));
}
