//! What an operator reads in the log: levels, refusals with the key that changes them, nodes and stream managers that fail.

mod access;
mod journal;
mod managers;
mod nodes;
mod refusals;
