//! The reference for connection parameters: P1 to P14, one after the other.

use std::net::Ipv4Addr;

use crate::oracles::reference::address::v6;
use crate::proto::red5::params::Host;
use crate::proto::red5::route::EventKind;
use crate::proto::red5::rules::ParamRules;
use crate::proto::refusal::Refusal;

/// The routing parameters.
pub(crate) const ROUTING: [&str; 3] = ["host", "app", "context"];

/// Key, value if there is an `=`, and the whole pair.
pub(crate) type Pair<'q> = (&'q str, Option<&'q str>, &'q str);

/// The node and the target at the node by P1 to P14, or the refusal of the first rule that is broken.
pub fn read(suffix: &str, query: &str, rules: &ParamRules) -> Result<(Host, String), Refusal> {
    let pairs = read_pairs(query, rules)?;
    refuse_confusion(&pairs)?;
    refuse_secrets(&pairs, rules)?;
    let value = |name: &str| pairs.iter().find(|(key, ..)| *key == name).and_then(|(_, value, _)| *value);
    let (Some(host), Some(app)) = (value("host"), value("app")) else { return Err(Refusal::BadParams) };
    let host = read_host(&decode(host, Refusal::BadHost)?, rules)?;
    let scope = read_scope(app, value("context"), suffix, rules)?;
    // P13
    let opaque: Vec<&str> =
        pairs.iter().filter(|(key, ..)| !ROUTING.contains(key)).map(|(_, _, pair)| *pair).collect();
    let mark = if opaque.is_empty() { "" } else { "?" };
    Ok((host, format!("/{}/{mark}{}", scope.join("/"), opaque.join("&"))))
}

/// The pairs of a query (P1, P2, P3).
pub(crate) fn read_pairs<'q>(query: &'q str, rules: &ParamRules) -> Result<Vec<Pair<'q>>, Refusal> {
    if query.len() > rules.query_size_max {
        return Err(Refusal::TargetTooLong);
    }
    if query.bytes().any(|byte| !(0x21..=0x7e).contains(&byte) || byte == b'#') {
        return Err(Refusal::BadTarget);
    }
    let query = query.strip_prefix('?').unwrap_or(query);
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        pairs.push(match pair.find('=') {
            Some(at) => (&pair[..at], Some(&pair[at + 1..]), pair),
            None => (pair, None, pair),
        });
    }
    if pairs.len() > rules.pairs_max || pairs.iter().any(|(key, ..)| key.len() > rules.key_size_max) {
        return Err(Refusal::BadParams);
    }
    Ok(pairs)
}

/// A key without its disguise: decoded once, in lower case, without question marks.
pub(crate) fn plain(key: &str) -> String {
    let text = String::from_utf8_lossy(&unescape_loosely(key.as_bytes())).to_ascii_lowercase();
    text.replace('?', "")
}

