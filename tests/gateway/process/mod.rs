//! The process and its machine: start, the choice of the IO driver, what `tidegate doctor` finds, and faults of the environment.

mod doctor;
mod drivers;
mod faults;
mod machine;
mod start;
