#!/usr/bin/env bash
# The code around every `unsafe` block under AddressSanitizer: src/worker/net.rs (descriptors that monoio's
# sockets lend), src/control/inherited.rs (descriptors taken over from a starter), src/control/signals.rs (signal masks), and
# with them what they call in monoio and the ring.
#
#   tests/sanitize.sh [FILTER...]     instead of the usual tests of the gateway
#
# The program is built with the system's allocator, which the sanitizer replaces. Works on stable; the flag is a nightly one,
# so RUSTC_BOOTSTRAP says that we know. A report ends the program at once, and with it the test that needs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS='-Zsanitizer=address --cfg sanitized'
# what a worker has for the life of the process nobody frees behind it, and unit tests leave texts behind on purpose; that
# sessions leave nothing is seen by tests that look at the size of the process
export ASAN_OPTIONS=detect_leaks=0
# allocations are watched, so they are slow: fewer at a time keep within the tests' deadlines
cargo=(cargo test --target "$host" --target-dir "$target/sanitized" --locked --quiet)

if [ $# -eq 0 ]; then
  "${cargo[@]}" --lib
  # relays, both versions of TLS, balancers, hand-overs, inherited sockets, drains by signal, and what ends badly
  set -- websocket:: tls:: proxy_protocol:: upgrade:: upgrade_systemd:: drain:: ends:: violations::
fi
"${cargo[@]}" --test gateway -- --test-threads=4 "$@"
