#!/usr/bin/env bash
# Fuzzes each target for the given number of seconds and prints a table of the results.
#
#   fuzz/run.sh SECONDS [TARGET...]     all targets, or these
#
# JOBS targets run at a time (default: the number of cores). Stable Rust will do; cargo-fuzz is installed if it is missing. The
# seeds in corpus/ are not changed: new inputs and the logs go to work/, inputs that crash a target to artifacts/. A target
# with a .dict file gets its words. The exit code is 1 if a target crashed, hung or used too much memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ ! "${1:-}" =~ ^[0-9]+$ ]]; then
  sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  [ "${1:-}" = --help ] || [ "${1:-}" = -h ] || exit 64
  exit 0
fi
seconds=$1
shift

command -v cargo >/dev/null || { echo 'fuzz/run.sh: no cargo: install stable Rust from https://rustup.rs' >&2; exit 71; }
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
# the sanitizers are unstable flags of the compiler
export RUSTC_BOOTSTRAP=1

mapfile -t known < <(cargo fuzz list --fuzz-dir .)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=("${known[@]}")
for target in "${targets[@]}"; do
  [[ " ${known[*]} " = *" $target "* ]] || { echo "fuzz/run.sh: no such target: $target; there are: ${known[*]}" >&2; exit 64; }
done

triple=$(rustc -vV | sed -n 's/^host: //p')
build=(cargo fuzz build --fuzz-dir . --target "$triple" --target-dir target)
if [ $# -eq 0 ]; then
  "${build[@]}"
else
  for target in "${targets[@]}"; do "${build[@]}" "$target"; done
fi

# fuzz TARGET: becomes the fuzzer; its log is work/TARGET.log.
fuzz() {
  local target=$1 words=()
  mkdir -p "work/$target" "artifacts/$target"
  if [ -e "$target.dict" ]; then words=("-dict=$target.dict"); fi
  exec "target/$triple/release/$target" "work/$target" "corpus/$target" "${words[@]}" -max_total_time="$seconds" \
    -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="artifacts/$target/" \
    >"work/$target.log" 2>&1 </dev/null
}

# last TARGET PATTERN: the last text in the target's log that the group in the pattern matches.
last() { sed -nE "s/$2/\\1/p" "work/$1.log" | tail -n 1; }

# row TARGET CODE: prints the target's line of the table.
row() {
  local target=$1 end='none' executions
  if [ "$2" -ne 0 ]; then end=$(last "$target" '.*Test unit written to (.*)'); fi
  executions=$(last "$target" '^stat::number_of_executed_units: ([0-9]+)')
  printf '%-18s %12s %8s %7s %7s %7s  %s\n' "$target" "${executions:-?}" \
    "$(last "$target" '^stat::average_exec_per_sec: +([0-9]+)')" \
    "$(last "$target" '^#.* cov: ([0-9]+) .*')" "$(last "$target" '^#.* ft: ([0-9]+) .*')" \
    "$(last "$target" '^#.* corp: ([0-9]+)\/.*')" "${end:-see work/$target.log}"
}

declare -A running=()
trap 'for pid in "${!running[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT
trap 'exit 130' INT TERM

crashed=0
printf '%-18s %12s %8s %7s %7s %7s  %s\n' target executions exec/s cov ft corpus crash
# reap: waits until one target ends and prints its row.
reap() {
  local pid code=0
  wait -n -p pid || code=$?
  row "${running[$pid]}" "$code"
  unset "running[$pid]"
  if [ "$code" -ne 0 ]; then crashed=1; fi
}
for target in "${targets[@]}"; do
  if [ ${#running[@]} -ge "${JOBS:-$(nproc)}" ]; then reap; fi
  fuzz "$target" &
  running[$!]=$target
done
while [ ${#running[@]} -gt 0 ]; do reap; done
exit "$crashed"
