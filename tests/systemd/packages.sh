#!/usr/bin/env bash
# packages.sh PROGRAM DIR: packs the program as two versions of the Debian package, DIR/old and DIR/new.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for version in old=1 new=2; do
  packaging/build.sh --program "$1" --deb-only --revision "${version#*=}" --output "$2/${version%=*}"
done
