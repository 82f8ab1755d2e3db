//! The reasons for which a head is refused.

use crate::proto::refusal::Refusal;

/// Why a head is refused. After any of these it is not known where the next message begins: the connection can't be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// A CR without LF, or an LF without CR (RFC 9112 2.2).
    BareLineEnd,
    /// A NUL byte.
    Nul,
    /// A line, field or method against the grammar; also obsolete folding, and a space before a colon (RFC 9112 5).
    Malformed,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A target longer than [`HeadLimits::target_size_max`](crate::proto::http::head::HeadLimits::target_size_max).
    TargetTooLong,
    /// A head larger than [`HeadLimits::head_size_max`](crate::proto::http::head::HeadLimits::head_size_max).
    TooLarge,
    /// More fields than [`HeadLimits::headers_max`](crate::proto::http::head::HeadLimits::headers_max).
    TooManyFields,
    /// A target that is not in origin-form, or not visible ASCII.
    Target,
    /// An absolute target whose authority is not that of `Host`.
    OtherHost,
    /// `Host` is missing, doubled, empty, or no authority (RFC 9112 3.2).
    Host,
    /// `Content-Length` is doubled, a list, or no number.
    ContentLength,
    /// `Transfer-Encoding` is doubled, is not exactly `chunked`, comes with a `Content-Length`, or in HTTP/1.0.
    TransferEncoding,
    /// A field that may be there once is there twice, or has a byte that is not visible ASCII.
    Field,
}

impl HeadFault {
    /// The refusal that a client gets for such a head.
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
