"""The process ends by itself, or does not respond."""
import time

import peers
import site_config
from container import UNIT


def _comes_back(box, pid, what):
    box.eventually(f"a new process after {what}", lambda: box.main_pid() not in (0, pid))
    box.eventually("it serves", lambda: box.show("SubState") == "running")
    peers.question()


def a_process_that_is_killed_is_started_again_and_no_client_is_refused(box):
    for name in ("KILL", "SEGV"):
        with peers.Load() as load:
            pid = box.main_pid()
            box.signal(name, pid)
            if name == "SEGV":
                # the first one only ends Rust's own handler, which looks for overflows of the stack
                time.sleep(0.2)
                box.signal(name, pid)
            _comes_back(box, pid, name)
            load.after(20)
            # a request that the process had read is lost with it; one that waits in the queue of the socket is not
            lost = [error for error in load.failed if "refused" not in error]
            assert load.failed == lost and len(lost) <= len(load.threads), load.failed
            load.failed.clear()


def a_process_that_stands_still_is_ended_by_the_watchdog(box):
    assert box.show("WatchdogUSec") == "30s"
    # the same with less to wait for
    site_config.drop_in(box, "WatchdogSec=3")
    box.run("systemctl", "restart", UNIT)
    since, pid = box.cursor(), box.main_pid()
    box.signal("STOP", pid)
    _comes_back(box, pid, "SIGSTOP")
    assert "Watchdog timeout" in box.journal(since)


def a_wrong_configuration_is_not_tried_again(box):
    box.run("systemctl", "stop", UNIT)
    box.write(site_config.FILE, "[gateway]\nlisten = 5\n")
    box.fails("systemctl", "start", UNIT)
    assert box.show("NRestarts") == "0"
    assert box.show("ExecMainStatus") == "78"
