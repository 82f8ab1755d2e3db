"""A new process takes over (SIGUSR2)."""
import os

import peers
from container import UNIT


def _hands_over(box, signal):
    """Sends SIGUSR2 by a command, and waits for another main process. Returns both."""
    old = box.main_pid()
    box.run(*signal)
    new = box.eventually("another main process", lambda: (pid := box.main_pid()) not in (0, old) and pid)
    return old, new


def the_main_process_of_systemd_follows_and_no_session_ends(box):
    restarts, session = box.show("NRestarts"), peers.Session()
    session.echo("before")
    for signal in (("kill", "-USR2", str(box.main_pid())), ("tidegate", "upgrade"),
                   ("systemctl", "kill", "--kill-who=main", "--signal=USR2", UNIT)):
        with peers.Load() as load:
            old, new = _hands_over(box, signal)
            load.after(20)
        session.echo("after")
        assert (box.show("ActiveState"), box.show("SubState")) == ("active", "running")
        # the first process keeps the session, the second one had none
        assert signal[0] != "kill" or {old, new} <= set(box.pids())
        # systemd listens to the new process now
        box.run("systemctl", "reload", UNIT)
        assert box.main_pid() == new
    assert box.show("NRestarts") == restarts
    # the session lives in the first process; the end of the service closes it in order
    box.run("systemctl", "--no-block", "stop", UNIT)
    assert session.closed()[0] == 1001
    box.eventually("every process has ended", lambda: box.show("ActiveState") == "inactive" and not box.pids())
    assert box.show("Result") == "success"


def a_signal_to_the_whole_service_starts_one_successor(box):
    old = box.main_pid()
    box.run("systemctl", "kill", "--signal=USR2", UNIT)
    new = box.eventually("another main process", lambda: (pid := box.main_pid()) not in (0, old) and pid)
    box.eventually("the old process has ended", lambda: box.pids() == [new])


def a_new_process_is_restarted_as_the_first_one_would_be(box):
    _, new = _hands_over(box, ("systemctl", "kill", "--kill-who=main", "--signal=USR2", UNIT))
    box.eventually("the old process has ended", lambda: box.pids() == [new])
    with peers.Load() as load:
        box.signal("KILL", new)
        box.eventually("a process after that", lambda: box.main_pid() not in (0, new))
        load.after(20)
        assert len(load.failed) <= len(load.threads), load.failed
        load.failed.clear()
    assert os.path.exists(box.path(f"/proc/{box.main_pid()}"))
