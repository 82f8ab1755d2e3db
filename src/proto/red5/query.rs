//! The pairs of a query: routing parameters, pairs for the manager, pairs for the node, and the rules that all pairs keep.
//!
//! Shared by all routes with parameters. This file knows no route and no meaning of a value; rules are named as in
//! `docs/parameters.md` (P1 to P7, P14).

use percent_encoding::percent_decode;

use crate::proto::http::head::target_byte;
use crate::proto::red5::rules::ParamRules;
use crate::proto::red5::text::{disguises, escapes_whole, is_leftover};
use crate::proto::refusal::Refusal;

/// The account that the simple-auth plug-in of nodes trusts without a token (P14).
const RESERVED_ACCOUNT: &str = "cluster-restreamer";

/// The pairs of a query: split at `&` only, without empty ones; one `?` too many in front is ignored (P2).
pub(crate) fn split(query: &str) -> impl Iterator<Item = &str> + Clone {
    query.strip_prefix('?').unwrap_or(query).split('&').filter(|pair| !pair.is_empty())
}

/// Key and value of a pair; `None` without a `=` (P3).
pub(crate) fn key_value(pair: &str) -> (&str, Option<&str>) {
    match pair.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (pair, None),
    }
}

/// The raw values of the routing parameters `keys` among the pairs of a query; `None` for one that is not there.
///
/// Fails if the query breaks P1 to P5 or P14. All pairs are read first, so that the refusal depends on the order of the
/// rules and not on the order of the pairs.
pub(crate) fn routing<'q, const N: usize>(
    query: &str,
    pairs: impl Iterator<Item = &'q str>,
    keys: &[&str; N],
    rules: &ParamRules,
) -> Result<[Option<&'q str>; N], Refusal> {
    if query.len() > rules.query_size_max {
        return Err(Refusal::TargetTooLong);
    }
    if !query.bytes().all(target_byte) {
        return Err(Refusal::BadTarget);
    }
    let mut values = [None; N];
    let mut count = 0;
    let (mut long, mut twice, mut valueless, mut admin, mut reserved) = (false, false, false, false, false);
    for pair in pairs {
        count += 1;
        let (key, value) = key_value(pair);
        if count > rules.pairs_max || key.len() > rules.key_size_max {
            long = true;
            break;
        }
        match keys.iter().position(|name| key == *name) {
            Some(index) => {
                valueless |= value.is_none();
                twice |= values[index].replace(value.unwrap_or_default()).is_some();
            }
            None => {
                twice |= keys.iter().any(|name| disguises(key, name));
                admin |= disguises(key, "accesstoken");
                reserved |= value.is_some_and(is_reserved) && disguises(key, "username");
            }
        }
    }
    if long || (valueless && !twice) {
        return Err(Refusal::BadParams);
    }
    if twice {
        return Err(Refusal::DuplicateParam);
    }
    if admin && rules.refuse_admin_parameter {
        return Err(Refusal::AdminParameter);
    }
    if reserved && rules.refuse_reserved_account {
        return Err(Refusal::ReservedAccount);
    }
    Ok(values)
}

/// Whether a node reads this value as the reserved account. It splits with Java's `String.split("=")`, which drops empty
/// parts at the end.
fn is_reserved(value: &str) -> bool {
    percent_decode(value.trim_end_matches('=').as_bytes()).eq(RESERVED_ACCOUNT.bytes())
}

/// A routing value, decoded once. Fails with `otherwise` if it breaks P6, with [`Refusal::ScriptLeftover`] if it breaks P7.
pub(crate) fn routing_value(raw: &str, otherwise: Refusal) -> Result<String, Refusal> {
    if !escapes_whole(raw) {
        return Err(otherwise);
    }
    let value = percent_decode(raw.as_bytes()).decode_utf8().map_err(|_| otherwise)?;
    if value.is_empty() || is_leftover(&value) {
        return Err(Refusal::ScriptLeftover);
    }
    if value.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(otherwise);
    }
    Ok(value.into_owned())
}

/// Longest name of a node group, in bytes.
const GROUP_MAX: usize = 128;

/// The node group that the client names in `nodeGroup`; without one, or with the alias `default`, the configured one (empty:
/// there is none).
///
/// Fails if the value breaks P6 or P7, or has other letters than `A-Z a-z 0-9 . _ -`: a group becomes a segment of a path,
/// and so it needs no escaping there.
pub(crate) fn group(raw: Option<&str>, configured: &str) -> Result<Option<String>, Refusal> {
    let configured = (!configured.is_empty()).then(|| configured.to_owned());
    let Some(raw) = raw else { return Ok(configured) };
    let group = routing_value(raw, Refusal::BadParams)?;
    if group == "default" {
        return Ok(configured);
    }
    if is_group(&group) { Ok(Some(group)) } else { Err(Refusal::BadParams) }
}

/// Whether a text can be the name of a node group.
pub(crate) fn is_group(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.bytes().all(plain) && !matches!(text, "" | "." | "..") && text.len() <= GROUP_MAX
}

/// Whether this pair only says where a stream should be placed: it is for the manager, not for the node.
pub(crate) fn is_placement(pair: &str) -> bool {
    matches!(
        key_value(pair).0,
        "region" | "geozone" | "subgroup" | "subGroup" | "strict" | "transcode" | "endpoints"
    )
}

/// Appends pairs to a target, which has either no query yet or a whole one.
pub(crate) fn append<'q>(target: &mut String, pairs: impl Iterator<Item = &'q str>) {
    let mut separator = if target.contains('?') { '&' } else { '?' };
    for pair in pairs {
        target.push(separator);
        target.push_str(pair);
        separator = '&';
    }
}
