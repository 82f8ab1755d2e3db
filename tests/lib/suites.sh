# shellcheck shell=bash
# The suites of tests/run.sh: for each a line in the table below and a function suite_NAME, which gets the FILTERs of the
# command line. Needs steps.sh, packages.sh and `target`.

# --- the table --------------------------------------------------------------------------------------------------------
# suite NAME SECONDS FILTERS NEEDS ABOUT: SECONDS is what it takes on two cores when everything is built, FILTERS is "yes" if
# the suite takes FILTERs, and NEEDS are pairs for `install_packages`.

suites=()
declare -A typical=() filters=() needs=() about=()
suite() {
  suites+=("$1")
  typical[$1]=$2 filters[$1]=$3 needs[$1]=$4 about[$1]=$5
}

# a C compiler for aws-lc and mimalloc
c='cc=gcc /usr/include/stdio.h=libc6-dev'
suite format 1 no '' 'cargo fmt changes nothing'
suite clippy 15 no "$c" 'no warnings of compiler and clippy, in all targets'
suite core 10 no "$c" 'proto, config and metrics build alone; the program holds nothing that only tests use'
suite docs 10 no "$c" 'the documentation of the code builds, and its links lead somewhere'
suite fuzz 5 no "$c c++=g++" 'the fuzz targets compile on stable Rust (fuzz/run.sh runs them)'
suite units 15 yes "$c" 'unit tests of the library and the program'
# one suite for each integration test crate; a new crate is picked up by itself
crates=()
for file in tests/*.rs tests/*/main.rs; do
  name=${file%.rs}
  name=$(basename "${name%/main}")
  crates+=("$name")
  case $name in
    # network namespaces that cut links, and a clock that jumps
    gateway) suite gateway 205 yes "$c ip=iproute2 faketime=faketime unshare=util-linux mount=mount" \
      'the program from outside, on io_uring and then on epoll' ;;
    manual) suite manual 5 yes "$c mandoc=mandoc groff=groff-base zsh=zsh fish=fish" \
      'manual pages and completions that their readers accept' ;;
    rights) suite rights 5 yes "$c setpriv=util-linux" 'check as the user of the service, and keys that others may read' ;;
    drain_load) suite "$name" 10 yes "$c" 'a drain of 1500 sessions under traffic' ;;
    interleavings) suite "$name" 30 yes "$c" 'what workers share without locks, in every interleaving' ;;
    properties) suite "$name" 20 yes "$c" 'properties over generated inputs' ;;
    *) suite "$name" 5 yes "$c" "$(sed -n '1s|^//! ||p' "$file" | cut -c 1-90)" ;;
  esac
done
suite acme 40 yes "$c pebble=pebble" 'certificates by ACME, from a CA that checks them (pebble)'
suite sandbox 10 yes "$c" 'the sandbox cluster of the tests and the demo'
suite sanitize 60 yes "$c ip=iproute2" 'the code around unsafe under AddressSanitizer'
suite counts 15 yes "$c valgrind=valgrind" 'no piece takes over 3 % more instructions than in the baseline'
suite supply_chain 5 no "$c git=git" 'licences, sources and advisories of all dependencies (cargo deny)'
suite systemd 1 no "$c systemd-analyze=systemd" 'systemd-analyze verify accepts the units'
suite nspawn 110 yes "$c mmdebstrap=mmdebstrap systemd-nspawn=systemd-container unshare=util-linux python3=python3 openssl=openssl dpkg-deb=dpkg objcopy=binutils lintian=lintian" \
  'the Debian package under a systemd as process 1: install, serve, fail, upgrade, remove'
suite autobahn 65 yes "$c node=nodejs npm=npm python3=python3 pip3=python3-pip openssl=openssl" \
  'the Autobahn test suite, directly and through the gateway'
suite testssl 40 yes "$c python3=python3 openssl=openssl testssl=testssl.sh hexdump=bsdextrautils" \
  'testssl.sh judges TLS'
suite prometheus 35 no "$c python3=python3 openssl=openssl curl=curl prometheus=prometheus promtool=prometheus
  /usr/lib/python3/dist-packages/prometheus_client=python3-prometheus-client" \
  'a real Prometheus scrapes a gateway and answers dashboard and rules'
suite page 65 no "$c node=nodejs npm=npm openssl=openssl ${CHROMIUM:-chromium}=chromium ${FIREFOX:-firefox-esr}=firefox-esr" \
  'the status page in Chromium and Firefox'
