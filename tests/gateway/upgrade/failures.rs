//! A new process that can't take over: the old one says why, and serves on as if nothing had been.

use crate::harness::connection::Link;
use crate::harness::takeover::{self, Reign};
use crate::harness::{Config, Frame, Gateway, HttpPeer, Place, Town, eventually};
use rustix::process::Signal;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

/// A gateway that was started by a link, which a test can lead elsewhere.
struct Linked {
    reign: Reign,
    link: PathBuf,
}

impl Linked {
    fn begin() -> Self {
        let place = Place::claim();
        let link = place.file("tidegate");
        symlink(env!("CARGO_BIN_EXE_tidegate"), &link).unwrap();
        let config = Config::new(&place);
        let manager = HttpPeer::start(place.manager());
        let gateway = Gateway::spawn_by(Command::new(&link), &place, &config).begun();
        Self { reign: Reign::of(Town { place, manager, gateway }, config), link }
    }

    /// In the place of the program there is a script now.
    fn script(&self, text: &str) {
        std::fs::remove_file(&self.link).ok();
        // written aside and by another process: one that is open for writing anywhere, in a child of another test too,
        // can't be run
        let written = Command::new("/bin/bash")
            .args([
                "-c",
                "printf %s \"$2\" > \"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"",
                "-",
            ])
            .args([self.link.as_os_str(), text.as_ref()])
            .status();
        assert!(written.unwrap().success());
    }

    fn repair(&self) {
        std::fs::remove_file(&self.link).ok();
        symlink(env!("CARGO_BIN_EXE_tidegate"), &self.link).unwrap();
    }

    /// Asks for a successor: there is none, the log says why in these words, and nobody notices.
    #[track_caller]
    fn fails(&self, why: &str, (client, node): &mut (Link, Link)) {
        let reports = |word: &str| self.reign.town.gateway.stderr().matches(word).count();
        let before = reports("serving on");
        self.reign.ask();
        eventually(why, || reports("serving on") > before);
        let log = self.reign.town.gateway.stderr();
        let line = log.lines().rfind(|line| line.contains("serving on")).unwrap();
        assert!(line.contains(why), "waited for {why:?}, heard {line:?}");
        assert_eq!(self.reign.serving(), self.reign.town.gateway.pid());
        client.say(Frame::text(why));
        assert_eq!(node.hear(), Frame::text(why));
        self.reign.town.get("/nowhere").assert_refusal(404, "no_such_route");
    }
}

#[test]
fn whatever_stands_in_the_place_of_the_program_the_old_one_serves_on() {
    let linked = Linked::begin();
    let origin = linked.reign.town.node(1);
    let mut session = linked.reign.town.relay(&origin);
    std::fs::remove_file(&linked.link).unwrap();
    linked.fails("No such file", &mut session);
    linked.script("no program at all");
    linked.fails("Exec format error", &mut session);
    std::fs::set_permissions(&linked.link, std::fs::Permissions::from_mode(0o644)).unwrap();
    linked.fails("Permission denied", &mut session);
    linked.script("#!/bin/sh\nexit 3\n");
    linked.fails("exit status: 3", &mut session);
    linked.script("#!/bin/sh\nkill -9 $$\n");
    linked.fails("signal: 9", &mut session);
    linked.script("#!/bin/sh\necho thanks\n");
    linked.fails("ended before it was ready", &mut session);
    linked.repair();
    assert_ne!(linked.reign.upgrade(), linked.reign.town.gateway.pid());
}

#[test]
fn a_configuration_that_can_not_be_served_is_refused_by_the_new_process() {
    let linked = Linked::begin();
    let origin = linked.reign.town.node(1);
    let mut session = linked.reign.town.relay(&origin);
    let (good, second) = (linked.reign.town.place.gateway(), linked.reign.town.place.second());
    linked.reign.configure(|config| config.set("origins.strickt", true));
    linked.fails("1 problem", &mut session);
    linked.reign.configure(|config| config.unset("origins.strickt"));
    let taken = std::net::TcpListener::bind(second).unwrap();
    linked.reign.configure(|config| {
        config.set("gateway.listen", vec![good.to_string(), second.to_string()]);
        // it binds these too before it fails: who connects must not end up there
        config.set("gateway.workers", 6);
    });
    linked.fails("another program listens there", &mut session);
    for _ in 0..30 {
        linked.reign.town.get("/nowhere").assert_refusal(404, "no_such_route");
    }
    drop(taken);
    linked.reign.upgrade();
}

#[test]
fn a_new_process_that_takes_its_time_hinders_nothing() {
    let linked = Linked::begin();
    let origin = linked.reign.town.node(1);
    let (mut client, mut node) = linked.reign.town.relay(&origin);
    linked.script("#!/bin/sh\nwhile :; do sleep 0.05; done\n");
    linked.reign.ask();
    linked.reign.wait_for_word("starting a new process");
    linked.reign.ask();
    linked.reign.wait_for_word("is being started already");
    client.say(Frame::text("still here"));
    assert_eq!(node.hear(), Frame::text("still here"));
    assert_eq!(linked.reign.running().len(), 2);
    // the end of the old one is the end of the new one too: nobody would be left to let it go
    takeover::signal(linked.reign.serving(), Signal::TERM);
    client.told(1001);
    client.part(1001);
    let mut linked = linked;
    assert_eq!(linked.reign.town.gateway.retired().code(), Some(0));
    eventually("nothing is left", || linked.reign.running().is_empty());
}

#[test]
fn a_new_process_that_is_killed_before_its_turn_is_no_harm() {
    let linked = Linked::begin();
    let origin = linked.reign.town.node(1);
    let mut session = linked.reign.town.relay(&origin);
    // it says who it is, and comes no further
    linked.script("#!/bin/bash\nLINE=${TIDEGATE_HANDOVER##*report=}; eval \"echo pid $$ >&${LINE%%:*}\"; exec sleep 60\n");
    linked.reign.ask();
    let mut pid = None;
    eventually("the new process", || {
        let first = linked.reign.town.gateway.pid();
        pid = takeover::children(first).first().copied();
        pid.is_some_and(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
        })
    });
    linked.reign.ask();
    linked.reign.wait_for_word("is being started already");
    takeover::signal(pid.unwrap(), Signal::KILL);
    linked.reign.wait_for_word("serving on");
    session.0.say(Frame::text("still here"));
    assert_eq!(session.1.hear(), Frame::text("still here"));
    linked.repair();
    linked.reign.upgrade();
}
