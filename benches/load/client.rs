//! Many clients in one thread: each connects, upgrades if it is to speak WebSocket, and then does what a script says.

use super::frames::{self, PING, PONG, Reader};
use super::link::{Link, Look, SCRATCH};
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

/// The key of RFC 6455's own example, and the accept value that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A session that waits so long for its next byte has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sessions that open at one time: a gateway may limit them.
const OPENING_MAX: usize = 64;

/// What clients do. An error is a fault of the gateway under test and ends that session.
pub trait Script {
    /// The way is open: the 101 is there, or for plain HTTP the TLS handshake is done.
    fn opened(&mut self, session: &mut Session) -> Result<()>;

    /// A Ping came.
    fn pinged(&mut self, session: &mut Session, payload: &[u8]) -> Result<()> {
        session.say(PONG, payload)
    }

    /// A frame came; pings are answered already.
    fn frame(&mut self, _: &mut Session, opcode: u8, _: &[u8]) -> Result<()> {
        Err(format!("a frame {opcode} that nobody asked for").into())
    }

    /// Bytes came on a connection that speaks plain HTTP.
    fn bytes(&mut self, _: &mut Session, _: &[u8]) -> Result<()> {
        Err("bytes that nobody asked for".into())
    }

    /// The socket takes more; true if something was sent.
    fn writable(&mut self, _: &mut Session) -> Result<bool> {
        Ok(false)
    }

    /// The gateway ended the connection in an orderly way.
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
    /// For the script: number of the next message out.
    pub sent: u64,
    /// For the script: number of the next message in.
    pub got: u64,
    /// For the script: bytes put together.
    pub inbox: Vec<u8>,
    /// For the script: it has done what it had to, and an end is right.
    pub done: bool,
}

/// Many clients of one gateway.
pub struct Fleet {
    poll: Poll,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    /// The head of every upgrade; without one the sessions speak plain HTTP.
    upgrade: Option<String>,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    ready: Vec<(usize, bool)>,
    again: Vec<usize>,
    heard: Instant,
    /// Sessions open now.
    pub open: usize,
    /// Sessions that went wrong, and what the first of them met.
    pub faults: usize,
    pub first_fault: Option<String>,
}

/// How clients shake hands: the same for all gateways, so that the suites do not differ.
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
    /// No client yet. `path` is the WebSocket's target; without one the sessions speak plain HTTP.
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
            heard: Instant::now(),
            open: 0,
            faults: 0,
            first_fault: None,
        })
    }

    /// Begins one more session.
    pub fn connect(&mut self) -> Result<()> {
        let name = ServerName::try_from("localhost")?;
        let mut tls =
            self.tls.as_ref().map(|config| ClientConnection::new(config.clone(), name)).transpose()?;
        if let Some(tls) = &mut tls {
            // scripts look whether the socket is full; half a message would be of no use to them
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

    /// Begins `count` sessions, few at a time, and turns until `is_done` says so.
    pub fn gather<S: Script>(
        &mut self,
        script: &mut S,
        count: usize,
        mut is_done: impl FnMut(&S) -> bool,
    ) -> Result<()> {
        let mut begun = 0;
        self.heard = Instant::now();
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

    /// Waits at most so long and does all there is to do.
    pub fn turn(&mut self, script: &mut impl Script, at_most: Duration) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let wait = if self.again.is_empty() { at_most } else { Duration::ZERO };
        self.poll.wait(wait, &mut ready)?;
        ready.extend(self.again.drain(..).map(|number| (number, false)));
        if !ready.is_empty() {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > PATIENCE {
            return Err(format!("nothing came for {PATIENCE:?}; {}", self.complaint()).into());
        }
        for (number, ended) in &ready {
            self.look(*number, *ended, script);
        }
        self.ready = ready;
        if self.faults > 100 || self.faults > 0 && self.open == 0 {
            return Err(format!("giving up; {}", self.complaint()).into());
        }
        Ok(())
    }

    /// The session in a place: the first to connect has place 0, and a place that is free is taken again.
    pub fn session(&mut self, place: usize) -> Option<&mut Session> {
        self.sessions.get_mut(place)?.as_mut()
    }

    /// What went wrong, for people.
    pub fn complaint(&self) -> String {
        let first = self.first_fault.as_deref().unwrap_or("no fault was seen");
        format!("{} faults, {} open, first: {first}", self.faults, self.open)
    }

    fn look(&mut self, number: usize, ended: bool, script: &mut impl Script) {
        let Some(session) = self.sessions[number].as_mut() else { return };
        let buffers = (&mut self.scratch[..], &mut self.plain);
        let looked = session.look(script, self.upgrade.as_deref(), buffers, ended);
        match looked {
            Ok(More::Wait) => {}
            Ok(More::Again) => self.again.push(number),
            Ok(More::Over) => self.leave(number),
            Err(why) => {
                self.fault(&why);
                self.leave(number);
            }
        }
    }

    fn fault(&mut self, why: &Error) {
        self.faults += 1;
        self.first_fault.get_or_insert_with(|| why.to_string());
    }

    fn leave(&mut self, number: usize) {
        self.sessions[number] = None;
        self.free.push(number);
        self.open -= 1;
    }
}

/// What a look at a session left.
enum More {
    Wait,
    /// Its socket takes more, but others have their turn.
    Again,
    Over,
}

/// Messages that a session sends before others have their turn.
const TURN: usize = 16;

impl Session {
    /// Whether every frame that began to come has come.
    pub fn is_between_frames(&self) -> bool {
        self.reader.is_between_frames()
    }

    /// Whether messages may be sent: its 101 is there.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Frames
    }

    /// Sends a frame with our mask.
    pub fn say(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = Vec::new();
        frames::write(&mut frame, opcode, payload, true);
        self.link.send(&frame)
    }

    fn look(
        &mut self,
        script: &mut impl Script,
        upgrade: Option<&str>,
        (scratch, plain): (&mut [u8], &mut Vec<u8>),
        ended: bool,
    ) -> Result<More> {
        self.link.flush()?;
        // a script needs the whole session while bytes are handed out, so they are gathered first
        plain.clear();
        let look = self.link.receive(scratch, ended, |bytes| {
            plain.extend_from_slice(bytes);
            Ok(())
        })?;
        self.take(script, upgrade, plain)?;
        if look == Look::Cut && !self.done {
            return Err("the connection ended without a close_notify".into());
        }
        if look == Look::More {
            return Ok(More::Again);
        }
        if look != Look::Open {
            // behind a WebSocket's Close nothing can be missing, and not every peer says more
            script.ended(self)?;
            self.link.finish()?;
            return Ok(More::Over);
        }
        for _ in 0..TURN {
            let may = matches!(self.phase, Phase::Frames | Phase::Http) && self.link.is_flushed();
            if !may || !script.writable(self)? {
                return Ok(More::Wait);
            }
        }
        Ok(More::Again)
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
        return Err(format!("no right 101: {:?}", head.lines().next().unwrap_or_default()).into());
    }
    Ok(())
}
