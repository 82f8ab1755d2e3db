//! A node's media: one UDP socket, every peer's session, frames from a publisher to its subscribers. It sees requests, not
//! sockets: `signalling` carries those.

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
use crate::peer::{Failure, Happened, Peer, Role, candidate_line};
use crate::record::NodeRecord;

mod resources;

pub(crate) use resources::{Ask, Given, Resource, Side};

/// One signalling connection of a node, and the session that may outlive it.
pub(crate) type PeerId = u64;

/// What signalling tells media.
pub(crate) enum Command {
    Opened {
        peer: PeerId,
        scope: String,
        outbox: UnboundedSender<String>,
    },
    Asked {
        peer: PeerId,
        request: Request,
    },
    Gone {
        peer: PeerId,
    },
    /// `peer` is the id of the session that may come of it.
    Resource {
        peer: PeerId,
        resource: Resource,
        ask: Ask,
        if_match: Option<String>,
        reply: oneshot::Sender<Result<Given, u16>>,
    },
    /// The whole node dies.
    Down,
}

/// A connected client is never silent for so long: browsers check their path every few seconds. ICE alone would take 20 s
/// to notice a browser that was killed, and its stream's name would be taken meanwhile.
const SILENCE: Duration = Duration::from_secs(6);

/// A session made by HTTP has no socket whose end would tell that nobody will come.
const NEVER_CONNECTED: Duration = Duration::from_secs(15);

