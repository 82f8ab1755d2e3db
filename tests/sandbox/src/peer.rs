//! One client of a node: its WebRTC session (str0m, no sockets here) and what it wants. It knows nothing of other peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::crypto::from_feature_flags;
use str0m::media::{Direction, KeyframeRequestKind, MediaData, MediaKind, Mid};
use str0m::net::Transmit;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};
use tokio::sync::mpsc::UnboundedSender;

use crate::messages::{self, Request};

/// Why a session failed; only ever shown to the client.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Which side of a stream a peer is on. `live` once its media may flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Idle,
    Publisher { name: String, asked: bool, live: bool },
    Subscriber { name: String, asked: bool, live: bool },
}

/// What polling a peer gives its node to do.
pub(crate) enum Happened {
    Transmit(Transmit),
    Connected,
    Frame(Box<MediaData>),
    Keyframe(MediaKind, KeyframeRequestKind),
    Asked(Request),
}

pub(crate) struct Peer {
    pub(crate) scope: String,
    pub(crate) role: Role,
    pub(crate) handed_off: bool,
    pub(crate) connected: bool,
    pub(crate) wake: Instant,
    /// When the last packet of the client came.
    pub(crate) heard: Instant,
    outbox: UnboundedSender<String>,
    rtc: Option<Rtc>,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    video: Option<Mid>,
    /// The channel that a node's offer had to open, so that there is one at all.
    ours: Option<ChannelId>,
    /// The channel that the client opened and listens on.
    theirs: Option<ChannelId>,
    told_trickle: bool,
    told_channel: bool,
}

impl Peer {
    pub(crate) fn new(scope: String, outbox: UnboundedSender<String>, now: Instant) -> Self {
        Self {
            scope,
            role: Role::Idle,
            handed_off: false,
            connected: false,
            wake: now,
            heard: now,
            outbox,
            rtc: None,
            pending: None,
            audio: None,
            video: None,
            ours: None,
            theirs: None,
            told_trickle: false,
            told_channel: false,
        }
    }

    /// A peer without a socket: what the node has to say goes to its data channel, and the hand-off needs no words.
    pub(crate) fn by_http(scope: String, now: Instant) -> Self {
        // Nobody reads at the other end, and nothing is said there.
        let (nowhere, _) = tokio::sync::mpsc::unbounded_channel();
        Self { handed_off: true, told_trickle: true, told_channel: true, ..Self::new(scope, nowhere, now) }
    }

    /// Says something on the socket, or on the data channel once that took over.
    pub(crate) fn say(&mut self, text: String) {
        if !self.handed_off {
            // A socket that is gone has its own message on the way here.
            let _ = self.outbox.send(text);
            return;
        }
        let id = self.theirs.or(self.ours);
        if let Some(mut channel) = id.and_then(|id| self.rtc.as_mut()?.channel(id)) {
            let _ = channel.write(false, text.as_bytes());
        }
    }