suite browser 160 no "$c node=nodejs npm=npm ${CHROMIUM:-chromium}=chromium" \
  'Chromium publishes and plays through the gateway'

# --- cargo ------------------------------------------------------------------------------------------------------------
# One profile (dev) and one set of features (--workspace), so that everything is compiled once.

suite_format() {
  step 120 'format' cargo fmt --all --check
  step 120 'format of fuzz/' cargo fmt --manifest-path fuzz/Cargo.toml --check
}

suite_clippy() {
  step 3600 'clippy, all targets with benches and examples' \
    cargo clippy --workspace --all-targets --locked --quiet -- --deny warnings
}

suite_core() {
  step 1200 'core alone builds' cargo build --lib --no-default-features --locked --quiet
  step 1200 'core alone, clippy' cargo clippy --lib --no-default-features --locked --quiet -- --deny warnings
  # the oracles are compiled for tests only
  if grep -q '^oracles *=' Cargo.toml; then
    step 1200 'core with the oracles builds' cargo check --lib --no-default-features --features oracles --locked --quiet
    step 60 'no oracles in the program' tests/lib/features.sh tidegate oracles
  fi
  # with other features of dependencies than in --workspace, where tests add some
  step 1200 'the program alone builds' cargo check --bin tidegate --locked --quiet
}

suite_docs() {
  step 1800 'documentation, every link' env RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --locked --quiet
}

# Only checked, on dependencies that are compiled already. Corpora and properties run the same oracles.
suite_fuzz() {
  step 1800 'fuzz targets compile on stable' \
    cargo check --manifest-path fuzz/Cargo.toml --target-dir "$target" --locked --quiet
}

built=no
build_tests() {
  [ "$built" = no ] || return 0
  step 3600 'tests, examples and the program compile' cargo test --workspace --no-run --locked --quiet && built=yes
}

suite_units() { checked_step 900 'unit tests' cargo test --workspace --lib --bins --locked --quiet -- "$@"; }

# suite_crate NAME [FILTER...]
suite_crate() {
  local name=$1
  shift
  checked_step 1800 "tests: $name" cargo test --workspace --test "$name" --locked --quiet -- "$@"
}

# Tests that flood the gateway compute, so one runs per core. All other tests of the gateway mostly wait: eight at a time.
floods=(abuse:: limits::overload:: under_load:: websocket::soak::)

# On both drivers, because accepting, reading, writing and closing take other paths on each.
suite_gateway() {
  gateway_tests 'io_uring' --unset=TIDEGATE_TEST_DRIVER "$@"
  gateway_tests 'epoll' TIDEGATE_TEST_DRIVER=epoll "$@"
}

