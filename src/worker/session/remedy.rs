//! What would change a refusal: the key of the configuration, or that there is none. One sentence for each code, for the
//! operator's log only; clients get those of [`Refusal::row`].

use crate::proto::admission::Denial;
use crate::proto::refusal::Refusal;
use crate::shared::gateway::Gateway;
use crate::shared::revision::Revision;
use crate::worker::session::asked::{Asked, Hints};
use std::borrow::Cow;
use std::net::IpAddr;

/// The sentence for a code without regard to the request.
pub(crate) const fn of(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadRequest => "no key changes that: it breaks HTTP, WebSocket or WHIP",
        Refusal::BadTarget => "no key changes that: the target is none, or can be read in two ways",
        Refusal::BadParams => {
            "a parameter is missing or malformed; 2.0 requests without nodeGroup need stream_manager.node_group"
        }
        Refusal::BadHost => {
            "host has to be an address in canonical form and without a port, or a name of origins.names"
        }
        Refusal::BadApp => {
            "app and context have at most origins.depth segments of letters, digits, dots, underscores and hyphens"
        }
        Refusal::ScriptLeftover => "no key changes that: the page's script sent a value such as undefined",
        Refusal::DuplicateParam => "no key changes that: a routing parameter came twice or in disguise",
        Refusal::OriginNotAdmitted => "its host is none of origins.names, or resolves to no address",
        Refusal::AppNotAllowed => "the first segment of its app is not in origins.apps",
        Refusal::CrossSite => "its origin matches none of cors.allow_origins",
        Refusal::AdminParameter => "no key changes that: accessToken is for administrators",
        Refusal::ReservedAccount => "no key changes that: nodes trust this account without a token",
        Refusal::NoSuchRoute => "no key changes that: no route has this path",
        Refusal::NoSuchResource => {
            "no key changes that: the WHIP session is over, or another gateway made it"
        }
        Refusal::MethodNotAllowed => "no key changes that: the route does not take this method",
        Refusal::UpgradeRequired => {
            "no key changes that: a proxy before the gateway may have dropped Upgrade"
        }
        Refusal::WebsocketVersion => "no key changes that: only version 13 exists",
        Refusal::HeadTimeout => "its head took longer than limits.head_timeout",
        Refusal::BodyTimeout => "its body took longer than limits.body_timeout",
        Refusal::BodyTooLarge => "its body is longer than limits.body_max",
        Refusal::TargetTooLong => "its target is longer than limits.target_size",
        Refusal::HeadTooLarge => {
            "its head is longer than limits.head_size, has more fields than limits.headers, or more than the 8 KiB that \
             nodes read"
        }
        Refusal::TooMany => {
            "its address is over limits.sessions_per_ip, limits.new_per_ip, limits.requests_per_ip or its share of \
             limits.handshakes"
        }
        Refusal::Draining => "the gateway drains",
        Refusal::Overloaded => "limits.sessions, limits.handshakes or answers.waiters is reached",
        Refusal::OriginRefused => {
            "the node is down or does not listen on origins.port; its own line in the log tells more"
        }
        Refusal::OriginBadHandshake => {
            "the node's answer is of no use; it may expect other values of origins.subprotocol, origins.origin_header or \
             origins.extensions"
        }
        Refusal::ManagerFailed => {
            "no stream manager of stream_manager.urls answers well; `tidegate status` and a line of each in the log tell the cause"
        }
        Refusal::OriginTimeout => {
            "the node took longer than origins.connect_timeout, origins.upgrade_timeout or origins.answer_timeout"
        }
        Refusal::ManagerTimeout => "the stream manager took longer than stream_manager.timeout",
    }
}

/// What would change this refusal of a request, with the rule that refused it where the code has several.
pub(crate) fn for_request(
    refusal: Refusal,
    asked: Option<&Asked<'_>>,
    gateway: &Gateway,
    revision: &Revision,
) -> Cow<'static, str> {
    match (refusal, asked) {
        (Refusal::OriginNotAdmitted, Some(asked)) => {
            let denied = |node| denied(node, gateway, revision).into();
            asked.hints.node.map_or_else(|| of(refusal).into(), denied)
        }
        (Refusal::CrossSite, Some(asked)) if asked.origin.is_none() => {
            "it has no field Origin, which cors.allow_missing = false requires".into()
        }
        (Refusal::OriginBadHandshake, Some(Asked { hints: Hints { node_status: Some(status), .. }, .. })) => {
            bad_status(*status)
        }
        (Refusal::TooMany | Refusal::Overloaded | Refusal::ManagerFailed, Some(asked)) => {
            asked.hints.limit.unwrap_or_else(|| of(refusal)).into()
        }
        _ => of(refusal).into(),
    }
}

/// What a status of a node tells that was to take a WebSocket or a WHIP request.
pub(crate) fn bad_status(status: u16) -> Cow<'static, str> {
    let why = match status {
        401 | 403 => {
            "it does not accept the client's credentials, or expects other values of origins.origin_header or \
             origins.subprotocol"
        }
        404 => "it does not have this app, or origins.port is that of another program",
        500.. => "it has a fault of its own, which its own log tells",
        _ => {
            "it does not take the request for a reason of its own, or another program listens on origins.port"
        }
    };
    format!("the node answered with status {status}: {why}").into()
}

/// Which rule keeps a node from being dialled, and what would admit it.
fn denied(node: IpAddr, gateway: &Gateway, revision: &Revision) -> String {
    match revision.denial(node, gateway.nodes.is_learned(node)) {
        Some(Denial::Class) => format!(
            "no key admits {node}: link-local, metadata, multicast and unspecified addresses and IPv4 written as IPv6 are \
             never dialled"
        ),
        Some(Denial::Loopback) => format!(
            "{node} is a loopback address: only this single address in origins.networks admits it, a prefix does not"
        ),
        Some(Denial::Own) => format!(
            "{node} is an address of this machine or of the stream manager: only this single address in origins.networks \
             admits it, a prefix does not"
        ),
        Some(Denial::Unlisted) => {
            format!("{node} is not inside origins.networks, and origins.learned = false")
        }
        Some(Denial::Outside) => format!("{node} is not inside origins.networks, as origins.strict requires"),
        Some(Denial::Unlearned) => format!(
            "origins.strict requires that the stream manager has named {node} within answers.learned_ttl, and it has not"
        ),
        // it may have been learned meanwhile
        Some(Denial::Unknown) | None => format!(
            "{node} is not inside origins.networks, and the stream manager has not named it within answers.learned_ttl"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn every_code_has_a_sentence_and_every_key_in_it_exists() {
        let keys: Vec<_> = KEYS.iter().map(|key| format!("{}.{}", key.table, key.name)).collect();
        let mut named = 0;
        for refusal in Refusal::ALL {
            let sentence = of(refusal);
            let dotted = sentence.split([' ', ',', ';', ':']).filter(|word| word.contains('.'));
            for word in dotted.filter(|word| *word != "2.0") {
                assert!(keys.iter().any(|key| key == word), "{}: {word} is no key", refusal.code());
                named += 1;
            }
            assert!(sentence.len() > 10, "{}", refusal.code());
        }
        assert!(named > 25, "{named} keys");
    }
}
