//! A door for benches: two pieces of a worker, without its sockets. It shows nothing else and promises nothing.
//!
//! Nothing that serves comes through here. `benches/gateway.rs` measures these pieces, `benches/counts.sh` counts their
//! instructions.

use crate::shared::answers::{Answers, CacheLookup};
use crate::shared::questions::CacheStatus;
use crate::worker::http::response;
use crate::worker::http::response::Shape;
use crate::worker::io::tls::{Tls, TlsFault};
use rustls::ServerConfig;
use std::sync::Arc;

/// The TLS side of one client connection, as a relay drives it.
pub struct Records(Tls);

impl Records {
    /// A connection that waits for its ClientHello.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        Tls::new(config).map(Self)
    }

    /// Works off received bytes; plaintext goes to `plain`, what has to be sent to `out`. They have to be whole records:
    /// no rest of one is put in front of the next.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        mut plain: impl FnMut(&[u8]),
    ) -> Result<(), TlsFault> {
        self.0.feed(bytes, out, |bytes, _| plain(bytes))?;
        if self.0.carry().is_empty() { Ok(()) } else { Err(TlsFault::General("half a record".into())) }
    }

    /// Writes `plain` as records into `out` and says how many bytes they are.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, TlsFault> {
        self.0.encrypt(plain, out)
    }

    /// The handshake is done.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

/// The whole answer that a page gets to a question, if the memory has one.
pub fn answer_from_memory(answers: &Answers, key: &str, session: &str, origin: &str) -> Option<Vec<u8>> {
    let CacheLookup::Hit(answer) = answers.look(key) else { return None };
    let shape = Shape {
        session: session.to_owned(),
        allow_origin: Some(origin.to_owned()),
        vary_origin: true,
        ..Shape::default()
    };
    Some(response::answer(&shape, &answer, CacheStatus::Hit, answers.now()))
}
