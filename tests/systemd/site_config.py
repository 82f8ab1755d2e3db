"""The configuration of the gateway in the container, and a service that serves with it."""
import subprocess
import tempfile

import peers
from container import UNIT

FILE = "/etc/tidegate/tidegate.toml"
TEXT = f"""\
[gateway]
drain = "3s"
health_path = "/healthz"

[[tls.certificates]]
chain = "/etc/tidegate/fullchain.pem"
key = "/etc/tidegate/privkey.pem"

[stream_manager]
url = "http://{peers.MANAGER}:{peers.MANAGER_PORT}"
timeout = "10s"

[origins]
networks = ["{peers.NODE}"]

[log]
access = "/var/log/tidegate/access.log"
"""
DROP_IN = "/run/systemd/system/tidegate.service.d/test.conf"


def certificate(box):
    """Puts a certificate and its key where the configuration expects them, as docs/operations.md says."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", f"{folder}/key", "-out", f"{folder}/chain"], check=True, capture_output=True)
        for name, file in (("chain", "fullchain.pem"), ("key", "privkey.pem")):
            with open(f"{folder}/{name}") as text:
                box.write(f"/etc/tidegate/{file}", text.read(), 0o640)
    box.sh("chgrp tidegate /etc/tidegate/*.pem")


def settle(box):
    """A service that runs, with the configuration above and the shipped unit. It is left alone if it is that already."""
    for unit in ("tidegate.socket",):
        box.run("systemctl", "stop", unit, check=False)
    if box.path(DROP_IN).exists():
        box.sh(f"rm {DROP_IN}; systemctl daemon-reload; systemctl stop {UNIT}")
    if box.read(FILE) != TEXT or len(box.pids()) != 1 or box.show("ActiveState") != "active":
        box.run("systemctl", "stop", UNIT, check=False)
        box.run("systemctl", "reset-failed", UNIT, check=False)
        box.write(FILE, TEXT)
        box.run("systemctl", "start", UNIT)
    box.run("systemctl", "reset-failed", UNIT, check=False)


def drop_in(box, text):
    """Changes the unit for one case."""
    box.sh(f"mkdir -p {DROP_IN.rpartition('/')[0]}")
    box.write(DROP_IN, f"[Service]\n{text}\n", 0o644)
    box.run("systemctl", "daemon-reload")


def answers(box):
    """Whether the gateway answers a client."""
    try:
        peers.question()
        return True
    except (OSError, ValueError):
        return False
