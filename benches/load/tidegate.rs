//! tidegate as a gateway under test. The only file of the load that depends on tidegate.

use super::Result;
use super::target::{Target, free_address};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Request target of a question to the stream manager; `{name}` is the stream.
pub const QUESTION: &str = "/streammanager/api/4.0/event/live/{name}?action=broadcast";

/// The parts of one run of tidegate.
pub struct Build<'b> {
    pub binary: &'b Path,
    pub chain: PathBuf,
    pub key: PathBuf,
    pub node: SocketAddr,
    pub manager: SocketAddr,
    pub workers: usize,
    /// The value of `[websocket].message_max`.
    pub message_max: &'b str,
}

impl Build<'_> {
    /// Writes a configuration like an operator's, except that the limits by client address are off, because all clients have
    /// the same address, and that answers are stored for longer than the run.
    pub fn target(&self, name: &str, config: &Path) -> Result<Target> {
        let address = free_address()?;
        let mut text = format!("[gateway]\nlisten = [\"{address}\"]\nworkers = {}\n", self.workers);
        // writing into a String can't fail
        let _ = write!(
            text,
            "\n[[tls.certificates]]\nchain = {:?}\nkey = {:?}\n\n\
             [stream_manager]\nurl = \"http://{}\"\n\n\
             [answers]\nbroadcast_ttl = \"15m\"\n\n\
             [origins]\nport = {}\nnetworks = [\"{}\"]\n\n\
             [websocket]\nmessage_max = \"{}\"\n\n\
             [limits]\nsessions_per_ip = \"off\"\n\n[log]\nlevel = \"warn\"\n\n[admin]\nlisten = \"off\"\n",
            self.chain,
            self.key,
            self.manager,
            self.node.port(),
            self.node.ip(),
            self.message_max,
        );
        // a build before 0.2 has no [monitoring]
        fs::write(config, format!("{text}\n[monitoring]\nlisten = \"off\"\n"))?;
        let mut check = Command::new(self.binary);
        check.arg("check").arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        if !check.status()?.success() {
            fs::write(config, text)?;
        }
        Ok(Target {
            name: name.to_owned(),
            // the environment of the systemd unit
            command: vec![
                "env".into(),
                "MIMALLOC_PURGE_DELAY=0".into(),
                self.binary.into(),
                "run".into(),
                "--config".into(),
                config.into(),
            ],
            address,
            tls: true,
            socket_path: format!("/streammanager/?id={{script}}&host={}&app=live", self.node.ip()),
            answer_path: Some(QUESTION.replace("{name}", "stream1")),
        })
    }
}
