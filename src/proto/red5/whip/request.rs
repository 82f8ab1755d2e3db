//! A request of WHIP or WHEP, read from its route and its query.

use crate::proto::red5::one_step::streams_question;
use crate::proto::red5::params::{Host, path_scope, read_host, read_scope};
use crate::proto::red5::query::{self, append, is_placement, key_value, routing, split};
use crate::proto::red5::route::{Action, Kind, Step, WhipForm, WhipRoute};
use crate::proto::red5::rules::ParamRules;
use crate::proto::red5::text::{is_ambiguous, is_leftover};
use crate::proto::red5::whip::affinity::AffinityKey;
use crate::proto::red5::whip::handle::Handle;
use crate::proto::red5::whip::method::{Method, step_of};
use crate::proto::refusal::Refusal;

/// Longest name of a stream in bytes, not decoded; keys and targets are made of it.
const STREAM_MAX: usize = 512;

/// Longest `requestId` in bytes; it becomes part of a key.
const REQUEST_ID_MAX: usize = 256;

/// The routing parameters, which are for the gateway, in all forms of the route.
const ROUTING: [&str; 4] = ["host", "nodeGroup", "app", "context"];

/// The API that a client was written for. It determines the question to the stream manager and the form of `Location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// The event API of Stream Manager 1.x.
    One,
    /// The streams service of Stream Manager 2.0.
    Two,
}

/// A request of WHIP or WHEP that keeps all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// WHIP or WHEP.
    pub kind: Kind,
    /// Endpoint or resource.
    pub step: Step,
    /// The API that the path belongs to.
    pub api: Api,
    /// The handle in the path of a resource.
    pub handle: Option<Handle>,
    /// The node that the client names. If it is not admitted, the request is refused: no other node replaces it.
    pub host: Option<Host>,
    /// The node group in which the manager looks for a node (2.0 only).
    pub group: Option<String>,
    /// App and context: `live/room1`.
    pub scope: String,
    /// The stream's name as it came, without a handle.
    pub stream: String,
    /// `requestId` as it came; `None` if it is missing or empty.
    pub request_id: Option<String>,
    /// Pairs about placement, for the manager, as they came.
    placement: String,
    /// Pairs for the node, as they came.
    opaque: String,
}

impl Request {
    /// Reads a request from its route. `configured` is the group for clients that name none; empty if there is none.
    ///
    /// Fails with the refusal of the first rule that is broken, and with [`Refusal::BadParams`] if the manager of 2.0 has to
    /// find a node and there is no group.
    pub fn read(
        route: &WhipRoute<'_>,
        method: Method,
        rules: &ParamRules,
        configured: &str,
    ) -> Result<Self, Refusal> {
        let api = match route.form {
            WhipForm::Proxy { .. } => Api::Two,
            WhipForm::Direct { .. } | WhipForm::Manager { .. } => Api::One,
        };
        let step = step_of(route).unwrap_or_else(|| match method {
            // a client that follows its Location asks for the methods of the resource
            Method::Options if Handle::split(route.stream).1.is_some() => Step::Resource,
            Method::Options | Method::Post => Step::Endpoint,
            Method::Patch | Method::Delete => Step::Resource,
        });
        let [host, group, app, context] = routing(route.query, split(route.query), &ROUTING, rules)?;
        let scope = scope(&route.form, step, app, context, rules)?;
        let host = host.map(|host| read_host(host, rules)).transpose()?;
        let group = query::group(group, configured)?.filter(|_| api == Api::Two);
        if api == Api::Two && step == Step::Endpoint && host.is_none() && group.is_none() {
            return Err(Refusal::BadParams);
        }
        let (stream, handle) = match step {
            Step::Endpoint => (route.stream, None),
            Step::Resource => Handle::split(route.stream),
        };
        // the route checked the path with the handle; without it the last segment may be dots
        if stream.len() > STREAM_MAX || (handle.is_some() && is_ambiguous(stream)) {
            return Err(Refusal::BadTarget);
        }
        let request_id = split(route.query).map(key_value).find(|(key, _)| *key == "requestId");
        let request_id = request_id.and_then(|(_, value)| value).filter(|value| !value.is_empty());
        if request_id.is_some_and(|id| id.len() > REQUEST_ID_MAX) {
            return Err(Refusal::BadParams);
        }
        let for_manager: Vec<&str> = split(route.query).filter(|pair| is_placement(pair)).collect();
        // nodes of 1.x get the pairs about placement too, as from the servlet of the stream manager
        let for_node =
            |pair: &&str| !ROUTING.contains(&key_value(pair).0) && (api == Api::One || !is_placement(pair));
        let for_node: Vec<&str> = split(route.query).filter(for_node).collect();
        Ok(Self {
            kind: route.kind,
            step,
            api,
            handle,
            host,
            group,
            scope,
            stream: stream.to_owned(),
            request_id: request_id.map(str::to_owned),
            placement: for_manager.join("&"),
            opaque: for_node.join("&"),
        })
    }

