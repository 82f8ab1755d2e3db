//! A thin layer over edge-triggered epoll: a socket is registered once and needs no further call.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How many events one wait returns at most.
const BATCH: usize = 512;

/// A set of sockets, each with a number that the calling code chooses.
pub struct Poll {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { set: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Adds a socket. Closing it removes it.
    pub fn add(&self, socket: impl AsFd, number: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.set, socket, EventData::new_u64(number as u64), flags)?)
    }

    /// Waits for at most `at_most` and fills `ready` with the numbers of the sockets that have an event, each with whether
    /// its peer has ended the connection. Such a socket has to be read to its end, because no further event will come.
    pub fn wait(&mut self, at_most: Duration, ready: &mut Vec<(usize, bool)>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = Timespec::try_from(at_most).map_err(io::Error::other)?;
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        ready.extend(self.events.iter().map(|event| {
            // a packed struct: its fields are copied, not borrowed
            let (number, flags) = (event.data.u64(), event.flags);
            (number as usize, flags.intersects(ended))
        }));
        Ok(())
    }
}
