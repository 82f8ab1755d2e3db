//! The record of each session and request: why it ended, in which words, and that its id, role and stream are the same in
//! answers, lists, logs and Closes.

mod lists;
mod relays;
mod requests;
mod whip;
