//! Finds the end of a head, and the faults that show before that.
//!
//! Faults are found in the order of their bytes, whatever pieces the bytes come in; a limit is a fault at its byte. This
//! file knows lines, but no fields.

use memchr::{memchr, memchr3_iter};

use crate::proto::http::head::fault::HeadFault;

/// Finds the end of the head that begins at `start`: the index behind its blank line, or `None` if that has not come yet.
/// The first `seen` bytes were searched by an earlier call and are not searched again.
///
/// Fails as soon as the first line does not end within `line_max` bytes, the head does not end within `head_max`, a line end
/// is not CR LF, or a byte is NUL.
pub(crate) fn find_end(
    bytes: &[u8],
    start: usize,
    seen: usize,
    line_max: usize,
    head_max: usize,
) -> Result<Option<usize>, HeadFault> {
    // a CR at the end of the searched bytes could not be judged then
    let from = seen.saturating_sub(1).max(start);
    let line_max = line_max.saturating_add(start).min(head_max);
    if from < line_max {
        let line = &bytes[..bytes.len().min(line_max)];
        if let Some(end) = blank_line(line, start, from)? {
            return Ok(Some(end));
        }
        if bytes.len() >= line_max && line_max < head_max && memchr(b'\n', &line[start..]).is_none() {
            return Err(HeadFault::TargetTooLong);
        }
    }
    let window = &bytes[..bytes.len().min(head_max)];
    let end = blank_line(window, start, from.max(line_max.saturating_sub(1)))?;
    if end.is_none() && bytes.len() >= head_max {
        return Err(HeadFault::TooLarge);
    }
    Ok(end)
}

/// Searches `bytes[from..]` for the blank line. Fails at the first byte before it that is NUL or breaks a line end.
fn blank_line(bytes: &[u8], start: usize, from: usize) -> Result<Option<usize>, HeadFault> {
    let Some(rest) = bytes.get(from..) else { return Ok(None) };
    for place in memchr3_iter(b'\r', b'\n', 0, rest) {
        let place = from + place;
        match bytes[place] {
            0 => return Err(HeadFault::Nul),
            b'\r' => {
                if bytes.get(place + 1).is_some_and(|&next| next != b'\n') {
                    return Err(HeadFault::BareLineEnd);
                }
            }
            _ => {
                let line = &bytes[start..place];
                if line.last() != Some(&b'\r') {
                    return Err(HeadFault::BareLineEnd);
                }
                if line.len() == 1 {
                    // a second empty line before the request line
                    return Err(HeadFault::Malformed);
                }
                if line.ends_with(b"\r\n\r") {
                    return Ok(Some(place + 1));
                }
            }
        }
    }
    Ok(None)
}
