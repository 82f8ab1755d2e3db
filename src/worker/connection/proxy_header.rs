//! Connections through a balancer: whom they are from is said by their first bytes, before TLS begins.
//!
//! Those bytes decide what is counted against whom, what nodes are told and what the log says, so they are believed only
//! from addresses that the operator trusts; and from there nothing else is taken, or a client could write its own.

use crate::config::Gateway;
use crate::metrics::ProxyFailure;
use crate::proto::proxy_protocol;
use crate::proto::proxy_protocol::{Announced, Versions};
use crate::worker::io::buffers;
use crate::worker::io::socket::Sock;
use crate::worker::session::context::{HEAD_RECEIVE, Session, Woke};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Who a connection is from, and what came behind the words that say so.
pub(crate) struct Client {
    pub address: SocketAddr,
    /// The beginning of TLS.
    pub behind: Vec<u8>,
}

/// Reads what a balancer says first, where one is configured; `None` when the connection is to be dropped.
pub(crate) async fn client(session: &Session, sock: &Sock, deadline: Instant) -> Option<Client> {
    let peer = session.peer;
    let versions = match wanted(&session.worker.newest().config.gateway, peer.ip()) {
        Ok(Some(versions)) => versions,
        Ok(None) => return Some(Client { address: peer, behind: Vec::new() }),
        Err(failure) => return refuse(session, failure, "it is not among trusted_proxies"),
    };
    let mut bytes = Vec::new();
    loop {
        if session.readable(sock, deadline).await == Woke::Deadline {
            return refuse(session, ProxyFailure::Timeout, "its header did not come in time");
        }
        match receive(sock, &mut bytes) {
            Ok(0) => return refuse(session, ProxyFailure::Lost, "it has gone"),
            Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return refuse(session, ProxyFailure::Lost, "it has gone");
            }
            _ => {}
        }
        match proxy_protocol::read(&bytes, versions) {
            Ok(None) => {}
            Ok(Some((announced, used))) => {
                let address = match announced {
                    Announced::Client(address) => address,
                    Announced::Nobody => peer,
                };
                return Some(Client { address, behind: bytes.split_off(used) });
            }
            Err(fault) => return refuse(session, ProxyFailure::Malformed, &fault.to_string()),
        }
    }
}

/// Which versions this peer has to speak; none where no balancer is configured.
fn wanted(gateway: &Gateway, peer: IpAddr) -> Result<Option<Versions>, ProxyFailure> {
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
        let taken = sock.recv(&mut scratch.input[..HEAD_RECEIVE])?;
        bytes.extend_from_slice(&scratch.input[..taken]);
        Ok(taken)
    })
}

/// There is nothing to be said to somebody who is not understood: the connection just ends, and is counted.
fn refuse(session: &Session, failure: ProxyFailure, why: &str) -> Option<Client> {
    session.worker.metrics.proxy_failures[failure as usize].add(1);
    tracing::debug!(session = session.id, peer = %session.peer, why, "no client behind this connection");
    None
}
