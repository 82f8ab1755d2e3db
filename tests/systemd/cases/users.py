"""Other users of the machine, and what they may not."""
import peers
from container import UNIT

OTHER = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"]
MEMBER = ["setpriv", "--reuid=4242", "--regid=tidegate", "--clear-groups"]


def another_user_changes_nothing(box):
    session, pid = peers.Session(), box.main_pid()
    listed = box.run("tidegate", "sessions", "--json")[1]
    for command in (["kill", "-TERM", str(pid)], ["systemctl", "stop", UNIT], ["systemctl", "reload", UNIT],
                    ["cat", "/etc/tidegate/privkey.pem"], ["cat", "/etc/tidegate/tidegate.toml"],
                    ["ls", "/var/log/tidegate"], ["tidegate", "drain"], ["tidegate", "reload"], ["tidegate", "upgrade"],
                    ["tidegate", "kick", "0" * 16]):
        box.fails(*OTHER, *command)
    for method, path in (("POST", "/api/drain"), ("POST", "/api/reload"), ("POST", "/api/upgrade"),
                         ("DELETE", "/api/answers"), ("DELETE", "/api/drain")):
        assert peers.monitoring(method, path) in (403, 404, 405), f"{method} {path}"
    box.run(*OTHER, "env", "NOTIFY_SOCKET=/run/systemd/notify", "systemd-notify", "STOPPING=1", check=False)
    session.echo("still here")
    peers.question()
    assert (box.main_pid(), box.show("ActiveState"), box.show("SubState")) == (pid, "active", "running")
    assert listed


def a_member_of_the_group_may_reload(box):
    box.run(*MEMBER, "tidegate", "reload")
