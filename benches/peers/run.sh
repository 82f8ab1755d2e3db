#!/usr/bin/env bash
# Compares tidegate with its peers: installs what is missing, builds, measures, writes target/peers/peers.{json,md}.
#
#   benches/peers/run.sh            # all rows, about 20 minutes
#   benches/peers/run.sh --quick    # only checks that everything works, about two minutes after the build
#   benches/peers/run.sh --help     # prints the flags
#
# To see what a change costs, keep the binary of the build before it and measure both in the same rounds:
#
#   SKIP_INSTALL=1 benches/peers/run.sh --before <the other target/release/tidegate>
#
# nginx, HAProxy and Caddy are installed from the distribution (Debian or Ubuntu, as root or with sudo), Sōzu from the Rust
# registry into target/. Their services are not started, and this repository contains no part of them. A peer that can't be
# installed is reported and left out. SKIP_INSTALL=1 installs nothing.
set -euo pipefail

cd "$(dirname "$0")/../.."
readonly SOZU=2.3.3
export PATH="$PWD/target/peers/sozu/bin:$PATH:/usr/sbin:/sbin"

say() { echo "peers: $*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# The packages would start their services when installed; a temporary policy-rc.d prevents that.
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
    # the build of Sōzu needs protoc
    command -v sozu >/dev/null || command -v protoc >/dev/null || missing+=(protobuf-compiler)
    if [ ${#missing[@]} -gt 0 ]; then
        if command -v apt-get >/dev/null; then
            install_packages "${missing[@]}"
        else
            say "apt-get not found; install these packages by hand: ${missing[*]}"
        fi
    fi
    if ! command -v sozu >/dev/null; then
        say "building Sōzu $SOZU, which takes some minutes"
        # with the optimisations of tidegate's release profile, the same cryptography, and Sōzu's own allocator
        CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_CODEGEN_UNITS=4 CARGO_TARGET_DIR="$PWD/target/peers/build" \
            cargo install sozu --version "$SOZU" --locked --root target/peers/sozu \
            --no-default-features --features jemallocator,crypto-aws-lc-rs,simd || say "Sōzu could not be built"
    fi
}

[ -n "${SKIP_INSTALL:-}" ] || install_peers
cargo bench --bench peers -- "$@"
