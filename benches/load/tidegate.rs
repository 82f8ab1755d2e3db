//! tidegate as a gateway under test. The only file of the load that knows one by name.

use super::Result;
use super::target::{Target, free_address};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What is asked of the stream manager; `{name}` is the stream.
pub const QUESTION: &str = "/streammanager/api/4.0/event/live/{name}?action=broadcast";

/// What one run of it is made of.
pub struct Build<'b> {
    pub binary: &'b Path,
    pub chain: PathBuf,
    pub key: PathBuf,
    pub node: SocketAddr,
    pub manager: SocketAddr,
    pub workers: usize,
    /// Longest message, as the configuration has it.
    pub message_max: &'b str,
}

impl Build<'_> {
    /// Writes what an operator would write, but for what only a bench has: all clients come from one address, and answers
    /// live as long as the run.
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
        fs::write(config, text)?;
        Ok(Target {
            name: name.to_owned(),
            // as its unit starts it
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
