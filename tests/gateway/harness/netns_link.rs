//! Links that can be cut: the gateway, its clients and its nodes in network namespaces of their own, joined by veth
//! pairs.
//!
//! On loopback the kernel always reports the death of a peer. Only here can a peer vanish silently. The namespaces have
//! no names once they are made, so they end with their last thread, however the test ends.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it that runs the given jobs.
pub struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Moves a thread into the namespace of this name.
    fn enter(name: &str) -> Self {
        let file = std::fs::File::open(format!("/run/netns/{name}")).expect("the namespace was just made");
        let (jobs, inbox) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Runs `work` inside the namespace: sockets that it opens and programs that it starts stay there.
    #[track_caller]
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, done) = channel();
        let job = Box::new(move || drop(sender.send(work())));
        self.jobs.as_ref().unwrap().send(job).expect("the thread of the namespace runs");
        done.recv().expect("the work inside the namespace did not panic")
    }

    /// Runs `ip` with these arguments inside the namespace.
    #[track_caller]
    pub fn ip(&self, words: &'static str) {
        self.inside(move || ip(words));
    }

    /// Takes the only link down. The other end receives nothing more and no error.
    pub fn unplug(&self) {
        self.ip("link set eth0 down");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        self.thread.take().map(JoinHandle::join);
    }
}

/// The gateway's namespace, with a link to the clients' one and a link to the nodes' one.
pub struct NetnsLinks {
    pub gateway: Namespace,
    pub clients: Namespace,
    pub nodes: Namespace,
}

impl NetnsLinks {
    /// The gateway's address for its clients.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
    /// The node's address.
    pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);

    /// Creates namespaces and links. Returns `None`, and reports the test as skipped, where namespaces are not available.
    pub fn create(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let run = format!("tidegate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = ["g", "c", "n"].map(|role| format!("{run}-{role}"));
        let made: Vec<_> = names.iter().filter(|name| try_ip(&format!("netns add {name}"))).collect();
        let links = (made.len() == names.len()).then(|| {
            let [gateway, clients, nodes] = &names;
            for (far, number) in [(clients, 1), (nodes, 2)] {
                ip(&format!("-n {far} link add eth0 type veth peer name eth{number} netns {gateway}"));
                ip(&format!("-n {gateway} address add 10.77.{number}.1/24 dev eth{number}"));
                ip(&format!("-n {far} address add 10.77.{number}.2/24 dev eth0"));
                ip(&format!("-n {gateway} link set eth{number} up"));
                ip(&format!("-n {far} link set eth0 up"));
            }
            for name in &names {
                ip(&format!("-n {name} link set lo up"));
            }
            let [gateway, clients, nodes] = names.each_ref().map(|name| Namespace::enter(name));
            let links = Self { gateway, clients, nodes };
            // all threads are inside before the names are deleted
            for network in [&links.gateway, &links.clients, &links.nodes] {
                network.inside(|| ());
            }
            links
        });
        for name in made {
            ip(&format!("netns delete {name}"));
        }
        if links.is_none() {
            super::skipped(test, "no network namespaces here (they need root and `ip`)");
        }
        links
    }
}

fn try_ip(words: &str) -> bool {
    Command::new("ip").args(words.split(' ')).output().is_ok_and(|output| output.status.success())
}

#[track_caller]
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}
