#!/usr/bin/env bash
# How many instructions tidegate's pieces take, counted by callgrind, beside the committed benches/counts.baseline.
#
#   benches/counts.sh          check: fails if a case takes over 3 % more than in the baseline, or is on one side only
#   benches/counts.sh --move   write the baseline anew; commit it with the change that moved it, and say why there
#   benches/counts.sh --profile CASE   what one case spends its instructions on
#
# Needs valgrind and an x86-64 machine with AVX2 (of any maker: valgrind shows programs one and the same processor). Other
# compilers, C libraries and versions of valgrind count differently: what they count is shown, said to be unlike, and not
# judged. The last line is "N passed, N failed", or begins with "note:". docs/performance.md explains the figures.
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

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# What the figures depend on, beside the source and Cargo.lock.
tools() {
  local rustc valgrind
  rustc=$(rustc --version | cut -d' ' -f2)
  valgrind=$(valgrind --version | cut -d- -f2)
  echo "rustc ${rustc%.*}, cc $(cc -dumpversion), $(getconf GNU_LIBC_VERSION), valgrind ${valgrind%.*}"
}

# One profile, and none of the flags that somebody's environment may hold.
build() {
  env -u CFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET RUSTFLAGS= \
    cargo build --locked --quiet --package tidegate-counts --profile counts
  local target
  target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  cp "$target/counts/counts" "$room/counts"
}

# The program under callgrind. The environment and the name of the program are always the same, since they move the stack.
# Copies are done by the vector loops of the C library, whatever their size: callgrind counts `rep movsb` byte by byte.
callgrind() {
  local tunables=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824 tool
  tool=$(command -v valgrind)
  (cd "$room" && env -i GLIBC_TUNABLES="$tunables" "$tool" --quiet --tool=callgrind --callgrind-out-file=dump \
    --toggle-collect=counts::counted_work "$@" >names 2>said) \
    || { cat "$room/said" >&2; exit 70; }
}

# Counts all cases and writes "name count" lines to the file named.
count() {
  rm -f "$room"/dump*
  callgrind --dump-after=counts::counted_work ./counts
  local times=0 n=0 word name total
  while read -r word name; do
    if [ "$word" = times ]; then times=$name; continue; fi
    n=$((n + 1))
    total=$(sed -n 's/^totals: //p' "$room/dump.$n" 2>/dev/null) || true
    # the name of the function is mangled in a way that this valgrind can't read, or it was inlined
    if [ "${total:-0}" -eq 0 ]; then echo "benches/counts.sh: nothing counted for $name" >&2; exit 70; fi
    echo "$name $((total / times))"
  done <"$room/names" >"$1"
}

# Of two countings of the same program the lower one of each case.
lower() { awk 'NR == FNR { first[$1] = $2; next } { print $1, ($2 < first[$1] ? $2 : first[$1]) }' "$@"; }

# The table, and the verdict in the exit code. A name with a dot is a floor: shown, not judged.
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
  callgrind_annotate --auto=no --threshold=90 "$room/dump"
  exit 0
fi
count "$room/now"
if [ "$act" = move ]; then
  if [ -e "$BASELINE" ]; then compare "$room/now" || true; fi
  write "$room/now"
  echo "moved: $BASELINE"
  exit 0
fi
made=$(sed -n '2s/^# //p' "$BASELINE")
if [ "$made" != "$(tools)" ]; then
  compare "$room/now" || true
  printf 'baseline: %s\nhere:     %s\n' "$made" "$(tools)"
  echo 'note: counted but NOT JUDGED: other tools than the baseline; move it with benches/counts.sh --move'
  exit 0
fi
compare "$room/now" >"$room/table" && { cat "$room/table"; exit 0; }
# work that the clock sets off may fall into one counting, but not into both
count "$room/again"
lower "$room/now" "$room/again" >"$room/lower"
compare "$room/lower" || {
  echo "Over $PERCENT %: find out why (benches/counts.sh --profile CASE), or, if it is worth its price: benches/counts.sh --move"
  exit 1
}
