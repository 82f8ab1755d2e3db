//! A line of the access log in the combined format of NCSA, Apache and nginx, for tools that read it.

use crate::shared::record::{Record, Summary};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::SystemTime;

/// The time zone of the machine, read once: a change of it needs a restart.
static TIME_ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);

/// The line of a request or a session that ended at `now` with `status`, as nginx writes `combined`: the client's address, the local time, the
/// request, the status, the bytes that the client got, the origin of its page in place of the referrer, and its user agent. Of a
/// WebSocket the bytes are those that the node sent.
pub(super) fn line(record: &Record, summary: &Summary<'_>, status: Option<u16>, now: SystemTime) -> String {
    let zone = TIME_ZONE.clone();
    let time = Timestamp::try_from(now).unwrap_or_default().to_zoned(zone);
    let client = summary.client.map(|client| client.ip().to_canonical().to_string());
    let bytes = if summary.frames == [0; 2] { summary.answer_bytes } else { summary.bytes[1] };
    let mut line = String::with_capacity(192);
    // a string takes everything
    let _ = write!(
        line,
        "{} - - [{}] \"",
        client.as_deref().unwrap_or("-"),
        time.strftime("%d/%b/%Y:%H:%M:%S %z")
    );
    match summary.method {
        // a head that can't be read
        "" => line.push('-'),
        method => {
            escape(method, &mut line);
            line.push(' ');
            escape(summary.target, &mut line);
            line.push_str(" HTTP/1.1");
        }
    }
    let _ = write!(line, "\" {} {bytes} \"", status.unwrap_or_default());
    escape(record.origin.as_deref().unwrap_or("-"), &mut line);
    line.push_str("\" \"");
    escape(record.agent.as_deref().unwrap_or("-"), &mut line);
    line.push('"');
    line
}

/// Appends a text as nginx does: quotation marks, backslashes and what is not printable ASCII become `\xXX`.
fn escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => drop(write!(to, "\\x{byte:02X}")),
            plain => to.push(char::from(plain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RequestRoute;
    use crate::proto::websocket::relay::{By, How};
    use crate::shared::record::Event;
    use std::time::Duration;

    /// The line of a record with these events, without its time.
    fn written(target: &str, events: &[Event<'_>]) -> String {
        let mut record = Record::default();
        record.note(
            Duration::ZERO,
            &Event::Accepted { client: ([203, 0, 113, 9], 4711).into(), through: None },
        );
        record.begin_request();
        let route = RequestRoute::TwoStep;
        let requested = Event::Requested { route, role: None, method: "GET", target, app: "", stream: "" };
        record.note(Duration::ZERO, &requested);
        events.iter().for_each(|event| record.note(Duration::ZERO, event));
        record.agent = Some("SDK \"14\" \\".into());
        let line = line(&record, &Summary::of(record.last_request()), Some(499), SystemTime::UNIX_EPOCH);
        let (before, rest) = line.split_once('[').expect("a time");
        let (time, after) = rest.split_once(']').expect("its end");
        assert_eq!((time.len(), time.matches(':').count()), (26, 3), "{time}");
        assert!(
            time[..2].parse::<u8>().is_ok() && time.contains("/19") && time[21..].starts_with(['+', '-']),
            "{time}"
        );
        format!("{before}{after}")
    }

    #[test]
    fn lines_are_those_of_nginx() {
        let answered = Event::Answered { status: 200, refusal: None, bytes: 12 };
        assert_eq!(
            written("/live?id=a\"b\u{e9}", &[answered]),
            r#"203.0.113.9 - -  "GET /live?id=a\x22b\xC3\xA9 HTTP/1.1" 499 12 "-" "SDK \x2214\x22 \x5C""#
        );
        let opened = Event::Answered { status: 101, refusal: None, bytes: 0 };
        let (by, how) = (By::Client, How::Close);
        let ended = Event::Ended { by, how, frames: [1, 2], bytes: [30, 40], pings: 0 };
        assert_eq!(
            written("/s", &[opened, ended]),
            r#"203.0.113.9 - -  "GET /s HTTP/1.1" 499 40 "-" "SDK \x2214\x22 \x5C""#
        );
        assert!(written("/s", &[Event::Left]).contains(r#" 499 0 "-" "#));
    }
}
