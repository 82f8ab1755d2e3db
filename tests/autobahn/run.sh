#!/usr/bin/env bash
# The Autobahn test suite tests a node that echoes, directly and through tidegate; the verdicts are compared case by case.
#
#   tests/autobahn/run.sh            the cases of every test run: all of the protocol, some of sizes and of compression
#   tests/autobahn/run.sh --all      all 517 cases; takes about an hour
#   tests/autobahn/run.sh CASE...    these cases, as the suite names them: 6.4.1, or '13.*'
#
# Needs cargo, node, npm, openssl and python3 with pip. tool.sh downloads the suite once and keeps it below cargo's target
# directory. Where the suite can not be had the script says SKIPPED and why, which is no failure. Fails if a case has another
# verdict through tidegate than directly and is not in allowed.txt. Reports to read: target/autobahn/reports/index.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# 9: each way of cutting a message once; 12 and 13: each kind of message and of parameters, with small and medium messages,
# and two cases with many fragments
subset=('1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' 9.1.1 9.2.2 9.3.5 9.4.5 9.5.1 9.6.6 9.7.1 9.8.6 '10.*'
  12.{1,2,3,4,5}.{1,4} 12.1.11 13.{1,2,3,4,5,6,7}.{1,4} 13.7.11)
case "${1:-}" in
  '') cases=("${subset[@]}") ;;
  --all) cases=('*') ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  -*) echo "tests/autobahn/run.sh: no such option: $1; try --help" >&2; exit 64 ;;
  *) cases=("$@") ;;
esac

# shellcheck source=tests/lib/gateway.sh
. tests/lib/gateway.sh
work=$target/autobahn
mkdir -p "$work"
need node npm openssl python3
code=0
wstest=$("$here/tool.sh" "$work" 2>"$work/why") || code=$?
if [ "$code" -eq 69 ]; then echo "SKIPPED autobahn: $(cat "$work/why")"; exit 0; fi
if [ "$code" -ne 0 ]; then cat "$work/why" >&2; exit "$code"; fi

# --- the node and the gateway -----------------------------------------------------------------------------------------

gateway_address=$subnet.1 manager=$subnet.2 node=$subnet.3

# the node runs in the directory that holds its npm packages
mkdir -p "$work/node"
if ! cmp --quiet "$here/package-lock.json" "$work/node/package-lock.json"; then
  cp "$here"/package*.json "$work/node"
  npm ci --prefix "$work/node" --no-audit --no-fund >"$work/npm.log" 2>&1 ||
    { cat "$work/npm.log" >&2; rm "$work/node/package-lock.json"; exit 1; }
fi
cp "$here/echo.mjs" "$work/node"
start node "$node" 5080 node "$work/node/echo.mjs" "$node" 5080

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -keyout "$work/gateway.key" -out "$work/gateway.pem" 2>/dev/null
start_gateway "$gateway_address" "$manager" gateway <<END
[origins]
networks = ["$node"]
# as on the direct leg, where no subprotocol is offered
subprotocol = ""
# the suite looks at the extensions that client and node agree on
extensions = "forward"

[websocket]
# some cases send messages of 16 MiB
message_max = "off"
# the suite counts the frames that it receives
ping_interval = "off"
END

# --- the suite --------------------------------------------------------------------------------------------------------

reports=$work/reports
rm -rf "$reports"
list=$(printf '"%s",' "${cases[@]}")
cat >"$work/spec.json" <<END
{
  "outdir": "$reports",
  "servers": [
    {"agent": "direct", "url": "ws://$node:5080/"},
    {"agent": "tidegate", "url": "wss://$gateway_address:8443/streammanager/?id=autobahn&host=$node&app=live"}
  ],
  "cases": [${list%,}],
  "exclude-cases": [],
  "exclude-agent-cases": {}
}
END
"$wstest" --mode fuzzingclient --spec "$work/spec.json" >"$work/wstest.log" 2>&1 || { tail -n 40 "$work/wstest.log"; exit 1; }
expect_healthy_gateway
python3 "$here/compare.py" --allow "$here/allowed.txt" "$reports"
