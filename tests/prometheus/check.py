"""What a Prometheus that scrapes a running gateway has to know: judges the dashboard and the rules by it.

    check.py --self-test
    check.py PROMETHEUS_URL GATEWAY_PID CONFIGURATION DASHBOARD

Every query of the dashboard has to be answered without an error and, but for those in MAY_BE_EMPTY, with a number. Every rule
has to be evaluated without an error, and no alert may fire. Then a refused reload and a drain have to show.
"""

import json
import math
import os
import re
import signal
import sys
import time
import urllib.parse
import urllib.request

# What `$__rate_interval` stands for at a scrape each half second.
RATE = "10s"
DEADLINE = 60

# Titles of panels, or names of recorded series, of which nothing is expected: what they show does not happen here.
MAY_BE_EMPTY = {
    "Nodes in quarantine",
    "Restarts",
}


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error)))

    def query(self, query):
        return self.get("query", query=query)["result"]

    def wait(self, query):
        """Waits until a query has a result, and returns it."""
        end = time.monotonic() + DEADLINE
        while not (result := self.query(query)):
            if time.monotonic() > end:
                raise SystemExit(f"after {DEADLINE} s there is no {query}")
            time.sleep(0.2)
        return result


def numbers(result):
    return [float(sample["value"][1]) for sample in result]


def substituted(query):
    """The query as Grafana sends it when all jobs and gateways are chosen."""
    for name, value in {"$job": ".*", "$instance": ".*", "$__rate_interval": RATE}.items():
        query = query.replace(name, value)
    if "$" in query:
        raise SystemExit(f"a variable that the dashboard does not have: {query}")
    return query


def queries(dashboard):
    """All queries of a dashboard, each with the title of its panel."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], substituted(target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], substituted(annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.*), ?(\w+)\)", variable["query"]["query"]).groups()
            yield variable["name"], f"count by ({label}) ({substituted(series)})"


def problem(answer, may_be_empty):
    """What is wrong with the answer of a query; None if nothing is."""
    try:
        result = answer()
    except ValueError as error:
        return str(error)
    if not may_be_empty and all(math.isnan(number) for number in numbers(result)):
        return "no number"
    return None


def judge_dashboard(prometheus, dashboard):
    found, asked = [], 0
    for title, query in queries(dashboard):
        asked += 1
        may_be_empty = title in MAY_BE_EMPTY
        wrong = problem(lambda: prometheus.query(query), may_be_empty)
        if wrong:
            found.append(f"{title}: {wrong}: {query}")
    return found, asked


def judge_rules(prometheus):
    found, asked = [], 0
    for group in prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            asked += 1
            if rule["health"] != "ok":
                found.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
            if rule["type"] == "recording":
                wrong = problem(lambda: prometheus.query(rule["name"]), rule["name"] in MAY_BE_EMPTY)
                found += [f"{rule['name']}: {wrong}"] if wrong else []
            found += [f"{rule['name']} fires" for alert in rule.get("alerts", []) if alert["state"] == "firing"]
    return found, asked


def judge_faults(prometheus, pid, configuration):
    """A refused reload, then a drain."""
    with open(configuration) as file:
        text = file.read()
    with open(configuration, "a") as file:
        file.write("[nonsense]\n")
    os.kill(pid, signal.SIGHUP)
    prometheus.wait("tidegate_config_last_reload_successful == 0")
    prometheus.wait('ALERTS{alertname="TidegateReloadFailed", alertstate="pending"}')
    with open(configuration, "w") as file:
        file.write(text)
    os.kill(pid, signal.SIGHUP)
    prometheus.wait("tidegate_config_last_reload_successful == 1")
    os.kill(pid, signal.SIGTERM)
    prometheus.wait('tidegate_phase{phase="draining"} == 1')
    prometheus.wait('up{job="tidegate"} == 0')


def self_test():
    """Shows that each judgement can still fail."""
    nothing, number = [], [{"value": [0, "1"]}]

    def error():
        raise ValueError("parse error")

    assert problem(lambda: nothing, False) == problem(lambda: [{"value": [0, "NaN"]}], False) == "no number"
    assert problem(lambda: number, False) is None and problem(lambda: nothing, True) is None
    assert problem(error, True) == "parse error"
    with open(os.path.join(os.path.dirname(__file__), "../../packaging/grafana/tidegate.json")) as file:
        assert len(list(queries(json.load(file)))) > 50
    try:
        substituted("rate(a[$__range])")
    except SystemExit:
        return
    raise AssertionError("an unknown variable is refused")


def main(url, pid, configuration, dashboard):
    prometheus = Prometheus(url)
    prometheus.wait('up{job="tidegate"} == 1')
    # a whole range of a rate, and traffic of every kind
    prometheus.wait(f'min_over_time(up{{job="tidegate"}}[{RATE}]) == 1 and count_over_time(up[{RATE}]) > 15')
    prometheus.wait(f'sum(increase(tidegate_refusals_total{{code="origin_refused"}}[{RATE}])) > 0')
    with open(dashboard) as file:
        found, asked = judge_dashboard(prometheus, json.load(file))
    more, rules = judge_rules(prometheus)
    found += more
    if found:
        raise SystemExit("\n".join(found))
    judge_faults(prometheus, int(pid), configuration)
    print(f"note: {asked} queries of the dashboard, {rules} rules")


if sys.argv[1:] == ["--self-test"]:
    self_test()
else:
    main(*sys.argv[1:])
