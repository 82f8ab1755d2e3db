//! The whole thing on one machine without any set-up: a certificate made on the spot, a sandbox cluster with real WebRTC, the
//! gateway in front of it, and a page that publishes and plays. It knows the gateway only as an operator does: by its
//! configuration.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::control;
use tidegate::shared::gateway::{Fallback, FallbackAnswer};
use tidegate_sandbox::{Cluster, ClusterConfig, Group};

/// Publishes and plays through tidegate on this machine.
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
    /// Pages of this origin may use the gateway as well; may be given several times
    #[arg(long)]
    allow_origin: Vec<String>,
}

/// The nodes, each on an address of its own with one port, as in a real cluster.
const NODES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];

/// The node group that Stream Manager 2.0's requests mean here.
const GROUP: &str = "demo";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let flags = Flags::parse();
    // Taken before anything starts, so that no moment is left in which Ctrl-C would leave files behind; the gateway hears
    // them too, and drains.
    let _signals = Signals::new([SIGINT, SIGTERM])?;
    let room = Room::new()?;
    let cluster = Cluster::start(ClusterConfig {
        nodes: NODES.to_vec(),
        nodes_port: flags.nodes_port,
        groups: vec![Group { name: GROUP.to_owned(), nodes: Vec::new() }],
        ..ClusterConfig::default()
    })
    .map_err(|why| {
        format!("the sandbox nodes can't have port {}: {why}; try --nodes-port 0", flags.nodes_port)
    })?;
    certificate(&room.0)?;
    let config = room.0.join("tidegate.toml");
    fs::write(&config, configuration(&flags, &room.0, &cluster))?;
    let gateway = start_gateway(config, page(&flags));
    while !gateway.is_finished() && TcpStream::connect((Ipv4Addr::LOCALHOST, flags.port)).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    if !gateway.is_finished() {
        announce(&flags, &cluster)?;
        if !flags.no_open {
            open_browser(&address(&flags));
        }
    }
    let ended = gateway.join().map_err(|_| "the gateway panicked");
    cluster.stop();
    Ok(ended?)
}

/// A directory for this run, gone at its end.
struct Room(PathBuf);

impl Room {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Nothing can be done about a directory that somebody else holds.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the gateway with that configuration file and one page of our own, until a signal ends it.
fn start_gateway(config: PathBuf, page: Fallback) -> JoinHandle<ExitCode> {
    thread::spawn(move || control::run::run(&config, None, Some(page)))
}

/// `https://localhost:PORT/`.
fn address(flags: &Flags) -> String {
    format!("https://localhost:{}/", flags.port)
}

/// One page with everything in it.
fn page(flags: &Flags) -> Fallback {
    let body = include_str!("demo/page.html")
        .replace("/*{{style}}*/", include_str!("demo/style.css"))
        .replace("/*{{session}}*/", include_str!("demo/session.js"))
        .replace("/*{{sockets}}*/", include_str!("demo/sockets.js"))
        .replace("/*{{http}}*/", include_str!("demo/http.js"))
        .replace("/*{{picture}}*/", include_str!("demo/picture.js"))
        .replace("/*{{page}}*/", include_str!("demo/page.js"))
        .replace("{{admin}}", &format!("http://127.0.0.1:{}/", flags.admin_port));
    let content_type = "text/html; charset=utf-8".to_owned();
    let page = FallbackAnswer { content_type, body: body.into_bytes() };
    Box::new(move |target| (target.split('?').next() == Some("/")).then(|| page.clone()))
}

/// A certificate for this machine's own names; browsers will ask about it once.
fn certificate(room: &Path) -> Result<(), Box<dyn Error>> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    fs::write(room.join("chain.pem"), made.cert.pem())?;
    let mut key =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(room.join("key.pem"))?;
    key.write_all(made.signing_key.serialize_pem().as_bytes())?;
    Ok(())
}

/// What an operator would write for this machine. Loopback nodes have to be listed one by one.
fn configuration(flags: &Flags, room: &Path, cluster: &Cluster) -> String {
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
         [admin]\nlisten = \"127.0.0.1:{}\"\n",
        room.join("chain.pem"),
        room.join("key.pem"),
        cluster.manager_url(),
        cluster.nodes_port(),
        cluster.node_addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        flags.allow_origin,
        flags.admin_port,
    )
}

fn announce(flags: &Flags, cluster: &Cluster) -> io::Result<()> {
    let nodes: Vec<String> =
        cluster.node_addresses().iter().map(|node| format!("{node}:{}", cluster.nodes_port())).collect();
    writeln!(
        io::stdout(),
        "\n  page     {}   (your browser will ask about its certificate once)\n  \
           admin    http://127.0.0.1:{}/\n  \
           manager  {}\n  \
           nodes    {}\n\n  Ctrl-C ends it.\n",
        address(flags),
        flags.admin_port,
        cluster.manager_url(),
        nodes.join(", "),
    )
}

/// Opens the page where there is a desktop; elsewhere the address that was printed has to do.
fn open_browser(address: &str) {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if desktop {
        // A machine without xdg-open is no reason to fail.
        let _ = Command::new("xdg-open").arg(address).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}
