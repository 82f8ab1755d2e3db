#!/usr/bin/env python3
"""Judges what testssl.sh found about the gateway.

    judge.py ALLOWED JSON...     judges reports; the exit code is 0 only if all of this holds:
                                 - no finding is above LOW, except those that the file ALLOWED explains
                                 - every check of EXPECTED is in every report, every check of EXPECTED_ONCE in one
                                 - every line of ALLOWED was needed
    judge.py --self-test         judges made-up findings and fails if a verdict is wrong

Findings about the scanning machine (SCANNER) are listed, not judged.
"""
import json
import pathlib
import sys

FINE = {"OK", "INFO", "LOW"}
# Findings about the machine that runs testssl.sh, with the reason why each of them says nothing about the gateway. A check
# of the gateway that the machine could not make is still missed: EXPECTED names the checks that have to be there. A scan
# that broke off ("scanProblem", "scanTime" with "Scan interrupted") is not in this list: its report proves nothing.
SCANNER = {
    "engine_problem": "the machine's OpenSSL has no engine for GOST ciphers; the gateway has no GOST ciphers",
    "old_fart": "the machine's OpenSSL is old; testssl.sh does most checks with sockets of its own",
    "too_old_openssl": "the machine's OpenSSL is old; testssl.sh does most checks with sockets of its own",
}
# Checks that every report has to contain, and how their findings have to begin. An incomplete scan must not pass.
EXPECTED = {
    "cipherlist_NULL": "not offered", "cipherlist_aNULL": "not offered", "cipherlist_EXPORT": "not offered",
    "cipherlist_LOW": "not offered", "cipherlist_3DES_IDEA": "not offered", "cipherlist_AVERAGE": "not offered",
    "cipherlist_STRONG": "offered", "PFS": "offered", "cert_chain_of_trust": "passed.", "heartbleed": "not vulnerable",
    "CCS": "not vulnerable", "ticketbleed": "not vulnerable", "ROBOT": "not vulnerable", "secure_renego": "supported",
    "secure_client_renego": "not vulnerable", "CRIME_TLS": "not vulnerable", "POODLE_SSL": "not vulnerable",
    "SWEET32": "not vulnerable", "FREAK": "not vulnerable", "DROWN": "not vulnerable", "LOGJAM": "not vulnerable",
    "BEAST": "not vulnerable", "LUCKY13": "not vulnerable", "RC4": "not vulnerable",
}
# Checks that one report of all has to contain: they do not depend on the certificate.
EXPECTED_ONCE = {"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered",
                 "TLS1_2": "offered", "TLS1_3": "offered"}


def read_allowed(path):
    lines = pathlib.Path(path).read_text().splitlines()
    rows = [[word.strip() for word in line.split("|", 2)] for line in lines if line and not line.startswith("#")]
    return {(name, finding): reason for name, finding, reason in rows}


def missing(report, findings, expected):
    said = {found["id"]: found["finding"] for found in findings}
    return [f"{report}: {name} is {said.get(name, 'not in the report')!r}, expected {text!r}"
            for name, text in expected.items() if not said.get(name, "").startswith(text)]


def judge(reports, allowed):
    """Takes {report: findings} and the explained ones. Returns what is wrong, which explanations were needed, and what was
    said about the scanner."""
    wrong, met, scanner = [], set(), []
    for report, findings in reports.items():
        for found in findings:
            name, severity, text = found["id"], found["severity"], found["finding"].strip()
            if name in SCANNER:
                scanner.append(f"{report}: not judged: {severity} {name}: {text} ({SCANNER[name]})")
            elif (name, text) in allowed:
                met.add((name, text))
            elif severity not in FINE:
                wrong.append(f"{report}: {severity} {name}: {text}")
        wrong += missing(report, findings, EXPECTED)
    wrong += missing("all reports", [found for findings in reports.values() for found in findings], EXPECTED_ONCE)
    wrong += [f"{name}: is in the list of allowed findings, but was not found" for name, _ in allowed.keys() - met]
    return wrong, met, scanner


def levels(findings):
    counts = {}
    for found in findings:
        counts[found["severity"]] = counts.get(found["severity"], 0) + 1
    return ", ".join(f"{count} {level}" for level, count in sorted(counts.items()))


def judge_files(allowed_file, files):
    reports = {pathlib.Path(file).name: json.loads(pathlib.Path(file).read_text()) for file in files}
    for report, findings in reports.items():
        print(f"{report}: {len(findings)} findings, of these {levels(findings)}")
    wrong, met, scanner = judge(reports, read_allowed(allowed_file))
    for line in scanner + wrong:
        print(line)
    count = sum(map(len, reports.values()))
    print(f"note: {count} findings, {len(met)} above LOW and explained, {len(scanner)} about this machine")
    return 1 if wrong else 0


def finding(name, severity, text):
    return {"id": name, "severity": severity, "finding": text}


def sample(*more, without=()):
    """A report as a good gateway gets it, with these findings more and without those checks."""
    good = [finding(name, "OK", text) for name, text in (EXPECTED | EXPECTED_ONCE).items() if name not in without]
    return {"sample": good + list(more)}


def self_test():
    explained = {("cipher_order", "NOT a cipher order configured"): "the client chooses"}
    order = finding("cipher_order", "HIGH", "NOT a cipher order configured")
    engine = finding("engine_problem", "WARN", "No engine or GOST support via engine with your openssl")
    # each sample, the explained findings, and a part of every complaint that is expected
    samples = [
        ("a good report passes", sample(), {}, []),
        ("a missing GOST engine passes", sample(engine), {}, []),
        ("an explained finding passes", sample(order), explained, []),
        ("a HIGH finding fails", sample(finding("BREACH", "HIGH", "vulnerable")), {}, ["HIGH BREACH"]),
        ("a WARN about the gateway fails", sample(finding("ALPN", "WARN", "not tested")), {}, ["WARN ALPN"]),
        ("a HIGH finding beside a missing engine fails", sample(engine, order), {}, ["HIGH cipher_order"]),
        ("a missing check fails", sample(without=["ROBOT"]), {}, ["ROBOT is 'not in the report'"]),
        ("a missing protocol fails", sample(without=["TLS1_1"]), {}, ["TLS1_1 is 'not in the report'"]),
        ("a check with another result fails", sample(finding("RC4", "OK", "offered")), {}, ["RC4 is 'offered'"]),
        ("an interrupted scan fails", sample(finding("scanTime", "WARN", "Scan interrupted")), {}, ["WARN scanTime"]),
        ("a scan without a gateway fails", sample(finding("scanProblem", "FATAL", "Can't connect")), {},
         ["FATAL scanProblem"]),
        ("an explanation that is not needed fails", sample(), explained, ["cipher_order: is in the list"]),
    ]
    failed = 0
    for title, reports, allowed, expected in samples:
        wrong, _, _ = judge(reports, allowed)
        if len(wrong) != len(expected) or any(part not in line for part, line in zip(expected, wrong)):
            failed += 1
            print(f"judge.py: {title}: expected {expected}, found {wrong}")
    print(f"judge.py: {len(samples) - failed} samples judged as expected, {failed} not")
    return 1 if failed else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) < 3:
        print(__doc__)
        return 64
    return judge_files(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
