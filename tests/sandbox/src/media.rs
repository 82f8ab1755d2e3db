//! The media part of a node: one UDP socket, the WebRTC sessions of all peers, and the frames that go from a publisher to
//! its subscribers. It receives requests over a channel; `signalling` owns the WebSockets.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Input;
use str0m::media::{KeyframeRequestKind, MediaData, MediaKind};
use str0m::net::{Protocol, Receive};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::directory::Directory;
use crate::messages::{self, Request};
use crate::peer::{Failure, Peer, PeerEvent, Role, candidate_line};
use crate::record::NodeRecord;

mod resources;

pub(crate) use resources::{Resource, ResourceReply, ResourceRequest, Side};

/// Identifies one signalling connection of a node and its WebRTC session, which may outlive the connection.
pub(crate) type PeerId = u64;

/// A command for the media part, from `signalling`, `whip` or the node.
pub(crate) enum Command {
    Opened {
        peer: PeerId,
        scope: String,
        outbox: UnboundedSender<String>,
    },
    Request {
        peer: PeerId,
        request: Request,
    },
    Closed {
        peer: PeerId,
    },
    /// A WHIP or WHEP request. If it creates a session, the session gets the id `peer`.
    Resource {
        peer: PeerId,
        resource: Resource,
        request: ResourceRequest,
        if_match: Option<String>,
        reply: oneshot::Sender<Result<ResourceReply, u16>>,
    },
    /// The whole node goes down.
    Down,
}

/// A connected client that sends no packet for this long is disconnected: browsers check their path every few seconds.
/// ICE alone would take 20 s to notice a browser that was killed, and until then its stream's name would be taken.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a session made by HTTP may take to connect: it has no WebSocket that would close when the client goes away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Media {
    node: usize,
    socket: UdpSocket,
    local: SocketAddr,
    directory: Arc<Directory>,
    record: Arc<NodeRecord>,
    peers: HashMap<PeerId, Peer>,
    /// Peers that have a WebRTC session.
    active: Vec<PeerId>,
    /// Sessions that were created by HTTP.
    resources: HashMap<Resource, PeerId>,
    /// Sessions created by HTTP that ended recently.
    ended: VecDeque<Resource>,
    /// Peers to poll before the next wait.
    work: VecDeque<PeerId>,
}

impl Media {
    pub(crate) fn new(
        node: usize,
        socket: UdpSocket,
        directory: Arc<Directory>,
        record: Arc<NodeRecord>,
    ) -> std::io::Result<Self> {
        let local = socket.local_addr()?;
        let (peers, resources) = (HashMap::new(), HashMap::new());
        let (active, work, ended) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Ok(Self { node, socket, local, directory, record, peers, active, resources, ended, work })
    }

    pub(crate) async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let mut datagram = vec![0; 2048];
        loop {
            let wake = self.next_wake();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                received = self.socket.recv_from(&mut datagram) => {
                    if let Ok((len, from)) = received {
                        self.datagram(&datagram[..len], from);
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => self.tick(),
            }
            self.settle();
        }
    }

    fn next_wake(&self) -> Instant {
        let peers = self.active.iter().filter_map(|id| self.peers.get(id));
        // Once a second `tick` looks for peers that are silent or never connected.
        let idle = Duration::from_secs(if self.active.is_empty() { 60 } else { 1 });
        peers.map(|peer| peer.wake).chain([Instant::now() + idle]).min().expect("the iterator is never empty")
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for id in &self.active {
            if let Some(peer) = self.peers.get_mut(id)
                && now.duration_since(peer.last_packet) > silence_timeout(peer)
            {
                peer.disconnect();
            }
        }
        let due = |id: &&PeerId| self.peers.get(id).is_some_and(|peer| peer.wake <= now || !peer.is_alive());
        let due: Vec<PeerId> = self.active.iter().filter(due).copied().collect();
        self.work.extend(due);
    }

