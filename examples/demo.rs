//! Runs everything on one machine without any set-up: makes a certificate, starts a sandbox cluster with real WebRTC, starts
//! the gateway in front of it, and offers a page that publishes and plays. The gateway gets a configuration file like an
//! operator's.

#[path = "demo/operator.rs"]
mod operator;

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;
use operator::Operator;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::control;
use tidegate::shared::gateway::FallbackAnswer;
use tidegate_sandbox::{Cluster, ClusterConfig, Group};

/// Publish and play through tidegate on this machine
#[derive(Parser)]
#[command(name = "demo")]
struct Flags {
    /// Don't open a browser
    #[arg(long)]
    no_open: bool,
    /// The gateway's port
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// The admin page's port
    #[arg(long, default_value_t = 9180)]
    admin_port: u16,
    /// The sandbox nodes' signalling port; 0 takes a free one
    #[arg(long, default_value_t = 5080)]
    nodes_port: u16,
    /// Let pages of this web origin use the gateway too; may be given several times
    #[arg(long)]
    allow_origin: Vec<String>,
}

/// The addresses of the nodes. As in a real cluster, each node has its own address and all have the same port.
const NODES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];

/// The node group for requests of Stream Manager 2.0 that name none.
const GROUP: &str = "demo";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let flags = Flags::parse();
    // Registered before anything starts, so that Ctrl-C can at no time end the process and leave files behind. The gateway
    // receives these signals too, and drains.
    let _signals = Signals::new([SIGINT, SIGTERM])?;
    let dir = TempDir::new()?;
    let cluster = Cluster::start(ClusterConfig {
        nodes: NODES.to_vec(),
        nodes_port: flags.nodes_port,
        groups: vec![Group { name: GROUP.to_owned(), nodes: Vec::new() }],
        ..ClusterConfig::default()
    })
    .map_err(|why| {
        format!("the sandbox nodes can't use port {}: {why}; try --nodes-port 0", flags.nodes_port)
    })?;
    write_certificate(&dir.0)?;
    let cluster = Arc::new(cluster);
    let config = dir.0.join("tidegate.toml");
    fs::write(&config, configuration(&flags, &dir.0, &cluster))?;
    let token = random_token()?;
    let buttons = operator::start(Operator {
        cluster: Arc::clone(&cluster),
        admin_socket: admin_socket(&dir.0),
        token: token.clone(),
        origins: ["localhost", "127.0.0.1", "[::1]"]
            .map(|name| format!("https://{name}:{}", flags.port))
            .to_vec(),
        down: Arc::default(),
    })?;
    PAGE.get_or_init(|| build_page(&flags, &format!("http://{buttons}/"), &token));
    let gateway = start_gateway(config);
    while !gateway.is_finished() && TcpStream::connect((Ipv4Addr::LOCALHOST, flags.port)).is_err() {
        thread::sleep(POLL_INTERVAL);
    }
    if !gateway.is_finished() {
        announce(&flags, &cluster)?;
        if !flags.no_open {
            open_browser(&address(&flags));
        }
    }
    let exit_code = gateway.join().map_err(|_| "the gateway panicked");
    Ok(exit_code?)
}

/// How often the start of the gateway is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A directory for this run, which is removed at the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that can't be removed stays; that is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the gateway with this configuration file until a signal ends it. The gateway also serves the demo's page.
fn start_gateway(config: PathBuf) -> JoinHandle<ExitCode> {
    thread::spawn(move || control::run::run(&config, None, Some(Box::new(answer_for))))
}

/// `https://localhost:PORT/`.
fn address(flags: &Flags) -> String {
    format!("https://localhost:{}/", flags.port)
}

/// The demo's page, which is built once at start.
static PAGE: OnceLock<Vec<u8>> = OnceLock::new();

