//! Where a command finds the running gateway: `--admin`, else `TIDEGATE_ADMIN`, else the configuration, else the defaults.

use crate::config::{self, AdminListen, Secret};
use crate::control::admin::listener::ListenAddress;
use crate::control::exit::{CONFIG, ExitError, USAGE};
use crate::control::start::secret;
use hyper::Method;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The environment variable with the address of the gateway.
const ADDRESS_VARIABLE: &str = "TIDEGATE_ADMIN";
/// The environment variable with the token for an address that the configuration does not name.
const TOKEN_VARIABLE: &str = "TIDEGATE_ADMIN_TOKEN";
/// The configuration of a gateway that was installed from a package.
pub(crate) const CONFIG_FILE: &str = "/etc/tidegate/tidegate.toml";

/// Which running gateway, and in which form its answer is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetOptions {
    /// The gateway's listener, ADDRESS:PORT or unix:/PATH; without it $TIDEGATE_ADMIN, else [admin] and [monitoring] of
    /// the configuration, else unix:/run/tidegate/admin.sock and 127.0.0.1:9180
    #[arg(long, value_name = "ADDR", value_parser = address)]
    admin: Option<ListenAddress>,
    /// The configuration of the running gateway, which names its listeners [default: /etc/tidegate/tidegate.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads the value of `--admin`.
fn address(text: &str) -> Result<ListenAddress, String> {
    match config::listener_address(text)? {
        AdminListen::Unix(path) => Ok(ListenAddress::Unix(path)),
        AdminListen::Tcp(address) => Ok(ListenAddress::Tcp(address)),
        AdminListen::Auto | AdminListen::Off => Err("expected an address".to_owned()),
    }
}

/// A listener of the running gateway, as a command uses it.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) address: ListenAddress,
    /// Sent to a TCP address of `[admin]`.
    pub(crate) token: Option<Secret>,
}

/// The listeners of the running gateway.
#[derive(Debug)]
pub(crate) struct Target {
    /// For everything. Fails with the reason why there is none.
    admin: Result<Listener, ExitError>,
    /// For what only reads.
    monitoring: Option<Listener>,
}

impl Target {
    /// Finds the listeners. Fails if a given address or configuration can't be used.
    pub(crate) fn find(options: &TargetOptions) -> Result<Self, ExitError> {
        if let Some(address) = &options.admin {
            return Ok(Self::at(address.clone()));
        }
        if let Some(text) = std::env::var_os(ADDRESS_VARIABLE).filter(|text| !text.is_empty()) {
            let address = address(&text.to_string_lossy());
            let wrong = |expected| ExitError { code: USAGE, text: format!("{ADDRESS_VARIABLE}: {expected}") };
            return address.map(Self::at).map_err(wrong);
        }
        let path = options.config.as_deref().unwrap_or_else(|| Path::new(CONFIG_FILE));
        match configured(path) {
            Ok(config) => Ok(Self::of_config(path, &config)),
            Err(error) if options.config.is_some() => Err(error),
            Err(_) => Ok(Self::of_defaults()),
        }
    }

