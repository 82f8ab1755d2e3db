//! The address of a stream manager.

/// The address of a stream manager, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManagerUrl {
    /// Whether it is asked over TLS.
    pub https: bool,
    /// Host name in lower case or address, IPv6 without brackets.
    pub host: String,
    /// TCP port; 80 or 443 where the file has none.
    pub port: u16,
    /// Path before every target: empty, or `/prefix` without a slash at its end.
    pub prefix: String,
}

/// Writes scheme, host, port and path prefix: the beginning of every URL that is asked.
impl std::fmt::Display for ManagerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let (host, port, prefix) = (&self.host, self.port, &self.prefix);
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{prefix}")
        } else {
            write!(f, "{scheme}://{host}:{port}{prefix}")
        }
    }
}
