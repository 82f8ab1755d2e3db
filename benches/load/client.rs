//! Many clients in one thread: each connects, upgrades to WebSocket if it has a path for that, and then follows a script.

use super::frames::{self, PING, PONG, Reader};
use super::link::{Link, Received, SCRATCH};
use super::poll::Poll;
use super::target::Target;
use super::{Error, Result};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The key of the example in RFC 6455, 1.3, and the accept value that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// If no session has an event for this long, the measurement fails.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Sessions that open at the same time: a gateway may limit unfinished handshakes.
const OPENING_MAX: usize = 64;

/// What the clients do. An error is a fault of the gateway under test and ends that session.
pub trait Script {
    /// The session is open: its 101 has arrived, or for plain HTTP its TLS handshake is done.
    fn opened(&mut self, session: &mut Session) -> Result<()>;

    /// A Ping arrived; by default it is answered with a Pong.
    fn pinged(&mut self, session: &mut Session, payload: &[u8]) -> Result<()> {
        session.say(PONG, payload)
    }

    /// A frame other than a Ping arrived.
    fn frame(&mut self, _: &mut Session, opcode: u8, _: &[u8]) -> Result<()> {
        Err(format!("expected no frame, found one with opcode {opcode}").into())
    }

    /// Bytes arrived on a connection that speaks plain HTTP.
    fn bytes(&mut self, _: &mut Session, _: &[u8]) -> Result<()> {
        Err("expected no bytes, found some".into())
    }

    /// The socket takes more bytes. Returns true if the script sent something.
    fn writable(&mut self, _: &mut Session) -> Result<bool> {
        Ok(false)
    }

    /// The gateway ended the connection with a close_notify, or a FIN where there is no TLS.
    fn ended(&mut self, _: &mut Session) -> Result<()> {
        Err("the gateway ended the connection".into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Upgrade,
    Frames,
    Http,
}

/// One client.
pub struct Session {
    pub link: Link,
    phase: Phase,
    head: Vec<u8>,
    reader: Reader,
    /// For the script: number of the next message to send.
    pub sent: u64,
    /// For the script: number of the next message to receive.
    pub got: u64,
    /// For the script: bytes received so far of an incomplete message.
    pub inbox: Vec<u8>,
    /// For the script: true once it has finished, so that the end of the connection is not a fault.
    pub done: bool,
}

/// Many clients of one gateway.
pub struct Fleet {
    poll: Poll,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    /// The request head of every upgrade. None: the sessions speak plain HTTP.
    upgrade: Option<String>,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    ready: Vec<(usize, bool)>,
    again: Vec<usize>,
    last_event: Instant,
    /// Sessions open now.
    pub open: usize,
    /// Number of sessions that failed.
    pub faults: usize,
    /// The error of the first session that failed.
    pub first_fault: Option<String>,
}

/// The TLS settings of the clients: the same for all gateways, so that the cipher suites do not differ. `resume`: use
/// session tickets.
pub fn tls(certificate: &CertificateDer<'static>, resume: bool) -> Result<Arc<ClientConfig>> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resume { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

impl Fleet {
    /// Starts without clients. `path` is the target of the WebSockets; without one the sessions speak plain HTTP.
    pub fn new(target: &Target, tls: &Arc<ClientConfig>, path: Option<&str>) -> Result<Self> {
        let address = target.address;
        let host = format!("localhost:{}", address.port());
        let upgrade = path.map(|path| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nOrigin: https://{host}\r\n\r\n"
            )
        });
        Ok(Self {
            poll: Poll::new()?,
            sessions: Vec::new(),
            free: Vec::new(),
            address,
            tls: target.tls.then(|| tls.clone()),
            upgrade,
            scratch: vec![0; SCRATCH],
            plain: Vec::new(),
            ready: Vec::new(),
            again: Vec::new(),
            last_event: Instant::now(),
            open: 0,
            faults: 0,
            first_fault: None,
        })
    }

    /// Starts one more session.
    pub fn connect(&mut self) -> Result<()> {
        let name = ServerName::try_from("localhost")?;
        let mut tls =
            self.tls.as_ref().map(|config| ClientConnection::new(config.clone(), name)).transpose()?;
        if let Some(tls) = &mut tls {
            // scripts check `is_flushed` themselves; a limit would let rustls take only part of a message
            tls.set_buffer_limit(None);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        let link = Link::connect(self.address, tls)?;
        self.poll.add(link.socket(), number)?;
        self.sessions[number] = Some(Session {
            link,
            phase: Phase::Handshake,
            head: Vec::new(),
            reader: Reader::default(),
            sent: 0,
            got: 0,
            inbox: Vec::new(),
            done: false,
        });
        self.open += 1;
        Ok(())
    }

    /// Starts `count` sessions, at most [`OPENING_MAX`] at the same time, and runs them until `is_done` returns true.
    pub fn gather<S: Script>(
        &mut self,
        script: &mut S,
        count: usize,
        mut is_done: impl FnMut(&S) -> bool,
    ) -> Result<()> {
        let mut begun = 0;
        self.last_event = Instant::now();
        while begun < count || !is_done(script) {
            for _ in 0..OPENING_MAX.saturating_sub(self.opening()).min(count - begun) {
                self.connect()?;
                begun += 1;
            }
            self.turn(script, Duration::from_millis(20))?;
            if self.faults > 0 {
                return Err(self.complaint().into());
            }
        }
        Ok(())
    }

    fn opening(&self) -> usize {
        let opening = |session: &&Session| matches!(session.phase, Phase::Handshake | Phase::Upgrade);
        self.sessions.iter().flatten().filter(opening).count()
    }

    /// Waits for events for at most `at_most` and handles all of them. Fails when too many sessions have failed or no event
    /// has come for [`EVENT_TIMEOUT`].
    pub fn turn(&mut self, script: &mut impl Script, at_most: Duration) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let wait = if self.again.is_empty() { at_most } else { Duration::ZERO };
        self.poll.wait(wait, &mut ready)?;
        ready.extend(self.again.drain(..).map(|number| (number, false)));
        if !ready.is_empty() {
            self.last_event = Instant::now();
        } else if self.last_event.elapsed() > EVENT_TIMEOUT {
            return Err(format!("no event for {EVENT_TIMEOUT:?}; {}", self.complaint()).into());
        }
        for (number, ended) in &ready {
            self.handle(*number, *ended, script);
        }
        self.ready = ready;
        if self.faults > 100 || self.faults > 0 && self.open == 0 {
            return Err(format!("too many sessions failed; {}", self.complaint()).into());
        }
        Ok(())
    }

    /// The session with an index: the first to connect has index 0, and the index of an ended session is used again.
    pub fn session(&mut self, index: usize) -> Option<&mut Session> {
        self.sessions.get_mut(index)?.as_mut()
    }

    /// A text about the faults so far, for an error message.
    pub fn complaint(&self) -> String {
        let first = self.first_fault.as_deref().unwrap_or("none");
        format!("{} sessions failed, {} open, first fault: {first}", self.faults, self.open)
    }

    fn handle(&mut self, number: usize, ended: bool, script: &mut impl Script) {
        let Some(session) = self.sessions[number].as_mut() else { return };
        let buffers = (&mut self.scratch[..], &mut self.plain);
        match session.handle(script, self.upgrade.as_deref(), buffers, ended) {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => self.again.push(number),
            Ok(Next::End) => self.remove(number),
            Err(why) => {
                self.fault(&why);
                self.remove(number);
            }
        }
    }

    fn fault(&mut self, why: &Error) {
        self.faults += 1;
        self.first_fault.get_or_insert_with(|| why.to_string());
    }

    fn remove(&mut self, number: usize) {
        self.sessions[number] = None;
        self.free.push(number);
        self.open -= 1;
    }
}

/// What to do with a session after an event was handled.
enum Next {
    Wait,
    /// Handle it again after the other sessions: its socket takes or has more, and no further event will say so.
    Again,
    End,
}

/// Messages that a session sends before the other sessions are handled.
const MESSAGES_PER_TURN: usize = 16;

impl Session {
    /// Whether all frames received so far are complete.
    pub fn is_between_frames(&self) -> bool {
        self.reader.is_between_frames()
    }

