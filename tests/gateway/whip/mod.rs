//! WHIP and WHEP: every form of path leads to the right node, bodies and fields pass, and failures are told to the client.

mod affinity;
mod bodies;
mod clients;
mod cors;
mod failures;
mod fields;
mod location;
mod sessions;
