"""Start, reload, restart, stop."""
import re

import peers
import site_config
from container import UNIT


def the_shipped_unit_leaves_little_exposed(box):
    said = box.run("systemd-analyze", "security", UNIT)[1]
    exposure = float(re.search(r"Overall exposure level for .*: ([0-9.]+)", said)[1])
    assert exposure <= 1.6, said


def a_reload_succeeds_and_disturbs_no_session(box):
    session = peers.Session()
    box.write(site_config.FILE, site_config.TEXT.replace('"10s"', '"9s"'))
    with peers.Load():
        box.run("systemctl", "reload", UNIT)
        session.echo("still here")
    assert box.show("ActiveState") == "active"


def a_refused_reload_fails_and_changes_nothing(box):
    session, pid = peers.Session(), box.main_pid()
    since = box.cursor()
    box.write(site_config.FILE, site_config.TEXT + "\n[origins.strickt]\n")
    box.fails("systemctl", "reload", UNIT)
    assert "strickt" in box.journal(since)
    assert (box.main_pid(), box.show("ActiveState"), box.show("SubState")) == (pid, "active", "running")
    session.echo("still here")
    peers.question()
    box.write(site_config.FILE, site_config.TEXT)
    box.run("systemctl", "reload", UNIT)
    assert box.show("Result") == "success"


def sighup_reloads_too(box):
    since = box.cursor()
    box.run("systemctl", "kill", "--kill-who=main", "--signal=HUP", UNIT)
    box.eventually("the reload", lambda: "reload" in box.journal(since))
    box.eventually("it is running again", lambda: box.show("SubState") == "running")


def a_restart_fails_no_request(box):
    with peers.Load() as load:
        for _ in range(2):
            pid = box.main_pid()
            box.run("systemctl", "restart", UNIT)
            assert box.main_pid() != pid
            load.after(20)


def a_stop_closes_every_session(box):
    sessions = [peers.Session() for _ in range(3)]
    for session in sessions:
        session.echo("hello")
    box.run("systemctl", "--no-block", "stop", UNIT)
    for session in sessions:
        code, reason = session.closed()
        assert code == 1001 and reason.startswith("draining"), (code, reason)
    box.eventually("the service has stopped", lambda: box.show("ActiveState") == "inactive")
    assert box.show("Result") == "success"
    assert not site_config.answers(box)


def a_drain_by_command_closes_every_session_and_the_next_process_serves(box):
    session, pid = peers.Session(), box.main_pid()
    session.echo("hello")
    box.run("tidegate", "drain")
    assert session.closed()[0] == 1001
    box.eventually("the next process", lambda: box.main_pid() not in (0, pid))
    box.eventually("it serves", lambda: box.show("SubState") == "running")
    peers.question()


def a_drain_by_command_can_be_taken_back(box):
    box.write(site_config.FILE, site_config.TEXT.replace('drain = "3s"', 'drain = "60s"'))
    box.run("systemctl", "reload", UNIT)
    session, pid = peers.Session(), box.main_pid()
    box.run("tidegate", "drain")
    assert peers.monitoring("GET", "/readyz") == 503
    box.run("tidegate", "drain", "--undo")
    assert peers.monitoring("GET", "/readyz") == 200
    peers.question()
    assert (box.main_pid(), box.show("SubState")) == (pid, "running")
    session.stream.close()


def lines_in_the_journal_carry_their_level(box):
    since = box.cursor()
    box.run("systemctl", "restart", UNIT)
    box.write(site_config.FILE, site_config.TEXT + "\n[origins.strickt]\n")
    box.fails("systemctl", "reload", UNIT)
    of_gateway = "_COMM=tidegate"
    lines, warnings = box.journal(since, of_gateway), box.journal(since, of_gateway, "--priority=warning")
    assert "serving" in lines and "strickt" in lines, lines
    assert "listening on" in lines and "listening on" not in warnings, warnings
    assert "reload" in warnings, lines
    assert not re.search(r"^<?\d*>?20\d\d-", lines, re.MULTILINE), f"a time of its own: {lines}"
