//! Connections through a load balancer: its PROXY protocol header, before TLS, names the client.
//!
//! The address in it decides which limits a client is counted against, what nodes get as its address and what the log
//! shows. So the header is read only from load balancers that the operator trusts (`gateway.trusted_proxies`), and
//! connections from other addresses are refused where a header is expected: else a client could write its own.

use crate::config::Gateway;
use crate::metrics::ProxyFailure;
use crate::proto::proxy_protocol::{self, Announced, Versions};
use crate::worker::io::buffers;
use crate::worker::io::socket::Sock;
use crate::worker::session::context::{HEAD_RECEIVE_MAX, Session, Woke};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// The client that a connection is from, and the bytes that were received behind the header.
pub(crate) struct AnnouncedClient {
    pub client: SocketAddr,
    /// The beginning of TLS.
    pub rest: Vec<u8>,
}

/// Reads the header until `deadline`, if the configuration expects one; else the client is the peer. `None` when the header
/// was rejected, which is counted; the connection is then to be dropped.
pub(crate) async fn read(session: &Session, sock: &Sock, deadline: Instant) -> Option<AnnouncedClient> {
    let peer = session.peer;
    let versions = match expected(&session.worker.newest().config.gateway, peer.ip()) {
        Ok(Some(versions)) => versions,
        Ok(None) => return Some(AnnouncedClient { client: peer, rest: Vec::new() }),
        Err(failure) => return reject(session, failure, "the peer is not among trusted_proxies"),
    };
    let mut bytes = Vec::new();
    loop {
        if session.readable(sock, deadline).await == Woke::Deadline {
            return reject(session, ProxyFailure::Timeout, "the header did not arrive in time");
        }
        match receive(sock, &mut bytes) {
            Ok(0) => return reject(session, ProxyFailure::Lost, "the connection ended"),
            Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return reject(session, ProxyFailure::Lost, "the connection ended");
            }
            _ => {}
        }
        match proxy_protocol::read(&bytes, versions) {
            Ok(None) => {}
            Ok(Some((announced, used))) => {
                let client = match announced {
                    Announced::Client(address) => address,
                    Announced::NoClient => peer,
                };
                return Some(AnnouncedClient { client, rest: bytes.split_off(used) });
            }
            Err(fault) => return reject(session, ProxyFailure::Malformed, &fault.to_string()),
        }
    }
}

/// The versions that this peer may speak; `None` where no header is configured.
fn expected(gateway: &Gateway, peer: IpAddr) -> Result<Option<Versions>, ProxyFailure> {
    let peer = peer.to_canonical();
    match gateway.proxy_protocol {
        Some(_) if !gateway.trusted_proxies.iter().any(|network| network.contains(&peer)) => {
            Err(ProxyFailure::Untrusted)
        }
        versions => Ok(versions),
    }
}

fn receive(sock: &Sock, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    buffers::with(|scratch| {
        let received = sock.recv(&mut scratch.input[..HEAD_RECEIVE_MAX])?;
        bytes.extend_from_slice(&scratch.input[..received]);
        Ok(received)
    })
}

/// Counts and logs a rejected header. The peer gets no answer: without a header it is unknown what protocol it speaks.
fn reject(session: &Session, failure: ProxyFailure, why: &str) -> Option<AnnouncedClient> {
    session.worker.metrics.proxy_failures[failure as usize].add(1);
    tracing::debug!(session = &*session.id.text(), peer = %session.peer, why, "PROXY header rejected");
    None
}
