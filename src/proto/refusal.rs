//! Every way we say no before a relay began: status, code word and text, in one table.

/// A no, as the client, the log and the metrics know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    BadRequest,
    BadTarget,
    BadParams,
    BadHost,
    BadApp,
    ScriptLeftover,
    DuplicateParam,
    OriginNotAdmitted,
    AppNotAllowed,
    CrossSite,
    AdminParameter,
    ReservedAccount,
    NoSuchRoute,
    NoSuchResource,
    MethodNotAllowed,
    UpgradeRequired,
    WebsocketVersion,
    HeadTimeout,
    BodyTimeout,
    BodyTooLarge,
    TargetTooLong,
    HeadTooLarge,
    TooMany,
    Draining,
    Overloaded,
    OriginRefused,
    OriginBadHandshake,
    ManagerFailed,
    OriginTimeout,
    ManagerTimeout,
}

impl Refusal {
    /// All of them, in the order of the enum: the index of a counter is its place here.
    pub const ALL: [Self; 30] = {
        use Refusal::*;
        [
            BadRequest,
            BadTarget,
            BadParams,
            BadHost,
            BadApp,
            ScriptLeftover,
            DuplicateParam,
            OriginNotAdmitted,
            AppNotAllowed,
            CrossSite,
            AdminParameter,
            ReservedAccount,
            NoSuchRoute,
            NoSuchResource,
            MethodNotAllowed,
            UpgradeRequired,
            WebsocketVersion,
            HeadTimeout,
            BodyTimeout,
            BodyTooLarge,
            TargetTooLong,
            HeadTooLarge,
            TooMany,
            Draining,
            Overloaded,
            OriginRefused,
            OriginBadHandshake,
            ManagerFailed,
            OriginTimeout,
            ManagerTimeout,
        ]
    };

    /// Status (RFC 9110), code word, and one plain sentence that names no node and no secret.
    pub const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "bad_request", "The request is malformed."),
            Self::BadTarget => (400, "bad_target", "The request target is malformed."),
            Self::BadParams => (400, "bad_params", "A parameter is missing or malformed."),
            Self::BadHost => (400, "bad_host", "The parameter host is no address in canonical form."),
            Self::BadApp => (400, "bad_app", "The parameter app or context is malformed."),
            Self::ScriptLeftover => (
                400,
                "script_leftover",
                "A parameter holds a value that a script left over, such as undefined.",
            ),
            Self::DuplicateParam => {
                (400, "duplicate_param", "A routing parameter was given twice or in disguise.")
            }
            Self::OriginNotAdmitted => {
                (403, "origin_not_admitted", "This node is not one that may be dialled.")
            }
            Self::AppNotAllowed => (403, "app_not_allowed", "This app is not served here."),
            Self::CrossSite => (403, "cross_site", "Pages of this origin may not connect."),
            Self::AdminParameter => (403, "admin_parameter", "An admin parameter is not accepted here."),
            Self::ReservedAccount => (403, "reserved_account", "This account is reserved for the cluster."),
            Self::NoSuchRoute => (404, "no_such_route", "Nothing is served here."),
            Self::NoSuchResource => (404, "no_such_resource", "There is no such session, or it is over."),
            Self::MethodNotAllowed => (405, "method_not_allowed", "This method is not allowed here."),
            Self::UpgradeRequired => (426, "upgrade_required", "This route speaks WebSocket only."),
            Self::WebsocketVersion => {
                (426, "websocket_version", "Only version 13 of WebSocket is spoken here.")
            }
            Self::HeadTimeout => (408, "head_timeout", "The request head took too long."),
            Self::BodyTimeout => (408, "body_timeout", "The request body took too long."),
            Self::BodyTooLarge => (413, "body_too_large", "The request body is too large."),
            Self::TargetTooLong => (414, "target_too_long", "The request target is too long."),
            Self::HeadTooLarge => (431, "head_too_large", "The request head is too large."),
            Self::TooMany => (429, "too_many", "Too many sessions or requests from this address."),
            Self::Draining => (503, "draining", "This gateway is going down; another one will answer."),
            Self::Overloaded => (503, "overloaded", "This gateway is full; try again soon."),
            Self::OriginRefused => (502, "origin_refused", "The node refused the connection."),
            Self::OriginBadHandshake => (502, "origin_bad_handshake", "The node gave no usable answer."),
            Self::ManagerFailed => (502, "manager_failed", "The stream manager gave no usable answer."),
            Self::OriginTimeout => (504, "origin_timeout", "The node did not answer in time."),
            Self::ManagerTimeout => (504, "manager_timeout", "The stream manager did not answer in time."),
        }
    }

    /// HTTP status of this refusal.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The bare word: `code` in the body, label in the metrics.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// One plain sentence for a person.
    pub const fn sentence(self) -> &'static str {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_enum_and_code_words_differ() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            assert!(Refusal::ALL[..index].iter().all(|other| other.code() != refusal.code()));
        }
    }
}