    /// Whether messages may be sent: the 101 has arrived.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Frames
    }

    /// Sends a masked frame.
    pub fn say(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = Vec::new();
        frames::write(&mut frame, opcode, payload, true);
        self.link.send(&frame)
    }

    fn handle(
        &mut self,
        script: &mut impl Script,
        upgrade: Option<&str>,
        (scratch, plain): (&mut [u8], &mut Vec<u8>),
        ended: bool,
    ) -> Result<Next> {
        self.link.flush()?;
        // a script needs the whole session while it takes bytes, so all bytes are read first
        plain.clear();
        let received = self.link.receive(scratch, ended, |bytes| {
            plain.extend_from_slice(bytes);
            Ok(())
        })?;
        self.take(script, upgrade, plain)?;
        if received == Received::Cut && !self.done {
            return Err("the connection ended without a close_notify".into());
        }
        if received == Received::More {
            return Ok(Next::Again);
        }
        if received != Received::Open {
            // after a WebSocket Close no data can be missing, so a missing close_notify is no fault
            script.ended(self)?;
            self.link.finish()?;
            return Ok(Next::End);
        }
        for _ in 0..MESSAGES_PER_TURN {
            let may_send = matches!(self.phase, Phase::Frames | Phase::Http) && self.link.is_flushed();
            if !may_send || !script.writable(self)? {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Again)
    }

    fn take(&mut self, script: &mut impl Script, upgrade: Option<&str>, bytes: &[u8]) -> Result<()> {
        if self.phase == Phase::Handshake && self.link.is_ready() {
            match upgrade {
                Some(head) => {
                    self.phase = Phase::Upgrade;
                    self.link.send(head.as_bytes())?;
                }
                None => {
                    self.phase = Phase::Http;
                    script.opened(self)?;
                }
            }
        }
        match self.phase {
            _ if bytes.is_empty() => Ok(()),
            Phase::Handshake => Err("bytes before the handshake was done".into()),
            Phase::Http => script.bytes(self, bytes),
            Phase::Frames => self.frames(script, bytes),
            Phase::Upgrade => {
                self.head.extend_from_slice(bytes);
                let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else { return Ok(()) };
                let head = std::mem::take(&mut self.head);
                check_upgrade(&head[..end + 2])?;
                self.phase = Phase::Frames;
                script.opened(self)?;
                self.frames(script, &head[end + 4..])
            }
        }
    }

    fn frames(&mut self, script: &mut impl Script, bytes: &[u8]) -> Result<()> {
        let mut reader = std::mem::take(&mut self.reader);
        let fed = reader.feed(bytes, |opcode, payload| match opcode {
            PING => script.pinged(self, payload),
            _ => script.frame(self, opcode, payload),
        });
        self.reader = reader;
        fed
    }
}

fn check_upgrade(head: &[u8]) -> Result<()> {
    let head = std::str::from_utf8(head)?;
    let accept = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-accept").then(|| value.trim())
    });
    if !head.starts_with("HTTP/1.1 101 ") || accept != Some(ACCEPT) {
        let found = head.lines().next().unwrap_or_default();
        return Err(format!("expected a 101 with the right accept value, found {found:?}").into());
    }
    Ok(())
}