    /// The publisher's way: the client's offer, the node's answer.
    pub(crate) fn take_offer(&mut self, sdp: &str, local: SocketAddr) -> Result<String, Failure> {
        let mut rtc = session(local)?;
        let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(&without_bandwidth(sdp))?)?;
        self.rtc = Some(rtc);
        Ok(answer.to_sdp_string())
    }

    /// The subscriber's way: the node's offer.
    pub(crate) fn make_offer(
        &mut self,
        kinds: &[MediaKind],
        stream: &str,
        local: SocketAddr,
    ) -> Result<String, Failure> {
        let mut rtc = session(local)?;
        let mut change = rtc.sdp_api();
        for &kind in kinds {
            let mid = change.add_media(kind, Direction::SendOnly, Some(format!("r5-{stream}")), None, None);
            *self.slot(kind) = Some(mid);
        }
        self.ours = Some(change.add_channel("node".to_owned()));
        let (offer, pending) = change.apply().ok_or("nothing to offer")?;
        self.pending = Some(pending);
        self.rtc = Some(rtc);
        Ok(offer.to_sdp_string())
    }

    pub(crate) fn take_answer(&mut self, sdp: &str) -> Result<(), Failure> {
        let (Some(rtc), Some(pending)) = (&mut self.rtc, self.pending.take()) else {
            return Err("an answer without an offer".into());
        };
        Ok(rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&without_bandwidth(sdp))?)?)
    }

    /// Names that only mDNS could resolve are skipped; such a client is found by its own checks.
    pub(crate) fn take_candidate(&mut self, line: &str) {
        if let (Some(rtc), Ok(candidate)) = (&mut self.rtc, Candidate::from_sdp_string(line)) {
            rtc.add_remote_candidate(candidate);
        }
    }

    /// Said once: at the client's last candidate, or when the connection stands without it.
    pub(crate) fn finish_trickle(&mut self) {
        if self.rtc.is_some() && !std::mem::replace(&mut self.told_trickle, true) {
            self.say(messages::trickle_completed());
        }
    }

    /// Tells the client to leave its socket: not before its stream runs, as real nodes do.
    pub(crate) fn offer_channel(&mut self) {
        let live =
            matches!(self.role, Role::Publisher { live: true, .. } | Role::Subscriber { live: true, .. });
        if live && self.theirs.is_some() && !std::mem::replace(&mut self.told_channel, true) {
            self.say(messages::channel_available());
        }
    }

    pub(crate) fn has_session(&self) -> bool {
        self.rtc.is_some()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.rtc.as_ref().is_none_or(Rtc::is_alive)
    }

    pub(crate) fn accepts(&self, input: &Input<'_>) -> bool {
        self.rtc.as_ref().is_some_and(|rtc| rtc.accepts(input))
    }

    /// Ends the session; the next poll finds it dead.
    pub(crate) fn disconnect(&mut self) {
        if let Some(rtc) = &mut self.rtc {
            rtc.disconnect();
        }
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        if let Input::Receive(at, _) = input {
            self.heard = at;
        }
        if let Some(rtc) = &mut self.rtc
            && rtc.handle_input(input).is_err()
        {
            rtc.disconnect();
        }
    }

    /// Which media the client sends.
    pub(crate) fn kinds(&self) -> Vec<MediaKind> {
        let of = |kind, mid: Option<Mid>| mid.map(|_| kind);
        [of(MediaKind::Audio, self.audio), of(MediaKind::Video, self.video)].into_iter().flatten().collect()
    }

    /// The kind of a medium, by its id here.
    pub(crate) fn kind(&self, mid: Mid) -> MediaKind {
        if self.audio == Some(mid) { MediaKind::Audio } else { MediaKind::Video }
    }

    /// Sends one frame of another peer; false when this one has no place for it.
    pub(crate) fn forward(&mut self, kind: MediaKind, frame: &MediaData) -> bool {
        let mid = *self.slot(kind);
        let Some(writer) = mid.and_then(|mid| self.rtc.as_mut()?.writer(mid)) else { return false };
        let Some(pt) = writer.match_params(frame.params) else { return false };
        writer.write(pt, frame.network_time, frame.time, Arc::clone(&frame.data)).is_ok()
    }

    /// Asks the client for a whole picture.
    pub(crate) fn want_keyframe(&mut self, kind: KeyframeRequestKind) {
        let Some(mut writer) = self.video.and_then(|mid| self.rtc.as_mut()?.writer(mid)) else { return };
        let _ = writer.request_keyframe(None, kind);
    }

    /// Lets the session run until it waits for time or packets.
    pub(crate) fn poll(&mut self, now: Instant, out: &mut Vec<Happened>) {
        self.input(Input::Timeout(now));
        loop {
            let Some(rtc) = self.rtc.as_mut().filter(|rtc| rtc.is_alive()) else { return };
            match rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wake = at;
                    return;
                }
                Ok(Output::Transmit(datagram)) => out.push(Happened::Transmit(datagram)),
                Ok(Output::Event(event)) => self.event(event, out),
                Err(_) => rtc.disconnect(),
            }
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<Happened>) {
        match event {
            Event::Connected => {
                self.connected = true;
                out.push(Happened::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.disconnect(),
            Event::MediaAdded(media) => *self.slot(media.kind) = Some(media.mid),
            Event::MediaData(frame) => out.push(Happened::Frame(Box::new(frame))),
            Event::KeyframeRequest(request) => {
                out.push(Happened::Keyframe(self.kind(request.mid), request.kind));
            }
            Event::ChannelOpen(id, _) if self.ours != Some(id) => {
                self.theirs = Some(id);
                self.offer_channel();
            }
            Event::ChannelData(data) => {
                let text = String::from_utf8_lossy(&data.data);
                out.extend(Request::parse(&text).map(Happened::Asked));
            }
            _ => {}
        }
    }

    fn slot(&mut self, kind: MediaKind) -> &mut Option<Mid> {
        if kind.is_audio() { &mut self.audio } else { &mut self.video }
    }
}

/// A session that speaks the codecs every browser has.
fn session(local: SocketAddr) -> Result<Rtc, RtcError> {
    let mut rtc = RtcConfig::new()
        .set_crypto_provider(Arc::new(from_feature_flags()))
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_h264(true)
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp")?);
    Ok(rtc)
}

/// The node's one candidate, as text.
pub(crate) fn candidate_line(local: SocketAddr) -> Option<String> {
    Candidate::host(local, "udp").ok().map(|candidate| candidate.to_sdp_string())
}

/// The SDK puts its `b=AS:` lines before `c=`, where no strict parser wants them. Nothing here shapes traffic.
fn without_bandwidth(sdp: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with("b=")).collect()
}
