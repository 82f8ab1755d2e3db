//! The references for the routes of Stream Manager 2.0 and for chunked bodies.

use crate::oracles::reference::params::{
    Pair, decode, may_be_kept, plain, read_host, refuse_secrets, segments,
};
use crate::proto::red5::params::Host;
use crate::proto::red5::route::EventKind;
use crate::proto::red5::rules::ParamRules;
use crate::proto::refusal::Refusal;

/// Whether answers of the streams service to a player's question may be stored.
pub fn streams_may_be_kept(group: &str, query: &str) -> bool {
    let plain = ["undefined", "null", "NaN", "[object Object]", "true", "false"];
    let named = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let decides = named("transcode") || named("restream") || named("action");
    !plain.contains(&group) && !decides && may_be_kept(EventKind::List, query)
}

/// A one-step request: host, group, target at the node, target of the question to the streams service.
type OneStep = (Option<Host>, Option<String>, String, Option<String>);

/// Reads a one-step request. Its path has to have the form of that route. `configured` is the group for clients that name
/// none; empty if there is none.
pub fn one_step(target: &str, rules: &ParamRules, configured: &str) -> Result<OneStep, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = pairs(query, rules)?;
    for name in ["host", "nodeGroup"] {
        let spelt = |key: &str| key == name || plain(key) == name.to_ascii_lowercase();
        if pairs.iter().filter(|(key, ..)| *key == name).count() > 1
            || pairs.iter().any(|(key, ..)| spelt(key) && *key != name)
        {
            return Err(Refusal::DuplicateParam);
        }
    }
    if pairs.iter().any(|(key, value, _)| ["host", "nodeGroup"].contains(key) && value.is_none()) {
        return Err(Refusal::BadParams);
    }
    refuse_secrets(&pairs, rules)?;
    let mut names: Vec<&str> = path.split('/').skip(6).collect();
    let stream = names.pop().unwrap_or_default();
    let scope = scope(&names, rules)?;
    let value = |name: &str| pairs.iter().find(|(key, ..)| *key == name).and_then(|(_, value, _)| *value);
    let host = match value("host") {
        Some(host) => Some(read_host(&decode(host, Refusal::BadHost)?, rules)?),
        None => None,
    };
    let group = group(value("nodeGroup"), configured)?;
    if host.is_none() && group.is_none() {
        return Err(Refusal::BadParams);
    }
    let placement = ["region", "geozone", "subgroup", "subGroup", "strict", "transcode", "endpoints"];
    let only = |wanted: bool| {
        let ours = pairs.iter().filter(|(key, ..)| !["host", "nodeGroup"].contains(key));
        let pairs: Vec<&str> =
            ours.filter(|(key, ..)| placement.contains(key) == wanted).map(|(_, _, pair)| *pair).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        format!("{mark}{}", pairs.join("&"))
    };
    let action = path.split('/').nth(5).unwrap_or_default();
    let question = group
        .as_ref()
        .map(|group| format!("/as/v1/streams/stream/{group}/{action}/{scope}/{stream}{}", only(true)));
    Ok((host, group, format!("/{scope}/{}", only(false)), question))
}

/// The pairs of a query (P1 to P3), in which one question mark before `id=` counts as an ampersand (W02).
fn pairs<'q>(query: &'q str, rules: &ParamRules) -> Result<Vec<Pair<'q>>, Refusal> {
    if query.len() > rules.query_size_max {
        return Err(Refusal::TargetTooLong);
    }
    let query = query.strip_prefix('?').unwrap_or(query);
    let parts: Vec<&str> = query.splitn(2, "?id=").collect();
    let mut pairs: Vec<&str> = parts[0].split('&').collect();
    if parts.len() == 2 {
        pairs.extend(query[parts[0].len() + 1..].split('&'));
    }
    pairs.retain(|pair| !pair.is_empty());
    let pairs: Vec<Pair<'_>> = pairs
        .into_iter()
        .map(|pair| match pair.find('=') {
            Some(at) => (&pair[..at], Some(&pair[at + 1..]), pair),
            None => (pair, None, pair),
        })
        .collect();
    if pairs.len() > rules.pairs_max || pairs.iter().any(|(key, ..)| key.len() > rules.key_size_max) {
        return Err(Refusal::BadParams);
    }
    Ok(pairs)
}

