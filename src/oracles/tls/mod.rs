//! The oracle of a worker's TLS glue: a gateway and a client of rustls, driven by an input.

mod end;
mod fixture;
mod records;
mod script;
mod wire;

pub use fixture::TlsFixture;
pub use records::records;
