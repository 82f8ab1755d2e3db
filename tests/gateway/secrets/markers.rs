//! Secrets that are recognisable wherever they appear, and the table of where each of them may appear.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Where a secret can appear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Channel {
    /// What the program writes to stderr, including the access log if it goes there.
    Log,
    AccessLog,
    /// Every page of the admin listener.
    Admin,
    /// What the commands print.
    Commands,
    /// Command line of every process.
    Process,
    /// Environment of every process.
    Environment,
    /// Answers to the client that sent the secret or was meant to receive it.
    Sender,
    /// Answers to all other clients.
    Others,
    Node,
    Manager,
}

struct Marker {
    what: String,
    text: String,
    may: Vec<Channel>,
}

/// All markers of a test, and everything that was received.
#[derive(Default)]
pub struct Markers {
    made: Vec<Marker>,
    seen: BTreeMap<Channel, Vec<u8>>,
}

impl Markers {
    /// A new secret. It must appear in the channels of `may`, and in no other.
    pub fn mark(&mut self, what: impl Into<String>, may: &[Channel]) -> String {
        let what = what.into();
        let mut hasher = DefaultHasher::new();
        (&what, self.made.len(), "tidegate").hash(&mut hasher);
        let text = format!("Q{:016x}z", hasher.finish());
        self.adopt(what, text.clone(), may);
        text
    }

    /// A secret that a peer made, with the same rule.
    pub fn adopt(&mut self, what: impl Into<String>, text: String, may: &[Channel]) {
        self.made.push(Marker { what: what.into(), text, may: may.to_vec() });
    }

    pub fn record(&mut self, channel: Channel, bytes: impl AsRef<[u8]>) {
        let seen = self.seen.entry(channel).or_default();
        seen.extend_from_slice(bytes.as_ref());
        seen.push(b'\n');
    }

    pub fn len(&self) -> usize {
        self.made.len()
    }

    /// Checks that every marker appeared in its channels, so it was really sent, and in no others.
    #[track_caller]
    pub fn assert_no_leak(&self) {
        let mut wrong = String::new();
        // all forms are in lower case
        let seen: BTreeMap<_, _> =
            self.seen.iter().map(|(channel, seen)| (channel, seen.to_ascii_lowercase())).collect();
        for Marker { what, text, may } in &self.made {
            let forms = forms(text);
            for (channel, seen) in &seen {
                let found = forms.iter().find_map(|form| find(seen, form));
                match (found, may.contains(channel)) {
                    (Some(around), false) => writeln!(wrong, "{what} is in {channel:?}: {around}").unwrap(),
                    (None, true) => {
                        writeln!(wrong, "{what} is not in {channel:?}, where it was sent").unwrap()
                    }
                    _ => {}
                }
            }
        }
        assert!(wrong.is_empty(), "of {} secrets:\n{wrong}", self.made.len());
    }
}

/// A text as it is, percent-escaped, in hexadecimal, and in base64 at each of the three offsets of a group. All in lower
/// case.
fn forms(text: &str) -> Vec<String> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut forms = vec![text.to_ascii_lowercase(), hex, escaped];
    forms.extend((0..3).map(|shift| base64(text.as_bytes(), shift).to_ascii_lowercase()));
    forms
}

/// The base64 digits that depend on `bytes` only, with `before` other bytes before them.
fn base64(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = |at: usize| -> Option<u8> {
        let (byte, bit) = (at / 8, at % 8);
        let byte = byte.checked_sub(before).and_then(|byte| bytes.get(byte))?;
        Some(byte >> (7 - bit) & 1)
    };
    let digits = (0..(before + bytes.len()) * 8).step_by(6).filter_map(|at| {
        let digit = (at..at + 6).try_fold(0, |digit, at| Some(digit << 1 | bits(at)?))?;
        Some(char::from(DIGITS[usize::from(digit)]))
    });
    digits.collect()
}

/// The surroundings of the first match.
fn find(seen: &[u8], form: &str) -> Option<String> {
    let at = memchr::memmem::find(seen, form.as_bytes())?;
    let around = &seen[at.saturating_sub(120)..seen.len().min(at + form.len() + 60)];
    Some(around.escape_ascii().to_string())
}

#[test]
fn every_form_is_found() {
    assert_eq!(base64(b"hello", 0), "aGVsbG");
    for text in ["xQ0123z", "id:xQ0123z.", "me:pass:xQ0123z"] {
        let whole = base64(text.as_bytes(), 0).to_ascii_lowercase();
        assert!(forms("xQ0123z").iter().any(|form| whole.contains(form.as_str())), "{whole}");
    }
}
