"""The package is upgraded."""
import peers
import site_config
from cases.install import INSTALL
from container import UNIT


def _version(box):
    return box.run("dpkg-query", "--show", "--showformat=${Version} ${Status}", "tidegate")[1]


def an_upgrade_hands_the_service_over_and_no_session_ends(box):
    session, pid = peers.Session(), box.main_pid()
    with peers.Load() as load:
        box.sh(f"{INSTALL} /packages/new/*.deb")
        load.after(20)
    assert _version(box).endswith("-2 install ok installed")
    assert box.main_pid() not in (0, pid)
    assert pid in box.pids(), "the old process keeps its session"
    session.echo("still here")
    assert box.read(site_config.FILE) == site_config.TEXT
    assert box.run("systemctl", "is-enabled", UNIT)[1].strip() == "enabled"


def a_configuration_that_the_new_version_refuses_leaves_the_old_process_serving(box):
    session, pid = peers.Session(), box.main_pid()
    box.write(site_config.FILE, site_config.TEXT + "\n[origins.strickt]\n")
    said = box.sh(f"{INSTALL} --allow-downgrades /packages/old/*.deb")
    assert "strickt" in said and "the old process serves on" in said, said
    assert _version(box).endswith("-1 install ok installed")
    assert box.main_pid() == pid
    session.echo("still here")
    peers.question()


def a_stopped_service_stays_stopped(box):
    box.run("systemctl", "disable", "--now", UNIT)
    box.sh(f"{INSTALL} --allow-downgrades /packages/new/*.deb")
    assert box.fails("systemctl", "is-active", UNIT).strip() == "inactive"
    assert box.fails("systemctl", "is-enabled", UNIT).strip() == "disabled"
    box.run("systemctl", "enable", "--now", UNIT)


def logrotate_starts_a_new_access_log(box):
    log = "/var/log/tidegate/access.log"
    peers.question()
    box.eventually("a line", lambda: box.path(log).stat().st_size > 0)
    box.run("logrotate", "--force", "/etc/logrotate.d/tidegate")
    assert box.path(f"{log}.1").stat().st_size > 0
    before = box.path(f"{log}.1").stat().st_size
    peers.question()
    box.eventually("a line in the new file", lambda: box.path(log).stat().st_size > 0)
    assert box.path(f"{log}.1").stat().st_size == before
