//! The program under test: its configuration, its start and stop, its listeners for operators and its log.

use super::certs::{ECDSA, Identity, RSA};
use super::connection::{Connection, Side};
use super::http_message::Response;
use super::{DEADLINE, Request, Workspace, eventually};
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// Name of the configuration file in the workspace.
pub const CONFIG_FILE: &str = "tidegate.toml";

/// A configuration file under construction. The default one admits nodes 1 to 9 of its workspace.
#[derive(Clone)]
pub struct Config {
    table: Table,
    environment: Vec<(String, String)>,
}

impl Config {
    pub fn new(workspace: &Workspace) -> Self {
        let mut config = Self { table: Table::new(), environment: Vec::new() };
        config.set("gateway.listen", vec![workspace.gateway().to_string()]);
        config.set("gateway.workers", 2);
        config.set("gateway.pin", false);
        // TIDEGATE_TEST_DRIVER=epoll runs all tests on that driver
        if let Ok(driver) = std::env::var("TIDEGATE_TEST_DRIVER") {
            config.set("gateway.driver", driver);
        }
        config.set_drains("5s");
        config.set("stream_manager.url", format!("http://{}", workspace.manager()));
        config.set("stream_manager.timeout", "5s");
        config.set("origins.port", 5080);
        config
            .set("origins.networks", (1..=9).map(|n| workspace.node(n).ip().to_string()).collect::<Vec<_>>());
        config.set("origins.connect_timeout", "3s");
        config.set("origins.upgrade_timeout", "3s");
        config.set("websocket.close_timeout", "1s");
        config.set("monitoring.listen", workspace.monitoring().to_string());
        config.set("admin.listen", format!("unix:{}", workspace.admin_socket().display()));
        let certificates: [(&str, &Identity); 2] = [("ecdsa", &ECDSA), ("rsa", &RSA)];
        let certificates =
            certificates.map(|(name, identity)| Value::Table(write_pair(workspace, name, identity)));
        config.set("tls.certificates", certificates.to_vec());
        config
    }

    /// Writes the file. A running gateway does not read it before a reload.
    pub fn write(&self, workspace: &Workspace) {
        std::fs::write(workspace.file(CONFIG_FILE), self.table.to_string()).unwrap();
    }

    /// Sets an environment variable of the program.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Sets one key, given as `table.key`.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let (table, key) = key.split_once('.').expect("table.key");
        let table = self.table.entry(table).or_insert_with(|| Table::new().into());
        table.as_table_mut().unwrap().insert(key.to_owned(), value.into());
    }

    /// Sets how long a drain takes, at the end of the service and after a hand-over alike.
    pub fn set_drains(&mut self, time: &str) {
        self.set("gateway.drain", time);
        self.set("gateway.upgrade_drain", time);
    }

    /// Removes a key.
    pub fn unset(&mut self, key: &str) {
        let (table, key) = key.split_once('.').expect("table.key");
        self.table[table].as_table_mut().unwrap().remove(key);
    }
}

impl From<Table> for Config {
    fn from(table: Table) -> Self {
        Self { table, environment: Vec::new() }
    }
}