pub(crate) struct Media {
    node: usize,
    socket: UdpSocket,
    local: SocketAddr,
    directory: Arc<Directory>,
    record: Arc<NodeRecord>,
    peers: HashMap<PeerId, Peer>,
    /// Peers with a session; idle sockets cost nothing here.
    active: Vec<PeerId>,
    /// Sessions that were made by HTTP.
    resources: HashMap<Resource, PeerId>,
    /// Those of them that ended lately.
    ended: VecDeque<Resource>,
    /// Peers to be polled before the next wait.
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
        // Whoever is silent or never came is looked for once a second.
        let idle = Duration::from_secs(if self.active.is_empty() { 60 } else { 1 });
        peers.map(|peer| peer.wake).chain([Instant::now() + idle]).min().expect("there is one at least")
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for id in &self.active {
            if let Some(peer) = self.peers.get_mut(id)
                && now.duration_since(peer.heard) > patience(peer)
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
        let mine = self.active.iter().find(|id| self.peers.get(id).is_some_and(|p| p.accepts(&input)));
        if let Some(&id) = mine
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
            Command::Asked { peer, request } => self.asked(peer, request),
            Command::Gone { peer } => {
                if self.peers.get(&peer).is_some_and(|peer| !peer.handed_off) {
                    self.end(peer);
                }
            }
            Command::Resource { peer, resource, ask, if_match, reply } => {
                // A client that went away meanwhile has no use for the answer; its session waits for its end.
                let _ = reply.send(self.resource(peer, resource, ask, if_match.as_deref()));
            }
            Command::Down => {
                let all: Vec<PeerId> = self.peers.keys().copied().collect();
                all.into_iter().for_each(|id| self.end(id));
            }
        }
    }

    /// Polls whoever has something to do, until nobody has.
    fn settle(&mut self) {
        let mut happened = Vec::new();
        while let Some(id) = self.work.pop_front() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.poll(Instant::now(), &mut happened);
            let alive = peer.is_alive();
            for event in happened.drain(..) {
                self.happened(id, event);
            }
            if !alive {
                self.end(id);
            }
        }
    }

    fn happened(&mut self, id: PeerId, event: Happened) {
        match event {
            Happened::Transmit(datagram) => {
                // A full socket loses packets, as networks do; the sessions repair that.
                let _ = self.socket.try_send_to(&datagram.contents, datagram.destination);
            }
            Happened::Connected => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.finish_trickle();
                }
                self.start(id);
            }
            Happened::Frame(frame) => self.forward(id, &frame),
            Happened::Keyframe(MediaKind::Video, kind) => self.want_keyframe(id, kind),
            Happened::Keyframe(MediaKind::Audio, _) => {}
            Happened::Asked(request) => self.asked(id, request),
        }
    }

    fn asked(&mut self, id: PeerId, request: Request) {
        let (node, local) = (self.node, self.local);
        let directory = Arc::clone(&self.directory);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match request {
            Request::IsAvailable { name } => {
                let live = directory.find(&peer.scope, &name).is_some_and(|live| live.node == node);
                peer.say(messages::available(&name, live));
            }
            Request::Offer { name, sdp } => {
                let done = peer.take_offer(&sdp, local).map(|answer| messages::sdp("answer", &answer));
                peer.role = Role::Publisher { name, asked: false, live: false };
                self.negotiated(id, done);
            }
            Request::WantOffer { name } => {
                let done = self.make_offer(id, &name).map(|offer| messages::sdp("offer", &offer));
                self.negotiated(id, done);
            }
            Request::Answer { sdp } => {
                if let Err(why) = peer.take_answer(&sdp) {
                    peer.say(messages::failed("NetStream.Play.Failed", &why.to_string()));
                }
            }
            Request::Candidate { line } => peer.take_candidate(&line),
            Request::EndOfCandidates => peer.finish_trickle(),
            Request::Publish { .. } | Request::Subscribe { .. } => {
                if let Role::Publisher { asked, .. } | Role::Subscriber { asked, .. } = &mut peer.role {
                    *asked = true;
                }
                self.start(id);
            }
            Request::Unpublish { name } => {
                self.stop(id);
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.say(messages::stopping(&name));
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
        peer.role = Role::Subscriber { name: name.to_owned(), asked: false, live: false };
        peer.make_offer(&kinds, name, self.local)
    }

    /// Sends an offer or answer with the node's candidate, or the reason why there is none.
    fn negotiated(&mut self, id: PeerId, done: Result<String, Failure>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match done {
            Ok(message) => {
                peer.say(message);
                if let Some(line) = candidate_line(self.local) {
                    peer.say(messages::candidate(&line));
                }
                if peer.has_session() && !self.active.contains(&id) {
                    self.active.push(id);
                }
            }
            Err(why) => peer.say(messages::failed("NetStream.Failed", &why.to_string())),
        }
    }

    /// Lets media flow once the client asked for it and its connection stands.
    fn start(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.connected) else { return };
        match &mut peer.role {
            Role::Publisher { name, asked: true, live } if !*live => {
                let name = name.clone();
                if !self.directory.publish(&peer.scope, &name, self.node) {
                    peer.say(messages::failed("NetStream.Publish.BadName", &format!("{name} is in use")));
                    return;
                }
                *live = true;
                peer.say(messages::starting(&name, "NetStream.Publish.Start"));
                peer.offer_channel();
            }
            Role::Subscriber { name, asked: true, live } if !*live => {
                *live = true;
                let name = name.clone();
                self.directory.count_subscriber(&peer.scope, &name, true);
                peer.say(messages::starting(&name, "NetStream.Play.Start"));
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

    /// A subscriber lost the picture: its publisher shall send a whole one.
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
                peer.say(text.to_owned());
                self.work.push_back(id);
            }
        }
    }

    /// The end of a peer's stream, not of its connection.
    fn stop(&mut self, id: PeerId) {
        let listeners = self.subscribers(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match std::mem::replace(&mut peer.role, Role::Idle) {
            Role::Publisher { name, live: true, .. } => {
                self.directory.unpublish(&peer.scope, &name);
                for id in listeners {
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.say(messages::status("NetStream.Play.UnpublishNotify"));
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

    /// Who plays what this peer publishes.
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

/// How long a peer may say nothing; before it connected, only those that have no socket are watched.
fn patience(peer: &Peer) -> Duration {
    match (peer.connected, peer.handed_off) {
        (true, _) => SILENCE,
        (false, true) => NEVER_CONNECTED,
        (false, false) => Duration::MAX,
    }
}
