//! What Red5 clients, stream managers and nodes say: routes, connection parameters, answers, WHIP sessions.

pub mod answer;
pub mod location;
pub mod one_step;
pub mod params;
pub(crate) mod query;
pub mod role;
pub mod route;
pub mod rules;
pub mod signal;
pub(crate) mod text;
pub mod whip;
