//! The flights of one worker: which sessions wait for which question.

use crate::shared::answers::Key;
use crate::shared::questions::Reply;
use futures_channel::oneshot;
use std::cell::RefCell;
use std::collections::HashMap;

/// What the sessions of one flight have in common: the generation of the answers in which it began, and the key of its question.
pub(crate) type FlightKey = (u64, Key);

/// The sessions that wait for an answer, by their flight. The first of them opened it.
#[derive(Debug, Default)]
pub(crate) struct Flights(pub(crate) RefCell<HashMap<FlightKey, Vec<oneshot::Sender<Reply>>>>);