/// App and context of a path (P10 and P11).
fn scope(names: &[&str], rules: &ParamRules) -> Result<String, Refusal> {
    if names.iter().any(|name| ["undefined", "null", "NaN", "true", "false"].contains(name)) {
        return Err(Refusal::ScriptLeftover);
    }
    let scope = segments(&names.join("/"))?;
    if scope.len() > rules.depth_max {
        return Err(Refusal::BadApp);
    }
    if !rules.apps.contains(&scope[0]) || scope[0].eq_ignore_ascii_case("streammanager") {
        return Err(Refusal::AppNotAllowed);
    }
    Ok(scope.join("/"))
}

/// The group that the client names, or the configured one.
fn group(raw: Option<&str>, configured: &str) -> Result<Option<String>, Refusal> {
    let named = match raw {
        Some(raw) => decode(raw, Refusal::BadParams)?,
        None => "default".to_owned(),
    };
    if named == "default" {
        return Ok(Some(configured.to_owned()).filter(|group| !group.is_empty()));
    }
    let letters = named.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
    if !letters || named == "." || named == ".." || named.len() > 128 {
        return Err(Refusal::BadParams);
    }
    Ok(Some(named))
}

/// The payload and the size of a chunked body with at most `max` bytes of payload. `Some(None)`: it is not complete;
/// `None`: it is malformed or too large.
pub fn chunked(sent: &[u8], max: u64) -> Option<Option<(Vec<u8>, usize)>> {
    let (mut payload, mut at, mut extra) = (Vec::new(), 0, 0);
    loop {
        extra += extra_bytes(&sent[at..]);
        if extra > 2048 {
            return None;
        }
        let Some(line) = line(&sent[at..], 256, false)? else { return Some(None) };
        at += line.len() + 2;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size > max - payload.len() as u64 {
            return None;
        }
        if size == 0 {
            break;
        }
        let size = size as usize;
        let chunk = &sent[at..sent.len().min(at + size)];
        payload.extend_from_slice(chunk);
        at += chunk.len();
        let end = &sent[at..sent.len().min(at + 2)];
        if !b"\r\n".starts_with(end) {
            return None;
        }
        if end.len() < 2 {
            return Some(None);
        }
        at += 2;
    }
    let first = at;
    loop {
        let Some(line) = line(&sent[at..], usize::MAX, true)? else {
            return (sent.len() - first <= 1025).then_some(None);
        };
        at += line.len() + 2;
        if at - first > 1025 {
            return None;
        }
        if line.is_empty() {
            return Some(Some((payload, at)));
        }
    }
}

/// How many bytes of the size line at the front, whole or not, are no digit of its size: leading zeros, and all behind the
/// digits.
fn extra_bytes(sent: &[u8]) -> usize {
    let line = sent.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let zeros = line.iter().take_while(|byte| **byte == b'0').count();
    line.len() - digits + if zeros == digits { zeros.saturating_sub(1) } else { zeros }
}

/// A line without its end, of at most `max` bytes; `trailer`: a field behind the last chunk, instead of a chunk's size.
/// `Some(None)`: it is not complete; `None`: it is malformed.
fn line(sent: &[u8], max: usize, trailer: bool) -> Option<Option<&[u8]>> {
    let end = sent.iter().position(|&byte| byte == b'\r');
    let line = &sent[..end.unwrap_or(sent.len())];
    let fits = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~') || (trailer && *byte >= 0x80);
    if !line.iter().all(fits) || line.len() > max {
        return None;
    }
    if trailer {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let colon = name.len() < line.len();
        if !name.iter().all(token)
            || (name.is_empty() && colon)
            || (!colon && !line.is_empty() && end.is_some())
        {
            return None;
        }
    } else {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let mut rest = line[digits..].iter().skip_while(|byte| b" \t".contains(byte));
        let mark = rest.next().is_none_or(|byte| *byte == b';');
        if !mark || (digits == 0 && !sent.is_empty()) {
            return None;
        }
        let text = std::str::from_utf8(&line[..digits]).ok()?;
        if digits > 0 && u64::from_str_radix(text, 16).is_err() {
            return None;
        }
    }
    match end.map(|end| sent.get(end + 1)) {
        None | Some(None) => Some(None),
        Some(Some(b'\n')) => Some(Some(line)),
        Some(Some(_)) => None,
    }
}
