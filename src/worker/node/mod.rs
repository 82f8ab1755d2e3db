//! Nodes: which one serves a request, the question that finds it, a connection to it, the upgrade of that connection to
//! WebSocket, and one HTTP exchange over it.

pub(crate) mod connect;
pub(crate) mod dial_count;
pub(crate) mod exchange;
pub(crate) mod lookup;
pub(crate) mod placement;
pub(crate) mod upgrade;
