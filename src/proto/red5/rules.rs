//! The rules for connection parameters that an operator can change.

/// The rules for connection parameters, as far as the configuration or a limit determines them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamRules {
    /// Apps that are served: the first segment of app and context (`origins.apps`, P11).
    pub apps: Vec<String>,
    /// Most segments of app and context together (`origins.depth`, P10).
    pub depth_max: usize,
    /// Host names that a client may give in `host`, beside addresses (`origins.names`, P8).
    pub names: Vec<String>,
    /// Most bytes of a query (P1).
    pub query_size_max: usize,
    /// Most pairs of a query (P1).
    pub pairs_max: usize,
    /// Most bytes of a key (P1).
    pub key_size_max: usize,
    /// Whether the account that clusters reserve for themselves is refused (P14).
    pub refuse_reserved_account: bool,
    /// Whether `accessToken` is refused (P14).
    pub refuse_admin_parameter: bool,
}

impl Default for ParamRules {
    fn default() -> Self {
        Self {
            apps: vec!["live".into()],
            depth_max: 4,
            names: Vec::new(),
            query_size_max: 6000,
            pairs_max: 64,
            key_size_max: 128,
            refuse_reserved_account: true,
            refuse_admin_parameter: true,
        }
    }
}
