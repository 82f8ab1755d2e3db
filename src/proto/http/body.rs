//! HTTP bodies (RFC 9112 6 and 7): which of the received bytes are payload, and where the body ends.
//!
//! Beside the frame scanner this is the second reader that does not wait until all is there: payload is handed on as it
//! comes, and only the state between chunks is remembered. It is strict where two readers could disagree about the end of a
//! body: every line end is CR LF, sizes are plain hexadecimal, and lines are short. Payload is neither copied nor read.

use crate::proto::http::head::BodyLength;
use crate::proto::refusal::Refusal;

/// Longest line before a chunk, in bytes. Chunk extensions are ignored; those in use are short.
const LINE_MAX: usize = 256;

/// Most bytes that all lines before chunks may hold beside the digits of the sizes: extensions, whitespace, leading zeros.
/// A body has a limit for its payload only, so that without this bound each byte of it could cost a line of 256 bytes.
const EXTRA_MAX: usize = 2048;

/// Most bytes of all lines after the last chunk. Trailers are dropped: the gateway needs none.
const TRAILER_MAX: usize = 1024;

/// The end of a chunked body that the gateway writes: the last chunk, and no trailer.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why a body is refused. Where the next message begins is not known then, so the connection can't be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// More payload than the limit of this body.
    TooLarge,
    /// Not in the grammar of chunked bodies (RFC 9112 7.1), or a line that is too long.
    Malformed,
    /// The connection ended inside the body.
    Cut,
}

impl BodyFault {
    /// The refusal that a client gets for its own body.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::BodyTooLarge,
            Self::Malformed | Self::Cut => Refusal::BadRequest,
        }
    }
}

/// What one call of [`Body::next`] found at the front of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'b> {
    /// Payload to hand on; may be empty.
    pub payload: &'b [u8],
    /// Bytes of the input that are done with, payload included.
    pub used: usize,
}

/// The place in a body that was read so far. `line` counts the bytes of the present line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a body of known length; the number of bytes still to come.
    Counted(u64),
    /// In a body that lasts until the end of the connection.
    UntilClose,
    /// In the digits of a chunk's size, of which `digits` have come.
    Size { size: u64, digits: u8, line: usize },
    /// In the whitespace behind the digits; only an extension or the end of the line may follow.
    Space { size: u64, line: usize },
    /// In a chunk extension, behind its semicolon.
    Extension { size: u64, line: usize },
    /// Behind the CR of a size line.
    SizeEnd { size: u64 },
    /// In a chunk; the number of its bytes still to come.
    Chunk(u64),
    /// Behind a chunk: CR, then LF.
    ChunkEnd { cr: bool },
    /// In the lines after the last chunk.
    Trailer {
        /// Bytes of all these lines so far.
        total: usize,
        line: usize,
        /// The colon of this line has come.
        named: bool,
        cr: bool,
    },
    /// Behind the body.
    Done,
}

/// The reader of one body.
#[derive(Debug, Clone)]
pub struct Body {
    at: At,
    /// Bytes of payload that may still come.
    payload_left: u64,
    /// Bytes of size lines so far that are no digit of a size.
    extra: usize,
}

impl Body {
    /// A body of this length with at most `max` bytes of payload. Fails with [`BodyFault::TooLarge`] if the length is
    /// greater; the chunks of a chunked body are counted as they come.
    pub const fn new(length: BodyLength, max: u64) -> Result<Self, BodyFault> {
        let at = match length {
            BodyLength::None => At::Done,
            BodyLength::Length(length) if length > max => return Err(BodyFault::TooLarge),
            BodyLength::Length(0) => At::Done,
            BodyLength::Length(length) => At::Counted(length),
            BodyLength::Chunked => At::Size { size: 0, digits: 0, line: 0 },
        };
        Ok(Self { at, payload_left: max, extra: 0 })
    }

    /// The body of a response that lasts until the end of the connection (RFC 9112 6.3), with at most `max` bytes.
    pub const fn until_close(max: u64) -> Self {
        Self { at: At::UntilClose, payload_left: max, extra: 0 }
    }

