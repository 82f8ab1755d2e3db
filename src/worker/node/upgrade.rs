//! Dials an admitted node and upgrades the connection to WebSocket.

use crate::proto::admission::Admitted;
use crate::proto::http::head;
use crate::proto::websocket::upgrade::{Negotiated, Upgrade};
use crate::worker::io::runtime;
use crate::worker::io::socket::Sock;
use crate::worker::node::connect::{self, DialFault};
use std::net::SocketAddr;
use std::time::Duration;

/// A connection to a node that was upgraded to WebSocket.
pub(crate) struct Opened {
    pub sock: Sock,
    pub node: SocketAddr,
    pub agreed: Negotiated,
    /// Bytes that came together with the node's 101: the first frames.
    pub early: Vec<u8>,
}

/// Dials a node, sends `request`, and checks the 101 against `upgrade` and `key`, the `Sec-WebSocket-Key` in the request.
/// Fails after `connect_timeout` without a connection, and after a further `upgrade_timeout` without a 101. Dropping the future closes the socket, so a
/// client that leaves cancels its dial.
pub(crate) async fn open(
    admitted: &Admitted,
    upgrade: &Upgrade,
    key: &str,
    request: &[u8],
    connect_timeout: Duration,
    upgrade_timeout: Duration,
) -> Result<Opened, DialFault> {
    let sock = connect::connect(admitted, connect_timeout).await?;
    runtime::timeout(upgrade_timeout, exchange(sock, admitted.address(), request, key, upgrade))
        .await
        .unwrap_or(Err(DialFault::UpgradeTimeout))
}

async fn exchange(
    sock: Sock,
    node: SocketAddr,
    request: &[u8],
    key: &str,
    upgrade: &Upgrade,
) -> Result<Opened, DialFault> {
    let (agreed, early) = connect::send_while(&sock, request, receive(&sock, key, upgrade)).await?;
    Ok(Opened { sock, node, agreed, early })
}

/// Receives the node's answer. The result is what was agreed on, and the bytes behind the 101.
async fn receive(sock: &Sock, key: &str, upgrade: &Upgrade) -> Result<(Negotiated, Vec<u8>), DialFault> {
    let mut bytes = Vec::new();
    let mut seen = 0;
    loop {
        match head::response(&bytes, seen, &connect::HEAD_LIMITS) {
            Err(_) => return Err(DialFault::BadHandshake(None)),
            Ok(Some((response, used))) => {
                let agreed =
                    upgrade.check(key, &response).map_err(|fault| DialFault::BadHandshake(Some(fault)))?;
                return Ok((agreed, bytes.split_off(used)));
            }
            Ok(None) => seen = bytes.len(),
        }
        if connect::receive(sock, &mut bytes).await? == 0 {
            return Err(DialFault::BadHandshake(None));
        }
    }
}
