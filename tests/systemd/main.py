"""Runs the cases in the container: main.py LEADER [NAME...]. Called by run.sh, in the container's network.

A case is a function of the modules below `cases`; its name is a fact. They run in the order of ORDER, each in a service that
runs with the configuration of `site.py`, except for those that install and remove the package.
"""
import importlib
import sys
import time
import traceback

import peers
import site_config
from container import Container

# the first one installs the package, the last one removes it
ORDER = ["install", "service", "faults", "sockets", "upgrade", "handover", "users", "package_upgrade", "remove"]


def cases(module):
    own = (value for value in vars(module).values() if callable(value) and value.__module__ == module.__name__)
    return [value for value in own if not value.__name__.startswith("_")]


def main(leader, filters):
    peers.start()
    box = Container(leader)
    found = [(name, case) for name in ORDER for case in cases(importlib.import_module(f"cases.{name}"))]
    wanted = [case for name, case in found if not filters or any(f in f"{name}: {case.__name__}" for f in filters)]
    if filters and wanted and not any(case.__module__ == "cases.install" for case in wanted):
        for case in cases(importlib.import_module("cases.install")):
            case(box)
    failed = 0
    for case in wanted:
        began = time.monotonic()
        title = f"{case.__module__.removeprefix('cases.')}: {case.__name__.replace('_', ' ')}"
        try:
            if case.__module__ not in ("cases.install", "cases.remove"):
                site_config.settle(box)
            case(box)
            print(f"ok {time.monotonic() - began:5.1f} s  {title}", flush=True)
        except Exception:  # a case fails in any way, and the others still run
            failed += 1
            print(f"FAILED {title}", flush=True)
            traceback.print_exc(file=sys.stdout)
            print(box.run("journalctl", "--lines=25", "--output=short-precise", check=False)[1], flush=True)
    if not wanted:
        print("no case has such a name")
        return 1
    print(f"{len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
