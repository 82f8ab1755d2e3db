//! TLS by rustls over the gateway's own buffers: records in, plaintext out, and back.
//!
//! rustls sees no socket and owns no buffer here. Bytes that it could not use yet (the beginning of a record) are the
//! *carry*. The carry is put in front of the next received bytes and freed when it is empty, so an idle session holds no
//! buffer. Two rules protect the gateway from hostile peers; both follow from the source of rustls 0.23:
//!
//! * `process_tls_records` always gets the undiscarded bytes, never an empty slice while there are some. Its deframer
//!   remembers offsets into them, and one record with a part of a KeyUpdate would otherwise panic at the next encryption.
//! * All whole records are processed before anything else happens, so that encrypting never meets unread plaintext.

use crate::worker::io::buffers::CARRY_MAX;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use std::sync::Arc;

/// Most bytes of the carry once the handshake is done: the largest record of TLS 1.2 (RFC 5246, 6.2.3), which is larger than
/// those of 1.3. Messages that a client sends after its handshake are of a few bytes; only a ClientHello may be long.
pub(crate) const OPEN_CARRY_MAX: usize = 5 + 16 * 1024 + 2048;

/// The end of the alert that rustls writes when there is no certificate for the name of a client, and for nothing else here,
/// because clients need no certificate: two bytes, fatal, access_denied (RFC 8446, 6).
const ACCESS_DENIED: [u8; 4] = [0, 2, 2, 49];

/// The alert that this is (RFC 6066, 3). Browsers and tools know it as "no such name here".
const UNRECOGNIZED_NAME: u8 = 112;

/// The TLS side of one client connection.
pub(crate) struct Tls {
    conn: Box<UnbufferedServerConnection>,
    carry: Vec<u8>,
    peer_closed: bool,
    open: bool,
    /// The gateway has sent its close_notify: nothing may follow it.
    closed: bool,
    /// A fault ended the connection: rustls must not be called any more.
    failed: bool,
}

/// What was wrong with the bytes of a peer, for the log. An alert for the peer may have been written.
pub(crate) type TlsFault = rustls::Error;