    /// Whether the whole body was read. The next byte belongs to another message then.
    pub const fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }

    /// Tells the reader that the connection ended. Fails with [`BodyFault::Cut`] if the body was not whole then.
    pub const fn end(&self) -> Result<(), BodyFault> {
        match self.at {
            At::Done | At::UntilClose => Ok(()),
            _ => Err(BodyFault::Cut),
        }
    }

    /// Reads the front of `bytes`: at most one run of payload, with the chunk framing before it. Call it again with the rest
    /// until the body is done or nothing is used. Fails if the framing is malformed or there is more payload than allowed;
    /// the reader must not be used again then.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Piece<'b>, BodyFault> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let run = match self.at {
                At::Done => 0,
                At::UntilClose => rest.len(),
                At::Counted(left) | At::Chunk(left) => {
                    rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))
                }
                _ => {
                    let Some(&byte) = rest.first() else { return Ok(Piece { payload: &[], used }) };
                    self.at = self.between(byte)?;
                    used += 1;
                    continue;
                }
            };
            self.count(run as u64)?;
            return Ok(Piece { payload: &rest[..run], used: used + run });
        }
    }

    /// Counts `run` bytes of payload.
    fn count(&mut self, run: u64) -> Result<(), BodyFault> {
        self.payload_left = self.payload_left.checked_sub(run).ok_or(BodyFault::TooLarge)?;
        self.at = match self.at {
            At::Counted(left) if left == run => At::Done,
            At::Counted(left) => At::Counted(left - run),
            At::Chunk(left) if left == run => At::ChunkEnd { cr: false },
            At::Chunk(left) => At::Chunk(left - run),
            at => at,
        };
        Ok(())
    }

    /// The place behind one byte of framing.
    fn between(&mut self, byte: u8) -> Result<At, BodyFault> {
        match (self.at, byte) {
            (
                At::Size { digits: 1.., size, .. } | At::Space { size, .. } | At::Extension { size, .. },
                b'\r',
            ) => Ok(At::SizeEnd { size }),
            (At::Size { size, digits, line }, byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                short(line + 1, LINE_MAX)?;
                if size == 0 && digits > 0 {
                    self.count_extra()?;
                }
                let size = size.checked_mul(16).ok_or(BodyFault::TooLarge)? + digit;
                Ok(At::Size { size, digits: digits.saturating_add(1), line: line + 1 })
            }
            (At::Size { digits: 1.., size, line } | At::Space { size, line }, b' ' | b'\t') => {
                short(line + 1, LINE_MAX)?;
                self.count_extra()?;
                Ok(At::Space { size, line: line + 1 })
            }
            (At::Size { digits: 1.., size, line } | At::Space { size, line }, b';') => {
                short(line + 1, LINE_MAX)?;
                self.count_extra()?;
                Ok(At::Extension { size, line: line + 1 })
            }
            (At::Extension { size, line }, b'\t' | b' '..=b'~') => {
                short(line + 1, LINE_MAX)?;
                self.count_extra()?;
                Ok(At::Extension { size, line: line + 1 })
            }
            (At::SizeEnd { size: 0 }, b'\n') => {
                Ok(At::Trailer { total: 0, line: 0, named: false, cr: false })
            }
            (At::SizeEnd { size }, b'\n') if size > self.payload_left => Err(BodyFault::TooLarge),
            (At::SizeEnd { size }, b'\n') => Ok(At::Chunk(size)),
            (At::ChunkEnd { cr: false }, b'\r') => Ok(At::ChunkEnd { cr: true }),
            (At::ChunkEnd { cr: true }, b'\n') => Ok(At::Size { size: 0, digits: 0, line: 0 }),
            (At::Trailer { total, line, named, cr }, byte) => trailer(total, line, named, cr, byte),
            _ => Err(BodyFault::Malformed),
        }
    }

    /// Counts one byte of a size line that is no digit of a size.
    fn count_extra(&mut self) -> Result<(), BodyFault> {
        self.extra += 1;
        short(self.extra, EXTRA_MAX)
    }
}

/// The place behind one byte after the last chunk; an empty line ends the body. Every line has to be a field, so that a
/// request in the place of the body's end is not dropped as a trailer.
fn trailer(total: usize, line: usize, named: bool, cr: bool, byte: u8) -> Result<At, BodyFault> {
    short(total, TRAILER_MAX)?;
    let total = total + 1;
    match (cr, byte) {
        (true, b'\n') if line == 0 => Ok(At::Done),
        (true, b'\n') => Ok(At::Trailer { total, line: 0, named: false, cr: false }),
        (false, b'\r') if named || line == 0 => Ok(At::Trailer { total, line, named, cr: true }),
        (false, b':') if line > 0 => Ok(At::Trailer { total, line: line + 1, named: true, cr: false }),
        // obs-text in a value is legal (RFC 9110 5.5); trailers are dropped anyway
        (false, b'\t' | b' '..=b'~' | 0x80..) if named || is_name_byte(byte) => {
            Ok(At::Trailer { total, line: line + 1, named, cr: false })
        }
        _ => Err(BodyFault::Malformed),
    }
}

/// Whether the name of a field may hold this byte (RFC 9110 5.6.2).
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Fails if a line or all trailers are longer than allowed.
const fn short(length: usize, max: usize) -> Result<(), BodyFault> {
    if length > max { Err(BodyFault::Malformed) } else { Ok(()) }
}

