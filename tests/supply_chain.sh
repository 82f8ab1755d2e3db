#!/usr/bin/env bash
# What the program is made of (deny.toml): licences, sources, versions and features of everything that is linked in, and what
# is known against any of it.
#
# The database of advisories comes from its home on the internet, or from a clone named by TIDEGATE_ADVISORY_DB. Where neither
# can be had a line says so, and the rest is judged all the same. cargo-deny is built once, below the target directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
tools=$(cd "$target" && pwd)/tools
if [ ! -x "$tools/bin/cargo-deny" ]; then
  # unoptimised: it runs for a second, but is compiled for minutes
  CARGO_TARGET_DIR=$tools/build cargo install cargo-deny --version '^0.20' --locked --debug --quiet --root "$tools"
  rm -rf "$tools/build"
fi
deny=$tools/bin/cargo-deny

"$deny" --locked check bans licenses sources

if [ -n "${TIDEGATE_ADVISORY_DB:-}" ]; then
  export GIT_CONFIG_COUNT=1
  export GIT_CONFIG_KEY_0=url.file://$TIDEGATE_ADVISORY_DB.insteadOf
  export GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db
fi
if ! said=$(timeout 120 "$deny" --locked fetch db 2>&1); then
  printf '%s\n' "$said"
  echo 'SKIPPED advisories: their database can not be had from here'
  exit 0
fi
"$deny" --locked check advisories
