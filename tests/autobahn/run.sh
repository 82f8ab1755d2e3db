#!/usr/bin/env bash
# The Autobahn test suite against a node that echoes, directly and through tidegate, case by case.
#
#   tests/autobahn/run.sh            what fits into every run: all of the protocol, some of sizes and of compression
#   tests/autobahn/run.sh --all      everything, 517 cases; takes about an hour
#   tests/autobahn/run.sh CASE...    these, as the suite names them: 6.4.1, or '13.*'
#
# Needs cargo, node, npm, openssl and python3 with pip; the suite itself is fetched once (tool.sh) and kept, like everything
# else, below cargo's target directory. Where it can't be had this says SKIPPED and why, and is no failure. Fails if a case is
# judged differently on the two legs and is not in allowed.txt. Reports for people: target/autobahn/reports/index.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# 9: each way of cutting once; 12 and 13: each kind of message and of parameters, small, medium, and twice in many fragments
subset=('1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' 9.1.1 9.2.2 9.3.5 9.4.5 9.5.1 9.6.6 9.7.1 9.8.6 '10.*'
  12.{1,2,3,4,5}.{1,4} 12.1.11 13.{1,2,3,4,5,6,7}.{1,4} 13.7.11)
case "${1:-}" in
  '') cases=("${subset[@]}") ;;
  --all) cases=('*') ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  -*) echo "tests/autobahn/run.sh: no such option: $1; try --help" >&2; exit 64 ;;
  *) cases=("$@") ;;
esac

target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$target/autobahn
mkdir -p "$work"
for command in node npm openssl python3; do
  command -v "$command" >/dev/null || { echo "SKIPPED autobahn: no $command here"; exit 0; }
done
code=0
wstest=$("$here/tool.sh" "$work" 2>"$work/why") || code=$?
if [ "$code" -eq 69 ]; then echo "SKIPPED autobahn: $(cat "$work/why")"; exit 0; fi
if [ "$code" -ne 0 ]; then cat "$work/why" >&2; exit "$code"; fi
cargo build --locked --quiet --bin tidegate

# --- who takes part ---------------------------------------------------------------------------------------------------

# addresses that no other test has, and none of two runs at once
street=127.$((220 + $$ % 30)).$(($$ / 30 % 250))
gateway=$street.1 manager=$street.2 node=$street.3
running=()
end() {
  for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# listens ADDRESS PORT PID LOG: waits until that process listens there.
listens() {
  local deadline=$((SECONDS + 60))
  until (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; do
    if ! kill -0 "$3" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "nobody listens on $1:$2" >&2
      cat "$4" >&2
      exit 1
    fi
    sleep 0.1
  done
}

# the node lives where its packages are
mkdir -p "$work/node"
if ! cmp --quiet "$here/package-lock.json" "$work/node/package-lock.json"; then
  cp "$here"/package*.json "$work/node"
  npm ci --prefix "$work/node" --no-audit --no-fund >"$work/npm.log" 2>&1 ||
    { cat "$work/npm.log" >&2; rm "$work/node/package-lock.json"; exit 1; }
fi
cp "$here/echo.mjs" "$work/node"
node "$work/node/echo.mjs" "$node" 5080 >"$work/node.log" 2>&1 </dev/null &
running+=($!)
listens "$node" 5080 $! "$work/node.log"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -keyout "$work/key.pem" -out "$work/chain.pem" 2>/dev/null
cat >"$work/tidegate.toml" <<END
# made by tests/autobahn/run.sh
[gateway]
listen = ["$gateway:8443"]
pin = false

[[tls.certificates]]
chain = "$work/chain.pem"
key = "$work/key.pem"

[stream_manager]
url = "http://$manager:5080"

[origins]
networks = ["$node"]
# as on the other leg, where nobody offers one
subprotocol = ""
# the suite looks at what the two ends agree on
extensions = "forward"

[websocket]
# messages of 16 MiB are among the cases
message_max = "off"
# the suite counts the frames it gets
ping_interval = "off"

[admin]
listen = "off"
END
"$target/debug/tidegate" run --config "$work/tidegate.toml" >"$work/tidegate.log" 2>&1 </dev/null &
tidegate=$!
running+=("$tidegate")
listens "$gateway" 8443 "$tidegate" "$work/tidegate.log"

# --- what they are asked ----------------------------------------------------------------------------------------------

reports=$work/reports
rm -rf "$reports"
list=$(printf '"%s",' "${cases[@]}")
cat >"$work/spec.json" <<END
{
  "outdir": "$reports",
  "servers": [
    {"agent": "direct", "url": "ws://$node:5080/"},
    {"agent": "tidegate", "url": "wss://$gateway:8443/streammanager/?id=autobahn&host=$node&app=live"}
  ],
  "cases": [${list%,}],
  "exclude-cases": [],
  "exclude-agent-cases": {}
}
END
"$wstest" --mode fuzzingclient --spec "$work/spec.json" >"$work/wstest.log" 2>&1 || { tail -n 40 "$work/wstest.log"; exit 1; }
if ! kill -0 "$tidegate" 2>/dev/null || grep -q 'panic at ' "$work/tidegate.log"; then
  cat "$work/tidegate.log"
  exit 1
fi
python3 "$here/compare.py" --allow "$here/allowed.txt" "$reports"
