//! Peers that vanish or fall silent: their sessions end in time on both legs, and no other session does.

mod timers;
mod vanished_peers;
