#!/usr/bin/env bash
# tidegate beside its peers, in one command: installs what is missing, builds, measures, writes target/peers/peers.{json,md}.
#
#   benches/peers/run.sh            # all rows, about 20 minutes
#   benches/peers/run.sh --quick    # whether everything works, about two minutes once all is built
#   benches/peers/run.sh --help     # the flags
#
# nginx, HAProxy and Caddy come from the distribution (Debian or Ubuntu, as root or with sudo), Sōzu from the Rust registry
# into target/. None of their services is started, nothing of theirs is kept in this repository. What can't be installed is
# said and left out. SKIP_INSTALL=1 installs nothing.
set -euo pipefail

cd "$(dirname "$0")/../.."
readonly SOZU=2.3.3
export PATH="$PWD/target/peers/sozu/bin:$PATH:/usr/sbin:/sbin"

say() { echo "peers: $*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# The packages would start their services at once; for this one call they are told not to.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made=1
    fi
    as_root apt-get install -y --no-install-recommends "$@" >&2 || say "apt-get could not install: $*"
    [ -z "$made" ] || as_root rm -f "$policy"
}

install_peers() {
    local missing=() name
    for name in nginx haproxy caddy; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    # Sōzu's build compiles its protocol files
    command -v sozu >/dev/null || command -v protoc >/dev/null || missing+=(protobuf-compiler)
    if [ ${#missing[@]} -gt 0 ]; then
        if command -v apt-get >/dev/null; then
            install_packages "${missing[@]}"
        else
            say "no apt-get here; install them by hand: ${missing[*]}"
        fi
    fi
    if ! command -v sozu >/dev/null; then
        say "building Sōzu $SOZU, which takes some minutes"
        # the optimisations of tidegate's own release profile, the same cryptography, its own allocator
        CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_CODEGEN_UNITS=4 CARGO_TARGET_DIR="$PWD/target/peers/build" \
            cargo install sozu --version "$SOZU" --locked --root target/peers/sozu \
            --no-default-features --features jemallocator,crypto-aws-lc-rs,simd || say "Sōzu could not be built"
    fi
}

[ -n "${SKIP_INSTALL:-}" ] || install_peers
cargo bench --bench peers -- "$@"
