//! The web pages that may use the gateway: exact web origins (RFC 6454), compared as browsers write them.

/// The web origins whose pages may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOrigins {
    /// Only those of the host that the request is sent to.
    SameHost,
    /// All (`["*"]`).
    Any,
    /// These, in lower case and without a slash at the end, and those of the same host.
    Listed(Vec<String>),
}

/// What the `Origin` field of a request says about the page that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrigin {
    /// There is no such field: the client is no browser, or the request is a GET to the host of the page.
    Missing,
    /// The page may use the gateway.
    Allowed,
    /// The page may not use the gateway.
    Foreign,
}

impl AllowOrigins {
    /// Judges the `Origin` field of a request that was sent over TLS to `host`, the value of its `Host` field.
    pub fn judge(&self, origin: Option<&str>, host: &str) -> PageOrigin {
        let Some(origin) = origin else { return PageOrigin::Missing };
        let allowed = match self {
            Self::Any => true,
            Self::SameHost => is_same_host(origin, host),
            Self::Listed(listed) => {
                listed.iter().any(|one| one.eq_ignore_ascii_case(origin)) || is_same_host(origin, host)
            }
        };
        if allowed { PageOrigin::Allowed } else { PageOrigin::Foreign }
    }
}

/// Whether `origin` is the https origin of `host`. Browsers omit the default port, other clients may write it.
///
/// Both stay texts: this runs for each request, and `http::Uri` would allocate.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let bare = |authority: &str| authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
    scheme.eq_ignore_ascii_case("https") && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_on_the_same_host_and_port_is_the_same_site() {
        let rule = AllowOrigins::SameHost;
        let judge = |origin: &str| rule.judge(Some(origin), "gate.example:8443");
        assert_eq!(judge("https://gate.example:8443"), PageOrigin::Allowed);
        assert_eq!(judge("HTTPS://Gate.Example:8443"), PageOrigin::Allowed);
        for origin in
            ["http://gate.example:8443", "https://gate.example", "https://x.gate.example:8443", "null", ""]
        {
            assert_eq!(judge(origin), PageOrigin::Foreign, "{origin}");
        }
        assert_eq!(rule.judge(Some("https://gate.example"), "gate.example:443"), PageOrigin::Allowed);
        assert_eq!(rule.judge(None, "gate.example"), PageOrigin::Missing);
    }

    #[test]
    fn listed_origins_are_compared_exactly_and_any_allows_every_page() {
        let rule = AllowOrigins::Listed(vec!["https://app.example".into()]);
        assert_eq!(rule.judge(Some("https://app.example"), "gate.example"), PageOrigin::Allowed);
        assert_eq!(rule.judge(Some("https://gate.example"), "gate.example"), PageOrigin::Allowed);
        for origin in ["https://app.example.evil", "https://app.example:444", "http://app.example"] {
            assert_eq!(rule.judge(Some(origin), "gate.example"), PageOrigin::Foreign, "{origin}");
        }
        assert_eq!(AllowOrigins::Any.judge(Some("null"), "gate.example"), PageOrigin::Allowed);
    }
}
