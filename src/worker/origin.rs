//! Dialling an admitted node and upgrading the connection to WebSocket.

use super::net::Sock;
use super::node;
use crate::config::Origins;
use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::head;
use crate::proto::upgrade::{Agreed, Upgrade, UpgradeFault};
use std::net::SocketAddr;

/// An upgraded connection to a node.
pub(super) struct Opened {
    pub sock: Sock,
    pub node: SocketAddr,
    pub agreed: Agreed,
    /// Bytes that came together with the node's 101.
    pub early: Vec<u8>,
}

/// Why a node can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialFault {
    /// Refused or unreachable.
    Refused,
    /// Connected, but the connection broke before an answer.
    Broken,
    /// This machine has no descriptor, port or memory left for it: no fault of the node.
    Exhausted,
    ConnectTimeout,
    /// Connected, but no whole answer in time.
    UpgradeTimeout,
    /// An answer that is no right 101; `None` is one that is no HTTP, or that ended early.
    BadHandshake(Option<UpgradeFault>),
}

impl DialFault {
    /// Its label in the metrics.
    pub(super) const fn outcome(self) -> DialOutcome {
        match self {
            Self::Refused | Self::Broken => DialOutcome::Refused,
            Self::Exhausted => DialOutcome::Exhausted,
            Self::ConnectTimeout => DialOutcome::Timeout,
            Self::UpgradeTimeout => DialOutcome::UpgradeTimeout,
            Self::BadHandshake(_) => DialOutcome::BadHandshake,
        }
    }

    /// Whether bytes of the request may have reached the node.
    pub(super) const fn reached(self) -> bool {
        !matches!(self, Self::Refused | Self::Exhausted | Self::ConnectTimeout)
    }
}

/// Dials and upgrades with a request that was made with this key. Dropping the future closes the socket: a client that leaves cancels its dial.
pub(super) async fn open(
    admitted: &Admitted,
    upgrade: &Upgrade,
    key: &str,
    request: &[u8],
    config: &Origins,
) -> Result<Opened, DialFault> {
    let sock = node::connect(admitted, config.connect_timeout).await?;
    monoio::time::timeout(config.upgrade_timeout, exchange(sock, admitted.address(), request, key, upgrade))
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
    node::send(&sock, request).await?;
    let mut bytes = Vec::new();
    let mut seen = 0;
    loop {
        match head::response(&bytes, seen, &node::HEAD) {
            Err(_) => return Err(DialFault::BadHandshake(None)),
            Ok(Some((response, used))) => {
                let agreed =
                    upgrade.check(key, &response).map_err(|fault| DialFault::BadHandshake(Some(fault)))?;
                return Ok(Opened { sock, node, agreed, early: bytes.split_off(used) });
            }
            Ok(None) => seen = bytes.len(),
        }
        if node::receive(&sock, &mut bytes).await? == 0 {
            return Err(DialFault::BadHandshake(None));
        }
    }
}
