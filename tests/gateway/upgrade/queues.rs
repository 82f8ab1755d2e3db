//! Who waits in the queue of a listener is let in, whoever that listener belongs to afterwards.

use crate::harness::systemd::{Activation, ServiceManager};
use crate::harness::takeover::Takeover;
use crate::harness::{ClientBuilder, Config, HttpPeer, Request, TestBed, Workspace, eventually};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

/// A listener that shares its port, as a gateway's do.
fn listener(address: SocketAddr) -> OwnedFd {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

/// So many clients connect; the kernel has let them in, nobody else.
fn queue_up(address: SocketAddr, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| ClientBuilder::to(address).connect_tcp()).collect()
}

/// Each of them is served.
#[track_caller]
fn all_are_served(address: SocketAddr, waiting: Vec<TcpStream>) {
    for tcp in waiting {
        let mut client = ClientBuilder::to(address).handshake_on(tcp);
        client.exchange(&Request::get("/nowhere")).assert_refusal(404, "no_such_route");
    }
}

#[test]
fn all_queues_are_emptied_whoever_owns_them() {
    let workspace = Workspace::claim();
    let (served, dropped) = (workspace.gateway(), workspace.second_gateway());
    // more sockets than workers, and one of an address that is not served any more
    let sockets = [served, served, served, dropped].map(listener);
    let waiting = [queue_up(served, 60), queue_up(dropped, 60)];
    let config = Config::new(&workspace);
    let names = ["tidegate", "tidegate", "tidegate.socket", "tidegate"];
    let service = Activation::new(&sockets, &names, ":");
    drop(sockets);
    let gateway = service.start(&workspace, &config);
    let manager = HttpPeer::start(workspace.manager());
    let bed = TestBed { workspace, manager, gateway };
    let [at_served, at_dropped] = waiting;
    all_are_served(served, at_served);
    all_are_served(dropped, at_dropped);
    all_are_served(served, queue_up(served, 60));
    eventually("the address is given up", || TcpStream::connect(dropped).is_err());
    drop(bed);
}

#[test]
fn workers_may_become_more_and_fewer() {
    let takeover = Takeover::start(|config, _| config.set("gateway.drain", "1s"));
    let address = takeover.bed.workspace.gateway();
    for workers in [4, 1, 3] {
        takeover.configure(|config| config.set("gateway.workers", workers));
        takeover.upgrade();
        let status = takeover.bed.gateway.admin_get("/api/status").json();
        assert_eq!(status["workers"].as_array().unwrap().len(), workers as usize);
        // the kernel spreads them over all sockets there are: one that nobody accepts from would show
        all_are_served(address, queue_up(address, 60));
    }
}

#[test]
fn addresses_may_come_and_go() {
    let takeover = Takeover::start(|_, _| {});
    let (first, second) = (takeover.bed.workspace.gateway(), takeover.bed.workspace.second_gateway());
    takeover.configure(|config| config.set("gateway.listen", vec![first.to_string(), second.to_string()]));
    takeover.upgrade();
    all_are_served(first, queue_up(first, 10));
    all_are_served(second, queue_up(second, 10));
    let mut inside = ClientBuilder::to(second).connect_tls();
    takeover.configure(|config| config.set("gateway.listen", vec![first.to_string()]));
    takeover.upgrade();
    inside.send_request(&Request::get("/nowhere"));
    inside.read_response().assert_refusal(404, "no_such_route");
    all_are_served(first, queue_up(first, 10));
    eventually("the address is given up", || TcpStream::connect(second).is_err());
}

#[test]
fn a_restart_by_systemd_refuses_nobody() {
    let workspace = Workspace::claim();
    let address = workspace.gateway();
    let config = Config::new(&workspace);
    let mut manager = ServiceManager::listen(workspace.file("notify"));
    let peer = HttpPeer::start(workspace.manager());
    let gateway = manager.service().start(&workspace, &config);
    manager.wait_for("READY=1");
    manager.wait_until("both sockets are stored", |manager| manager.stored.len() == 2);
    let mut bed = TestBed { workspace, manager: peer, gateway };
    // somebody to wait for, so that there is a drain to come into
    let listener = bed.node(1);
    let (mut client, _node) = bed.relay(&listener);
    bed.gateway.terminate();
    client.expect_close(1001);
    let waiting = queue_up(address, 60);
    client.answer_close(1001);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    let TestBed { workspace, manager: peer, .. } = bed;
    let gateway = manager.service().start(&workspace, &config);
    all_are_served(address, waiting);
    // a crash is no other thing
    drop(gateway);
    let waiting = queue_up(address, 60);
    let _gateway = manager.service().start(&workspace, &config);
    all_are_served(address, waiting);
    drop(peer);
}

#[test]
fn what_is_not_served_any_more_is_not_stored_any_more() {
    let workspace = Workspace::claim();
    let (first, second) = (workspace.gateway(), workspace.second_gateway());
    let mut config = Config::new(&workspace);
    let mut manager = ServiceManager::listen(workspace.file("notify"));
    let _peer = HttpPeer::start(workspace.manager());
    config.set("gateway.listen", vec![first.to_string(), second.to_string()]);
    let gateway = manager.service().start(&workspace, &config);
    manager.wait_until("all sockets are stored", |manager| manager.stored.len() == 4);
    drop(gateway);
    let waiting = [queue_up(first, 20), queue_up(second, 20)];
    config.set("gateway.listen", vec![first.to_string()]);
    let _gateway = manager.service().start(&workspace, &config);
    let [at_first, at_second] = waiting;
    all_are_served(first, at_first);
    all_are_served(second, at_second);
    manager.wait_until("only those that are served", |manager| manager.stored.len() == 2);
    eventually("the address is given up", || TcpStream::connect(second).is_err());
}
