//! The payload of a Close frame (RFC 6455 5.5.1): kept while it passes, and judged.

/// Longest payload of a control frame (RFC 6455 5.5).
pub(crate) const CONTROL_MAX: usize = 125;

/// The Close frame of one side on its way through the scanner.
#[derive(Debug)]
pub(crate) struct SentClose {
    /// All zero if the frame has no mask.
    mask: [u8; 4],
    /// The payload that came so far, as it came.
    payload: [u8; CONTROL_MAX],
    len: usize,
}

impl SentClose {
    /// A Close frame with this mask, of which only the header came.
    pub(crate) const fn new(mask: [u8; 4]) -> Self {
        Self { mask, payload: [0; CONTROL_MAX], len: 0 }
    }

    /// Adds bytes of the payload; the header has shown that all of them are at most [`CONTROL_MAX`].
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.payload[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// The payload that came so far, without its mask.
    pub(crate) fn unmasked(&self) -> Vec<u8> {
        let payload = &self.payload[..self.len];
        payload.iter().zip(self.mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }
}

/// Whether the payload of a Close frame is one that an endpoint may send: nothing, or a code that may stand in a frame
/// (RFC 6455 7.4 and the IANA registry: 1000–1014 without 1004–1006, 3000–4999) and a reason in UTF-8.
pub fn is_legal(payload: &[u8]) -> bool {
    match payload {
        [] => true,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) && std::str::from_utf8(reason).is_ok()
        }
        [_] => false,
    }
}
