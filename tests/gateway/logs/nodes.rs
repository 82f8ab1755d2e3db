//! A node that fails is a few lines, however many sessions it has.

use crate::harness::{Request, TestBed, eventually};

/// The lines of the log that contain all of `words`.
fn lines(bed: &TestBed, words: &[&str]) -> Vec<String> {
    let log = bed.gateway.stderr();
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).map(str::to_owned).collect()
}

#[test]
fn a_node_that_dies_with_its_sessions_is_one_warning() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    // enough that every worker has some
    let (clients, nodes): (Vec<_>, Vec<_>) = (0..40).map(|_| bed.relay(&listener)).unzip();
    nodes.into_iter().for_each(crate::harness::Connection::reset);
    for mut client in clients {
        client.expect_close(1014);
        client.answer_close(1014);
    }
    let name = format!("node {}:5080 ended", listener.ip());
    eventually("the warning", || !lines(&bed, &[&name]).is_empty());
    let warnings = lines(&bed, &[&name]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(" WARN ") && warnings[0].contains("connection reset"), "{warnings:?}");
    assert!(warnings[0].contains("ended 40 sessions"), "{warnings:?}");
}

#[test]
fn sessions_that_end_as_they_should_are_no_warning() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for _ in 0..4 {
        let (mut client, mut node) = bed.relay(&listener);
        node.send_frame(crate::harness::Frame::close(1000, ""));
        client.expect_close(1000);
        client.answer_close(1000);
        node.expect_close(1000);
        drop(node);
        client.expect_end();
        let (client, mut node) = bed.relay(&listener);
        drop(client);
        node.expect_close(1001);
    }
    // longer than ended sessions are summed
    std::thread::sleep(std::time::Duration::from_millis(1600));
    assert_eq!(lines(&bed, &["WARN", "ended"]), [""; 0]);
}

#[test]
fn a_node_that_refuses_is_one_warning_and_its_return_one_line() {
    let bed = TestBed::start();
    let name = format!("node {}:5080 ", bed.ip(1));
    for _ in 0..20 {
        bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(502, "origin_refused");
    }
    let warnings = lines(&bed, &[&name, "does not take requests"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(" WARN ") && warnings[0].contains("connection refused"), "{warnings:?}");
    assert_eq!(lines(&bed, &["WARN", &bed.ip(1).to_string()]).len(), 1, "no other warning names it");
    let refused = lines(&bed, &["refused: ", "origin_refused"]);
    assert!(refused.len() == 1 && refused[0].contains(&format!("node={}", bed.ip(1))), "{refused:?}");
    let listener = bed.node(1);
    for _ in 0..4 {
        bed.relay(&listener);
    }
    eventually("the node serves again", || !lines(&bed, &[&name, "takes requests again"]).is_empty());
    let served = lines(&bed, &[&name, "takes requests again"]);
    assert!(served.len() == 1 && served[0].contains("failed=20"), "{served:?}");
}
