#!/usr/bin/env bash
# Runs the code around every `unsafe` block under AddressSanitizer: the descriptors that monoio's sockets lend, the descriptors
# that a process inherits from its starter, the signal masks, and the state of the clock; with them whatever they call in
# monoio and io_uring.
# (`git grep -n 'allow(unsafe_code'` lists the places.)
#
#   tests/sanitize.sh               unit tests, and those tests of the gateway that go through this code
#   tests/sanitize.sh FILTER...     these tests of the gateway only
#   tests/sanitize.sh --build       only compiles
#
# The program is built with the system's allocator, which the sanitizer replaces. Stable Rust will do: the flag is a nightly
# one, and RUSTC_BOOTSTRAP allows it. A report of the sanitizer ends the program at once, and the test that uses it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS='-Zsanitizer=address --cfg sanitized'
# No report of leaks: memory that a worker keeps for the life of the process is never freed, and unit tests leak texts on
# purpose. That sessions leak nothing is checked by tests that measure the size of the process.
export ASAN_OPTIONS=detect_leaks=0
# Watched allocations are slow, so fewer tests run at a time than usually: their deadlines stay the same.
export RUST_TEST_THREADS=4
cargo=(cargo test --target "$host" --target-dir "$target/sanitized" --locked --quiet)

case "${1:-}" in
  --build) exec "${cargo[@]}" --lib --test gateway --no-run ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  -*) echo "tests/sanitize.sh: no such option: $1; try --help" >&2; exit 64 ;;
esac
if [ $# -eq 0 ]; then
  "${cargo[@]}" --lib
  # relays, both versions of TLS, PROXY headers, hand-overs, inherited sockets, drains by signal, and ends by violations
  set -- websocket::frames:: websocket::close_semantics:: websocket::violations:: tls::handshake:: tls::records:: \
    proxy_protocol:: upgrade::takeover:: upgrade::systemd:: drain::sessions::
  # a renamed module must not drop out
  names=$("${cargo[@]}" --test gateway -- --list)
  for filter in "$@"; do
    [[ $names = *"$filter"* ]] || { echo "no test matches $filter"; exit 1; }
  done
fi
"${cargo[@]}" --test gateway -- "$@"
