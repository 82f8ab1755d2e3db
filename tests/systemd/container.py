"""The container: commands in it, its units, its journal, its files."""
import os
import pathlib
import subprocess
import time

UNIT = "tidegate.service"
DEADLINE = 60


class Container:
    """`leader` is its process 1, as this machine numbers it."""

    def __init__(self, leader):
        self.leader = leader
        self.root = pathlib.Path(f"/proc/{leader}/root")

    def run(self, *command, check=True, timeout=120, stdin=None):
        """Runs a command as root. Returns its exit code and everything that it printed."""
        line = ["nsenter", "--target", str(self.leader), "--all", "env", "LC_ALL=C.UTF-8", *command]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                              input=stdin, stdin=None if stdin else subprocess.DEVNULL)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.returncode, done.stdout

    def sh(self, script, **options):
        """Runs a line of shell. Returns what it printed."""
        return self.run("sh", "-c", script, **options)[1]

    def fails(self, *command):
        """Runs a command that has to fail. Returns what it printed."""
        code, text = self.run(*command, check=False)
        assert code != 0, f"{' '.join(command)} succeeded: {text}"
        return text

    def show(self, name, unit=UNIT):
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit)[1].strip()

    def main_pid(self):
        return int(self.show("MainPID"))

    def pids(self):
        """All processes of the service, as the container numbers them."""
        group = self.show("ControlGroup")
        return [int(pid) for pid in self.sh(f"cat /sys/fs/cgroup{group}/cgroup.procs 2>/dev/null", check=False).split()]

    def signal(self, name, pid):
        self.run("kill", f"-{name}", str(pid))

    def cursor(self):
        """This moment in the journal."""
        self.run("journalctl", "--sync")
        lines = self.sh("journalctl --show-cursor --lines 0 --quiet").splitlines()
        return lines[-1].removeprefix("-- cursor: ")

    def journal(self, since, *options, unit=UNIT):
        """Messages since then: those of the unit, and those of systemd about it."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--quiet", "--output", "cat", "--unit", unit, f"--after-cursor={since}", *options)[1]

    def eventually(self, what, done, deadline=DEADLINE):
        """Waits until `done` returns something true, and returns it."""
        end = time.monotonic() + deadline
        while not (result := done()):
            if time.monotonic() > end:
                status = self.run("systemctl", "status", "--full", "--lines=30", UNIT, check=False)[1]
                raise AssertionError(f"timed out: {what}\n{status}")
            time.sleep(0.05)
        return result

    def path(self, inside):
        return self.root / inside.lstrip("/")

    def read(self, inside):
        return self.path(inside).read_text()

    def write(self, inside, text, mode=None):
        """Replaces a file by a rename, as a package manager does; its owner and mode stay unless `mode` is given."""
        path = self.path(inside)
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        if path.exists():
            old = path.stat()
            os.chown(new, old.st_uid, old.st_gid)
            new.chmod(old.st_mode & 0o7777)
        if mode is not None:
            new.chmod(mode)
        new.rename(path)
