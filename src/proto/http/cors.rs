//! The web pages that may use the gateway: web origins (RFC 6454), compared as browsers write them.

/// The web origins whose pages may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOrigins {
    /// Only those of the host that the request is sent to.
    SameHost,
    /// All (`["*"]`).
    Any,
    /// These, in lower case and without a slash at the end, and those of the same host. One such as
    /// `https://*.example.com` means all names below that domain, at any depth, but not the domain itself.
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
                listed.iter().any(|one| matches(one, origin)) || is_same_host(origin, host)
            }
        };
        if allowed { PageOrigin::Allowed } else { PageOrigin::Foreign }
    }
}

/// Whether a listed web origin means this one. What stands for `*` has to be one or more labels of a host name: no port, no
/// user and no other host fits there.
fn matches(listed: &str, origin: &str) -> bool {
    let Some((before, after)) = listed.split_once('*') else { return listed.eq_ignore_ascii_case(origin) };
    let middle = || {
        let length = origin.len().checked_sub(before.len() + after.len())?;
        let (start, rest) = origin.split_at_checked(before.len())?;
        let (middle, end) = rest.split_at_checked(length)?;
        (start.eq_ignore_ascii_case(before) && end.eq_ignore_ascii_case(after)).then_some(middle)
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    middle().is_some_and(|labels| labels.split('.').all(label))
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

    #[test]
    fn a_star_stands_for_labels_of_a_host_name_only() {
        let rule = AllowOrigins::Listed(vec![
            "https://*.example.com".into(),
            "https://*.example.org:8443".into(),
            "capacitor://localhost".into(),
        ]);
        let judge = |origin: &str| rule.judge(Some(origin), "gate.example");
        for origin in [
            "https://app.example.com",
            "https://a.b.Example.com",
            "https://x.example.org:8443",
            "capacitor://localhost",
        ] {
            assert_eq!(judge(origin), PageOrigin::Allowed, "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://a..example.com",
            "https://evilexample.com",
            "https://a.example.com.evil",
            "https://a.example.com:444",
            "https://evil:1.example.com",
            "https://evil/.example.com",
            "https://u@a.example.com",
            "http://a.example.com",
            "https://*.example.com",
            "https://x.example.org",
            "https://\u{fc}.example.com",
            "https:/",
            "capacitor://localhost:1",
            "ionic://localhost",
        ] {
            assert_eq!(judge(origin), PageOrigin::Foreign, "{origin}");
        }
    }
}
