//! The gateway's behaviour as its neighbours see it: clients, nodes, the stream manager, the operator.
//!
//! Each test starts the real program on addresses of its own and talks to it from outside; nothing in here may know how
//! the gateway is built. The peers live in `town`; the other files are named after what they hold the gateway to.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should fail right there")]
#![allow(unreachable_pub, reason = "this crate has no outside")]

mod abuse_frames;
mod abuse_handshake;
mod abuse_http;
mod abuse_records;
mod admin_paths;
mod admission;
mod answers;
mod cross_site;
mod drain;
mod drain_order;
mod drivers;
mod ends;
mod faults;
mod front_door;
mod handshake;
mod head;
mod limits;
mod liveness;
mod one_step;
mod one_step_failures;
mod operator;
mod orders;
mod overload;
mod patience;
mod peers;
mod proxy_protocol;
mod quarantine;
mod rebinding;
mod reload;
mod reload_load;
mod renewal;
mod secrets;
mod soak;
mod ssrf;
mod stream_manager;
mod streams;
mod tls;
mod town;
mod upgrade;
mod upgrade_failures;
mod upgrade_queues;
mod upgrade_storm;
mod upgrade_systemd;
mod violations;
mod websocket;
mod whip;
mod whip_affinity;
mod whip_bodies;
mod whip_clients;
mod whip_cors;
mod whip_failures;
mod whip_fields;
mod whip_location;
