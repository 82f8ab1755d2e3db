//! The format of the cases in `tests/data/front_door`: readable, one entry each, every byte explicit.
//!
//! ```text
//! [name of the case]
//! Why, with its source.
//! | GET {event} HTTP/1.1        a line of the request; its end is CR LF,
//! | X-A: 1\r2                   escapes: \r \n \t \0 \xHH \\ \{ \}
//! | no line end here\           … unless it ends with a backslash
//! node:                         (where something passes: the peer that receives it, and what)
//! => 400 bad_request, closed    the only acceptable outcome
//! ```
//!
//! In braces: a value that the test provides, `{*N text}` for N copies, `{fill N}` for as many x as make the request N
//! bytes long, `{length NAME}` and `{hex NAME}` for the length of a value, `{stall}` where the client sends nothing more,
//! and `{drip}` where it goes on byte by byte.

use std::collections::HashMap;
use std::path::Path;

/// The values for the names in braces.
pub type Placeholders = HashMap<&'static str, String>;

/// One case.
pub struct Case {
    pub name: String,
    pub why: String,
    /// What the client sends at once.
    pub request: Vec<u8>,
    /// What it sends byte by byte after that; empty if it stalls.
    pub drip: Vec<u8>,
    /// Whether the client sends nothing more, not even another request.
    pub stalls: bool,
    /// The peer that receives something of the request, and the bytes.
    pub received: Option<(String, Vec<u8>)>,
    /// Status and refusal code of each answer; the code may be missing.
    pub answers: Vec<(u16, String)>,
    pub after: After,
}

/// What happens to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// It ends cleanly after the answers, whatever was sent after the request.
    Closed,
    /// The next request is answered as if this one had not been sent.
    InSync,
    /// The outcome does not say.
    Open,
}

/// All cases of a file, or of all files of a folder in the order of their names.
pub fn read(path: &str, placeholders: &Placeholders) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let mut files = vec![path.clone()];
    if path.is_dir() {
        files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
    }
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts.flat_map(|text| entries(&text, placeholders)).collect()
}

fn entries(text: &str, placeholders: &Placeholders) -> Vec<Case> {
    let (mut cases, mut entry) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        entry.push(line);
        if let Some(outcome) = line.strip_prefix("=> ") {
            cases.push(case(&entry, outcome, placeholders));
            entry.clear();
        }
    }
    assert!(entry.is_empty(), "a case without an outcome: {entry:?}");
    cases
}

fn case(lines: &[&str], outcome: &str, placeholders: &Placeholders) -> Case {
    let name = lines[0].strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = name.unwrap_or_else(|| panic!("a case without a name: {}", lines[0]));
    let received = lines.iter().position(|line| line.ends_with(':') && !line.starts_with('|'));
    let end = lines.len() - 1;
    let received = received.map(|at| (lines[at].trim_end_matches(':').to_owned(), at));
    let request = bytes(&lines[2..received.as_ref().map_or(end, |(_, at)| *at)], placeholders);
    let (request, drip, stalls) = parts(request);
    let (answers, after) = read_outcome(outcome);
    Case {
        name: name.to_owned(),
        why: lines[1].to_owned(),
        request,
        drip,
        stalls,
        received: received.map(|(peer, at)| (peer, bytes(&lines[at + 1..end], placeholders))),
        answers,
        after,
    }
}

/// Marks where the way of sending changes; no request contains them.
const STALL: &[u8] = b"\0stall\0";
const DRIP: &[u8] = b"\0drip\0";

fn parts(request: Vec<u8>) -> (Vec<u8>, Vec<u8>, bool) {
    let find = |mark: &[u8]| request.windows(mark.len()).position(|window| window == mark);
    if let Some(at) = find(STALL) {
        return (request[..at].to_vec(), Vec::new(), true);
    }
    match find(DRIP) {
        Some(at) => (request[..at].to_vec(), request[at + DRIP.len()..].to_vec(), true),
        None => (request, Vec::new(), false),
    }
}

