#!/usr/bin/env python3
"""Compares the verdicts of the Autobahn test suite on the same node, tested directly and through tidegate.

    compare.py REPORTS [REPORTS...] [--allow FILE]

REPORTS is a directory that `wstest -m fuzzingclient` wrote. Prints a table of families and every case that differs. The exit
code is 0 only if each case has the same verdict on both legs. A case in FILE may be OK directly and NON-STRICT through
tidegate, which the suite counts as passed too; it must not differ in anything else.
"""
import argparse
import json
import pathlib
import sys

# What has to be the same: both verdicts, the received messages, the side that closed, and the close codes. The close reason may
# differ: the gateway's contains the id of the session.
VERDICTS = ("behavior", "behaviorClose")
CLOSE = ("remoteCloseCode", "localCloseCode", "closedByMe", "failedByMe", "droppedByMe", "wasClean")
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
FAMILIES = {
    "1": "framing", "2": "pings and pongs", "3": "reserved bits", "4": "opcodes", "5": "fragmentation",
    "6": "UTF-8", "7": "closing", "9": "sizes", "10": "fragmenting by the peer",
    "12": "compression", "13": "compression, parameters",
}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--allow", type=pathlib.Path)
    return parser.parse_args()


def cases(reports, agent):
    """Every case of an agent, with its whole report."""
    found = {}
    for folder in reports:
        index = json.loads((folder / "index.json").read_text())
        for case, summary in index.get(agent, {}).items():
            found[case] = json.loads((folder / summary["reportfile"]).read_text(errors="replace"))
    return found


def differences(direct, through):
    return {key: f"{direct.get(key)!r} → {through.get(key)!r}" for key in VERDICTS + CLOSE + ("received",)
            if direct.get(key) != through.get(key)}


def is_too_late(found):
    """The only difference is that an answer of the node came too late."""
    return found.keys() <= {"behavior", "received"} and found["behavior"] == "'OK' → 'NON-STRICT'"


def order(case):
    return [int(part) for part in case.split(".")]


def read_allowed(path):
    """The cases of lines `CASE: what it is`."""
    lines = path.read_text().splitlines() if path else []
    return {line.split(":")[0] for line in lines if line.strip() and not line.startswith("#")}


def main():
    options = arguments()
    direct, through = cases(options.reports, "direct"), cases(options.reports, "tidegate")
    allowed, table, wrong = read_allowed(options.allow), {}, []
    for case in sorted(direct.keys() | through.keys(), key=order):
        row = table.setdefault(case.split(".")[0], {"cases": 0, "same": 0, "allowed": 0, "different": 0, "bad": 0})
        row["cases"] += 1
        if case not in direct or case not in through:
            row["different"] += 1
            wrong.append(f"{case}: tested on one leg only")
            continue
        found = differences(direct[case], through[case])
        # a case that the node itself fails says little about the gateway
        row["bad"] += not {direct[case][key] for key in VERDICTS} <= GOOD
        if not found:
            row["same"] += 1
        elif case in allowed and is_too_late(found):
            row["allowed"] += 1
        else:
            row["different"] += 1
            told = "; ".join(f"{key} {how}" for key, how in found.items())
            wrong.append(f"{case}: {told[:600]}\n    {direct[case]['description']}")
    print(f"{'family':32} {'cases':>6} {'identical':>10} {'allowed':>8} {'different':>10} {'node not OK':>12}")
    total = {}
    for family, row in table.items():
        for key, value in row.items():
            total[key] = total.get(key, 0) + value
        show(f"{family}.* {FAMILIES.get(family, '')}", row)
    show("all", total)
    for line in wrong:
        print(line)
    cases_seen = total.get("cases", 0)
    print(f"note: {cases_seen} cases, {total.get('same', 0)} identical, {total.get('allowed', 0)} allowed to differ")
    sys.exit(1 if wrong or not cases_seen else 0)


def show(name, row):
    numbers = [row[key] for key in ("cases", "same", "allowed", "different", "bad")]
    print("{:32} {:6} {:10} {:8} {:10} {:12}".format(name, *numbers))


main()
