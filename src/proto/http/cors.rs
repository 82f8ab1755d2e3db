//! Which pages may use the gateway: exact web origins (RFC 6454), compared as browsers write them.

/// Which pages may use the gateway (`cors.allow_origins`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOrigins {
    /// `[]`: only pages of the host that the request was sent to.
    SameHost,
    /// `["*"]`: all pages.
    Any,
    /// Pages of these web origins, each in lower case and without a slash at its end; pages of the same host too.
    Listed(Vec<String>),
}

/// What the field `Origin` says about the page that made a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrigin {
    /// No such field: the client is no browser, or a page made a GET to its own host.
    Missing,
    /// A page that may use the gateway.
    Allowed,
    /// A page that may not.
    Foreign,
}

impl AllowOrigins {
    /// Judges the value of `Origin` in a request that came over TLS with this value of `Host`.
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

/// Whether `origin` is the web origin of `https://{host}`. Browsers leave out the default port, other clients may not.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let bare = |authority: &str| authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
    scheme.eq_ignore_ascii_case("https") && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_host_and_port_on_https_is_the_same_host() {
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
    fn listed_origins_are_exact_and_any_allows_all() {
        let rule = AllowOrigins::Listed(vec!["https://app.example".into()]);
        assert_eq!(rule.judge(Some("https://app.example"), "gate.example"), PageOrigin::Allowed);
        assert_eq!(rule.judge(Some("https://gate.example"), "gate.example"), PageOrigin::Allowed);
        for origin in ["https://app.example.evil", "https://app.example:444", "http://app.example"] {
            assert_eq!(rule.judge(Some(origin), "gate.example"), PageOrigin::Foreign, "{origin}");
        }
        assert_eq!(AllowOrigins::Any.judge(Some("null"), "gate.example"), PageOrigin::Allowed);
    }
}
