//! All refusals: status, code and sentence of each, in one table.

/// Why a request is refused before a relay begins, as the client, the log and the metrics name it. [`Refusal::row`] has the
/// status, the code and the sentence of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// A head, body or WebSocket handshake against its grammar.
    BadRequest,
    /// A target that is no target, or has two readings (P1).
    BadTarget,
    /// A routing parameter is missing, has no value, or breaks its grammar; or there are too many pairs (P1, P5, P6, P12).
    BadParams,
    /// `host` is no address in canonical form and no name (P8).
    BadHost,
    /// The app or the context breaks its grammar (P10).
    BadApp,
    /// A value that a script left behind, such as `undefined` (P7).
    ScriptLeftover,
    /// A routing parameter is there twice, or in disguise (P4, P5).
    DuplicateParam,
    /// The node is not one that may be dialled (P8, P9).
    OriginNotAdmitted,
    /// The app is not one of `origins.apps` (P11).
    AppNotAllowed,
    /// The page's web origin is not allowed by `[cors]`, or the field `Origin` is missing where it is required.
    CrossSite,
    /// `accessToken`, which administrators of the stream manager have (P14).
    AdminParameter,
    /// The account that clusters reserve for themselves (P14).
    ReservedAccount,
    /// A target that no route serves.
    NoSuchRoute,
    /// A WHIP session that is not known, or is over.
    NoSuchResource,
    /// A method that the route does not take.
    MethodNotAllowed,
    /// A request on a WebSocket route that is no upgrade.
    UpgradeRequired,
    /// A version of WebSocket other than 13.
    WebsocketVersion,
    /// The head was not complete in time.
    HeadTimeout,
    /// The body was not complete in time.
    BodyTimeout,
    /// More body than `limits.body_max`.
    BodyTooLarge,
    /// A target or query over its limit (P1).
    TargetTooLong,
    /// A head over its limit.
    HeadTooLarge,
    /// The client address is over its quota.
    TooMany,
    /// The gateway drains.
    Draining,
    /// The gateway is over one of its own limits.
    Overloaded,
    /// The node refused the connection, or could not be reached.
    OriginRefused,
    /// The node's answer is not a usable one.
    OriginBadHandshake,
    /// The stream manager's answer is not a usable one, or it could not be reached.
    ManagerFailed,
    /// The node did not answer in time.
    OriginTimeout,
    /// The stream manager did not answer in time.
    ManagerTimeout,
}

impl Refusal {
    /// All variants, in the order of their numbers (`as usize`), which are the indexes of their counters.
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

    /// Status (RFC 9110 15), code, and a sentence for the client that names no node and no secret.
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

    /// The HTTP status of this refusal.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The refusal in one word: `code` in the body of the answer and in the log, and the label in the metrics.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// The sentence for a human in the body of the answer.
    pub const fn sentence(self) -> &'static str {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_enum_and_codes_differ() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            assert!(Refusal::ALL[..index].iter().all(|other| other.code() != refusal.code()));
        }
    }
}
