//! The methods of WHIP and WHEP: which of them a route takes, and which bodies fit.

use crate::proto::red5::route::{Kind, Step, WhipForm, WhipRoute};
use crate::proto::refusal::Refusal;

/// The methods of WHIP and WHEP (RFC 9725 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Asks for the methods, or is a preflight of CORS.
    Options,
    /// Creates a session at an endpoint.
    Post,
    /// Changes a session, for trickle ICE and ICE restarts.
    Patch,
    /// Ends a session.
    Delete,
}

impl Method {
    /// The method in a request line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method with this name, if the route takes it. Fails with the value of `Allow` otherwise.
    pub fn read(word: &str, route: &WhipRoute<'_>) -> Result<Self, &'static str> {
        let method = match word {
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => return Err(allowed(route)),
        };
        let fits = match (step_of(route), method) {
            (None, _) | (_, Self::Options) => true,
            (Some(Step::Endpoint), method) => method == Self::Post,
            (Some(Step::Resource), method) => method != Self::Post,
        };
        if fits { Ok(method) } else { Err(allowed(route)) }
    }
}

/// The methods that a route takes, as the value of `Allow` and of `Access-Control-Allow-Methods`.
pub fn allowed(route: &WhipRoute<'_>) -> &'static str {
    match step_of(route) {
        None => "OPTIONS, POST, PATCH, DELETE",
        Some(Step::Endpoint) => "OPTIONS, POST",
        Some(Step::Resource) => "OPTIONS, PATCH, DELETE",
    }
}

/// The step that the path names; paths of Stream Manager 2.0 name none.
pub(crate) fn step_of(route: &WhipRoute<'_>) -> Option<Step> {
    match route.form {
        WhipForm::Proxy { .. } => None,
        WhipForm::Direct { step, .. } | WhipForm::Manager { step, .. } => Some(step),
    }
}

/// Checks that a body of this content type may follow a head with this method; `empty`: the head announces no body. Fails
/// with [`Refusal::BadRequest`], since no refusal has the status 415.
///
/// A WHEP client may POST without a body: nodes answer that with an offer of their own.
pub fn check_body(
    kind: Kind,
    method: Method,
    content_type: Option<&str>,
    empty: bool,
) -> Result<(), Refusal> {
    let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    let is = |name: &str| essence.is_some_and(|essence| essence.eq_ignore_ascii_case(name));
    let sdp = is("application/sdp");
    let fits = match method {
        Method::Post if empty => kind == Kind::Whep,
        Method::Post => sdp,
        Method::Patch => !empty && (sdp || is("application/trickle-ice-sdpfrag")),
        Method::Options | Method::Delete => empty,
    };
    if fits { Ok(()) } else { Err(Refusal::BadRequest) }
}