    fn datagram(&mut self, bytes: &[u8], source: SocketAddr) {
        let Ok(contents) = bytes.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        let input = Input::Receive(Instant::now(), receive);
        let receiver = self.active.iter().find(|id| self.peers.get(id).is_some_and(|p| p.accepts(&input)));
        if let Some(&id) = receiver
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.input(input);
            self.work.push_back(id);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Opened { peer, scope, outbox } => {
                self.peers.insert(peer, Peer::new(scope, outbox, Instant::now()));
            }
            Command::Request { peer, request } => self.request(peer, request),
            Command::Closed { peer } => {
                if self.peers.get(&peer).is_some_and(|peer| !peer.handed_off) {
                    self.end(peer);
                }
            }
            Command::Resource { peer, resource, request, if_match, reply } => {
                // If the client went away meanwhile, there is no receiver for the reply; a timeout ends the session.
                let _ = reply.send(self.resource(peer, resource, request, if_match.as_deref()));
            }
            Command::Down => {
                let all: Vec<PeerId> = self.peers.keys().copied().collect();
                all.into_iter().for_each(|id| self.end(id));
            }
        }
    }

    /// Polls the peers in `work` until it is empty.
    fn settle(&mut self) {
        let mut events = Vec::new();
        while let Some(id) = self.work.pop_front() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.poll(Instant::now(), &mut events);
            let alive = peer.is_alive();
            for event in events.drain(..) {
                self.event(id, event);
            }
            if !alive {
                self.end(id);
            }
        }
    }

    fn event(&mut self, id: PeerId, event: PeerEvent) {
        match event {
            PeerEvent::Transmit(datagram) => {
                // A full socket buffer drops the packet, as a network may; WebRTC repairs the loss.
                let _ = self.socket.try_send_to(&datagram.contents, datagram.destination);
            }
            PeerEvent::Connected => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.finish_trickle();
                }
                self.start(id);
            }
            PeerEvent::Frame(frame) => self.forward(id, &frame),
            PeerEvent::Keyframe(MediaKind::Video, kind) => self.want_keyframe(id, kind),
            PeerEvent::Keyframe(MediaKind::Audio, _) => {}
            PeerEvent::Request(request) => self.request(id, request),
        }
    }

    fn request(&mut self, id: PeerId, request: Request) {
        let (node, local) = (self.node, self.local);
        let directory = Arc::clone(&self.directory);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match request {
            Request::IsAvailable { name } => {
                let live = directory.find(&peer.scope, &name).is_some_and(|live| live.node == node);
                peer.send_message(messages::available(&name, live));
            }
            Request::Offer { name, sdp } => {
                let done = peer.take_offer(&sdp, local).map(|answer| messages::sdp("answer", &answer));
                peer.role = Role::Publisher { name, requested: false, live: false };
                self.negotiated(id, done);
            }
            Request::WantOffer { name } => {
                let done = self.make_offer(id, &name).map(|offer| messages::sdp("offer", &offer));
                self.negotiated(id, done);
            }
            Request::Answer { sdp } => {
                if let Err(why) = peer.take_answer(&sdp) {
                    peer.send_message(messages::failed("NetStream.Play.Failed", &why.to_string()));
                }
            }
            Request::Candidate { line } => peer.take_candidate(&line),
            Request::EndOfCandidates => peer.finish_trickle(),
            Request::Publish { .. } | Request::Subscribe { .. } => {
                if let Role::Publisher { requested, .. } | Role::Subscriber { requested, .. } = &mut peer.role
                {
                    *requested = true;
                }
                self.start(id);
            }
            Request::Unpublish { name } => {
                self.stop(id);
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.send_message(messages::stopping(&name));
                }
            }
            Request::SwitchChannel => {
                peer.handed_off = true;
                self.record.handed_off.up();
            }
            Request::Send { method, data } => self.broadcast(id, &messages::sent(&method, &data)),
            Request::Other => {}
        }
        self.work.push_back(id);
    }

    fn make_offer(&mut self, id: PeerId, name: &str) -> Result<String, Failure> {
        let scope = self.peers.get(&id).map(|peer| peer.scope.clone()).unwrap_or_default();
        let publisher = self.publisher(&scope, name).ok_or("no such stream")?;
        let kinds = self.peers.get(&publisher).map(Peer::kinds).unwrap_or_default();
        let peer = self.peers.get_mut(&id).ok_or("no such peer")?;
        peer.role = Role::Subscriber { name: name.to_owned(), requested: false, live: false };
        peer.make_offer(&kinds, name, self.local)
    }

    /// Sends an offer or answer and the node's candidate, or the reason why there is none.
    fn negotiated(&mut self, id: PeerId, done: Result<String, Failure>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match done {
            Ok(message) => {
                peer.send_message(message);
                if let Some(line) = candidate_line(self.local) {
                    peer.send_message(messages::candidate(&line));
                }
                if peer.has_session() && !self.active.contains(&id) {
                    self.active.push(id);
                }
            }
            Err(why) => peer.send_message(messages::failed("NetStream.Failed", &why.to_string())),
        }
    }

    /// Starts the flow of media once the client requested it and the WebRTC connection is established.
    fn start(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.connected) else { return };
        match &mut peer.role {
            Role::Publisher { name, requested: true, live } if !*live => {
                let name = name.clone();
                if !self.directory.publish(&peer.scope, &name, self.node) {
                    peer.send_message(messages::failed(
                        "NetStream.Publish.BadName",
                        &format!("{name} is in use"),
                    ));
                    return;
                }
                *live = true;
                peer.send_message(messages::starting(&name, "NetStream.Publish.Start"));
                peer.offer_channel();
            }
            Role::Subscriber { name, requested: true, live } if !*live => {
                *live = true;
                let name = name.clone();
                self.directory.count_subscriber(&peer.scope, &name, true);
                peer.send_message(messages::starting(&name, "NetStream.Play.Start"));
                peer.offer_channel();
                self.want_keyframe(id, KeyframeRequestKind::Pli);
            }
            _ => {}
        }
    }

    fn forward(&mut self, from: PeerId, frame: &MediaData) {
        let Some(publisher) = self.peers.get(&from) else { return };
        let Role::Publisher { live: true, .. } = publisher.role else { return };
        let kind = publisher.kind(frame.mid);
        if !frame.contiguous && kind.is_video() {
            self.keyframe_from(from, KeyframeRequestKind::Pli);
        }
        for id in self.subscribers(from) {
            if let Some(peer) = self.peers.get_mut(&id)
                && peer.forward(kind, frame)
            {
                self.record.frames_forwarded.up();
                self.work.push_back(id);
            }
        }
    }

    /// Asks the publisher of a subscriber's stream for a keyframe, because the subscriber lost the picture.
    fn want_keyframe(&mut self, subscriber: PeerId, kind: KeyframeRequestKind) {
        let Some(peer) = self.peers.get(&subscriber) else { return };
        if let Role::Subscriber { name, .. } = &peer.role
            && let Some(publisher) = self.publisher(&peer.scope, name)
        {
            self.keyframe_from(publisher, kind);
        }
    }

    fn keyframe_from(&mut self, publisher: PeerId, kind: KeyframeRequestKind) {
        if let Some(peer) = self.peers.get_mut(&publisher) {
            peer.want_keyframe(kind);
            self.work.push_back(publisher);
        }
    }

    fn broadcast(&mut self, publisher: PeerId, text: &str) {
        for id in self.subscribers(publisher) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.send_message(text.to_owned());
                self.work.push_back(id);
            }
        }
    }

    /// Ends the stream of a peer, but not its connection.
    fn stop(&mut self, id: PeerId) {
        let subscribers = self.subscribers(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match std::mem::replace(&mut peer.role, Role::Idle) {
            Role::Publisher { name, live: true, .. } => {
                self.directory.unpublish(&peer.scope, &name);
                for id in subscribers {
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.send_message(messages::status("NetStream.Play.UnpublishNotify"));
                        self.work.push_back(id);
                    }
                }
            }
            Role::Subscriber { name, live: true, .. } => {
                self.directory.count_subscriber(&peer.scope, &name, false);
            }
            _ => {}
        }
    }

    fn end(&mut self, id: PeerId) {
        self.stop(id);
        self.peers.remove(&id);
        self.active.retain(|active| *active != id);
        self.end_resource(id);
    }

    fn publisher(&self, scope: &str, wanted: &str) -> Option<PeerId> {
        let publishes = |peer: &Peer| {
            peer.scope == scope
                && matches!(&peer.role, Role::Publisher { name, live: true, .. } if name == wanted)
        };
        self.active.iter().copied().find(|id| self.peers.get(id).is_some_and(publishes))
    }

    /// The peers that play the stream that `publisher` publishes.
    fn subscribers(&self, publisher: PeerId) -> Vec<PeerId> {
        let Some(peer) = self.peers.get(&publisher) else { return Vec::new() };
        let Role::Publisher { name: published, .. } = &peer.role else { return Vec::new() };
        let plays = |other: &Peer| {
            other.scope == peer.scope
                && matches!(&other.role, Role::Subscriber { name, live: true, .. } if name == published)
        };
        self.active.iter().copied().filter(|id| self.peers.get(id).is_some_and(plays)).collect()
    }
}

/// How long a peer may send no packet before it is disconnected. Before the connection is established this applies only to
/// peers without a WebSocket.
fn silence_timeout(peer: &Peer) -> Duration {
    match (peer.connected, peer.handed_off) {
        (true, _) => SILENCE_TIMEOUT,
        (false, true) => CONNECT_TIMEOUT,
        (false, false) => Duration::MAX,
    }
}
