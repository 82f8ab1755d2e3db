//! WHIP and WHEP sessions: creates, answers, trickles to and deletes them, each found by its resource. HTTP itself is in
//! the module `whip`.

use std::time::Instant;

use super::{Media, PeerId};
use crate::peer::{Peer, Role};

/// How many ended sessions a node remembers, so that a DELETE that comes after the end is answered with 200.
const ENDED_MAX: usize = 256;

/// Whether a resource belongs to a publisher or to a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Publish,
    Play,
}

/// Identifies a session in later requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) side: Side,
    /// Distinguishes the players of one stream; empty for publishers.
    pub(crate) id: String,
}

/// A WHIP or WHEP request without its HTTP.
pub(crate) enum ResourceRequest {
    /// With the client's offer; None: the node makes the offer.
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

/// The result of a successful request.
#[derive(Debug)]
pub(crate) struct ResourceReply {
    pub(crate) peer: PeerId,
    /// The node's offer or answer for a new session, else empty.
    pub(crate) sdp: String,
}

impl ResourceReply {
    /// The entity tag. It never changes during a session, because the sandbox does not support ICE restarts.
    pub(crate) fn etag(&self) -> String {
        etag(self.peer)
    }
}

fn etag(peer: PeerId) -> String {
    format!("\"session-{peer}\"")
}

impl Media {
    /// Executes the request. The error is the HTTP status of a refusal. A new session gets the id `new_id`.
    pub(super) fn resource(
        &mut self,
        new_id: PeerId,
        resource: Resource,
        request: ResourceRequest,
        if_match: Option<&str>,
    ) -> Result<ResourceReply, u16> {
        if let ResourceRequest::Create { offer } = request {
            return self.create(new_id, resource, offer.as_deref());
        }
        let Some(id) = self.resources.get(&resource).copied() else {
            // A client that leaves closes its media first, and the end of the media may arrive before its DELETE.
            let just_ended = matches!(request, ResourceRequest::Delete) && self.forget(&resource);
            return if just_ended { Ok(ResourceReply { peer: 0, sdp: String::new() }) } else { Err(404) };
        };
        if if_match.is_some_and(|wanted| wanted != "*" && wanted != etag(id)) {
            return Err(412);
        }
        let peer = self.peers.get_mut(&id).ok_or(404_u16)?;
        match request {
            ResourceRequest::Create { .. } => {}
            ResourceRequest::Answer { sdp } => peer.take_answer(&sdp).map_err(|_| 400_u16)?,
            ResourceRequest::Trickle { fragment } => {
                let lines = fragment.lines().filter_map(|line| line.trim().strip_prefix("a="));
                for line in lines.filter(|line| line.starts_with("candidate:")) {
                    peer.take_candidate(line);
                }
            }
            ResourceRequest::Delete => {
                self.end(id);
                self.forget(&resource);
            }
        }
        self.work.push_back(id);
        Ok(ResourceReply { peer: id, sdp: String::new() })
    }

    /// Removes the resource of a session and remembers that it existed.
    pub(super) fn end_resource(&mut self, peer: PeerId) {
        let Some(resource) = self.resources.iter().find(|(_, id)| **id == peer).map(|(r, _)| r.clone())
        else {
            return;
        };
        self.resources.remove(&resource);
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(resource);
    }

    /// Removes the resource from the recently ended ones. True when it was among them.
    fn forget(&mut self, resource: &Resource) -> bool {
        let before = self.ended.len();
        self.ended.retain(|ended| ended != resource);
        self.ended.len() < before
    }

    fn create(&mut self, id: PeerId, resource: Resource, offer: Option<&str>) -> Result<ResourceReply, u16> {
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
        // A fault in a body is the client's: the node's own offer can't fail once the stream has media.
        let sdp = sdp.map_err(|_| 400_u16)?;
        peer.role = match side {
            Side::Publish => Role::Publisher { name, requested: true, live: false },
            Side::Play => Role::Subscriber { name, requested: true, live: false },
        };
        self.peers.insert(id, peer);
        self.active.push(id);
        self.resources.insert(resource, id);
        self.work.push_back(id);
        Ok(ResourceReply { peer: id, sdp })
    }
}
