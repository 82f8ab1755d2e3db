//! What an operator allows in connection parameters.

/// What an operator allows in connection parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamRules {
    /// First path segments that may be named.
    pub apps: Vec<String>,
    /// Path segments of app and context together.
    pub depth_max: usize,
    /// Host names that may stand in `host`.
    pub names: Vec<String>,
    pub query_size_max: usize,
    pub pairs_max: usize,
    pub key_size_max: usize,
    /// Refuse the account that belongs to the cluster (P14).
    pub refuse_reserved_account: bool,
    /// Refuse `accessToken` (P14).
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