/// Checks P4 and P5.
pub(crate) fn refuse_confusion(pairs: &[Pair<'_>]) -> Result<(), Refusal> {
    for (key, ..) in pairs {
        if !ROUTING.contains(key) && ROUTING.contains(&plain(key).as_str()) {
            return Err(Refusal::DuplicateParam);
        }
    }
    for name in ROUTING {
        if pairs.iter().filter(|(key, ..)| *key == name).count() > 1 {
            return Err(Refusal::DuplicateParam);
        }
    }
    if pairs.iter().any(|(key, value, _)| ROUTING.contains(key) && value.is_none()) {
        return Err(Refusal::BadParams);
    }
    Ok(())
}

/// Checks P14.
pub(crate) fn refuse_secrets(pairs: &[Pair<'_>], rules: &ParamRules) -> Result<(), Refusal> {
    if rules.refuse_admin_parameter && pairs.iter().any(|(key, ..)| plain(key) == "accesstoken") {
        return Err(Refusal::AdminParameter);
    }
    for (key, value, _) in pairs {
        // Java's `String.split("=")` at the nodes drops empty parts at the end
        let value = unescape_loosely(value.unwrap_or_default().trim_end_matches('=').as_bytes());
        if rules.refuse_reserved_account && plain(key) == "username" && value == b"cluster-restreamer" {
            return Err(Refusal::ReservedAccount);
        }
    }
    Ok(())
}

/// Decodes a routing value (P6 and P7).
pub(crate) fn decode(raw: &str, otherwise: Refusal) -> Result<String, Refusal> {
    let value = unescape(raw.as_bytes()).ok_or(otherwise)?;
    let value = String::from_utf8(value).map_err(|_| otherwise)?;
    if ["", "undefined", "null", "NaN", "[object Object]", "true", "false"].contains(&value.as_str()) {
        return Err(Refusal::ScriptLeftover);
    }
    if value.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(otherwise);
    }
    Ok(value)
}

/// Reads a decoded host (P8).
pub(crate) fn read_host(value: &str, rules: &ParamRules) -> Result<Host, Refusal> {
    let malformed = Err(Refusal::BadHost);
    if value.contains(['[', ']']) && !(value.starts_with('[') && value.ends_with(']')) {
        return malformed;
    }
    if value.starts_with('[') || value.contains(':') {
        let inner = if value.starts_with('[') { &value[1..value.len() - 1] } else { value };
        return v6(inner).map_or(malformed, |address| Ok(Host::Address(address.into())));
    }
    let labels: Vec<&str> = value.split('.').collect();
    let canonical = |label: &&str| label.parse::<u8>().is_ok_and(|number| number.to_string() == **label);
    if labels.len() == 4 && labels.iter().all(canonical) {
        let octets: Vec<u8> = labels.iter().filter_map(|label| label.parse().ok()).collect();
        return Ok(Host::Address(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into()));
    }
    let last = labels[labels.len() - 1].to_ascii_lowercase();
    let hexadecimal = last.starts_with("0x") && last[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) || value.len() > 253 {
        return malformed;
    }
    for label in labels {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if label.is_empty() || label.len() > 63 || !letters || label.starts_with('-') || label.ends_with('-')
        {
            return malformed;
        }
    }
    match rules.names.iter().find(|name| name.eq_ignore_ascii_case(value)) {
        Some(name) => Ok(Host::Name(name.clone())),
        None => Err(Refusal::OriginNotAdmitted),
    }
}

/// App and context as segments (P10, P11, P12).
pub(crate) fn read_scope(
    app: &str,
    context: Option<&str>,
    suffix: &str,
    rules: &ParamRules,
) -> Result<Vec<String>, Refusal> {
    let mut scope = segments(&decode(app, Refusal::BadApp)?)?;
    let in_query = match context.filter(|context| !context.is_empty()) {
        Some(context) => Some(segments(&decode(context, Refusal::BadApp)?)?),
        None => None,
    };
    let in_path = match suffix {
        "" | "/" => None,
        _ => {
            let word = suffix.strip_prefix('/').unwrap_or(suffix);
            if ["undefined", "null", "NaN", "[object Object]", "true", "false"]
                .contains(&word.strip_suffix('/').unwrap_or(word))
            {
                return Err(Refusal::ScriptLeftover);
            }
            Some(segments(word)?)
        }
    };
    if in_query.is_some() && in_path.is_some() && in_query != in_path {
        return Err(Refusal::BadParams);
    }
    scope.extend(in_query.or(in_path).unwrap_or_default());
    if scope.len() > rules.depth_max {
        return Err(Refusal::BadApp);
    }
    if scope[0].eq_ignore_ascii_case("streammanager") || !rules.apps.contains(&scope[0]) {
        return Err(Refusal::AppNotAllowed);
    }
    Ok(scope)
}

/// The segments of a decoded value (P10).
pub(crate) fn segments(value: &str) -> Result<Vec<String>, Refusal> {
    let mut segments: Vec<&str> = value.split('/').collect();
    if segments.len() > 1 && segments[0].is_empty() {
        segments.remove(0);
    }
    if segments.len() > 1 && segments[segments.len() - 1].is_empty() {
        segments.pop();
    }
    for segment in &segments {
        let letters = segment.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
        if segment.is_empty() || segment.len() > 64 || !letters || [".", ".."].contains(segment) {
            return Err(Refusal::BadApp);
        }
    }
    Ok(segments.into_iter().map(str::to_owned).collect())
}

/// Decodes escapes once; `None` if one is not whole.
pub(crate) fn unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            plain.push(first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        plain.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    Some(plain)
}

/// Decodes escapes once; one that is not whole stays as it is.
pub fn unescape_loosely(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at..at + 3).filter(|three| three[0] == b'%').and_then(unescape) {
            Some(one) => {
                plain.extend(one);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    plain
}

/// The segments of a path for a reader that decodes it twice, or `None` if two readers could understand the path
/// differently.
pub fn path_segments(path: &str) -> Option<Vec<Vec<u8>>> {
    let once = unescape(path.as_bytes())?;
    let twice = unescape_loosely(&once);
    let slashes = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'/').count();
    if slashes(&once) != slashes(path.as_bytes()) || slashes(&twice) != slashes(path.as_bytes()) {
        return None;
    }
    let hidden = once.iter().any(|&byte| byte.is_ascii_control() || byte == b';');
    if hidden || twice.contains(&0) || twice.contains(&b'\\') || path.contains("//") {
        return None;
    }
    Some(twice.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect())
}

/// Whether found answers to a question with this query may be stored: it has parameters about placement only, each once and
/// with a value that can mean only one thing.
pub fn may_be_kept(kind: EventKind, query: &str) -> bool {
    let mut names = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let word = !["", "undefined", "null", "NaN", "[object Object]", "true", "false"].contains(&value);
        let fits = match name {
            "action" => value == "broadcast" || value == "subscribe",
            "region" | "geozone" | "nodeGroup" | "subgroup" | "subGroup" => word,
            "strict" => value == "true" || value == "false",
            "endpoints" => {
                (1..=4).contains(&value.len()) && value.chars().all(|digit| digit.is_ascii_digit())
            }
            "transcode" | "restream" => value == "false",
            _ => false,
        };
        if !fits || names.contains(&name) {
            return false;
        }
        names.push(name);
    }
    match kind {
        EventKind::Broadcast | EventKind::Subscribe => names.contains(&"action"),
        EventKind::List => !names.contains(&"action"),
        EventKind::Other => false,
    }
}
