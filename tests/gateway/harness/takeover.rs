//! Processes that take over from each other: which one serves, which ones still drain, and that none is left behind.

use super::{Config, DEADLINE, TestBed, Workspace, eventually};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

/// A test bed whose gateway may be followed by a successor.
pub struct Takeover {
    pub bed: TestBed,
    config: std::sync::Mutex<Config>,
}

impl Takeover {
    pub fn start(change: impl FnOnce(&mut Config, &Workspace)) -> Self {
        Self::over(|workspace| {
            let mut config = Config::new(workspace);
            // shorter values would end sessions that a test keeps open in an old process
            config.set("websocket.close_timeout", "60s");
            change(&mut config, workspace);
            config
        })
    }

    fn over(configure: impl FnOnce(&Workspace) -> Config) -> Self {
        let workspace = Workspace::claim();
        let config = configure(&workspace);
        let manager = super::HttpPeer::start(workspace.manager());
        let gateway = super::Gateway::start(&workspace, &config);
        Self::from_parts(TestBed { workspace, manager, gateway }, config)
    }

    /// With a gateway that the test started itself.
    pub fn from_parts(bed: TestBed, config: Config) -> Self {
        // an orphan becomes a child of this process, as it would become one of systemd
        set_child_subreaper(Some(rustix::process::getpid())).expect("Linux");
        Self { bed, config: config.into() }
    }

    /// Changes the configuration that the next process will read.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.lock().unwrap();
        change(&mut config);
        config.write(&self.bed.workspace);
    }

    /// The id of the process that serves now, from its own status.
    #[track_caller]
    pub fn serving_pid(&self) -> u32 {
        let status = self.bed.gateway.admin_get("/api/status").json();
        u32::try_from(status["pid"].as_u64().expect("a process id")).unwrap()
    }

    /// Asks the serving process for a successor (SIGUSR2).
    #[track_caller]
    pub fn request_successor(&self) {
        signal(self.serving_pid(), Signal::USR2);
    }

    /// Asks for a successor, and waits until it serves. Returns its process id.
    #[track_caller]
    pub fn upgrade(&self) -> u32 {
        // while two processes drain, no third one is started
        eventually("an old process exits", || self.running_pids().len() <= 2);
        let before = self.serving_pid();
        signal(before, Signal::USR2);
        let end = Instant::now() + 2 * DEADLINE;
        let mut now = before;
        while now == before || self.bed.gateway.ready() != Some(200) {
            assert!(Instant::now() < end, "no process takes over");
            std::thread::sleep(std::time::Duration::from_millis(5));
            now = self.serving_pid();
        }
        now
    }

    /// Ends a process that drains already, by two signals: the first one only asks for the drain.
    #[track_caller]
    pub fn end_at_once(&self, pid: u32) {
        let heard = || {
            let log = self.bed.gateway.stderr();
            log.matches("draining now").count() + log.matches("the drain is under way already").count()
        };
        let before = heard();
        signal(pid, Signal::TERM);
        eventually("the first signal is heard", || heard() > before);
        signal(pid, Signal::TERM);
    }

    /// Waits for this text in the log.
    #[track_caller]
    pub fn wait_for_log(&self, word: &str) {
        eventually(word, || self.bed.gateway.stderr().contains(word));
    }

    /// Waits for the exit of a process that is not the first one; returns its exit code.
    #[track_caller]
    pub fn wait_for_exit_of(&self, pid: u32) -> Option<i32> {
        let mut code = None;
        eventually("an exit", || {
            let ended = waitpid(Some(raw(pid)), WaitOptions::NOHANG).expect("it is a child of the test");
            code = ended.map(|(_, status)| status.exit_status());
            code.is_some()
        });
        code.flatten()
    }
}

impl Takeover {
    /// All running processes with files of this workspace, known to the test or not.
    pub fn running_pids(&self) -> Vec<u32> {
        let folder = self.bed.workspace.file("");
        let ours =
            |pid: &u32| mentions(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(), &folder);
        processes().filter(ours).collect()
    }
}

impl Drop for Takeover {
    fn drop(&mut self) {
        for pid in self.running_pids().into_iter().filter(|pid| *pid != self.bed.gateway.pid()) {
            kill_process(raw(pid), Signal::KILL).ok();
            waitpid(Some(raw(pid)), WaitOptions::empty()).ok();
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    processes().filter(|child| try_parent(*child) == Some(pid)).collect()
}

fn mentions(line: &[u8], folder: &Path) -> bool {
    let folder = folder.as_os_str().as_bytes();
    line.windows(folder.len()).any(|part| part == folder)
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("a process id")
}

#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    kill_process(raw(pid), signal).expect("it runs");
}

/// Whether the process exists and is no zombie.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The parent of a process.
pub fn parent(pid: u32) -> u32 {
    try_parent(pid).expect("it runs")
}

fn try_parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}
