"""The package is removed."""
import site_config
from container import UNIT

FILES = ("find / -xdev -newer /tmp/before-install \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev "
         "-o -path /var/log/journal -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/log/apt -o -path /var/lib/apt \\) "
         "-prune -o -iname '*tidegate*' -print")


def a_removal_stops_the_service_and_keeps_the_configuration(box):
    site_config.settle(box)
    box.run("apt-get", "remove", "--yes", "tidegate")
    assert not site_config.answers(box)
    assert box.fails("systemctl", "is-active", UNIT).strip() in ("inactive", "unknown")
    assert box.read(site_config.FILE) == site_config.TEXT
    assert box.path("/var/log/tidegate").exists()
    assert box.run("systemctl", "--failed", "--no-legend")[1] == ""


def a_purge_leaves_only_the_keys_of_the_operator(box):
    box.run("apt-get", "purge", "--yes", "tidegate")
    left = sorted(box.sh("find /etc/tidegate -type f").split())
    assert left == ["/etc/tidegate/fullchain.pem", "/etc/tidegate/privkey.pem"], left
    box.sh("rm -r /etc/tidegate")
    assert box.sh(FILES) == ""
    assert box.run("dpkg-query", "--show", "--showformat=${Status}", "tidegate", check=False)[0] != 0