# gateway_tests DRIVER ENVIRONMENT [FILTER...]
gateway_tests() {
  # the suite acme has those
  local title="tests: gateway on $1" flood skips=(--skip acme::)
  local command=(env "$2" cargo test --workspace --test gateway --locked --quiet --)
  shift 2
  if [ $# -gt 0 ]; then checked_step 1800 "$title" "${command[@]}" "$@"; return; fi
  for flood in "${floods[@]}"; do skips+=(--skip "$flood"); done
  checked_step 1800 "$title" "${command[@]}" --test-threads=8 "${skips[@]}"
  checked_step 1800 "$title, floods" "${command[@]}" "${floods[@]}"
}

# Certificates by ACME concern the control thread, so one driver is enough. Most of the time these tests wait.
suite_acme() {
  local filters=() filter
  for filter in "$@"; do filters+=("acme::${filter#acme::}"); done
  checked_step 600 'tests: gateway, acme' cargo test --workspace --test gateway --locked --quiet -- --test-threads=16 \
    "${filters[@]:-acme::}"
}

suite_sandbox() {
  local file name
  for file in tests/sandbox/tests/*.rs; do
    name=$(basename "$file" .rs)
    step 1800 "tests: sandbox, $name" cargo test --workspace --test "$name" --locked --quiet -- "$@"
  done
}

# --- scripts ----------------------------------------------------------------------------------------------------------

suite_sanitize() { checked_step 2400 'tests/sanitize.sh: what is around unsafe, under ASan' tests/sanitize.sh "$@"; }
build_sanitize() { step 3600 'tests/sanitize.sh --build' tests/sanitize.sh --build; }
suite_counts() { step 3600 'benches/counts.sh: no case over 3 % more' benches/counts.sh "$@"; }
suite_supply_chain() { step 3600 'tests/supply_chain.sh: licences, sources, advisories' tests/supply_chain.sh; }
suite_autobahn() { step 900 'tests/autobahn/run.sh' tests/autobahn/run.sh "$@"; }
suite_prometheus() { step 600 'tests/prometheus/run.sh' tests/prometheus/run.sh; }
suite_testssl() { step 600 'tests/testssl/run.sh' tests/testssl/run.sh "$@"; }

# The program is not where the unit expects it, so a copy of the unit names the one that was built here.
suite_systemd() {
  local unit units=$logs/units
  [ -x "$target/debug/tidegate" ] || build_tests || return 1
  mkdir "$units"
  for unit in systemd/*.service systemd/*.socket; do
    if [ -e "$unit" ]; then sed "s|/usr/bin/tidegate|$target/debug/tidegate|" "$unit" >"$units/$(basename "$unit")"; fi
  done
  # shellcheck disable=SC2016  # the inner shell expands it; warnings count as failures
  step 60 'systemd-analyze verify' bash -c \
    'said=$(systemd-analyze verify --man=no "$1"/* 2>&1) && [ -z "$said" ] || { echo "$said"; exit 1; }' - "$units"
}

# The first run makes a Debian root and compiles cargo-deb.
suite_nspawn() {
  [ -x "$target/debug/tidegate" ] || build_tests || return 1
  checked_step 1800 'tests/systemd/run.sh' tests/systemd/run.sh "$@"
}

# --- the browser ------------------------------------------------------------------------------------------------------

# Prints two free ports.
free_ports() {
  node -e 'const net = require("node:net"), servers = [1, 2].map(() => net.createServer().listen(0, "127.0.0.1"))
    Promise.all(servers.map((s) => new Promise((up) => s.on("listening", up)))).then(() => {
      console.log(servers.map((s) => s.address().port).join(" "))
      servers.forEach((s) => s.close())
    })'
}

# start_demo PORT ADMIN_PORT: starts the demo and waits until it listens and has printed the address of its stream manager.
start_demo() {
  local deadline=$((SECONDS + 120))
  "$target/debug/examples/demo" --no-open --port "$1" --admin-port "$2" --nodes-port 0 >"$logs/demo" 2>&1 </dev/null &
  demo=$!
  servers+=("$demo")
  until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && [ -n "$(demo_manager)" ]; do
    if ! kill -0 "$demo" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      complain 'the demo does not start; its output:' "$logs/demo"
      return 1
    fi
    sleep 0.1
  done
}

# The stream manager's address, which the scripts use to make nodes fail.
demo_manager() { sed -nE 's/^ *manager +(http[^ ]+).*/\1/p' "$logs/demo"; }

# SIGINT, as from Ctrl-C, unless it was drained: the demo has to end by itself with exit code 0.
stop_demo() {
  kill -INT "$demo" 2>/dev/null || true
  step 90 'the demo ends cleanly' tail --pid="$demo" -f /dev/null || return 1
  wait "$demo" || { complain 'the demo ended with a failure; its output:' "$logs/demo"; return 1; }
}

suite_page() {
  newer_node && npm_packages || return 1
  [ -x "$target/debug/tidegate" ] || build_tests || return 1
  step 300 'tests/browser/page.mjs' env TIDEGATE_PROGRAM="$target/debug/tidegate" node tests/browser/page.mjs
}

suite_browser() {
  local ports page code=0
  newer_node && npm_packages || return 1
  build_tests || return 1
  ports=$(free_ports)
  # shellcheck disable=SC2086  # two words
  start_demo $ports || return 1
  page=https://localhost:${ports% *}
  step 600 'tests/browser/run.mjs' node tests/browser/run.mjs "$page" || code=1
  step 1200 'tests/browser/whip.mjs' node tests/browser/whip.mjs --manager "$(demo_manager)" "$page" || code=1
  step 600 'tests/browser/demo.mjs' node tests/browser/demo.mjs --drain "$page" || code=1
  stop_demo || code=1
  if [ "$code" -ne 0 ]; then
    printf -- '--- output of the demo\n'
    cat "$logs/demo"
  fi
  return "$code"
}
