#!/usr/bin/env bash
# The package and its units under a real systemd as process 1: installed, started, reloaded, upgraded, broken and removed.
#
#   tests/systemd/run.sh             every case
#   tests/systemd/run.sh NAME...     the cases whose names contain one of these
#
# TIDEGATE_PROGRAM names a program that is packed instead of a new build.
#
# Needs root and Debian's systemd-container, mmdebstrap and python3. Where a container can't be had, a line says SKIPPED. The
# Debian root is made once, below cargo's target directory. Everything started here ends with the script, and no mount is left.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

skip() { echo "SKIPPED systemd: $1"; exit 0; }
[ "$(id -u)" -eq 0 ] || skip 'a container with a systemd of its own needs root'
for command in mmdebstrap systemd-nspawn nsenter unshare python3 openssl; do
  command -v "$command" >/dev/null || skip "the command $command is missing"
done
target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$target/systemd
mkdir -p "$work"
# shellcheck source=tests/systemd/boot.sh
. "$here/boot.sh"
trap halt EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"${namespace[@]}" true 2>/dev/null || skip 'no mount namespace with cgroup2 can be had here'

# one run at a time: they share the root
exec 9>"$work/lock"
flock --timeout 600 9 || { echo 'another run of tests/systemd/run.sh does not end' >&2; exit 1; }

make_root systemd systemd-sysv dbus logrotate procps
program=${TIDEGATE_PROGRAM:-$target/debug/tidegate}
[ -n "${TIDEGATE_PROGRAM:-}" ] || cargo build --workspace --locked --quiet --bin tidegate
"$here/packages.sh" "$program" "$work/packages"
if command -v lintian >/dev/null && ! said=$(lintian --fail-on error,warning "$work"/packages/new/*.deb 2>&1); then
  echo "$said"
  exit 1
fi
boot "$work/root" --bind-ro="$work/packages:/packages"
nsenter --target "$leader" --net python3 -B "$here/main.py" "$leader" "$@"
