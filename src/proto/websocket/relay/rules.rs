//! The waits and limits of a relay.

use crate::proto::millis::Millis;

/// The waits and limits of one relay; `None` switches a wait or limit off. Values come from the configuration.
#[derive(Debug, Clone)]
pub struct RelayRules {
    /// Most payload bytes of one message, all its fragments together.
    pub message_max: Option<u64>,
    /// Silence of the client, in milliseconds, after which the gateway sends it a Ping.
    pub ping_interval: Option<Millis>,
    /// Silence after that Ping, in milliseconds, after which the client counts as gone ([`How::Silent`]).
    ///
    /// [`How::Silent`]: crate::proto::websocket::relay::How::Silent
    pub pong_timeout: Millis,
    /// Time in milliseconds without any frame but Ping and Pong, in both directions, after which the relay ends.
    pub idle: Option<Millis>,
    /// Longest life of a relay, in milliseconds.
    pub lifetime: Option<Millis>,
    /// Longest time from the first Close to the end of both connections, in milliseconds. A drain starts it with the first
    /// Close that it can insert, so a long frame may delay it; the drain has a deadline of its own.
    pub close_timeout: Millis,
    /// Whether client and node agreed on an extension: the reserved bits of frames are theirs then.
    pub extensions: bool,
}
