//! Deletes WHIP sessions that no client will use, at their node.

use crate::config::Config;
use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::http::forward_fields::{Fields, NodeRequest};
use crate::proto::http::head::BodyLength;
use crate::proto::red5::location;
use crate::proto::red5::whip::{Method, Request};
use crate::shared::record::Record;
use crate::worker::http::whip::plan::WhipRequest;
use crate::worker::local::state::Worker;
use crate::worker::node::connect;
use crate::worker::node::dial_count::DialCount;
use crate::worker::node::exchange::{self, ExchangeFault, ExchangeLimits};
use crate::worker::session::context::Session;
use crate::worker::session::whip_end;
use std::net::SocketAddr;
use std::time::Instant;

/// What is needed to delete a WHIP session that no client will use.
pub(super) struct Undo {
    client: SocketAddr,
    request: Request,
    node: SocketAddr,
    fields: Fields,
    /// What happened up to the request, for the archive.
    record: Record,
    accepted: Instant,
}

impl Undo {
    pub(super) fn new(session: &Session, whip: &WhipRequest, admitted: &Admitted) -> Self {
        let request = whip.request.clone();
        let fields = whip.fields.bodiless().with_trace(session.trace_fields());
        let record = session.wake_handle.info.record.borrow().of_last_request();
        let (client, accepted) = (session.peer, session.accepted);
        Self { client, request, node: admitted.address(), fields, record, accepted }
    }

    /// Sends the DELETE to the node. `location` is the one of the node's answer; without a usable one the DELETE goes to
    /// the usual target.
    pub(super) async fn run(
        mut self,
        worker: &Worker,
        admitted: &Admitted,
        location: Option<&[u8]>,
        limits: ExchangeLimits,
    ) {
        let at_node = location::at_node(location, &self.request);
        let target = at_node.unwrap_or_else(|_| location::default_at_node(&self.request));
        let forward = NodeRequest {
            method: Method::Delete.word(),
            target: &self.request.resource_target(&target),
            node: self.node,
            client: self.client,
            body: BodyLength::None,
            close: true,
            fields: self.fields.clone(),
        };
        let mut count = DialCount::begin(worker, self.node.ip());
        let (outcome, sock) = match exchange::exchange(admitted, &forward.head(), limits).await {
            Ok((_, sock)) => (DialOutcome::Connected, Some(sock)),
            Err(ExchangeFault { fault, .. }) => (fault.outcome(), None),
        };
        count.end(outcome);
        self.record.note(self.accepted.elapsed(), &count.event(self.node, None));
        drop(count);
        whip_end::undone(worker, self.record, self.accepted);
        if let Some(sock) = sock {
            exchange::await_end(sock).await;
        }
    }
}

/// The limits of an exchange about a WHIP session.
pub(super) fn exchange_limits(session: &Session) -> ExchangeLimits {
    limits_of(&session.revision().config)
}

/// The same by a configuration.
pub(super) fn limits_of(config: &Config) -> ExchangeLimits {
    ExchangeLimits {
        connect_timeout: config.origins.connect_timeout,
        answer_timeout: config.origins.answer_timeout,
        head_size_max: config.limits.head_size.max(connect::HEAD_LIMITS.head_size_max),
        body_max: config.limits.body_max as u64,
    }
}
