"""A first installation."""
import peers
import site_config
from container import UNIT

INSTALL = "apt-get install --yes --no-install-recommends"


def _mode(box, path):
    return box.run("stat", "--format", "%a %U:%G", path)[1].strip()


def a_new_installation_is_enabled_and_not_started(box):
    box.sh("touch /tmp/before-install")
    said = box.sh(f"{INSTALL} /packages/old/*.deb")
    assert "systemctl start tidegate" in said, said
    assert box.run("systemctl", "is-enabled", UNIT)[1].strip() == "enabled"
    assert box.fails("systemctl", "is-active", UNIT).strip() == "inactive"
    assert box.fails("systemctl", "is-enabled", "tidegate.socket").strip() == "disabled"
    assert _mode(box, "/etc/tidegate") == "750 root:tidegate"
    assert _mode(box, "/etc/tidegate/tidegate.toml") == "640 root:tidegate"
    for file in ("/usr/share/man/man1/tidegate.1.gz", "/usr/share/man/man1/tidegate-run.1.gz",
                 "/usr/share/bash-completion/completions/tidegate",
                 "/usr/share/zsh/vendor-completions/_tidegate", "/usr/share/fish/vendor_completions.d/tidegate.fish",
                 "/usr/lib/sysctl.d/10-tidegate.conf", "/etc/logrotate.d/tidegate",
                 "/usr/share/doc/tidegate/THIRD-PARTY.txt", "/usr/share/doc/tidegate/examples/tidegate.toml"):
        assert box.path(file).stat().st_size > 0, file
    assert box.run("systemd-analyze", "verify", "--man=no", UNIT, "tidegate.socket")[1] == ""
    assert "nologin" in box.run("getent", "passwd", "tidegate")[1]
    assert box.run("sysctl", "--dry-run", "--load=/usr/lib/sysctl.d/10-tidegate.conf")[1] == "net.core.somaxconn = 4096\n"


def the_unedited_configuration_names_what_is_missing(box):
    said = box.fails("tidegate", "check")
    assert "/etc/tidegate/fullchain.pem" in said and "/etc/tidegate/privkey.pem" in said, said
    box.fails("systemctl", "start", UNIT)
    box.run("systemctl", "stop", UNIT)
    box.run("systemctl", "reset-failed", UNIT)


def an_edited_configuration_serves_and_systemd_has_no_complaint(box):
    site_config.certificate(box)
    box.write(site_config.FILE, site_config.TEXT)
    box.run("tidegate", "check", "--user", "tidegate")
    since = box.cursor()
    box.run("systemctl", "start", UNIT)
    peers.question()
    peers.Session().echo("hello")
    assert box.run("ps", "-o", "user=", str(box.main_pid()))[1].strip() == "tidegate"
    # a complaint about the unit or its directories would be from process 1
    log = box.journal(since, "_PID=1", "--priority=notice")
    assert log == "", log
    assert box.run("systemctl", "--failed", "--no-legend")[1] == ""
