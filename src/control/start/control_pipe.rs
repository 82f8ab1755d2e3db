//! The control pipe between two gateways: text lines in both directions over a socket pair, and the news when the other process
//! ends, because its end closes with it.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::RecvFlags;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The longest line in bytes. What is longer is not of a gateway.
const LINE_MAX: usize = 64 << 10;

/// Bytes read at once.
const READ_SIZE: usize = 16 << 10;

/// How long the other process may take to make room for a line.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What has arrived: the result of [`ControlPipe::receive`].
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole line, without its line end.
    Line(String),
    /// No whole line has arrived yet.
    NothingYet,
    /// The other end is closed, or sends something that is not a line.
    End,
}

/// One end of a control pipe.
#[derive(Debug)]
pub struct ControlPipe {
    stream: UnixStream,
    /// Bytes that arrived and are not received yet.
    buffer: Vec<u8>,
}

impl ControlPipe {
    /// Both ends of a new control pipe.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self::over(one)?, Self::over(other)?))
    }

    /// The end that was inherited as this stream.
    pub(crate) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends one line; line ends within `text` become blanks. Fails if the other end is closed or does not read for 5 s.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(format!("{}\n", text.replace('\n', " ")).as_bytes())
    }

    /// Whether the other end is still open: it closes when the other process ends, in whatever way.
    pub fn is_open(&self) -> bool {
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        let result = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        result.is_ok() && !polled[0].revents().contains(PollFlags::HUP)
    }

    /// A second handle of this end, for [`wait_for_close`].
    pub fn copy(&self) -> io::Result<OwnedFd> {
        Ok(self.stream.try_clone()?.into())
    }

    /// Receives one line if it has arrived; never waits.
    pub fn receive(&mut self) -> Message {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Message::Line(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut bytes = [0; READ_SIZE];
            match rustix::net::recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                    return Message::NothingYet;
                }
                Ok((taken @ 1.., _)) if self.buffer.len() <= LINE_MAX => {
                    self.buffer.extend_from_slice(&bytes[..taken]);
                }
                _ => return Message::End,
            }
        }
    }
}

impl AsFd for ControlPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Waits until the other end of this control pipe is closed, and receives nothing.
pub fn wait_for_close(pipe: &OwnedFd) {
    loop {
        let mut polled = [PollFd::new(pipe, PollFlags::empty())];
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// An older gateway that drains. Its end of the control pipe closes when it ends, in whatever way.
#[derive(Debug)]
pub struct DrainingPredecessor {
    pub pid: u32,
    pub pipe: ControlPipe,
}

impl DrainingPredecessor {
    /// Whether the process still runs.
    pub fn is_alive(&self) -> bool {
        self.pipe.is_open()
    }
}

impl AsFd for DrainingPredecessor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_whole_in_any_pieces_and_the_end_shows() {
        let (mut one, mut other) = ControlPipe::pair().unwrap();
        assert_eq!(other.receive(), Message::NothingYet);
        one.stream.write_all(b"re").unwrap();
        assert_eq!(other.receive(), Message::NothingYet);
        one.stream.write_all(b"ady\ngo\n").unwrap();
        assert_eq!(other.receive(), Message::Line("ready".to_owned()));
        assert_eq!(other.receive(), Message::Line("go".to_owned()));
        other.send("two\nlines").unwrap();
        assert_eq!(one.receive(), Message::Line("two lines".to_owned()));
        let predecessor = DrainingPredecessor { pid: 1, pipe: other };
        assert!(predecessor.is_alive());
        one.stream.write_all(b"unread bytes").unwrap();
        drop(one);
        assert!(!predecessor.is_alive());
        wait_for_close(&predecessor.pipe.copy().unwrap());
    }

    #[test]
    fn bytes_without_a_line_end_are_taken_for_the_end() {
        let (mut one, mut other) = ControlPipe::pair().unwrap();
        one.stream.write_all(&[b'x'; 3 * LINE_MAX]).unwrap();
        assert_eq!(other.receive(), Message::End);
    }
}
