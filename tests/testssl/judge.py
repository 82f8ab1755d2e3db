#!/usr/bin/env python3
"""Judges what testssl.sh found: judge.py ALLOWED JSON...

The exit code is 0 only if nothing is above LOW but what ALLOWED explains, and if the checks that matter were made at all.
"""
import json
import pathlib
import sys

FINE = {"OK", "INFO", "LOW"}
# What a run has to contain, and what it has to say: a scan that broke off must not pass for a good one.
EXPECTED = {
    "cipherlist_NULL": "not offered", "cipherlist_aNULL": "not offered", "cipherlist_EXPORT": "not offered",
    "cipherlist_LOW": "not offered", "cipherlist_3DES_IDEA": "not offered", "cipherlist_AVERAGE": "not offered",
    "cipherlist_STRONG": "offered", "PFS": "offered", "cert_chain_of_trust": "passed.", "heartbleed": "not vulnerable",
    "CCS": "not vulnerable", "ticketbleed": "not vulnerable", "ROBOT": "not vulnerable", "secure_renego": "supported",
    "secure_client_renego": "not vulnerable", "CRIME_TLS": "not vulnerable", "POODLE_SSL": "not vulnerable",
    "SWEET32": "not vulnerable", "FREAK": "not vulnerable", "DROWN": "not vulnerable", "LOGJAM": "not vulnerable",
    "BEAST": "not vulnerable", "LUCKY13": "not vulnerable", "RC4": "not vulnerable",
}
# Once is enough: they do not depend on the certificate.
EXPECTED_ONCE = {"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered",
                 "TLS1_2": "offered", "TLS1_3": "offered"}


def read_allowed(path):
    lines = pathlib.Path(path).read_text().splitlines()
    rows = [[word.strip() for word in line.split("|", 2)] for line in lines if line and not line.startswith("#")]
    return {(name, finding): reason for name, finding, reason in rows}


def judge(report, allowed, met):
    findings = json.loads(pathlib.Path(report).read_text())
    wrong = []
    for found in findings:
        name, severity, text = found["id"], found["severity"], found["finding"].strip()
        if (name, text) in allowed:
            met.add((name, text))
        elif severity not in FINE:
            wrong.append(f"{report}: {severity} {name}: {text}")
    said = {found["id"]: found["finding"] for found in findings}
    return findings, said, wrong


def missing(report, said, expected):
    return [f"{report}: {name} is {said.get(name, 'not looked at')!r}, should be {text!r}"
            for name, text in expected.items() if not said.get(name, "").startswith(text)]


def main():
    allowed, met, wrong, count, all_said = read_allowed(sys.argv[1]), set(), [], 0, {}
    for report in sys.argv[2:]:
        findings, said, bad = judge(report, allowed, met)
        count += len(findings)
        all_said |= said
        wrong += bad + missing(pathlib.Path(report).name, said, EXPECTED)
        print(f"{report}: {len(findings)} findings, of these",
              ", ".join(f"{sum(f['severity'] == level for f in findings)} {level}"
                        for level in sorted({f["severity"] for f in findings})))
    wrong += missing("all together", all_said, EXPECTED_ONCE)
    wrong += [f"{name}: allowed, but never found" for name, _ in allowed.keys() - met]
    for line in wrong:
        print(line)
    print(f"note: {count} findings, {len(met)} above LOW and explained")
    sys.exit(1 if wrong else 0)


main()
