//! An answer of the gateway to a request.

use crate::proto::refusal::Refusal;

/// An answer on its way to the client.
pub(crate) struct Answer {
    pub status: u16,
    /// Why the gateway refuses the request, if it does.
    pub refusal: Option<Refusal>,
    /// Head and body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// An answer that is no refusal of the gateway.
    pub(crate) const fn new(status: u16, bytes: Vec<u8>) -> Self {
        Self { status, refusal: None, bytes }
    }
}
