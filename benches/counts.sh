#!/usr/bin/env bash
# Counts with callgrind how many instructions tidegate's pieces take, and compares with the committed benches/counts.baseline.
#
#   benches/counts.sh          check: fails if a case takes over 3 % more than in the baseline, or is missing on one side
#   benches/counts.sh --move   writes a new baseline; commit it with the change that moved it, with the reason in the message
#   benches/counts.sh --profile CASE   shows which functions a case spends its instructions in
#
# Needs valgrind and an x86-64 machine with AVX2 (of any maker: valgrind shows the same processor to every program). Other
# compilers, C libraries and versions of valgrind lead to other counts: then the table is shown but not judged, and a note says
# so. The last line is "N passed, N failed", or begins with "note:". docs/performance.md explains the figures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BASELINE=benches/counts.baseline
readonly PERCENT=3

act=check
profiled=''
case "${1:-}" in
  '') ;;
  --move) act=move ;;
  --profile) act=profile profiled=${2:?a case of the table} ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "benches/counts.sh: no such option: $1; try --help" >&2; exit 64 ;;
esac

if [ "$(uname -m)" != x86_64 ] || ! grep -qw avx2 /proc/cpuinfo; then
  if [ "$act" = move ]; then echo 'benches/counts.sh: the baseline is of x86-64 with AVX2' >&2; exit 69; fi
  echo 'note: nothing counted: the baseline is of x86-64 with AVX2, this machine is not'
  exit 0
fi
command -v valgrind >/dev/null || { echo 'benches/counts.sh: no valgrind: apt-get install valgrind' >&2; exit 69; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The tools that the counts depend on, beside the source and Cargo.lock.
tools() {
  local rustc valgrind
  rustc=$(rustc --version | cut -d' ' -f2)
  valgrind=$(valgrind --version | cut -d- -f2)
  echo "rustc ${rustc%.*}, cc $(cc -dumpversion), $(getconf GNU_LIBC_VERSION), valgrind ${valgrind%.*}"
}

# Always the same profile, without compiler flags from the environment.
build() {
  env -u CFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET RUSTFLAGS= \
    cargo build --locked --quiet --package tidegate-counts --profile counts
  local target
  target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  cp "$target/counts/counts" "$scratch/counts"
}

# Runs the program under callgrind. The environment and the name of the program are always the same, because they move the
# stack. The C library copies with its vector loops, whatever the size: callgrind counts `rep movsb` byte by byte.
callgrind() {
  local tunables=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824 tool
  tool=$(command -v valgrind)
  (cd "$scratch" && env -i GLIBC_TUNABLES="$tunables" "$tool" --quiet --tool=callgrind --callgrind-out-file=dump \
    --toggle-collect=counts::counted_work "$@" >names 2>errors) \
    || { cat "$scratch/errors" >&2; exit 70; }
}

# count FILE: counts all cases and writes lines "name count".
count() {
  rm -f "$scratch"/dump*
  callgrind --dump-after=counts::counted_work ./counts
  local times=0 n=0 word name total
  while read -r word name; do
    if [ "$word" = times ]; then times=$name; continue; fi
    n=$((n + 1))
    total=$(sed -n 's/^totals: //p' "$scratch/dump.$n" 2>/dev/null) || true
    # this valgrind can't read the mangled name of the function, or the function was inlined
    if [ "${total:-0}" -eq 0 ]; then echo "benches/counts.sh: nothing counted for $name" >&2; exit 70; fi
    echo "$name $((total / times))"
  done <"$scratch/names" >"$1"
}

# lower FILE FILE: the lower count of each case.
lower() { awk 'NR == FNR { first[$1] = $2; next } { print $1, ($2 < first[$1] ? $2 : first[$1]) }' "$@"; }

# compare FILE: prints the table; the exit code is the verdict. A name with a dot is a floor: shown, not judged.
compare() {
  awk -v limit="$PERCENT" '
    function row(name, old, new, word) { printf "%-30s %10s %10s %9s  %s\n", name, old, new, percent, word }
    BEGIN { row("case", "baseline", "now", "") }
    /^#/ { next }
    NR == FNR { old[$1] = $2; order[NR] = $1; last = NR; next }
    { seen[$1] = 1; floor = $1 ~ /\./; percent = word = "" }
    $1 in old { grown = ($2 / old[$1] - 1) * 100; percent = sprintf("%+.2f %%", grown) }
    floor { }
    !floor && !($1 in old) { word = "NOT IN THE BASELINE" }
    !floor && $1 in old && grown > limit { word = "GREW" }
    !floor && $1 in old && grown < -limit { word = "fell: worth a --move"; fell++ }
    { row($1, $1 in old ? old[$1] : "-", $2, word) }
    !floor { if (word ~ /^[A-Z]/) failed++; else passed++ }
    END {
      percent = ""
      for (n = 1; n <= last; n++) if (order[n] != "" && !(order[n] in seen)) { row(order[n], old[order[n]], "-", "GONE"); failed++ }
      printf "\n%d passed, %d failed\n", passed, failed
      exit failed > 0
    }' "$BASELINE" "$1"
}

write() {
  {
    echo '# Instructions for one unit of each case; a name with a dot is a floor. Written by benches/counts.sh --move.'
    echo "# $(tools)"
    LC_ALL=C sort "$1" | awk '{ printf "%-30s %9d\n", $1, $2 }'
  } >"$BASELINE"
}

build
if [ "$act" = profile ]; then
  callgrind ./counts "$profiled"
  callgrind_annotate --auto=no --threshold=90 "$scratch/dump"
  exit 0
fi
count "$scratch/now"
if [ "$act" = move ]; then
  if [ -e "$BASELINE" ]; then compare "$scratch/now" || true; fi
  write "$scratch/now"
  echo "moved: $BASELINE"
  exit 0
fi
made=$(sed -n '2s/^# //p' "$BASELINE")
if [ "$made" != "$(tools)" ]; then
  compare "$scratch/now" || true
  printf 'baseline: %s\nhere:     %s\n' "$made" "$(tools)"
  echo 'note: counted but NOT JUDGED: other tools than those of the baseline; benches/counts.sh --move writes a new one'
  exit 0
fi
compare "$scratch/now" >"$scratch/table" && { cat "$scratch/table"; exit 0; }
# work that the clock starts may fall into one count, but not into both
count "$scratch/again"
lower "$scratch/now" "$scratch/again" >"$scratch/lower"
compare "$scratch/lower" || {
  echo "Over $PERCENT %: find out why (benches/counts.sh --profile CASE), or accept it with benches/counts.sh --move"
  exit 1
}