/// The size line before a chunk that the gateway writes. `length` is the chunk's bytes, and not zero: an empty chunk would
/// end the body.
pub fn chunk_line(length: usize) -> String {
    debug_assert!(length > 0, "an empty chunk ends a body");
    format!("{length:x}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload and number of bytes used, or the fault; `step` bytes more are offered each time.
    fn read(body: Result<Body, BodyFault>, bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), BodyFault> {
        let (mut body, mut payload, mut used) = (body?, Vec::new(), 0);
        let mut there = 0;
        while !body.is_done() {
            let piece = body.next(&bytes[used..there])?;
            payload.extend_from_slice(piece.payload);
            used += piece.used;
            if piece.used == 0 {
                if there == bytes.len() {
                    body.end()?;
                    break;
                }
                there = bytes.len().min(there + step);
            }
        }
        Ok((payload, used))
    }

    fn chunked(text: &str) -> Result<(String, usize), BodyFault> {
        let read = |step| read(Body::new(BodyLength::Chunked, 16), text.as_bytes(), step);
        let whole = read(usize::MAX >> 1);
        assert_eq!(whole, read(1), "{text:?} byte by byte");
        whole.map(|(payload, used)| (String::from_utf8(payload).unwrap(), used))
    }

    #[test]
    fn a_chunked_body_gives_its_payload_and_leaves_what_follows() {
        assert_eq!(chunked("3\r\nabc\r\n0\r\n\r\nGET"), Ok(("abc".into(), 13)));
        assert_eq!(chunked("1\r\na\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n").unwrap().0, "a0123456789");
        assert_eq!(chunked("0\r\n\r\n"), Ok((String::new(), 5)));
        assert_eq!(chunked("0 ;x\r\nA: b\r\nC:\r\n\r\nrest"), Ok((String::new(), 18)));
        assert_eq!(chunked("1 \t\r\na\r\n0\r\nA:b:\r\n\r\n").unwrap().0, "a");
        assert_eq!(chunked("10\r\n0123456789abcdef\r\n0\r\n\r\n").unwrap().0.len(), 16);
    }

    #[test]
    fn a_body_with_two_possible_ends_is_refused() {
        for text in [
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "-1\r\n",
            ";x\r\n",
            "3;\nx\r\nabc\r\n0\r\n\r\n",
            "3;\0\r\nabc\r\n0\r\n\r\n",
            "3\r\rabc\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\rx",
            "3 5\r\nabc\r\n0\r\n\r\n",
            "0 x\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\nA: b\r\n c\r\n\r\n",
            "0\r\nA\r\n\r\n",
        ] {
            assert_eq!(chunked(text), Err(BodyFault::Malformed), "{text:?}");
        }
        assert_eq!(chunked(&format!("3;{}\r\n", "x".repeat(256))), Err(BodyFault::Malformed));
        assert_eq!(chunked(&format!("0\r\nA: {}", "x".repeat(1024))), Err(BodyFault::Malformed));
        for text in ["", "3", "3\r\n", "3\r\nab", "3\r\nabc\r\n", "0\r\n", "0\r\n\r"] {
            assert_eq!(chunked(text), Err(BodyFault::Cut), "{text:?}");
        }
    }

    #[test]
    fn size_lines_may_hold_little_beside_the_sizes() {
        let body = |line: &str, chunks| format!("{line}\r\na\r\n").repeat(chunks) + "0\r\n\r\n";
        let read = |text: &str| read(Body::new(BodyLength::Chunked, 1 << 20), text.as_bytes(), 1000);
        let spare = "x".repeat(127);
        for line in [format!("1;{spare}"), format!("1{}", " ".repeat(128)), format!("{}1", "0".repeat(128))] {
            assert_eq!(read(&body(&line, 16)).unwrap().0, b"a".repeat(16), "{line}");
            assert_eq!(read(&body(&line, 17)), Err(BodyFault::Malformed), "{line}");
        }
        assert_eq!(read(&body("1", 100_000)).unwrap().0.len(), 100_000, "small chunks alone are no fault");
        assert_eq!(read(&body("01", 2048)).unwrap().0.len(), 2048);
        assert_eq!(read(&body("01", 2049)), Err(BodyFault::Malformed));
    }

    #[test]
    fn a_body_over_its_limit_is_refused_before_its_bytes_come() {
        assert_eq!(chunked("11\r\n"), Err(BodyFault::TooLarge));
        assert_eq!(chunked("ffffffffffffffffff\r\n"), Err(BodyFault::TooLarge));
        assert_eq!(chunked("9\r\n012345678\r\n8\r\n"), Err(BodyFault::TooLarge));
        assert_eq!(Body::new(BodyLength::Length(17), 16).map(|_| ()), Err(BodyFault::TooLarge));
        assert_eq!(read(Ok(Body::until_close(3)), b"abcd", 1), Err(BodyFault::TooLarge));
        assert_eq!(read(Ok(Body::until_close(4)), b"abcd", 1), Ok((b"abcd".to_vec(), 4)));
    }

    #[test]
    fn a_body_of_known_length_ends_behind_it() {
        assert_eq!(read(Body::new(BodyLength::Length(3), 16), b"abcdef", 2), Ok((b"abc".to_vec(), 3)));
        assert_eq!(read(Body::new(BodyLength::Length(3), 16), b"ab", 2), Err(BodyFault::Cut));
        assert_eq!(read(Body::new(BodyLength::None, 0), b"ab", 2), Ok((Vec::new(), 0)));
    }

    #[test]
    fn chunks_of_the_gateway_read_back() {
        let mut bytes = chunk_line(11).into_bytes();
        bytes.extend_from_slice(b"hello there\r\n");
        bytes.extend_from_slice(LAST_CHUNK);
        assert_eq!(
            read(Body::new(BodyLength::Chunked, 16), &bytes, 4),
            Ok((b"hello there".to_vec(), bytes.len()))
        );
    }
}
