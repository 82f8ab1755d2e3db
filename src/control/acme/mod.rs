//! Certificates by ACME (RFC 8555): ordered, proved by TLS-ALPN-01 on the gateway's own listeners, stored, renewed.
//!
//! Everything here runs on the control thread; what touches files runs beside it. Workers know nothing of it: they find the
//! answers to challenges in [`Challenges`](crate::control::start::certs::Challenges). A certificate reaches them as a file that
//! changed, by `control/reload/cert_watch`, whichever gateway stored it. So the folder is all that gateways share: those of a
//! fleet, and the two processes of an upgrade.
//!
//! * `task` is the plot: which name is due, and one order at a time.
//! * `order`, `account`, `setup`, `http`: what is said to the CA, in the words of `instant-acme`.
//! * `storage`: files, the lock, and what becomes of a damaged file.
//! * `record`, `renewal`: when a name may be ordered again, and when its certificate is renewed.
//! * `trouble`: why an order failed, by what the gateway does next.

mod account;
mod http;
mod order;
mod record;
mod renewal;
mod setup;
mod storage;
mod task;
mod time;
mod trouble;

pub(crate) use task::start;
