//! One client of a node: its WebRTC session and whether it publishes or plays. str0m opens no sockets, so packets go in and
//! out as values. A peer does not know the other peers.

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

/// Why a session failed. Its text is only sent to the client.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Whether a peer publishes or plays. `requested`: the client sent `publish` or `subscribe`. `live`: media may flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Idle,
    Publisher { name: String, requested: bool, live: bool },
    Subscriber { name: String, requested: bool, live: bool },
}

/// What the node has to handle after it polled a peer.
pub(crate) enum PeerEvent {
    Transmit(Transmit),
    Connected,
    Frame(Box<MediaData>),
    Keyframe(MediaKind, KeyframeRequestKind),
    Request(Request),
}

pub(crate) struct Peer {
    pub(crate) scope: String,
    pub(crate) role: Role,
    pub(crate) handed_off: bool,
    pub(crate) connected: bool,
    pub(crate) wake: Instant,
    /// When the last packet from the client arrived.
    pub(crate) last_packet: Instant,
    outbox: UnboundedSender<String>,
    rtc: Option<Rtc>,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    video: Option<Mid>,
    /// The data channel that the node opens in its own offers, so that the session has data channels at all.
    node_channel: Option<ChannelId>,
    /// The data channel that the client opened and reads.
    client_channel: Option<ChannelId>,
    trickle_completed_sent: bool,
    channel_available_sent: bool,
}

impl Peer {
    pub(crate) fn new(scope: String, outbox: UnboundedSender<String>, now: Instant) -> Self {
        Self {
            scope,
            role: Role::Idle,
            handed_off: false,
            connected: false,
            wake: now,
            last_packet: now,
            outbox,
            rtc: None,
            pending: None,
            audio: None,
            video: None,
            node_channel: None,
            client_channel: None,
            trickle_completed_sent: false,
            channel_available_sent: false,
        }
    }

    /// A peer of a WHIP or WHEP session, which has no WebSocket: it is handed off from the start, and the node's messages
    /// go to its data channel.
    pub(crate) fn by_http(scope: String, now: Instant) -> Self {
        // The receiver is dropped: no message is ever sent to this channel.
        let (closed, _) = tokio::sync::mpsc::unbounded_channel();
        Self {
            handed_off: true,
            trickle_completed_sent: true,
            channel_available_sent: true,
            ..Self::new(scope, closed, now)
        }
    }

    /// Sends a message to the client: on the WebSocket, or after the hand-off on the data channel.
    pub(crate) fn send_message(&mut self, text: String) {
        if !self.handed_off {
            // When the WebSocket has ended, its `Closed` command is already on its way to the media part.
            let _ = self.outbox.send(text);
            return;
        }
        let id = self.client_channel.or(self.node_channel);
        if let Some(mut channel) = id.and_then(|id| self.rtc.as_mut()?.channel(id)) {
            let _ = channel.write(false, text.as_bytes());
        }
    }