fn read_outcome(outcome: &str) -> (Vec<(u16, String)>, After) {
    let (mut answers, mut after) = (Vec::new(), After::Open);
    for part in outcome.split(", ") {
        match part {
            "closed" | "hangs up" => after = After::Closed,
            "in sync" => after = After::InSync,
            _ => {
                let (times, answer) = part.split_once(" x ").unwrap_or(("1", part));
                let (status, code) = answer.split_once(' ').unwrap_or((answer, ""));
                let answer = (status.parse().expect("a status"), code.to_owned());
                answers.extend(vec![answer; times.parse().expect("a number of answers")]);
            }
        }
    }
    (answers, after)
}

/// The bytes of these lines.
fn bytes(lines: &[&str], placeholders: &Placeholders) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        let line =
            line.strip_prefix('|').unwrap_or_else(|| panic!("expected a line of a request, found {line}"));
        let line = line.strip_prefix(' ').unwrap_or(line);
        let bare = line.len() - line.trim_end_matches('\\').len();
        if bare % 2 == 1 {
            expand(&line[..line.len() - 1], placeholders, &mut text);
        } else {
            expand(line, placeholders, &mut text);
            // nothing follows where a client stalls
            text.extend(b"\r\n");
        }
    }
    fill(text)
}

/// Appends a line with its escapes undone and its names replaced.
fn expand(line: &str, placeholders: &Placeholders, text: &mut Vec<u8>) {
    let mut rest = line.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => escape(&mut rest, text),
            '{' => {
                let (placeholder, after) = rest.as_str().split_once('}').expect("a closing brace");
                expand_placeholder(placeholder, placeholders, text);
                rest = after.chars();
            }
            _ => text.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

fn escape(rest: &mut std::str::Chars<'_>, text: &mut Vec<u8>) {
    text.push(match rest.next().expect("an escape") {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '0' => 0,
        'x' => {
            let digits: String = rest.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).expect("two digits")
        }
        plain @ ('\\' | '{' | '}') => plain as u8,
        other => panic!("unknown escape: {other}"),
    });
}

/// Stands for `{fill N}` until the rest of the request is known.
const FILL: &[u8] = b"\0fill ";

fn expand_placeholder(placeholder: &str, placeholders: &Placeholders, text: &mut Vec<u8>) {
    let value = |name: &str| placeholders.get(name).unwrap_or_else(|| panic!("unknown name: {name}"));
    if let Some((times, part)) = placeholder.strip_prefix('*').and_then(|rest| rest.split_once(' ')) {
        let mut once = Vec::new();
        expand(part, placeholders, &mut once);
        text.extend(once.repeat(times.parse().expect("a number of copies")));
    } else if let Some(size) = placeholder.strip_prefix("fill ") {
        text.extend([FILL, format!("{size}\0").as_bytes()].concat());
    } else if let Some(name) = placeholder.strip_prefix("length ") {
        text.extend(value(name).len().to_string().bytes());
    } else if let Some(name) = placeholder.strip_prefix("hex ") {
        text.extend(format!("{:x}", value(name).len()).bytes());
    } else {
        match placeholder {
            "stall" => text.extend(STALL),
            "drip" => text.extend(DRIP),
            _ => text.extend(value(placeholder).bytes()),
        }
    }
}

fn fill(text: Vec<u8>) -> Vec<u8> {
    let Some(at) = text.windows(FILL.len()).position(|window| window == FILL) else { return text };
    let digits = &text[at + FILL.len()..];
    let end = digits.iter().position(|byte| *byte == 0).expect("the end of the fill mark");
    let size: usize = std::str::from_utf8(&digits[..end]).unwrap().parse().expect("a size");
    let (before, after) = (&text[..at], &digits[end + 1..]);
    [before, &vec![b'x'; size - before.len() - after.len()], after].concat()
}