    /// The target at the node for this step: `/live/whip/endpoint/stream1?signal=true&…`.
    pub fn node_target(&self) -> String {
        let mut target = self.node_path(self.step);
        append(&mut target, split(&self.opaque));
        target
    }

    /// A resource's target at the node, with the `requestId` of the request that created it if the target has none. Nodes
    /// find a WHEP session by it, and a client that follows `Location` need not repeat it.
    pub fn with_request_id(&self, at_node: String) -> String {
        let (_, known) = at_node.split_once('?').unwrap_or((&at_node, ""));
        match &self.request_id {
            Some(id)
                if self.kind == Kind::Whep && !split(known).any(|pair| key_value(pair).0 == "requestId") =>
            {
                let mark = if at_node.contains('?') { '&' } else { '?' };
                format!("{at_node}{mark}requestId={id}")
            }
            _ => at_node,
        }
    }

    /// The target at the node for a resource that is known there as `at_node`, from the node's `Location`: that target, and
    /// the client's pairs whose keys it does not have yet.
    pub fn resource_target(&self, at_node: &str) -> String {
        let (_, known) = at_node.split_once('?').unwrap_or((at_node, ""));
        let is_known = |pair: &&str| split(known).any(|other| key_value(other).0 == key_value(pair).0);
        let mut target = at_node.to_owned();
        append(&mut target, split(&self.opaque).filter(|pair| !is_known(pair)));
        target
    }

    /// The target of the question to the stream manager that finds a node. `version` is that of the event API, for clients
    /// of 1.x. `None` if a client of 2.0 named a node and there is no group.
    pub fn question(&self, version: &str) -> Option<String> {
        let action = self.kind.action();
        match self.api {
            Api::Two => {
                let group = self.group.as_deref()?;
                let (scope, stream) = (&self.scope, &self.stream);
                Some(streams_question(group, action, scope, stream, &self.placement))
            }
            Api::One => {
                let action = match action {
                    Action::Publish => "broadcast",
                    Action::Subscribe => "subscribe",
                };
                let mut target = format!(
                    "/streammanager/api/{version}/event/{}/{}?action={action}",
                    self.scope, self.stream
                );
                append(&mut target, split(&self.placement));
                Some(target)
            }
        }
    }

    /// The key by which the session is found again without a handle. A publisher is the only one of its stream, so
    /// `requestId` counts for WHEP only.
    pub fn affinity_key(&self) -> AffinityKey {
        let id = self.request_id.as_deref().filter(|_| self.kind == Kind::Whep).unwrap_or_default();
        AffinityKey::new(self.kind, &self.scope, &self.stream, id)
    }

    /// The path of this stream's endpoint or resource at a node.
    pub(crate) fn node_path(&self, step: Step) -> String {
        format!("/{}/{}/{}/{}", self.scope, self.kind.word(), step.word(), self.stream)
    }
}

/// App and context, from the place where this form of the route has them. If path and query both have them, they have to be
/// equal.
fn scope(
    form: &WhipForm<'_>,
    step: Step,
    app: Option<&str>,
    context: Option<&str>,
    rules: &ParamRules,
) -> Result<String, Refusal> {
    let in_path = match form {
        WhipForm::Manager { suffix, .. } => {
            let app = app.ok_or(Refusal::BadParams)?;
            let scope = read_scope(app, context, suffix, rules)?;
            // `Location` has the scope in its path, where no segment may be such a word
            return if scope.split('/').any(is_leftover) { Err(Refusal::ScriptLeftover) } else { Ok(scope) };
        }
        WhipForm::Proxy { app } | WhipForm::Direct { app, .. } => path_scope(app, rules)?,
    };
    // an SDK that gets a relative Location repeats the parameters of its endpoint, whose path may have named the context
    let repeats = |in_query: &str| {
        let rest = in_path
            .strip_prefix(in_query)
            .filter(|_| step == Step::Resource && context.is_none_or(str::is_empty));
        in_query == in_path || rest.is_some_and(|rest| rest.starts_with('/'))
    };
    match app {
        Some(app) if !repeats(&read_scope(app, context, "", rules)?) => Err(Refusal::BadParams),
        None if context.is_some_and(|context| !context.is_empty()) => Err(Refusal::BadParams),
        _ => Ok(in_path.to_owned()),
    }
}
