//! Texts that many clients send alike, such as `User-Agent`: kept once for all sessions of a worker.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

/// Most texts that are shared. Clients choose them, so after that many a worker begins anew; sessions keep what they have.
const TEXTS_MAX: usize = 512;

/// Longest text in bytes; longer ones are cut.
const TEXT_MAX: usize = 160;

/// The texts of one worker.
#[derive(Debug, Default)]
pub(crate) struct Phrases(RefCell<HashSet<Arc<str>>>);

impl Phrases {
    /// Puts the shared copy of a text into `kept`. Most requests of a connection have the same text as the one before, for which
    /// nothing is to be done.
    pub(crate) fn keep(&self, kept: &mut Option<Arc<str>>, text: Option<&[u8]>) {
        let is_same = match (&*kept, text) {
            (Some(kept), Some(text)) => kept.as_bytes() == text,
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            *kept = text.and_then(|text| self.share(text));
        }
    }

    /// The shared copy of a text: its visible ASCII, cut to 160 bytes. `None` if nothing is left of it.
    fn share(&self, text: &[u8]) -> Option<Arc<str>> {
        let text = &text[..text.len().min(TEXT_MAX)];
        let is_visible = |byte: &u8| matches!(byte, 0x20..=0x7e);
        let cleaned: String;
        let text = match std::str::from_utf8(text) {
            Ok(text) if text.bytes().all(|byte| is_visible(&byte)) => text,
            _ => {
                cleaned = text.iter().filter(|byte| is_visible(byte)).map(|byte| char::from(*byte)).collect();
                &cleaned
            }
        };
        if text.is_empty() {
            return None;
        }
        let mut texts = self.0.borrow_mut();
        if let Some(shared) = texts.get(text) {
            return Some(Arc::clone(shared));
        }
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        let shared = Arc::<str>::from(text);
        texts.insert(Arc::clone(&shared));
        Some(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once_and_others_within_a_limit() {
        let phrases = Phrases::default();
        let (one, two) = (phrases.share(b"SDK 11"), phrases.share(b"SDK 11"));
        assert!(Arc::ptr_eq(&one.expect("kept"), &two.expect("kept")));
        assert_eq!(phrases.share("Caf\u{e9}\n 1".as_bytes()).as_deref(), Some("Caf 1"));
        assert_eq!(phrases.share(&[b'x'; 1000]).map(|text| text.len()), Some(TEXT_MAX));
        assert_eq!(phrases.share(b"\xff"), None);
        for n in 0..10_000 {
            phrases.share(format!("client {n}").as_bytes());
        }
        assert!(phrases.0.borrow().len() <= TEXTS_MAX);
    }
}