impl Tls {
    /// A connection that waits for its ClientHello. Fails if rustls refuses the settings.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        let conn = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Self { conn, carry: Vec::new(), peer_closed: false, open: false, closed: false, failed: false })
    }

    /// Bytes that have to be put in front of the next received ones.
    pub(crate) fn carry(&self) -> &[u8] {
        &self.carry
    }

    /// Whether the handshake is done.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the peer has sent its close_notify.
    pub(crate) const fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether TLS 1.3 was agreed on.
    pub(crate) fn is_version_13(&self) -> bool {
        self.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// The version agreed on, and whether the session was resumed. Both are known once [`Tls::is_open`] is true.
    pub(crate) fn agreed(&self) -> (Option<ProtocolVersion>, bool) {
        (self.conn.protocol_version(), self.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Whether requests may follow: the client agreed on a version of HTTP, or on no protocol. The other protocol is that of
    /// challenges (RFC 8737), whose connections end after the handshake.
    pub(crate) fn is_http(&self) -> bool {
        self.conn.alpn_protocol().is_none_or(|protocol| protocol.starts_with(b"http/"))
    }

    /// Processes `bytes`, which are the carry followed by the received bytes. Plaintext goes to `plain`, one record at a
    /// time; its second argument says whether another whole record follows. Bytes that the handshake, a KeyUpdate or an alert
    /// needs to send are appended to `out`, also when the result is an error.
    ///
    /// A fault is final: bytes that come after it are ignored.
    pub(crate) fn feed(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        plain: impl FnMut(&[u8], bool),
    ) -> Result<(), TlsFault> {
        self.sound()?;
        let fed = self.work_off(bytes, out, plain);
        self.failed |= fed.is_err();
        fed
    }

    fn work_off(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        mut plain: impl FnMut(&[u8], bool),
    ) -> Result<(), TlsFault> {
        let (mut at, mut turns) = (0, 0);
        loop {
            // each turn uses bytes, or reports a state about bytes that were used
            turns += 1;
            debug_assert!(turns <= bytes.len() + 64, "a spin");
            let more = whole_record_behind_first(&bytes[at..]);
            let UnbufferedStatus { mut discard, state } = self.conn.process_tls_records(&mut bytes[at..]);
            let state = match state {
                Ok(state) => state,
                Err(fault) => {
                    at += discard;
                    if !self.closed {
                        self.alert(&mut bytes[at..], out);
                    }
                    return Err(fault);
                }
            };
            let mut rest = false;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain(record.payload, more);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
                // the bytes are in `out`, and the caller sends them before anything else
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.peer_closed = true,
                ConnectionState::BlockedHandshake => rest = true,
                ConnectionState::WriteTraffic(_) => {
                    self.open = true;
                    rest = true;
                }
                ConnectionState::Closed => rest = true,
                _ => return Err(TlsFault::General("a TLS state that was not asked for".into())),
            }
            at += discard;
            if rest {
                break;
            }
        }
        if bytes.len() - at > if self.open { OPEN_CARRY_MAX } else { CARRY_MAX } {
            return Err(TlsFault::General("a handshake message that never ends".into()));
        }
        self.keep(&bytes[at..]);
        Ok(())
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.carry = Vec::new();
        } else {
            self.carry.clear();
            self.carry.extend_from_slice(rest);
        }
    }

    /// Writes the alert that may be pending after a fault: it tells the peer the reason.
    fn alert(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) {
        let start = out.len();
        // only once: a second call would read the same bytes and fault again
        while self.conn.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.conn.process_tls_records(bytes).state
        {
            if encode(&mut data, out).is_err() {
                return;
            }
        }
        if !self.open && out[start..].ends_with(&ACCESS_DENIED) {
            let end = out.len();
            out[end - 1] = UNRECOGNIZED_NAME;
        }
    }

    /// Writes `plain` as records into `out` and gives their length. `out` needs room for `plain` and 29 bytes for each 16 KiB
    /// or part of it.
    pub(crate) fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, TlsFault> {
        self.with_writer(out, |writer, out| {
            writer.encrypt(plain, out).map_err(|e| TlsFault::General(e.to_string()))
        })
    }

    /// Writes the gateway's close_notify into `out` and gives its length.
    pub(crate) fn close(&mut self, out: &mut [u8]) -> Result<usize, TlsFault> {
        self.closed = true;
        self.with_writer(out, |writer, out| {
            writer.queue_close_notify(out).map_err(|e| TlsFault::General(e.to_string()))
        })
    }

    fn sound(&self) -> Result<(), TlsFault> {
        if self.failed { Err(TlsFault::General("the connection has failed".into())) } else { Ok(()) }
    }

    fn with_writer(
        &mut self,
        out: &mut [u8],
        mut write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, TlsFault>,
    ) -> Result<usize, TlsFault> {
        self.sound()?;
        let mut written = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.conn.process_tls_records(&mut self.carry);
            let done = match state? {
                ConnectionState::WriteTraffic(mut writer) => {
                    written += write(&mut writer, &mut out[written..])?;
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    written +=
                        data.encode(&mut out[written..]).map_err(|e| TlsFault::General(e.to_string()))?;
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.peer_closed = true;
                    false
                }
                _ => return Err(TlsFault::General("the connection can't be written to".into())),
            };
            self.carry.drain(..discard);
            if done {
                return Ok(written);
            }
        }
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<(), TlsFault> {
    let start = out.len();
    let mut room = 256;
    loop {
        out.resize(start + room, 0);
        match data.encode(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
            Err(fault) => {
                out.truncate(start);
                return Err(TlsFault::General(fault.to_string()));
            }
        }
    }
}

/// Whether a whole second record follows the first one (RFC 8446, 5.1: five bytes of header, the last two are the length).
/// Only a hint for when to flush: a wrong answer costs nothing but a packet.
fn whole_record_behind_first(bytes: &[u8]) -> bool {
    let whole = |bytes: &[u8]| {
        let length = 5 + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]));
        (bytes.len() >= length).then_some(length)
    };
    whole(bytes).is_some_and(|first| whole(&bytes[first..]).is_some())
}
