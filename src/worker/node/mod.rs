//! Nodes: which one, a connection to it, its upgrade, one HTTP exchange with it; and the question that finds it.

pub(crate) mod connect;
pub(crate) mod exchange;
pub(crate) mod lookup;
pub(crate) mod placement;
pub(crate) mod upgrade;
