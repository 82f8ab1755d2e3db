//! How log lines look: text or JSON, with the time of their own or, for the journal, with a prefix that says their level.
//!
//! Whatever a field holds, an event is one line: a client must not be able to write a line of its own into the log.

use crate::control::journal::Prefix;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The target of lines that are their message alone, without time and level: those of an access log in a format of its own.
/// It begins with the target of the access log, so that they go there.
const VERBATIM: &str = "access::line";

/// The format of the lines of one log, which can change while they are written. Clones change together.
#[derive(Debug, Clone)]
pub(crate) struct LineFormat {
    json: Arc<AtomicBool>,
    journal: Arc<AtomicBool>,
    text: Format<Full>,
    text_untimed: Format<Full, ()>,
    as_json: Format<Json>,
    json_untimed: Format<Json, ()>,
}

impl Default for LineFormat {
    fn default() -> Self {
        let as_json = Format::default().json().flatten_event(true);
        Self {
            json: Arc::default(),
            journal: Arc::default(),
            text: Format::default(),
            text_untimed: Format::default().without_time(),
            json_untimed: as_json.clone().without_time(),
            as_json,
        }
    }
}

impl LineFormat {
    /// Writes lines as JSON or as text from now on, for the journal or with their time.
    pub(crate) fn change(&self, json: bool, journal: bool) {
        self.json.store(json, Relaxed);
        self.journal.store(journal, Relaxed);
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let journal = self.journal.load(Relaxed);
        if journal {
            write!(writer, "{}", Prefix::of(*event.metadata().level()))?;
        }
        if event.metadata().target() == VERBATIM {
            event.record(&mut Message(&mut writer));
            return writer.write_char('\n');
        }
        // JSON has its own escapes, and no other
        if self.json.load(Relaxed) {
            return match journal {
                true => self.json_untimed.format_event(context, writer, event),
                false => self.as_json.format_event(context, writer, event),
            };
        }
        let mut line = OneLine { writer, newline: false };
        let (text, untimed) = (&self.text, &self.text_untimed);
        match journal {
            true => untimed.format_event(context, Writer::new(&mut line), event)?,
            false => text.format_event(context, Writer::new(&mut line), event)?,
        }
        line.writer.write_char('\n')
    }
}

/// Writes the message of an event, and nothing of its other fields.
struct Message<'w, 'f>(&'w mut Writer<'f>);

impl Visit for Message<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // a writer in memory takes everything
            let _ = write!(OneLine { writer: self.0.by_ref(), newline: false }, "{value:?}");
        }
    }
}

/// Passes text on with its control characters escaped, except for a newline at its end, which is left out.
struct OneLine<'w> {
    writer: Writer<'w>,
    /// A newline was written last: it is the end, or it has to be escaped.
    newline: bool,
}

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.newline) {
            self.writer.write_str("\\n")?;
        }
        let (text, newline) = text.strip_suffix('\n').map_or((text, false), |text| (text, true));
        self.newline = newline;
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (plain, control) = rest.split_at(at);
            self.writer.write_str(plain)?;
            let mut after = control.chars();
            after
                .next()
                .into_iter()
                .flat_map(char::escape_default)
                .try_for_each(|c| self.writer.write_char(c))?;
            rest = after.as_str();
        }
        self.writer.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Mutex;
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while writing").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What `log` writes in this format.
    fn written(json: bool, journal: bool, log: impl FnOnce()) -> String {
        let (memory, format) = (Memory::default(), LineFormat::default());
        format.change(json, journal);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .event_format(format)
            .with_writer(memory.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = memory.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn lines_for_the_journal_carry_their_level_and_no_time() {
        let log = || {
            tracing::error!("a");
            tracing::warn!("b");
            tracing::info!(target: "access", number = 7, "c");
            tracing::debug!("d");
            tracing::trace!("e");
        };
        let text = written(false, true, log);
        let lines: Vec<_> = text.lines().map(|line| line.split_once('>').expect("a prefix")).collect();
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), ["<3", "<4", "<6", "<7", "<7"]);
        assert_eq!(lines[2].1.trim_start(), "INFO access: c number=7");
        let json = written(true, true, log);
        for (line, number) in json.lines().zip([3, 4, 6, 7, 7]) {
            let object = line.strip_prefix(&format!("<{number}>")).expect("a prefix");
            let object: serde_json::Value = serde_json::from_str(object).expect("JSON");
            assert!(object.get("timestamp").is_none() && object.get("level").is_some(), "{object}");
        }
        let plain = written(false, false, log);
        assert!(plain.starts_with("20") && !plain.contains('<'), "elsewhere lines have their time: {plain}");
    }

    #[test]
    fn a_verbatim_line_is_its_message_alone() {
        let log = || tracing::info!(target: "access::line", number = 7, "a \"b\" \n c");
        for json in [false, true] {
            assert_eq!(written(json, false, log), "a \"b\" \\n c\n");
            assert_eq!(written(json, true, log), "<6>a \"b\" \\n c\n");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_its_fields_hold() {
        let text = "two\nlines\r\n<3>forged\u{1b}[31m\u{7f}\n";
        let log = || tracing::info!(quoted = text, shown = %text, "{text}");
        for (json, journal) in [(false, false), (false, true), (true, false), (true, true)] {
            let line = written(json, journal, log);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.ends_with('\n') && !line.contains(['\r', '\u{1b}']), "{line:?}");
            assert!(line.contains("<3>forged"), "{line:?}");
        }
        let line = written(false, true, log);
        assert!(line.contains(r"two\nlines\r\n<3>forged\u{1b}[31m\u{7f}\n"), "{line}");
    }
}
