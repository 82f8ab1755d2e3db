#!/usr/bin/env bash
# A real Prometheus scrapes a gateway under traffic and answers the queries of the dashboard (packaging/grafana) and of the
# rules (packaging/prometheus); promtool judges the page in both formats, and the rules by given series.
#
# Needs cargo, openssl, curl, python3, prometheus with promtool and the module prometheus_client (Debian: python3-prometheus-client);
# says SKIPPED where a command is missing, which is no failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# shellcheck source=tests/lib/gateway.sh
. tests/lib/gateway.sh
work=$target/prometheus
need prometheus promtool openssl curl python3
rm -rf "$work"
mkdir -p "$work"
rules=packaging/prometheus/tidegate.rules.yml

# --- the rules by themselves ------------------------------------------------------------------------------------------
python3 "$here/check.py" --self-test
promtool check rules "$rules" >"$work/rules.log" || { cat "$work/rules.log"; exit 1; }
# it computes while the rest waits
promtool test rules "$here/rules.test.yml" >"$work/rules.test.log" 2>&1 &
rules_test=$!
for alert in $(sed -n 's/^ *- alert: //p' "$rules"); do
  grep -qE "alertname[=:] ?\"?$alert\b" "$here/rules.test.yml" || { echo "no scenario in which $alert fires"; exit 1; }
done

# --- a cluster, a gateway, its clients --------------------------------------------------------------------------------
read -r gateway_port manager_port nodes_port prometheus_port monitoring_port < <(python3 - <<'PYTHON'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(one.getsockname()[1] for one in sockets))
PYTHON
)
monitoring=127.0.0.1:$monitoring_port
# with the workspace's set of features, as the tests of cargo, so that nothing is compiled twice
[ -n "${TIDEGATE_PROGRAM:-}" ] || cargo build --workspace --locked --quiet --bin tidegate --bin tidegate-sandbox
start sandbox 127.0.0.1 "$manager_port" "$target/debug/tidegate-sandbox" "$manager_port" "$nodes_port"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN=gateway.test \
  -addext subjectAltName=DNS:gateway.test -keyout "$work/gateway.key" -out "$work/gateway.pem" 2>/dev/null
cat >"$work/tidegate.toml" <<TOML
[gateway]
listen = ["127.0.0.1:$gateway_port"]
workers = 2
pin = false
drain = "5s"
[stream_manager]
url = "http://127.0.0.1:$manager_port"
[origins]
port = $nodes_port
networks = ["127.0.0.1", "127.0.0.2"]
[monitoring]
listen = "$monitoring"
[[tls.certificates]]
chain = "$work/gateway.pem"
key = "$work/gateway.key"
TOML
start tidegate 127.0.0.1 "$gateway_port" "${TIDEGATE_PROGRAM:-$target/debug/tidegate}" run --config "$work/tidegate.toml"
gateway=${started[-1]}
python3 "$here/clients.py" "$gateway_port" "http://127.0.0.1:$manager_port" "$nodes_port" >"$work/clients.log" 2>&1 </dev/null &
clients=$!
started+=("$clients")
deadline=$((SECONDS + 60))
until grep -q '^round 7' "$work/clients.log"; do
  if ! kill -0 "$clients" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
    echo 'the clients do not get what they expect:'
    cat "$work/clients.log" "$work/tidegate.log"
    exit 1
  fi
  sleep 0.1
done

# --- the page in both formats -----------------------------------------------------------------------------------------
curl --silent --fail "http://$monitoring/metrics" >"$work/page.txt"
curl --silent --fail --header 'Accept: application/openmetrics-text; version=1.0.0' "http://$monitoring/metrics" >"$work/page.openmetrics"
promtool check metrics <"$work/page.txt" >"$work/lint" 2>&1 || { cat "$work/lint"; exit 1; }
[ ! -s "$work/lint" ] || { cat "$work/lint"; exit 1; }
# Debian's python3, which has Debian's modules: a parser that takes nothing but what the format permits
/usr/bin/python3 - "$work/page.openmetrics" <<'PYTHON'
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(open(sys.argv[1]).read()))
assert len(families) > 40, families
PYTHON

# --- Prometheus -------------------------------------------------------------------------------------------------------
cat >"$work/prometheus.yml" <<YAML
global: { scrape_interval: 500ms, evaluation_interval: 500ms }
rule_files: [$PWD/$rules]
scrape_configs:
  - job_name: tidegate
    static_configs: [{ targets: ["$monitoring"] }]
YAML
start prometheus 127.0.0.1 "$prometheus_port" prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
  --web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn
python3 "$here/check.py" "http://127.0.0.1:$prometheus_port" "$gateway" "$work/tidegate.toml" packaging/grafana/tidegate.json
wait "$rules_test" || { cat "$work/rules.test.log"; exit 1; }
if grep -q 'panic at ' "$work/tidegate.log"; then cat "$work/tidegate.log"; exit 1; fi
