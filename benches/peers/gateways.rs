//! The gateways of this bench: for each a command line and a configuration file that is filled in for this run.

use crate::load::Result;
use crate::load::floor;
use crate::load::target::{Target, free_address};
use crate::load::tidegate::{Build, QUESTION};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::CertificateDer;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directory of the run, addresses of node and stream manager, and paths of tidegate and of the build before it.
pub struct PageOrigin {
    pub dir: PathBuf,
    pub node: SocketAddr,
    pub manager: SocketAddr,
    pub tidegate: PathBuf,
    pub before: Option<PathBuf>,
}

/// A gateway that can be started with an ECDSA or with an RSA certificate.
pub struct Gateway {
    pub name: &'static str,
    pub version: String,
    pub ecdsa: Target,
    pub rsa: Option<Target>,
    /// Whether it stores answers of the stream manager.
    pub stores_answers: bool,
}

/// How to start another gateway, a peer of tidegate.
struct Peer {
    name: &'static str,
    configuration: &'static str,
    /// Arguments; `@CONFIG@` stands for the configuration file.
    arguments: &'static [&'static str],
    version: &'static str,
    stores_answers: bool,
}

const PEERS: [Peer; 4] = [
    Peer {
        name: "nginx",
        configuration: include_str!("nginx.conf"),
        arguments: &["-c", "@CONFIG@"],
        version: "-v",
        stores_answers: true,
    },
    Peer {
        name: "haproxy",
        configuration: include_str!("haproxy.conf"),
        arguments: &["-db", "-f", "@CONFIG@"],
        version: "-v",
        stores_answers: true,
    },
    Peer {
        name: "caddy",
        configuration: include_str!("caddy.conf"),
        arguments: &["run", "--adapter", "caddyfile", "--config", "@CONFIG@"],
        version: "version",
        stores_answers: false,
    },
    Peer {
        name: "sozu",
        configuration: include_str!("sozu.conf"),
        arguments: &["start", "--config", "@CONFIG@"],
        version: "--version",
        stores_answers: false,
    },
];

/// The file in a peer's directory that receives what the peer prints.
const OUTPUT: &str = "output";

/// The last lines that a gateway printed, for an error message. `dir` is the directory of the run.
pub fn last_output(dir: &Path, target: &Target) -> String {
    let dirs = ["ecdsa", "rsa"].map(|kind| dir.join(format!("{}-{kind}", target.name)));
    let outputs = dirs.iter().filter_map(|dir| fs::read_to_string(dir.join(OUTPUT)).ok());
    outputs.flat_map(|text| text.lines().last().map(ToOwned::to_owned)).collect::<Vec<_>>().join("; ")
}

/// Whether `name` is selected: it is in `only`, or `only` is empty.
pub fn is_selected(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|one| one == name)
}

/// Makes two certificates for `localhost`, signed by the root certificate that is returned.
pub fn certificates(dir: &Path) -> Result<CertificateDer<'static>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let root = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    fs::write(dir.join("root.pem"), root.pem())?;
    let keys = [
        ("ecdsa", KeyPair::generate()?),
        ("rsa", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?),
    ];
    for (kind, key) in keys {
        let leaf = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        let (chain, key) = (leaf.pem(), key.serialize_pem());
        fs::write(dir.join(format!("{kind}.pem")), format!("{chain}{key}"))?;
        fs::write(dir.join(format!("{kind}-chain.pem")), chain)?;
        fs::write(dir.join(format!("{kind}-key.pem")), key)?;
    }
    Ok(root.der().clone())
}

