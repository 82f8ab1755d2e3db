#!/usr/bin/env bash
# cargo-deny judges everything that is linked into the program (deny.toml): licences, sources, versions and features, and the
# advisories that are known against any of it.
#
# The database of advisories is cloned from GitHub, or from a local clone that TIDEGATE_ADVISORY_DB names. Where neither can be
# had, a line says SKIPPED, and the rest is still judged. cargo-deny is built once, below the target directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
tools=$(cd "$target" && pwd)/tools
if [ ! -x "$tools/bin/cargo-deny" ]; then
  # not optimised: it runs for a second, but takes minutes to compile
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
  echo 'SKIPPED advisories: their database can not be fetched from here'
  exit 0
fi
"$deny" --locked check advisories
