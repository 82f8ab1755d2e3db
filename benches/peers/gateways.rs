//! The gateways of this bench: for each a command line and a configuration file, filled in for this run.

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

/// Where a run's files, certificates and servers are.
pub struct Site {
    pub room: PathBuf,
    pub node: SocketAddr,
    pub manager: SocketAddr,
    pub tidegate: PathBuf,
}

/// A gateway, ready to be started with the one certificate or the other.
pub struct Gateway {
    pub name: &'static str,
    pub version: String,
    pub ecdsa: Target,
    pub rsa: Option<Target>,
    /// Whether it remembers what the stream manager said.
    pub keeps_answers: bool,
}

/// How a peer is started.
struct Peer {
    name: &'static str,
    configuration: &'static str,
    /// Arguments; `@CONFIG@` stands for the file.
    arguments: &'static [&'static str],
    version: &'static str,
    keeps_answers: bool,
}

const PEERS: [Peer; 4] = [
    Peer {
        name: "nginx",
        configuration: include_str!("nginx.conf"),
        arguments: &["-c", "@CONFIG@"],
        version: "-v",
        keeps_answers: true,
    },
    Peer {
        name: "haproxy",
        configuration: include_str!("haproxy.conf"),
        arguments: &["-db", "-f", "@CONFIG@"],
        version: "-v",
        keeps_answers: true,
    },
    Peer {
        name: "caddy",
        configuration: include_str!("caddy.conf"),
        arguments: &["run", "--adapter", "caddyfile", "--config", "@CONFIG@"],
        version: "version",
        keeps_answers: false,
    },
    Peer {
        name: "sozu",
        configuration: include_str!("sozu.conf"),
        arguments: &["start", "--config", "@CONFIG@"],
        version: "--version",
        keeps_answers: false,
    },
];

/// The file in a peer's room that takes what it prints.
const SAID: &str = "said";

/// What a gateway printed last, for people.
pub fn said(site_room: &Path, target: &Target) -> String {
    let rooms = ["ecdsa", "rsa"].map(|kind| site_room.join(format!("{}-{kind}", target.name)));
    let said = rooms.iter().filter_map(|room| fs::read_to_string(room.join(SAID)).ok());
    said.flat_map(|text| text.lines().last().map(ToOwned::to_owned)).collect::<Vec<_>>().join("; ")
}

/// What is wanted by name, or all of it.
pub fn is_wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|one| one == name)
}

/// Makes two certificates for `localhost`, signed by one root, which is given back.
pub fn certificates(room: &Path) -> Result<CertificateDer<'static>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let root = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    fs::write(room.join("root.pem"), root.pem())?;
    let keys = [
        ("ecdsa", KeyPair::generate()?),
        ("rsa", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?),
    ];
    for (kind, key) in keys {
        let leaf = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        let (chain, key) = (leaf.pem(), key.serialize_pem());
        fs::write(room.join(format!("{kind}.pem")), format!("{chain}{key}"))?;
        fs::write(room.join(format!("{kind}-chain.pem")), chain)?;
        fs::write(room.join(format!("{kind}-key.pem")), key)?;
    }
    Ok(root.der().clone())
}

/// tidegate, the peers that this machine has, and the floor.
pub fn all(site: &Site, only: &[String]) -> Result<Vec<Gateway>> {
    let mut gateways = Vec::new();
    if is_wanted(only, "tidegate") {
        gateways.push(Gateway {
            name: "tidegate",
            version: version(&site.tidegate, "--version"),
            ecdsa: tidegate(site, "ecdsa")?,
            rsa: Some(tidegate(site, "rsa")?),
            keeps_answers: true,
        });
    }
    for peer in PEERS.iter().filter(|peer| is_wanted(only, peer.name)) {
        let Some(binary) = find(peer.name) else {
            eprintln!("{} is not in the PATH and left out; benches/peers/run.sh installs it", peer.name);
            continue;
        };
        gateways.push(Gateway {
            name: peer.name,
            version: version(&binary, peer.version),
            ecdsa: peer.target(site, &binary, "ecdsa")?,
            rsa: Some(peer.target(site, &binary, "rsa")?),
            keeps_answers: peer.keeps_answers,
        });
    }
    if is_wanted(only, "floor") {
        let ecdsa = floor::target(site.node)?;
        let version = "plain TCP relay without TLS".to_owned();
        gateways.push(Gateway { name: "floor", version, ecdsa, rsa: None, keeps_answers: false });
    }
    Ok(gateways)
}

impl Peer {
    fn target(&self, site: &Site, binary: &Path, kind: &str) -> Result<Target> {
        let address = free_address()?;
        // a directory of its own for what it writes
        let room = site.room.join(format!("{}-{kind}", self.name));
        fs::create_dir(&room)?;
        let file = |name: &str| site.room.join(name).display().to_string();
        let text = self
            .configuration
            .replace("@ROOM@", &room.display().to_string())
            .replace("@ROOT@", &file("root.pem"))
            .replace("@LISTEN@", &address.to_string())
            .replace("@PORT@", &address.port().to_string())
            .replace("@CHAIN@", &file(&format!("{kind}-chain.pem")))
            .replace("@KEY@", &file(&format!("{kind}-key.pem")))
            .replace("@PEM@", &file(&format!("{kind}.pem")))
            .replace("@NODE@", &site.node.to_string())
            .replace("@MANAGER@", &site.manager.to_string());
        let config = room.join("conf");
        fs::write(&config, text)?;
        // what a program would write below its user's home stays in this room
        let homes = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"]
            .map(|name| OsString::from(format!("{name}={}", room.display())));
        let arguments = self.arguments.iter().map(|argument| match *argument {
            "@CONFIG@" => config.clone().into(),
            argument => argument.into(),
        });
        // what it says is kept, for the case that it does not start
        let quiet = ["sh", "-c", "exec env \"$@\" >>\"$0\" 2>&1"].map(OsString::from);
        let command = quiet.into_iter().chain([room.join(SAID).into()]).chain(homes);
        let command = command.chain([binary.into()]).chain(arguments).collect();
        Ok(Target {
            name: self.name.to_owned(),
            command,
            address,
            tls: true,
            socket_path: "/live/?id={script}".to_owned(),
            answer_path: self.keeps_answers.then(|| QUESTION.replace("{name}", "stream1")),
        })
    }
}

fn tidegate(site: &Site, kind: &str) -> Result<Target> {
    let file = |part: &str| site.room.join(format!("{kind}-{part}.pem"));
    let build = Build {
        binary: &site.tidegate,
        chain: file("chain"),
        key: file("key"),
        node: site.node,
        manager: site.manager,
        workers: 1,
        message_max: "64KiB",
    };
    build.target("tidegate", &site.room.join(format!("tidegate-{kind}.toml")))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// The first line of what a program says of itself.
fn version(binary: &Path, argument: &str) -> String {
    let Ok(said) = Command::new(binary).arg(argument).output() else { return "unknown".to_owned() };
    let said = if said.stdout.is_empty() { said.stderr } else { said.stdout };
    let said = String::from_utf8_lossy(&said);
    let number = said.split(|c: char| c.is_whitespace() || c == '/' || c == ',');
    let number = number.map(|word| word.trim_start_matches('v'));
    let mut number =
        number.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    number.next().unwrap_or("unknown").to_owned()
}