    /// For a publisher: takes the client's offer and returns the node's answer.
    pub(crate) fn take_offer(&mut self, sdp: &str, local: SocketAddr) -> Result<String, Failure> {
        let mut rtc = session(local)?;
        let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(&without_bandwidth(sdp))?)?;
        self.rtc = Some(rtc);
        Ok(answer.to_sdp_string())
    }

    /// For a subscriber: returns the node's offer.
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
        self.node_channel = Some(change.add_channel("node".to_owned()));
        let (offer, pending) = change.apply().ok_or("the stream has no media to offer")?;
        self.pending = Some(pending);
        self.rtc = Some(rtc);
        Ok(offer.to_sdp_string())
    }

    pub(crate) fn take_answer(&mut self, sdp: &str) -> Result<(), Failure> {
        let (Some(rtc), Some(pending)) = (&mut self.rtc, self.pending.take()) else {
            return Err("expected an answer to a pending offer, found no offer".into());
        };
        Ok(rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&without_bandwidth(sdp))?)?)
    }

    /// Adds a client's candidate. Candidates with mDNS names are skipped: the client's own connectivity checks reach the
    /// node anyway.
    pub(crate) fn take_candidate(&mut self, line: &str) {
        if let (Some(rtc), Ok(candidate)) = (&mut self.rtc, Candidate::from_sdp_string(line)) {
            rtc.add_remote_candidate(candidate);
        }
    }

    /// Sends the end of the node's candidates once: at the client's last candidate, or when the connection is established
    /// before that.
    pub(crate) fn finish_trickle(&mut self) {
        if self.rtc.is_some() && !std::mem::replace(&mut self.trickle_completed_sent, true) {
            self.send_message(messages::trickle_completed());
        }
    }

    /// Tells the client once that it may close its WebSocket. As on real nodes, not before its stream is live.
    pub(crate) fn offer_channel(&mut self) {
        let live =
            matches!(self.role, Role::Publisher { live: true, .. } | Role::Subscriber { live: true, .. });
        if live && self.client_channel.is_some() && !std::mem::replace(&mut self.channel_available_sent, true)
        {
            self.send_message(messages::channel_available());
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

    /// Ends the session; after the next poll the node removes it.
    pub(crate) fn disconnect(&mut self) {
        if let Some(rtc) = &mut self.rtc {
            rtc.disconnect();
        }
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        if let Input::Receive(at, _) = input {
            self.last_packet = at;
        }
        if let Some(rtc) = &mut self.rtc
            && rtc.handle_input(input).is_err()
        {
            rtc.disconnect();
        }
    }

    /// The kinds of media that the client sends.
    pub(crate) fn kinds(&self) -> Vec<MediaKind> {
        let of = |kind, mid: Option<Mid>| mid.map(|_| kind);
        [of(MediaKind::Audio, self.audio), of(MediaKind::Video, self.video)].into_iter().flatten().collect()
    }

    /// The kind of the media with this id.
    pub(crate) fn kind(&self, mid: Mid) -> MediaKind {
        if self.audio == Some(mid) { MediaKind::Audio } else { MediaKind::Video }
    }

    /// Sends one frame of another peer to this client. False when this peer does not receive that kind of media or codec.
    pub(crate) fn forward(&mut self, kind: MediaKind, frame: &MediaData) -> bool {
        let mid = *self.slot(kind);
        let Some(writer) = mid.and_then(|mid| self.rtc.as_mut()?.writer(mid)) else { return false };
        let Some(pt) = writer.match_params(frame.params) else { return false };
        writer.write(pt, frame.network_time, frame.time, Arc::clone(&frame.data)).is_ok()
    }

    /// Asks the client for a keyframe.
    pub(crate) fn want_keyframe(&mut self, kind: KeyframeRequestKind) {
        let Some(mut writer) = self.video.and_then(|mid| self.rtc.as_mut()?.writer(mid)) else { return };
        let _ = writer.request_keyframe(None, kind);
    }

    /// Runs the session until it waits for a time or a packet, and appends what the node has to handle to `out`.
    pub(crate) fn poll(&mut self, now: Instant, out: &mut Vec<PeerEvent>) {
        self.input(Input::Timeout(now));
        loop {
            let Some(rtc) = self.rtc.as_mut().filter(|rtc| rtc.is_alive()) else { return };
            match rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wake = at;
                    return;
                }
                Ok(Output::Transmit(datagram)) => out.push(PeerEvent::Transmit(datagram)),
                Ok(Output::Event(event)) => self.event(event, out),
                Err(_) => rtc.disconnect(),
            }
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<PeerEvent>) {
        match event {
            Event::Connected => {
                self.connected = true;
                out.push(PeerEvent::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.disconnect(),
            Event::MediaAdded(media) => *self.slot(media.kind) = Some(media.mid),
            Event::MediaData(frame) => out.push(PeerEvent::Frame(Box::new(frame))),
            Event::KeyframeRequest(request) => {
                out.push(PeerEvent::Keyframe(self.kind(request.mid), request.kind));
            }
            Event::ChannelOpen(id, _) if self.node_channel != Some(id) => {
                self.client_channel = Some(id);
                self.offer_channel();
            }
            Event::ChannelData(data) => {
                let text = String::from_utf8_lossy(&data.data);
                out.extend(Request::parse(&text).map(PeerEvent::Request));
            }
            _ => {}
        }
    }

    fn slot(&mut self, kind: MediaKind) -> &mut Option<Mid> {
        if kind.is_audio() { &mut self.audio } else { &mut self.video }
    }
}

/// Makes a WebRTC session with Opus, VP8 and H.264, the codecs that all browsers have.
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

/// The node's only ICE candidate as an SDP line.
pub(crate) fn candidate_line(local: SocketAddr) -> Option<String> {
    Candidate::host(local, "udp").ok().map(|candidate| candidate.to_sdp_string())
}

/// Removes `b=` lines. The SDK puts its `b=AS:` lines before `c=`, where a strict parser rejects them, and the sandbox does
/// not limit bandwidth.
fn without_bandwidth(sdp: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with("b=")).collect()
}
