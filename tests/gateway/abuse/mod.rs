//! Hostile clients and nodes. They are ended in time, cost bounded memory and few log lines, and are counted, while
//! regular clients are served.

mod frames;
mod handshake;
mod hellos;
mod http;
mod records;
mod turns;
