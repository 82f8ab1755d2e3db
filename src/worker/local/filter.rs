//! Which sessions a list shows.

use crate::proto::red5::role::Role;
use crate::shared::record::Summary;
use std::net::IpAddr;

/// Restricts a list of sessions; a part that is `None` restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// The app with its context, as the client named it.
    pub app: Option<String>,
    /// The stream.
    pub stream: Option<String>,
    /// The address of the node.
    pub node: Option<IpAddr>,
    /// The address of the client.
    pub client: Option<IpAddr>,
    /// Publishers or subscribers.
    pub role: Option<Role>,
    /// The word of a route: `two_step`, `one_step`, `whip`, `whep`, or `http` for connections with requests, which are left out
    /// without it.
    pub route: Option<String>,
}

impl SessionFilter {
    /// Whether a list shows a session of this route with this summary.
    pub(crate) fn accepts(&self, route: &str, summary: &Summary<'_>) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        let is_at = |wanted: Option<IpAddr>, ip: Option<IpAddr>| wanted.is_none() || wanted == ip;
        self.route.as_deref().map_or(route != HTTP, |wanted| wanted == route)
            && is(&self.app, summary.app)
            && is(&self.stream, summary.stream)
            && is_at(self.node, summary.node.map(|node| node.ip()))
            && is_at(self.client, summary.client.map(|client| client.ip().to_canonical()))
            && (self.role.is_none() || self.role == summary.role)
    }
}

/// The word for connections with HTTP requests.
pub(crate) const HTTP: &str = "http";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_restricts_by_each_of_its_parts() {
        let address = |last: u8| std::net::SocketAddr::from(([10, 0, 0, last], 5080));
        let summary = Summary {
            app: "live",
            stream: "s",
            node: Some(address(1)),
            client: Some(address(9)),
            role: Some(Role::Subscriber),
            ..Summary::default()
        };
        let accepts = |change: &dyn Fn(&mut SessionFilter)| {
            let mut filter = SessionFilter::default();
            change(&mut filter);
            filter.accepts("whep", &summary)
        };
        assert!(accepts(&|_| {}));
        assert!(accepts(&|filter| filter.app = Some("live".into())));
        assert!(!accepts(&|filter| filter.app = Some("liv".into())));
        assert!(accepts(&|filter| filter.stream = Some("s".into())));
        assert!(!accepts(&|filter| filter.stream = Some("t".into())));
        assert!(accepts(&|filter| filter.node = Some(address(1).ip())));
        assert!(!accepts(&|filter| filter.node = Some(address(9).ip())));
        assert!(accepts(&|filter| filter.client = Some(address(9).ip())));
        assert!(!accepts(&|filter| filter.client = Some(address(1).ip())));
        assert!(accepts(&|filter| filter.role = Some(Role::Subscriber)));
        assert!(!accepts(&|filter| filter.role = Some(Role::Publisher)));
        assert!(accepts(&|filter| filter.route = Some("whep".into())));
        assert!(!accepts(&|filter| filter.route = Some("http".into())));
        assert!(!SessionFilter::default().accepts(HTTP, &summary), "connections are no sessions");
    }
}
