//! Why a head is refused.

use crate::proto::refusal::Refusal;

/// Why a head is refused. None of them leaves a connection in a state worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// CR without LF or LF without CR.
    BareLineEnd,
    /// A NUL byte.
    Nul,
    /// No line, field or method as the grammar has it; obsolete folding, space before a colon.
    Malformed,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    TargetTooLong,
    TooLarge,
    TooManyFields,
    /// Not origin-form with visible ASCII bytes.
    Target,
    /// An absolute target whose authority is not that of `Host`.
    OtherHost,
    /// `Host` missing, doubled, empty or no authority.
    Host,
    /// `Content-Length` doubled, a list, or no number.
    ContentLength,
    /// `Transfer-Encoding` doubled, not exactly `chunked`, with a `Content-Length`, or in HTTP/1.0.
    TransferEncoding,
    /// A field that may be there once was there twice, or holds bytes that it can't.
    Field,
}

impl HeadFault {
    /// What the client is told.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::TargetTooLong => Refusal::TargetTooLong,
            Self::TooLarge | Self::TooManyFields => Refusal::HeadTooLarge,
            Self::Target | Self::OtherHost => Refusal::BadTarget,
            Self::BareLineEnd
            | Self::Nul
            | Self::Malformed
            | Self::Version
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Field => Refusal::BadRequest,
        }
    }
}
