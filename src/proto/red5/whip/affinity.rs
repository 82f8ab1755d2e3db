//! The name by which a WHIP session is found again without a handle.

use crate::proto::red5::route::Kind;
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// Names a WHIP session by kind, app, stream, and for WHEP the `requestId`, for clients that do not follow `Location`.
/// A clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey(Arc<str>);

impl AffinityKey {
    /// The key of a session; `request_id` is empty for WHIP and for a WHEP client without one. Names that differ in their
    /// escapes only are the same: some clients escape what the gateway's `Location` does not, and the node decodes both.
    pub(crate) fn new(kind: Kind, scope: &str, stream: &str, request_id: &str) -> Self {
        let plain = |text| match memchr::memchr(b'%', str::as_bytes(text)) {
            Some(_) => percent_decode_str(text).decode_utf8_lossy(),
            None => text.into(),
        };
        let [scope, stream] = [plain(scope), plain(stream)];
        // no segment of a path can hold a slash or a line end, escaped or not, so no two sessions have the same text
        Self(format!("{}/{scope}/{stream}\n{request_id}", kind.word()).into())
    }

    /// Whether both keys have the same kind, app and stream, whatever the `requestId`: a client that follows a handle need
    /// not repeat that.
    pub fn is_same_stream(&self, other: &Self) -> bool {
        let stream = |key: &Self| key.0.split('\n').next().unwrap_or_default().to_owned();
        stream(self) == stream(other)
    }

    /// Whether it names sessions of publishers (WHIP) and not of players (WHEP).
    pub fn is_publisher(&self) -> bool {
        self.0.starts_with(Kind::Whip.word()) && self.0.as_bytes().get(Kind::Whip.word().len()) == Some(&b'/')
    }

    /// The app with its context, and the stream.
    pub fn names(&self) -> (&str, &str) {
        let name = self.0.split('\n').next().unwrap_or_default();
        let (_, path) = name.split_once('/').unwrap_or_default();
        path.rsplit_once('/').unwrap_or(("", path))
    }

    /// The text by which another gateway process makes the same key, with [`AffinityKey::from_text`].
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The key with this text, which another gateway process took from [`AffinityKey::text`]. It is not checked.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Bytes of the text, for a table with a limit.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}
