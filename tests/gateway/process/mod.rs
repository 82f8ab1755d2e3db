//! The process and its machine: start, the choice of the IO driver, and faults of the environment.

mod drivers;
mod faults;
mod machine;
mod start;
