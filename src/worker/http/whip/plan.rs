//! Checks a request to a WHIP or WHEP route, and finds the WHIP session that it is about.

use crate::metrics::WhipEnd;
use crate::proto::admission::Admitted;
use crate::proto::http::cors::PageOrigin;
use crate::proto::http::forward_fields::Fields;
use crate::proto::http::head::{self, BodyLength};
use crate::proto::red5::params::Host;
use crate::proto::red5::route::{Step, WhipRoute};
use crate::proto::red5::whip::{Api, Method, Request, allowed, check_body};
use crate::proto::refusal::Refusal;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::node::placement;
use crate::worker::session::context::Session;
use crate::worker::session::whip_end;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

/// The methods of a WHIP session, as the value of `Access-Control-Allow-Methods` in answers to an OPTIONS that is no preflight.
/// WHIP libraries look there for PATCH before they trickle, and split at commas only.
pub(super) const METHODS: &str = "OPTIONS,POST,PATCH,DELETE";

/// A request to a WHIP or WHEP route, checked.
pub(crate) struct WhipRequest {
    pub(super) request: Request,
    pub(super) method: Method,
    pub(super) fields: Fields,
    /// Whether the method takes no body, and whether it takes one of this type. A chunked body may turn out to be empty.
    pub(super) takes_empty: Result<(), Refusal>,
    pub(super) takes_body: Result<(), Refusal>,
    /// The node that the client named.
    pub(super) named: Option<Admitted>,
    /// The WHIP session that the request is about, or that it created.
    pub(super) session: OnceCell<Arc<WhipSession>>,
    /// How the request ends its WHIP session, once the node has answered its DELETE.
    pub(super) ends: Cell<Option<WhipEnd>>,
}

impl WhipRequest {
    /// The WHIP session that the request deletes if its node takes it. `target` is the one at the node: an answer about
    /// another resource of the node says nothing about the WHIP session.
    pub(super) fn deleted_by(&self, target: &str) -> Option<&Arc<WhipSession>> {
        let is_its = |session: &&Arc<WhipSession>| target == self.request.resource_target(&session.at_node);
        self.session.get().filter(|_| self.method == Method::Delete).filter(is_its)
    }

    /// Adds the request, which is answered now, to the record of its WHIP session, and ends that session if this was its
    /// DELETE.
    pub(crate) fn note(&self, session: &Session) {
        let Some(whip_session) = self.session.get() else { return };
        let info = &session.wake_handle.info;
        {
            let record = info.record.borrow();
            match self.method {
                Method::Post => whip_session.begin_record(&record),
                method => {
                    let last = method == Method::Delete;
                    whip_session.note_request(&record, info.accepted, last);
                }
            }
        }
        if let Some(how) = self.ends.get() {
            whip_end::forget(&session.worker, whip_session, how);
        }
    }
}

/// What is to be done for a request.
pub(crate) enum Planned {
    /// It is a browser's preflight, which the gateway answers with these methods.
    Preflight(&'static str),
    /// It is forwarded to a node.
    NodeRequest(Box<WhipRequest>),
}

/// Checks a request. Dials nothing. The error names the methods that a 405 allows, else nothing.
pub(crate) fn plan(
    session: &Session,
    request: &head::Request<'_>,
    route: &WhipRoute<'_>,
    page: PageOrigin,
) -> Result<Planned, (Refusal, &'static str)> {
    let plain = |refusal: Refusal| (refusal, "");
    let method = Method::read(request.method, route).map_err(|allow| (Refusal::MethodNotAllowed, allow))?;
    if method == Method::Options && request.acr_method.is_some() {
        return Ok(Planned::Preflight(allowed(route)));
    }
    if page == PageOrigin::Foreign {
        return Err(plain(Refusal::CrossSite));
    }
    let revision = session.revision();
    let group = revision.config.stream_manager.node_group.as_deref().unwrap_or_default();
    let whip = Request::read(route, method, &revision.rules().params, group).map_err(plain)?;
    let known = remembered(session, &whip);
    // a handle is for one session only; without it, the node may be another one's
    if let (Some(_), Some(known)) = (whip.handle, &known) {
        session.whip_session.set(Some(known.id));
    }
    let takes = |empty| check_body(whip.kind, method, request.content_type, empty);
    let (takes_empty, takes_body) = (takes(true), takes(false));
    match request.body {
        BodyLength::None => takes_empty,
        BodyLength::Length(_) => takes_body,
        BodyLength::Chunked => takes_body.or(takes_empty),
    }
    .map_err(plain)?;
    let named = admit_named(session, &whip, known.as_deref()).map_err(plain)?;
    let is_there = |known: &Arc<WhipSession>| {
        whip.handle.is_some() || named.is_none_or(|named| named.address().ip() == known.node)
    };
    let known = known.filter(is_there);
    session.whip_session.set(known.as_ref().map(|known| known.id));
    let mut fields = Fields::of(request, whip.api == Api::Two);
    fields.origin_header = placement::origin_header_for_node(session, request);
    let request = WhipRequest {
        request: whip,
        method,
        fields,
        takes_empty,
        takes_body,
        named,
        session: known.map(OnceCell::from).unwrap_or_default(),
        ends: Cell::default(),
    };
    Ok(Planned::NodeRequest(Box::new(request)))
}

/// Admits the node that the client names, if it names one. A WHIP session lives longer than the knowledge about its node:
/// a client that repeats the node of a remembered WHIP session may do so for as long as that is remembered.
fn admit_named(
    session: &Session,
    request: &Request,
    known: Option<&WhipSession>,
) -> Result<Option<Admitted>, Refusal> {
    let Some(host) = &request.host else { return Ok(None) };
    placement::admit(session, host).map(Some).or_else(|refusal| match (known, host) {
        (Some(whip_session), Host::Address(address)) if whip_session.node == *address => {
            session.revision().admit(whip_session.node, true).map(Some)
        }
        _ => Err(refusal),
    })
}

/// The WHIP session that a request is about. A handle leads only to the WHIP session it was made for; a request without a
/// handle is about the newest one of its name.
fn remembered(session: &Session, request: &Request) -> Option<Arc<WhipSession>> {
    if request.step == Step::Endpoint {
        return None;
    }
    let (whip_sessions, key) = (&session.worker.gateway.whip_sessions, request.affinity_key());
    match request.handle {
        Some(handle) => whip_sessions.by_handle(handle, &key),
        None => whip_sessions.by_key(&key, session.peer.ip()),
    }
}

/// The target at the node for a request about a remembered WHIP session. Only the handle, which can't be guessed, stands for
/// the node's own resource, which may be as secret. A request without it gets what its name would get at the node.
pub(super) fn target_at_node(request: &Request, whip_session: &WhipSession) -> String {
    match request.handle {
        Some(_) => request.resource_target(&whip_session.at_node),
        None => request.node_target(),
    }
}
