//! Sessions that were made by HTTP: created, answered, trickled to and deleted by their resource. No HTTP here, only what it
//! asks for.

use std::time::Instant;

use super::{Media, PeerId};
use crate::peer::{Peer, Role};

/// How many ended sessions a node remembers for their clients' DELETE.
const REMEMBERED: usize = 256;

/// Which side of a stream a resource is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Publish,
    Play,
}

/// What names a session between its requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) side: Side,
    /// Tells players apart; empty for publishers.
    pub(crate) id: String,
}

/// What HTTP asks of a session.
pub(crate) enum Ask {
    /// With the client's offer, or for the node's own.
    Create {
        offer: Option<String>,
    },
    Answer {
        sdp: String,
    },
    Trickle {
        fragment: String,
    },
    Delete,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) peer: PeerId,
    /// The node's offer or answer for a new session, else empty.
    pub(crate) sdp: String,
}

impl Given {
    /// One per session: nothing here restarts ICE.
    pub(crate) fn etag(&self) -> String {
        etag(self.peer)
    }
}

fn etag(peer: PeerId) -> String {
    format!("\"session-{peer}\"")
}

impl Media {
    /// Does it, or says with which status it can't be done. `fresh` is the id for a new session.
    pub(super) fn resource(
        &mut self,
        fresh: PeerId,
        resource: Resource,
        ask: Ask,
        if_match: Option<&str>,
    ) -> Result<Given, u16> {
        if let Ask::Create { offer } = ask {
            return self.create(fresh, resource, offer.as_deref());
        }
        let Some(id) = self.resources.get(&resource).copied() else {
            // Clients that leave close their media first, which is quicker than their DELETE.
            let just_ended = matches!(ask, Ask::Delete) && self.forget(&resource);
            return if just_ended { Ok(Given { peer: 0, sdp: String::new() }) } else { Err(404) };
        };
        if if_match.is_some_and(|wanted| wanted != "*" && wanted != etag(id)) {
            return Err(412);
        }
        let peer = self.peers.get_mut(&id).ok_or(404_u16)?;
        match ask {
            Ask::Create { .. } => {}
            Ask::Answer { sdp } => peer.take_answer(&sdp).map_err(|_| 400_u16)?,
            Ask::Trickle { fragment } => {
                let lines = fragment.lines().filter_map(|line| line.trim().strip_prefix("a="));
                for line in lines.filter(|line| line.starts_with("candidate:")) {
                    peer.take_candidate(line);
                }
            }
            Ask::Delete => {
                self.end(id);
                self.forget(&resource);
            }
        }
        self.work.push_back(id);
        Ok(Given { peer: id, sdp: String::new() })
    }

    /// Takes the session's resource away and remembers that it was there.
    pub(super) fn end_resource(&mut self, peer: PeerId) {
        let Some(resource) = self.resources.iter().find(|(_, id)| **id == peer).map(|(r, _)| r.clone())
        else {
            return;
        };
        self.resources.remove(&resource);
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(resource);
    }

    /// Whether a session of that resource ended lately and nobody asked about it since.
    fn forget(&mut self, resource: &Resource) -> bool {
        let before = self.ended.len();
        self.ended.retain(|ended| ended != resource);
        self.ended.len() < before
    }

    fn create(&mut self, id: PeerId, resource: Resource, offer: Option<&str>) -> Result<Given, u16> {
        let Resource { scope, name, side, .. } = &resource;
        let busy = *side == Side::Publish && self.directory.find(scope, name).is_some();
        if busy || self.resources.contains_key(&resource) {
            return Err(409);
        }
        self.forget(&resource);
        let kinds = match side {
            Side::Publish => Vec::new(),
            Side::Play => self.peers[&self.publisher(scope, name).ok_or(404_u16)?].kinds(),
        };
        let mut peer = Peer::by_http(scope.clone(), Instant::now());
        let name = name.clone();
        let sdp = match offer {
            Some(offer) => peer.take_offer(offer, self.local),
            None => peer.make_offer(&kinds, &name, self.local),
        };
        // Anything wrong with a body is the client's doing; our own offer can't fail once the stream has media.
        let sdp = sdp.map_err(|_| 400_u16)?;
        peer.role = match side {
            Side::Publish => Role::Publisher { name, asked: true, live: false },
            Side::Play => Role::Subscriber { name, asked: true, live: false },
        };
        self.peers.insert(id, peer);
        self.active.push(id);
        self.resources.insert(resource, id);
        self.work.push_back(id);
        Ok(Given { peer: id, sdp })
    }
}
