//! Where the answer to a question came from.

/// Where an answer came from, in the words of `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CacheStatus {
    /// It was stored.
    Hit,
    /// A flight of its own brought it.
    Miss,
    /// A flight that was already under way brought it.
    Collapsed,
    /// A flight brought it that may not be shared.
    Bypass,
}

impl CacheStatus {
    /// The word in logs and in the record of a session.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
        }
    }
}
