//! Processes that take over from each other: who serves, who still drains, and that nobody is left behind.

use super::{Config, DEADLINE, TestBed, Workspace, eventually};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

/// A town whose gateway may be followed by another one.
pub struct Takeover {
    pub bed: TestBed,
    config: std::sync::Mutex<Config>,
}

impl Takeover {
    pub fn start(change: impl FnOnce(&mut Config, &Workspace)) -> Self {
        Self::over(|workspace| {
            let mut config = Config::new(workspace);
            // a test that holds an old process back would lose it after that
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

    /// With a gateway that was started in a way of its own.
    pub fn from_parts(bed: TestBed, config: Config) -> Self {
        // who loses its parent becomes a child of ours, as it would become one of systemd's
        set_child_subreaper(Some(rustix::process::getpid())).expect("Linux");
        Self { bed, config: config.into() }
    }

    /// What the next process will read.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.lock().unwrap();
        change(&mut config);
        config.write(&self.bed.workspace);
    }

    /// Who serves now, by its own word.
    #[track_caller]
    pub fn serving_pid(&self) -> u32 {
        let status = self.bed.gateway.admin_get("/api/status").json();
        u32::try_from(status["pid"].as_u64().expect("a process id")).unwrap()
    }

    /// Asks whoever serves for a successor.
    #[track_caller]
    pub fn request_successor(&self) {
        signal(self.serving_pid(), Signal::USR2);
    }

    /// Asks for a successor, and waits until it serves.
    #[track_caller]
    pub fn upgrade(&self) -> u32 {
        // two may drain, a third is not begun
        eventually("an old process ends", || self.running_pids().len() <= 2);
        let before = self.serving_pid();
        signal(before, Signal::USR2);
        let end = Instant::now() + 2 * DEADLINE;
        let mut now = before;
        while now == before || self.bed.gateway.ready() != Some(200) {
            assert!(Instant::now() < end, "nobody takes over");
            std::thread::sleep(std::time::Duration::from_millis(5));
            now = self.serving_pid();
        }
        now
    }

    /// The log has a line with this.
    #[track_caller]
    pub fn wait_for_log(&self, word: &str) {
        eventually(word, || self.bed.gateway.stderr().contains(word));
    }

    /// The exit code of a process that is not the first one.
    #[track_caller]
    pub fn wait_for_exit_of(&self, pid: u32) -> Option<i32> {
        let mut code = None;
        eventually("an exit", || {
            let ended = waitpid(Some(raw(pid)), WaitOptions::NOHANG).expect("it is our child");
            code = ended.map(|(_, status)| status.exit_status());
            code.is_some()
        });
        code.flatten()
    }
}

impl Takeover {
    /// Whoever runs with this place's files, known to us or not.
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

/// Whether it is there and no zombie.
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
