//! Which pages may talk to us: exact origins (RFC 6454), compared as browsers write them.

/// Which pages may talk to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOrigins {
    /// Only pages of the very host they talk to.
    SameHost,
    /// `["*"]`.
    Any,
    /// Exact origins, lower case, without a slash at the end; same host is allowed too.
    Listed(Vec<String>),
}

/// Where a request comes from, as far as its page is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// No `Origin` field: not a browser, or a page's own GET.
    Unnamed,
    /// A page that may talk to us.
    Allowed,
    /// A page that may not.
    Foreign,
}

impl AllowOrigins {
    /// Judges the `Origin` field of a request that was sent to `host` (its `Host` field) over TLS.
    pub fn judge(&self, origin: Option<&str>, host: &str) -> Site {
        let Some(origin) = origin else { return Site::Unnamed };
        let allowed = match self {
            Self::Any => true,
            Self::SameHost => is_same_host(origin, host),
            Self::Listed(listed) => {
                listed.iter().any(|one| one.eq_ignore_ascii_case(origin)) || is_same_host(origin, host)
            }
        };
        if allowed { Site::Allowed } else { Site::Foreign }
    }
}

/// Whether `origin` is the https origin of `host`; browsers leave the default port out, others may not.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let bare = |authority: &str| authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
    scheme.eq_ignore_ascii_case("https") && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_host_and_port_on_https_is_the_same_site() {
        let rule = AllowOrigins::SameHost;
        let judge = |origin: &str| rule.judge(Some(origin), "gate.example:8443");
        assert_eq!(judge("https://gate.example:8443"), Site::Allowed);
        assert_eq!(judge("HTTPS://Gate.Example:8443"), Site::Allowed);
        for origin in
            ["http://gate.example:8443", "https://gate.example", "https://x.gate.example:8443", "null", ""]
        {
            assert_eq!(judge(origin), Site::Foreign, "{origin}");
        }
        assert_eq!(rule.judge(Some("https://gate.example"), "gate.example:443"), Site::Allowed);
        assert_eq!(rule.judge(None, "gate.example"), Site::Unnamed);
    }

    #[test]
    fn listed_origins_are_exact_and_anyone_is_anyone() {
        let rule = AllowOrigins::Listed(vec!["https://app.example".into()]);
        assert_eq!(rule.judge(Some("https://app.example"), "gate.example"), Site::Allowed);
        assert_eq!(rule.judge(Some("https://gate.example"), "gate.example"), Site::Allowed);
        for origin in ["https://app.example.evil", "https://app.example:444", "http://app.example"] {
            assert_eq!(rule.judge(Some(origin), "gate.example"), Site::Foreign, "{origin}");
        }
        assert_eq!(AllowOrigins::Any.judge(Some("null"), "gate.example"), Site::Allowed);
    }
}
