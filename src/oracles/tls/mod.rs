//! The oracle of the worker's TLS glue: a gateway and a client of rustls talk in memory, as an input says.

mod end;
mod fixture;
mod records;
mod script;
mod wire;

pub use fixture::TlsFixture;
pub use records::records;