    /// One listener for everything, which a person named.
    pub(crate) fn at(address: ListenAddress) -> Self {
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()).map(Secret);
        Self { admin: Ok(Listener { address, token }), monitoring: None }
    }

    fn of_config(path: &Path, config: &config::Config) -> Self {
        let path = path.display();
        let admin = match ListenAddress::of_admin(&config.admin.listen) {
            None => Err(ExitError::os(format!(
                "[admin].listen in {path} is off, so that commands can't change something: use signals (SIGTERM, SIGHUP, SIGUSR2)"
            ))),
            Some(address @ ListenAddress::Unix(_)) => Ok(Listener { address, token: None }),
            Some(address @ ListenAddress::Tcp(_)) => {
                let reference = config.admin.token.as_ref().map_or("", |token| &token.0);
                let token = secret::read_token(reference);
                token
                    .map(|token| Listener { address: reachable(address), token: Some(Secret(token)) })
                    .map_err(|missing| {
                        ExitError::os(format!(
                            "can't use [admin].token in {path}: expected {}, found {}",
                            missing.expected, missing.found
                        ))
                    })
            }
        };
        let monitoring = config
            .monitoring
            .listen
            .map(|address| Listener { address: reachable(ListenAddress::Tcp(address)), token: None });
        Self { admin, monitoring }
    }

    fn of_defaults() -> Self {
        let admin = ListenAddress::of_admin(&AdminListen::Auto);
        let off = || ExitError::os("there is no admin listener".to_owned());
        let monitoring = SocketAddr::from((Ipv4Addr::LOCALHOST, 9180));
        Self {
            admin: admin.map(|address| Listener { address, token: None }).ok_or_else(off),
            monitoring: Some(Listener { address: ListenAddress::Tcp(monitoring), token: None }),
        }
    }

    /// The listeners to ask, in this order: the admin listener, and after it the monitoring listener for what only reads. Fails
    /// if there is none.
    pub(crate) fn listeners(&self, method: &Method) -> Result<Vec<&Listener>, ExitError> {
        let monitoring = self.monitoring.as_ref().filter(|_| *method == Method::GET);
        match (&self.admin, monitoring) {
            (Ok(admin), monitoring) => Ok(std::iter::once(admin).chain(monitoring).collect()),
            (Err(_), Some(monitoring)) => Ok(vec![monitoring]),
            (Err(ExitError { code, text }), None) => Err(ExitError { code: *code, text: text.clone() }),
        }
    }
}

/// Reads the configuration at `path`. Values that are wrong have their defaults: the gateway may still run with former ones.
fn configured(path: &Path) -> Result<config::Config, ExitError> {
    let text = fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        ExitError::os(format!(
            "can't read the configuration {path} ({error}); name the gateway's listener with --admin"
        ))
    })?;
    let reading = config::read_whole(&text).map_err(|_| ExitError {
        code: CONFIG,
        text: format!(
            "{} is no TOML; correct it, or name the gateway's listener with --admin",
            path.display()
        ),
    })?;
    Ok(reading.config)
}

/// The address at which a listener of this machine is reached: an unspecified one is reached by loopback.
fn reachable(address: ListenAddress) -> ListenAddress {
    match address {
        ListenAddress::Tcp(mut address) if address.ip().is_unspecified() => {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            ListenAddress::Tcp(address)
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(keys: &str) -> Target {
        let text = format!(
            "{keys}\nstream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n"
        );
        Target::of_config(Path::new("f.toml"), &config::read(&text).expect("a good configuration"))
    }

    fn addresses(target: &Target, method: &Method) -> Vec<String> {
        let listeners = target.listeners(method).expect("a listener");
        listeners.iter().map(|listener| listener.address.to_string()).collect()
    }

    #[test]
    fn a_command_that_reads_asks_monitoring_after_the_admin_listener_and_others_do_not() {
        let both = target("admin.listen = \"unix:/run/a.sock\"\nmonitoring.listen = \"0.0.0.0:9000\"");
        assert_eq!(addresses(&both, &Method::GET), ["unix:/run/a.sock", "127.0.0.1:9000"]);
        assert_eq!(addresses(&both, &Method::POST), ["unix:/run/a.sock"]);
        let read_only = target("admin.listen = \"off\"\nmonitoring.listen = \"[::]:9000\"");
        assert_eq!(addresses(&read_only, &Method::GET), ["[::1]:9000"]);
        let why = read_only.listeners(&Method::DELETE).expect_err("there is no admin listener");
        assert!(why.text.contains("[admin].listen in f.toml is off"), "{}", why.text);
        let given = Target::at(ListenAddress::Unix("/x".into()));
        assert_eq!(addresses(&given, &Method::GET), ["unix:/x"]);
    }

    #[test]
    fn a_token_that_can_not_be_read_is_the_reason_of_a_command_that_changes_something() {
        let keys = "admin = { listen = \"127.0.0.1:9181\", token = \"file:/nonexistent/token\" }";
        let why = target(keys).listeners(&Method::POST).expect_err("no token");
        assert!(
            why.text.contains("[admin].token") && why.text.contains("/nonexistent/token"),
            "{}",
            why.text
        );
        assert_eq!(addresses(&target(keys), &Method::GET), ["127.0.0.1:9180"]);
    }
}
