"""A new process that fails on its way: the old one serves on and stays the main process of systemd. The new process is a script
in place of the program."""
import contextlib
import os
import signal
import socket
import time

import peers
from container import UNIT

PROGRAM = "/usr/bin/tidegate"
SENDMSG = ("46", "211")  # its number on x86-64 and on ARM64


@contextlib.contextmanager
def _successor(box, text):
    """Replaces the program by a script: `say` and `hear` use the control pipe, `until` waits for a file below /run/tidegate."""
    script = f"""#!/bin/bash
PIPE=${{TIDEGATE_HANDOVER##*report=}}; PIPE=${{PIPE%%:*}}
say() {{ echo "$*" >&$PIPE; }}
hear() {{ while read -r -u $PIPE LINE; do [ "$LINE" = "$1" ] && return; done; exit 9; }}
until_there() {{ while [ ! -e /run/tidegate/$1 ]; do sleep 0.02; done; }}
there() {{ echo $$ >/run/tidegate/$1.new; mv /run/tidegate/$1.new /run/tidegate/$1; }}
{text}
"""
    program = box.path(PROGRAM)
    kept = program.with_name("tidegate.kept")
    os.link(program, kept)
    try:
        box.write(PROGRAM, script, 0o755)
        yield
    finally:
        os.replace(kept, program)
        box.sh("rm -f /run/tidegate/go /run/tidegate/told /run/tidegate/said")


def _serves_on(box, since, pid, session):
    box.eventually("the old process serves on", lambda: "listeners not handed over" in box.journal(since))
    session.echo("still here")
    peers.question()
    assert box.main_pid() == pid, "it is the main process"
    assert box.show("ActiveState") == "active"
    assert box.show("NRestarts") == "0"


def a_successor_that_ends_at_any_step_leaves_the_old_process_as_the_service(box):
    session, pid = peers.Session(), box.main_pid()
    steps = ["", "say pid $$", "say pid $$; say ready $$", "say pid $$; say ready $$; hear go",
             "say pid $$; say ready $$; hear go; say failed no luck"]
    for step in steps:
        for end in ("exit 3", "kill -KILL $$"):
            since = box.cursor()
            with _successor(box, f"{step}\n{end}"):
                box.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", UNIT)
                _serves_on(box, since, pid, session)
    with peers.Load() as load:
        box.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", UNIT)
        box.eventually("the next one takes over", lambda: box.main_pid() not in (0, pid))
        load.after(20)
    session.echo("still here")


def _fill_notify_queue(box):
    """Fills systemd's socket with messages of no service, so that the next sender has to wait. One sender may only have so many
    bytes under way, so it takes several."""
    sent = True
    while sent:
        sent = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
            sender.setblocking(False)
            while True:
                sender.sendto(b"X_FILL=1", str(box.path("/run/systemd/notify")))
                sent = True


def the_old_process_is_the_main_process_again_after_a_failed_hand_over(box):
    session, pid, since = peers.Session(), box.main_pid(), box.cursor()
    with _successor(box, "say pid $$; say ready $$; hear go; there told; until_there go; say serving; there said; exec sleep 60"):
        box.signal("USR2", pid)
        box.eventually("it was told to serve", box.path("/run/tidegate/told").exists)
        successor = int(box.read("/run/tidegate/told"))
        try:
            # systemd reads nothing now, so the old process waits while it names the new one as the main process
            os.kill(box.leader, signal.SIGSTOP)
            box.signal("STOP", pid)
            _fill_notify_queue(box)
            box.write("/run/tidegate/go", "", 0o644)
            box.eventually("it said that it serves", box.path("/run/tidegate/said").exists)
            box.signal("CONT", pid)
            end = time.monotonic() + 20
            while box.read(f"/proc/{pid}/syscall").split()[0] not in SENDMSG:
                assert time.monotonic() < end, "the old process does not write to systemd"
                time.sleep(0.01)
            box.signal("KILL", successor)
        finally:
            os.kill(box.leader, signal.SIGCONT)
        _serves_on(box, since, pid, session)
    # systemd listens to it
    said = box.journal(since)
    assert "reception only permitted" not in said, said
    box.run("systemctl", "reload", UNIT)
    before = box.show("WatchdogTimestampMonotonic")
    box.eventually("the watchdog hears of it", lambda: box.show("WatchdogTimestampMonotonic") != before)
    assert box.main_pid() == pid