/// Writes a chain and its key, and returns their paths as a table. Each file appears at once: no reader sees half of it.
pub fn write_pair(workspace: &Workspace, name: &str, identity: &Identity) -> Table {
    let files = [("chain", &identity.chain_pem), ("key", &identity.key_pem)];
    let pair = files.map(|(kind, pem)| {
        let path = workspace.file(&format!("{name}.{kind}.pem"));
        let next = workspace.file("next.pem");
        std::fs::write(&next, pem).unwrap();
        if kind == "key" {
            // a key that other users may read gives a warning
            std::fs::set_permissions(&next, Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::rename(&next, &path).unwrap();
        (kind.to_owned(), Value::from(path.to_str().unwrap()))
    });
    pair.into_iter().collect()
}

/// A running gateway. Dropping it kills it.
pub struct Gateway {
    child: Child,
    monitoring: SocketAddr,
    admin: PathBuf,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the program and waits until it is ready.
    #[track_caller]
    pub fn start(workspace: &Workspace, config: &Config) -> Self {
        let gateway = Self::spawn(workspace, config);
        gateway.wait_until_ready()
    }

    /// Waits until `/readyz` answers 200.
    #[track_caller]
    pub fn wait_until_ready(self) -> Self {
        let mut gateway = self;
        let end = Instant::now() + DEADLINE;
        while gateway.ready() != Some(200) {
            let ended = gateway.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway exited, {ended:?}:\n{}", gateway.stderr());
            assert!(Instant::now() < end, "the gateway does not become ready:\n{}", gateway.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }

    /// Starts the program without waiting for it.
    pub fn spawn(workspace: &Workspace, config: &Config) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_tidegate")), workspace, config)
    }

    /// The same with another command, which gets the program's arguments.
    pub fn spawn_by(mut command: Command, workspace: &Workspace, config: &Config) -> Self {
        config.write(workspace);
        let mut child = command
            .args([Path::new("run"), Path::new("--config"), &workspace.file(CONFIG_FILE)])
            .envs(config.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reader = std::thread::spawn({
            let stderr = stderr.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    let mut text = stderr.lock().unwrap();
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        });
        let (monitoring, admin) = (workspace.monitoring(), workspace.admin_socket());
        Self { child, monitoring, admin, stderr, reader: Some(reader) }
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Sends a request to the monitoring listener; `None` if it does not listen.
    fn try_send_monitoring(&self, request: &Request) -> Option<Response> {
        try_exchange(TcpStream::connect_timeout(&self.monitoring, DEADLINE).ok()?, request)
    }

    #[track_caller]
    pub fn send_monitoring(&self, request: &Request) -> Response {
        self.try_send_monitoring(request).expect("the monitoring listener answers")
    }

    /// A request to the monitoring listener, with its address in `Host`.
    pub fn monitoring_request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).instead("Host", &self.monitoring.to_string())
    }

    #[track_caller]
    pub fn monitoring_get(&self, target: &str) -> Response {
        self.send_monitoring(&self.monitoring_request("GET", target))
    }

    /// A request to the admin listener.
    pub fn admin_request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).instead("Host", "localhost")
    }

    #[track_caller]
    pub fn send_admin(&self, request: &Request) -> Response {
        let socket = UnixStream::connect(&self.admin).expect("the admin listener listens");
        // what the test needs of a connection is the same for every stream socket
        let stream = TcpStream::from(OwnedFd::from(socket));
        try_exchange(stream, request).expect("the admin listener answers")
    }

    #[track_caller]
    pub fn admin_get(&self, target: &str) -> Response {
        self.send_admin(&self.admin_request("GET", target))
    }

    /// The admin listener, as commands name it.
    pub fn admin(&self) -> String {
        format!("unix:{}", self.admin.display())
    }

    /// Runs a command of the program against this gateway and returns its output.
    pub fn command(&self, words: &[&str]) -> Output {
        let command = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(words)
            .args(["--admin", &self.admin()])
            .output();
        command.expect("the program starts")
    }

    /// Runs `tidegate reload`; returns its exit code and its output.
    #[track_caller]
    pub fn reload(&self) -> (Option<i32>, String) {
        let done = self.command(&["reload"]);
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).expect("UTF-8"))
    }

    /// The revision that the gateway serves.
    #[track_caller]
    pub fn revision(&self) -> u64 {
        self.admin_get("/api/status").json()["revision"].as_u64().expect("a number")
    }

    /// Waits for a revision where the admin listener asks for a token.
    #[track_caller]
    pub fn wait_for_revision_at_monitoring(&self, revision: u64) {
        let now = || self.monitoring_get("/api/status").json()["revision"].as_u64();
        eventually(&format!("revision {revision}"), || now() >= Some(revision));
    }

    #[track_caller]
    pub fn wait_for_revision(&self, revision: u64) {
        eventually(&format!("revision {revision}"), || self.revision() >= revision);
    }

    /// The status of `/readyz`.
    pub fn ready(&self) -> Option<u16> {
        Some(self.try_send_monitoring(&self.monitoring_request("GET", "/readyz"))?.status())
    }

    /// The sum of all series of this metric that have these labels; 0 if there are none.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.monitoring_get("/metrics").text();
        let series = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let has = |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
            (found == name && labels.iter().all(has)).then(|| value.parse::<f64>().expect("a number"))
        });
        series.sum()
    }

    #[track_caller]
    pub fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let end = Instant::now() + DEADLINE;
        loop {
            let now = self.metric(name, labels);
            if now == value {
                return;
            }
            assert!(Instant::now() < end, "{name}{labels:?} is {now}, expected {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The id of the process that was started first.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status of the first process. Its successors may still write to its log.
    #[track_caller]
    pub fn wait_for_first_process(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the first process exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Sends SIGHUP.
    pub fn send_sighup(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// The id of the thread with this name.
    #[track_caller]
    pub fn thread_id(&self, name: &str) -> i32 {
        let threads =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().map(Result::unwrap);
        let mut named = threads.filter(|thread| {
            std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let thread = named.next().unwrap_or_else(|| panic!("a thread {name}"));
        thread.file_name().to_str().unwrap().parse().unwrap()
    }

    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sets the limit of open files. Open files stay open.
    pub fn limit_files(&self, most: u64) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let limit = Rlimit { current: Some(most), ..getrlimit(Resource::Nofile) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }

    /// Stops the process (SIGSTOP) until `resume`. Everything that happens meanwhile reaches the gateway at once.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// The exit status. The log is complete after this.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the gateway exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.reader.take().map(JoinHandle::join);
        status.unwrap()
    }

    /// Fails if a session panicked or the gateway exited.
    #[track_caller]
    pub fn assert_healthy(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the gateway exited:\n{}", self.stderr());
        self.assert_no_panic();
    }

    /// Fails if a session panicked.
    #[track_caller]
    pub fn assert_no_panic(&self) {
        // the text that the gateway's panic hook logs
        assert!(!self.stderr().contains("panic at "), "{}", self.stderr());
    }
}

/// Sends a request on a new connection; `None` if it can't be sent.
fn try_exchange(stream: TcpStream, request: &Request) -> Option<Response> {
    let mut connection = Connection::new(Box::new(stream), Side::Client);
    connection.try_send(&request.clone().with("Connection", "close").bytes()).ok()?;
    Some(connection.read_response())
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}", self.stderr());
        }
    }
}

/// What a command wrote to stdout and stderr; fails unless its exit code is `code`.
#[track_caller]
pub fn text_of(output: &Output, code: i32) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    out + &err
}
