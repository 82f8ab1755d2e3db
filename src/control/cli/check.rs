//! `tidegate check`: everything that a start needs except the ports.

use crate::config::{self, Problem};
use crate::control::cli::output::print;
use crate::control::cli::user;
use crate::control::exit::{self, CONFIG, ExitError};
use crate::control::start::load::{self, Carried, Failure, Loaded};
use crate::control::stream_manager::dns;
use crate::proto::admission::{AdmissionRules, admit_configured};
use std::collections::HashSet;
use std::path::Path;

/// Loads the configuration at `path` and prints what it serves, or with `effective` all values; with `user` it does so with the
/// rights of this user. Warnings go to stderr. Fails with exit code 78 for a configuration with problems, and 71 for one that
/// can't be read or if the user can't be had.
pub(crate) fn check(path: &Path, effective: bool, user: Option<&str>) -> Result<(), ExitError> {
    user.map_or(Ok(()), user::become_user)?;
    let loaded = load::load(path, &Carried::default()).map_err(|failure| {
        let error = exit::failure(path, &failure);
        // `run` ends with another code if only files are missing; for `check` that is a wrong configuration too
        if matches!(failure, Failure::Problems { .. }) { ExitError { code: CONFIG, ..error } } else { error }
    })?;
    let mut warnings: Vec<_> = loaded.warnings.iter().cloned().chain(name_warnings(&loaded)).collect();
    warnings.sort_by_key(|warning| warning.line);
    for warning in &warnings {
        eprintln!("{}:{}: warning: {warning}", path.display(), warning.line);
    }
    if effective {
        return print(config::to_toml(&loaded.written).as_bytes());
    }
    let mut names = loaded.facts().into_iter().flat_map(|facts| facts.names).collect::<Vec<_>>();
    // those without a certificate yet
    names.extend(loaded.config.acme.names.iter().cloned());
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let listen = loaded.config.gateway.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (names, listen) = (names.join(", "), listen.join(", "));
    let result = match warnings.len() {
        0 => "good".to_owned(),
        1 => "can start, with the warning above".to_owned(),
        count => format!("can start, with the {count} warnings above"),
    };
    print(format!("{}: {result}: serves {names} on {listen}\n", path.display()).as_bytes())
}

/// A warning for each configured name that does not resolve now, or only to addresses that are never dialled. It may resolve
/// otherwise later, so a start does not depend on it.
fn name_warnings(loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let origins = &config.origins;
    let resolved = dns::resolve(config);
    let mut warnings = Vec::new();
    for name in &resolved.unresolved {
        let found = format!("{}, which does not resolve now ({})", name.name, name.error);
        warnings.push(loaded.problem(&name.path(config), found, "a name that DNS knows".to_owned()));
    }
    let rules = AdmissionRules {
        networks: origins.networks.clone(),
        learned: origins.learned,
        strict: origins.strict,
        own: resolved.self_addresses,
        port: origins.port,
    };
    for (name, addresses) in &resolved.names {
        let denied = addresses.iter().all(|address| admit_configured(&rules, *address).is_err());
        if let (true, Some(address)) = (denied, addresses.first()) {
            let found = format!("{name}, which resolves to {address}, and that is never dialled");
            let expected =
                "a name of a node (an address of this machine has to be an entry of origins.networks too)";
            let index = origins.names.iter().position(|node| node == name).unwrap_or_default();
            let key = format!("{}.{index}", dns::NODES_KEY);
            warnings.push(loaded.problem(&key, found, expected.to_owned()));
        }
    }
    warnings
}
