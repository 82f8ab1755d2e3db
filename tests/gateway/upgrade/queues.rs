//! Clients that wait in the queue of a listener are accepted, whichever process owns the listener afterwards.

use crate::harness::predecessor::listener;
use crate::harness::systemd::{Activation, ServiceManager};
use crate::harness::takeover::Takeover;
use crate::harness::{ClientBuilder, Config, HttpPeer, Request, TestBed, Workspace, eventually};
use std::net::{SocketAddr, TcpStream};

/// Connects this many clients. Only the kernel has accepted them.
fn queue_up(address: SocketAddr, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| ClientBuilder::to(address).connect_tcp()).collect()
}

/// Checks that each of them is served.
#[track_caller]
fn all_are_served(address: SocketAddr, waiting: Vec<TcpStream>) {
    for tcp in waiting {
        let mut client = ClientBuilder::to(address).handshake_on(tcp);
        client.exchange(&Request::get("/nowhere")).assert_refusal(404, "no_such_route");
    }
}

#[test]
fn all_inherited_accept_queues_are_served() {
    let workspace = Workspace::claim();
    let (served, dropped) = (workspace.gateway(), workspace.second_gateway());
    // more sockets than workers, and one with an address that is not configured any more
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
    eventually("the address is closed", || TcpStream::connect(dropped).is_err());
    drop(bed);
}

#[test]
fn the_number_of_workers_may_grow_and_shrink() {
    let takeover = Takeover::start(|config, _| config.set_drains("1s"));
    let address = takeover.bed.workspace.gateway();
    for workers in [4, 1, 3] {
        takeover.configure(|config| config.set("gateway.workers", workers));
        takeover.upgrade();
        let status = takeover.bed.gateway.admin_get("/api/status").json();
        assert_eq!(status["workers"].as_array().unwrap().len(), workers as usize);
        // the kernel spreads connections over all sockets: one that no worker accepts from would show
        all_are_served(address, queue_up(address, 60));
    }
}

#[test]
fn listen_addresses_may_be_added_and_removed() {
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
    eventually("the address is closed", || TcpStream::connect(second).is_err());
}

#[test]
fn a_restart_by_systemd_refuses_no_client() {
    let workspace = Workspace::claim();
    let address = workspace.gateway();
    let config = Config::new(&workspace);
    let mut manager = ServiceManager::listen(workspace.file("notify"));
    let peer = HttpPeer::start(workspace.manager());
    let gateway = manager.service().start(&workspace, &config);
    manager.wait_for("READY=1");
    manager.wait_until("both sockets are stored", |manager| manager.stored.len() == 2);
    let mut bed = TestBed { workspace, manager: peer, gateway };
    // an open session, so that the drain lasts until the new clients have connected
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
    // a crash works the same way
    drop(gateway);
    let waiting = queue_up(address, 60);
    let _gateway = manager.service().start(&workspace, &config);
    all_are_served(address, waiting);
    drop(peer);
}

#[test]
fn sockets_that_are_not_served_any_more_are_not_stored_any_more() {
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
    manager.wait_until("only served sockets are stored", |manager| manager.stored.len() == 2);
    eventually("the address is closed", || TcpStream::connect(second).is_err());
}