/// The answer to a GET for which the gateway has no route: the demo's page for `/`, with or without a query. `None` for other
/// targets.
fn answer_for(target: &str) -> Option<FallbackAnswer> {
    let body = PAGE.get().filter(|_| target.split('?').next() == Some("/"))?.clone();
    Some(FallbackAnswer { content_type: "text/html; charset=utf-8".to_owned(), body })
}

/// Where the gateway's admin socket is.
fn admin_socket(dir: &Path) -> PathBuf {
    dir.join("admin.sock")
}

/// A token for this run: 128 random bits of the kernel.
fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Builds the page: one HTML file that contains its styles and scripts. `buttons` is where its buttons go, with this token.
fn build_page(flags: &Flags, buttons: &str, token: &str) -> Vec<u8> {
    include_str!("demo/page.html")
        .replace("/*{{style}}*/", include_str!("demo/style.css"))
        .replace("/*{{session}}*/", include_str!("demo/session.js"))
        .replace("/*{{sockets}}*/", include_str!("demo/sockets.js"))
        .replace("/*{{http}}*/", include_str!("demo/http.js"))
        .replace("/*{{picture}}*/", include_str!("demo/picture.js"))
        .replace("/*{{page}}*/", include_str!("demo/page.js"))
        .replace("/*{{operator}}*/", include_str!("demo/operator.js"))
        .replace("{{buttons}}", buttons)
        .replace("{{token}}", token)
        .replace("{{admin}}", &format!("http://127.0.0.1:{}/", flags.admin_port))
        .into_bytes()
}

/// Makes a self-signed certificate for the names of the loopback addresses and writes it with its key into `dir`. A browser
/// warns about it once.
fn write_certificate(dir: &Path) -> Result<(), Box<dyn Error>> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    fs::write(dir.join("chain.pem"), made.cert.pem())?;
    let mut key =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("key.pem"))?;
    key.write_all(made.signing_key.serialize_pem().as_bytes())?;
    Ok(())
}

/// The gateway's configuration. Nodes on loopback addresses have to be listed one by one.
fn configuration(flags: &Flags, dir: &Path, cluster: &Cluster) -> String {
    let port = flags.port;
    let mut listen = vec![format!("127.0.0.1:{port}")];
    if TcpListener::bind("[::1]:0").is_ok() {
        listen.push(format!("[::1]:{port}"));
    }
    format!(
        "[gateway]\nlisten = {listen:?}\n\n\
         [[tls.certificates]]\nchain = {:?}\nkey = {:?}\n\n\
         [stream_manager]\nurl = {:?}\nnode_group = {GROUP:?}\n\n\
         [origins]\nport = {}\napps = [\"live\"]\nnetworks = {:?}\n\n\
         [cors]\nallow_origins = {:?}\n\n\
         [limits]\nsessions = 1000\n\n\
         [monitoring]\nlisten = \"127.0.0.1:{}\"\n\n\
         [admin]\nlisten = \"unix:{}\"\n",
        dir.join("chain.pem"),
        dir.join("key.pem"),
        cluster.manager_url(),
        cluster.nodes_port(),
        cluster.node_addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        flags.allow_origin,
        flags.admin_port,
        admin_socket(dir).display(),
    )
}

fn announce(flags: &Flags, cluster: &Cluster) -> io::Result<()> {
    let nodes: Vec<String> =
        cluster.node_addresses().iter().map(|node| format!("{node}:{}", cluster.nodes_port())).collect();
    writeln!(
        io::stdout(),
        "\n  page     {}   (your browser warns once about its certificate)\n  \
           admin    http://127.0.0.1:{}/\n  \
           manager  {}\n  \
           nodes    {}\n\n  Ctrl-C ends it.\n",
        address(flags),
        flags.admin_port,
        cluster.manager_url(),
        nodes.join(", "),
    )
}

/// Opens the page in a browser if this machine has a desktop.
fn open_browser(address: &str) {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if desktop {
        // If xdg-open is missing, the printed address is enough.
        let _ = Command::new("xdg-open").arg(address).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}
