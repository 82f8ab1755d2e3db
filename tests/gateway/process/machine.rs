//! What a machine gives: one without IPv6.

use crate::harness::netns_link::NetnsLinks;
use crate::harness::{ClientBuilder, Config, Gateway, Request, TestBed, Workspace, eventually, skipped};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// The kernel gives this thread, and the processes that it starts, no IPv6 socket any more. The error is that of a kernel that
/// was started with `ipv6.disable=1`.
fn refuse_ipv6() {
    let arch = std::env::consts::ARCH.try_into().expect("a filter for this CPU");
    let family =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_INET6 as u64).unwrap();
    let rules = [(libc::SYS_socket, vec![SeccompRule::new(vec![family]).unwrap()])].into_iter().collect();
    let refused = SeccompAction::Errno(libc::EAFNOSUPPORT as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).expect("a filter");
    let error = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect_err("the filter works");
    assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
}

/// A gateway with the default addresses serves a client over IPv4, and its log has a warning with `words`.
fn assert_serves_ipv4(words: &str) {
    let bed = TestBed::with(|config, _| config.unset("gateway.listen"));
    let mut client = ClientBuilder::to((Ipv4Addr::LOCALHOST, 443).into()).connect_tls();
    client.send_request(&Request::get("/nowhere"));
    client.read_response().assert_refusal(404, "no_such_route");
    eventually("the warning", || {
        let log = bed.gateway.stderr();
        log.contains("gateway.listen: expected") && log.contains(words) && log.contains("only IPv4 is served")
    });
}

#[test]
fn the_default_addresses_serve_ipv4_on_a_kernel_without_ipv6_and_the_log_says_so() {
    // in a namespace port 443 is free
    let Some(links) = NetnsLinks::create("a kernel without IPv6") else { return };
    links.gateway.inside(|| {
        refuse_ipv6();
        assert_serves_ipv4("this kernel has no IPv6");
    });
}

#[test]
fn where_ipv6_is_switched_off_the_default_addresses_serve_ipv4_and_the_log_says_so() {
    let Some(links) = NetnsLinks::create("IPv6 that is switched off") else { return };
    let done = links.gateway.inside(|| {
        if fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").is_err() {
            return false;
        }
        assert_serves_ipv4("no interface has an IPv6 address");
        let (code, log) = failed_start(&["[::1]:8443"]);
        assert_eq!(code, Some(71), "{log}");
        assert!(log.contains("that IPv6 address"), "{log}");
        true
    });
    if !done {
        skipped("IPv6 that is switched off", "the settings of a namespace can't be written here");
    }
}

/// A start that fails with these addresses: its exit code and log.
fn failed_start(listen: &[&str]) -> (Option<i32>, String) {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.set("gateway.listen", listen.to_vec());
    let mut gateway = Gateway::spawn(&workspace, &config);
    (gateway.wait_for_exit().code(), gateway.stderr())
}

#[test]
fn a_written_ipv6_address_ends_the_start_on_a_kernel_without_ipv6() {
    let refused = std::thread::spawn(|| {
        refuse_ipv6();
        failed_start(&["127.0.0.1:8443", "[::]:8443"])
    });
    let (code, log) = refused.join().expect("the thread does not panic");
    assert_eq!(code, Some(71), "{log}");
    assert!(log.contains("gateway.listen: expected IPv4 addresses, or a kernel with IPv6"), "{log}");
    assert!(log.contains("[::]:8443, but this kernel has no IPv6"), "{log}");
    assert!(!log.contains("127.0.0.1:8443,"), "{log}");
}
