//! The stream manager's listener: serves connections, records questions and applies the knobs. The answers come from the
//! module `answers`.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::answers::{Answers, error};
use crate::config::{LocationKnob, ManagerKnobs, Page};
use crate::directory::Directory;
use crate::http::{self, Head};
use crate::node::Node;
use crate::record::{Count, Log, Question};

/// State that all connections of the stream manager share.
pub(crate) struct Manager {
    pub(crate) answers: Answers,
    pub(crate) directory: Arc<Directory>,
    pub(crate) knobs: Mutex<ManagerKnobs>,
    pub(crate) questions: Log<Question>,
    pub(crate) asked: Count,
    pub(crate) connections: Count,
    pub(crate) pages: Vec<Page>,
    pub(crate) nodes: Vec<Arc<Node>>,
}

impl Manager {
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            // No descriptor is free, or the connection ended in the queue: the next accept may succeed.
            let Ok((stream, from)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            self.connections.up();
            let manager = Arc::clone(&self);
            tokio::spawn(async move { manager.connection(stream, from).await });
        }
    }

    /// Serves one connection until it closes. An error ends only this connection and is not reported.
    async fn connection(&self, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut rest = Vec::new();
        while let Some(head) = http::read_head(&mut stream, &mut rest, from).await? {
            let page = self.pages.iter().find(|page| page.path == head.path());
            if let Some(status) = self.control(&head) {
                let keep = head.keeps_alive();
                stream.write_all(&http::response(status, "text/plain", b"", keep)).await?;
                if keep {
                    continue;
                }
                return Ok(());
            }
            let knobs = self.knobs(page.is_none());
            if page.is_none() {
                self.asked.up();
                self.questions.push(Question { head: head.clone(), at: Instant::now() });
                tokio::time::sleep(knobs.delay).await;
            }
            if knobs.hang_up {
                return Ok(());
            }
            if let Some(raw) = &knobs.raw {
                return stream.write_all(raw).await;
            }
            let keep = !knobs.no_keep_alive && head.keeps_alive();
            let response = match page {
                Some(page) => http::response(200, &page.content_type, &page.body, keep),
                None => self.respond(&head, &knobs, keep),
            };
            stream.write_all(&response).await?;
            if !keep {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lets tests in another process change knobs by `POST /sandbox/…`. Returns the status of the answer, or None when
    /// `head` is not such a request.
    fn control(&self, head: &Head) -> Option<u16> {
        let command = head.path().strip_prefix("/sandbox/").filter(|_| head.method == "POST")?;
        let node = |index: &str| index.parse().ok().and_then(|index: usize| self.nodes.get(index));
        let done = match *command.split('/').collect::<Vec<_>>() {
            ["named-next", address] => {
                let mut knobs = self.knobs.lock().unwrap_or_else(PoisonError::into_inner);
                knobs.named_next.push_back(address.to_owned());
                true
            }
            ["nodes", index, "down"] => node(index).map(|node| node.down()).is_some(),
            ["nodes", index, "location", style] => match (node(index), LocationKnob::named(style)) {
                (Some(node), Some(location)) => {
                    node.change_knobs(|knobs| knobs.whip.location = location);
                    true
                }
                _ => false,
            },
            ["nodes", index, "up"] => node(index).map(|node| node.up()).is_some(),
            _ => false,
        };
        Some(if done { 200 } else { 404 })
    }

    /// Returns the knobs for one request. A question takes the next address out of `named_next`.
    fn knobs(&self, question: bool) -> ManagerKnobs {
        let mut knobs = self.knobs.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if question { knobs.named_next.pop_front() } else { None };
        let mut now = knobs.clone();
        now.named = next.or(now.named);
        now
    }

    fn respond(&self, head: &Head, knobs: &ManagerKnobs, keep: bool) -> Vec<u8> {
        let (status, body) = match (knobs.status, head.method.as_str()) {
            (Some(status), _) => error(status, "status set by a knob"),
            (None, "GET") => self.answers.answer(head.path(), head.query(), &self.directory, knobs),
            (None, _) => error(405, "expected the method GET"),
        };
        let body = knobs.body.clone().unwrap_or_else(|| body.to_string());
        http::response(status, &knobs.content_type, body.as_bytes(), keep)
    }
}
