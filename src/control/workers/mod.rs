//! The workers as one: the trait that the supervisor drives, what a revision is made of, and their start.

pub mod interface;
pub mod launch;
pub mod parts;
