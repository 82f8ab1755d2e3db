#!/usr/bin/env bash
# Runs the checks of this repository, from a clean clone on Debian 12 that has cargo.
#
#   tests/run.sh                     everything
#   tests/run.sh --fast              everything but sanitizer, foreign suites, Prometheus and browsers
#   tests/run.sh quick               format, check, clippy of the library and unit tests
#   tests/run.sh SUITE [FILTER...]   one suite, or the part of it that the FILTERs name, such as tests
#   tests/run.sh --list              the suites, with what each of them takes
#
# `tests/run.sh gateway websocket::` runs these tests of the gateway on io_uring and then on epoll.
#
# Missing Debian packages are installed (as root, or by sudo). npm packages go to tests/browser/node_modules; cargo-deny, a
# newer Node and the Autobahn test suite go below cargo's target directory. CONTRIBUTING.md says what a machine needs and
# where the time goes.
#
# A step that passes is one line. A step that fails shows its whole output, and the other steps still run. The last line is
# "N passed, N failed", counted in steps; the exit code is 0 only without failures. Tests use 127.0.0.0/8 and [::1] only; as
# root they also use network namespaces that they make. Deadlines only keep a run from hanging for ever: they are long
# enough for two busy cores.
#
# From the environment: CARGO_TARGET_DIR; CHROMIUM and FIREFOX, other browsers than `chromium` and `firefox-esr`; TIDEGATE_DRAIN_LOAD=9000 drains so many
# sessions instead of 1500; TIDEGATE_ADVISORY_DB, a clone of the advisory database.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v cargo >/dev/null || { echo 'tests/run.sh: no cargo: install stable Rust from https://rustup.rs' >&2; exit 71; }
target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# shellcheck source=tests/lib/steps.sh
. tests/lib/steps.sh
# shellcheck source=tests/lib/packages.sh
. tests/lib/packages.sh
# shellcheck source=tests/lib/suites.sh
. tests/lib/suites.sh

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
refuse() { echo "tests/run.sh: $1; try --help" >&2; exit 64; }

list() {
  local name
  printf '%-14s %8s  %s\n' suite seconds 'what it checks (* takes FILTERs)'
  for name in "${suites[@]}"; do
    printf '%-14s %8s  %s%s\n' "$name" "${typical[$name]}" "${about[$name]}" "$([ "${filters[$name]}" = no ] || echo ' *')"
  done
}

# prepare SUITE...: installs what these suites need.
prepare() {
  local name all=()
  heading 'What has to be there'
  # cargo and npm download over TLS
  all=(/etc/ssl/certs/ca-certificates.crt=ca-certificates)
  # shellcheck disable=SC2206  # words
  for name in "$@"; do all+=(${needs[$name]}); done
  install_packages "${all[@]}"
  rust_component rustfmt fmt
  rust_component clippy clippy
  printf '   %s, %s cores, into %s\n' "$(rustc --version)" "$(nproc)" "$target"
}

# run SUITE [FILTER...]
run() {
  local name=$1
  shift
  if declare -F "suite_$name" >/dev/null; then "suite_$name" "$@" || true; else suite_crate "$name" "$@" || true; fi
}

quick() {
  prepare format clippy units
  heading 'Quick'
  suite_format || true
  step 1200 'check, all targets' cargo check --workspace --all-targets --locked --quiet || true
  step 1200 'clippy of the library' cargo clippy --lib --locked --quiet -- --deny warnings || true
  suite_units || true
}

# Most tests wait, so what only computes runs beside them, at a lower priority. The lowest one would be too low: beside other
# work on the machine it would get no time before its deadline. The tests under the sanitizer come last, because their build
# is among what runs in the background.
everything() {
  local name slow=()
  if [ "$fast" = yes ]; then prepare "${fast_suites[@]}"; else prepare "${suites[@]}"; slow=(build_sanitize); fi
  in_background 5 suite_counts suite_supply_chain "${slow[@]}"
  heading 'Form'
  for name in format clippy core docs fuzz; do run "$name"; done
  heading 'Behaviour'
  build_tests || true
  for name in units "${crates[@]}" acme sandbox systemd; do run "$name"; done
  if [ "$fast" = no ]; then
    heading 'Foreign suites and browsers'
    export TIDEGATE_PROGRAM=$target/debug/tidegate
    in_background 0 suite_autobahn
    in_background 0 suite_testssl
    in_background 0 suite_prometheus
    run nspawn
    run page
    run browser
  fi
  heading 'What ran beside that'
  join
  if [ "$fast" = no ]; then run sanitize; fi
}

fast=no
fast_suites=(format clippy core docs fuzz units "${crates[@]}" acme sandbox counts supply_chain systemd)
case "${1:-}" in
  '') everything ;;
  -h | --help) usage; exit 0 ;;
  --list) list; exit 0 ;;
  --fast) [ $# -eq 1 ] || refuse '--fast stands alone'; fast=yes; everything ;;
  -*) refuse "no such option: $1" ;;
  quick) [ $# -eq 1 ] || refuse 'quick takes no FILTER'; quick ;;
  *)
    [ -n "${about[$1]:-}" ] || refuse "no such suite: $1 (--list shows them)"
    [ $# -eq 1 ] || [ "${filters[$1]}" = yes ] || refuse "$1 takes no FILTER"
    prepare "$1"
    heading "$1: ${about[$1]}"
    run "$@" ;;
esac
report