/// The selected ones of tidegate, the peers that are installed on this machine, and the floor. The build before a change
/// stands in the place of all peers.
pub fn all(site: &PageOrigin, only: &[String]) -> Result<Vec<Gateway>> {
    let mut gateways = Vec::new();
    if is_selected(only, "tidegate") {
        gateways.push(tidegate(site, "tidegate", &site.tidegate)?);
    }
    if let Some(before) = &site.before {
        gateways.push(tidegate(site, "before", before)?);
    }
    let is_compared = |peer: &&Peer| site.before.is_none() && is_selected(only, peer.name);
    for peer in PEERS.iter().filter(is_compared) {
        let Some(binary) = find(peer.name) else {
            eprintln!("{} is not in PATH and is left out; benches/peers/run.sh installs it", peer.name);
            continue;
        };
        gateways.push(Gateway {
            name: peer.name,
            version: version(&binary, peer.version),
            ecdsa: peer.target(site, &binary, "ecdsa")?,
            rsa: Some(peer.target(site, &binary, "rsa")?),
            stores_answers: peer.stores_answers,
        });
    }
    if is_selected(only, "floor") {
        let ecdsa = floor::target(site.node)?;
        let version = "plain TCP relay without TLS".to_owned();
        gateways.push(Gateway { name: "floor", version, ecdsa, rsa: None, stores_answers: false });
    }
    Ok(gateways)
}

impl Peer {
    fn target(&self, site: &PageOrigin, binary: &Path, kind: &str) -> Result<Target> {
        let address = free_address()?;
        // a separate directory for the files that the peer writes
        let dir = site.dir.join(format!("{}-{kind}", self.name));
        fs::create_dir(&dir)?;
        let file = |name: &str| site.dir.join(name).display().to_string();
        let text = self
            .configuration
            .replace("@ROOM@", &dir.display().to_string())
            .replace("@ROOT@", &file("root.pem"))
            .replace("@LISTEN@", &address.to_string())
            .replace("@PORT@", &address.port().to_string())
            .replace("@CHAIN@", &file(&format!("{kind}-chain.pem")))
            .replace("@KEY@", &file(&format!("{kind}-key.pem")))
            .replace("@PEM@", &file(&format!("{kind}.pem")))
            .replace("@NODE@", &site.node.to_string())
            .replace("@MANAGER@", &site.manager.to_string());
        let config = dir.join("conf");
        fs::write(&config, text)?;
        // files that a program would write into the user's home directory go here instead
        let homes = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"]
            .map(|name| OsString::from(format!("{name}={}", dir.display())));
        let arguments = self.arguments.iter().map(|argument| match *argument {
            "@CONFIG@" => config.clone().into(),
            argument => argument.into(),
        });
        // the output is stored, for the error message if the peer does not start
        let redirect = ["sh", "-c", "exec env \"$@\" >>\"$0\" 2>&1"].map(OsString::from);
        let command = redirect.into_iter().chain([dir.join(OUTPUT).into()]).chain(homes);
        let command = command.chain([binary.into()]).chain(arguments).collect();
        Ok(Target {
            name: self.name.to_owned(),
            command,
            address,
            tls: true,
            socket_path: "/live/?id={script}".to_owned(),
            answer_path: self.stores_answers.then(|| QUESTION.replace("{name}", "stream1")),
        })
    }
}

/// A build of tidegate; `name` tells the builds of one run apart.
fn tidegate(site: &PageOrigin, name: &'static str, binary: &Path) -> Result<Gateway> {
    let target = |kind: &str| {
        let file = |part: &str| site.dir.join(format!("{kind}-{part}.pem"));
        let build = Build {
            binary,
            chain: file("chain"),
            key: file("key"),
            node: site.node,
            manager: site.manager,
            workers: 1,
            message_max: "64KiB",
        };
        build.target(name, &site.dir.join(format!("{name}-{kind}.toml")))
    };
    Ok(Gateway {
        name,
        version: version(binary, "--version"),
        ecdsa: target("ecdsa")?,
        rsa: Some(target("rsa")?),
        stores_answers: true,
    })
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The version number in the output of a program, or "unknown".
fn version(binary: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(binary).arg(argument).output() else { return "unknown".to_owned() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text);
    let number = text.split(|c: char| c.is_whitespace() || c == '/' || c == ',');
    let number = number.map(|word| word.trim_start_matches('v'));
    let mut number =
        number.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    number.next().unwrap_or("unknown").to_owned()
}
