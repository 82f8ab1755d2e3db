//! The flights of one worker: which sessions wait for which question.

use crate::shared::answers::Key;
use crate::shared::questions::Reply;
use futures_channel::oneshot;
use std::cell::RefCell;
use std::collections::HashMap;

/// The sessions that wait for an answer, by the key of its question. The first of them opened the flight.
#[derive(Debug, Default)]
pub(crate) struct Flights(pub(crate) RefCell<HashMap<Key, Vec<oneshot::Sender<Reply>>>>);
