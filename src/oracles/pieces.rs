//! Two parts of a worker, without its sockets, for benches: TLS records, and answers from the store.
//!
//! `benches/gateway.rs` measures these parts, `benches/counts.sh` counts their instructions. Nothing that serves uses this
//! file.

use crate::shared::answers::{Answers, CacheLookup};
use crate::shared::questions::CacheStatus;
use crate::worker::http::response::{self, Shape};
use crate::worker::io::tls::{Tls, TlsFault};
use rustls::ServerConfig;
use std::sync::Arc;

/// The gateway's TLS end of one client connection, as a relay drives it.
pub struct Records(Tls);

impl Records {
    /// A connection that waits for its ClientHello. Fails if the configuration does not suit rustls.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        Tls::new(config).map(Self)
    }

    /// Processes received bytes: plaintext goes to `plain`, bytes to be sent are appended to `out`. Fails at a TLS fault, and
    /// unless the bytes are whole records: the beginning of a record is not kept for the next call.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        mut plain: impl FnMut(&[u8]),
    ) -> Result<(), TlsFault> {
        self.0.feed(bytes, out, |bytes, _| plain(bytes))?;
        if self.0.carry().is_empty() { Ok(()) } else { Err(TlsFault::General("half a record".into())) }
    }

    /// Writes `plain` as records into `out` and returns their size in bytes. Fails if they do not fit or the connection is
    /// not open.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, TlsFault> {
        self.0.encrypt(plain, out)
    }

    /// Whether the handshake is complete and data can be encrypted.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

/// The whole HTTP answer that a page with this web origin gets to the question `key`; `None` if no answer is stored.
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
