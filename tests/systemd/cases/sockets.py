"""systemd opens the ports (tidegate.socket)."""
import peers
import site_config
from container import UNIT


def the_first_client_starts_the_service(box):
    box.run("systemctl", "stop", UNIT)
    assert not site_config.answers(box)
    box.run("systemctl", "start", "tidegate.socket")
    assert box.show("ActiveState") == "inactive"
    peers.question()
    assert box.show("ActiveState") == "active"
    with peers.Load() as load:
        box.run("systemctl", "restart", UNIT)
        load.after(20)
    with peers.Load() as load:
        pid = box.main_pid()
        box.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", UNIT)
        box.eventually("the new process", lambda: box.main_pid() not in (0, pid))
        load.after(20)
    box.run("systemctl", "stop", "tidegate.socket", UNIT)
    assert not site_config.answers(box)
