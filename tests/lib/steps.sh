# shellcheck shell=bash
# Steps of a test run: commands with a deadline, one line of output each, and a table of their times at the end.
#
# Sourced by tests/run.sh. Every step leaves a line in $results: seconds, CPU seconds, "ok" or "FAILED", title. The counts at
# the end come from there, so steps may also run in a subshell (`beside`).

logs=$(mktemp -d)
results=$logs/results
: >"$results"
child=''    # the process id of the step that runs now
beside=()   # the process ids of subshells that run beside the rest
servers=()  # the process ids of what steps talk to
last_log='' # the output of the last step

end() {
  local pid
  for pid in $child ${beside[@]+"${beside[@]}"} ${servers[@]+"${servers[@]}"}; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$logs"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n' "$1"; }

record() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$results"; }

# timed SECONDS FILE COMMAND...: runs a command with a deadline and writes its CPU seconds to the file. Runs in a subshell, whose
# times are those of this command only.
timed() {
  local limit=$1 file=$2 code=0 pid user system
  shift 2
  trap 'kill "$pid" 2>/dev/null; wait; exit 143' TERM
  timeout --kill-after=10 "$limit" "$@" &
  pid=$!
  wait "$pid" || code=$?
  times >"$file"
  { read -r; read -r user system; } <"$file"
  user=${user%.*} system=${system%.*}
  echo $((${user%m*} * 60 + ${user#*m} + ${system%m*} * 60 + ${system#*m})) >"$file"
  exit "$code"
}

# step SECONDS TITLE COMMAND...: runs a command, at most for so many seconds. Shows its output only if it fails.
step() {
  local limit=$1 title=$2 code=0 began=$SECONDS log seconds cpu=0
  shift 2
  log=$logs/step.$BASHPID last_log=$log
  printf '   %-60s ' "$title"
  timed "$limit" "$log.cpu" "$@" >"$log" 2>&1 </dev/null &
  child=$!
  wait "$child" || code=$?
  child=''
  seconds=$((SECONDS - began))
  read -r cpu <"$log.cpu" || true
  if [ "$code" -eq 0 ]; then
    record "$seconds" "$cpu" ok "$title"
    printf 'ok %5d s  %s\n' "$seconds" "$(summary "$log")"
    # what could not be tested on this machine is shown
    grep -h '^SKIPPED ' "$log" | sed 's/^/     /' || true
    return 0
  fi
  record "$seconds" "$cpu" FAILED "$title"
  printf 'FAILED after %d s' "$seconds"
  if [ "$code" -eq 124 ]; then printf ', its deadline'; fi
  printf '\n--- %s\n' "$*"
  cat "$log"
  printf -- '--- end of: %s\n' "$title"
  return 1
}

# The number of checks that cargo test or the browser scripts report, and the notes of the other scripts.
summary() {
  checks_of "$1" | sed 's/$/ checks/'
  sed -n 's/^note: //p' "$1"
}
checks_of() {
  sed -nE 's/^(test result: ok\. )?([0-9]+) passed[,;].*/\2/p' "$1" | awk '{ n += $1 } END { if (NR) print n }'
}

# checked_step SECONDS TITLE COMMAND...: a step that fails if it made no check, for example because no test has that name.
checked_step() {
  step "$@" || return 1
  if [ "$(checks_of "$last_log")" != 0 ]; then return 0; fi
  complain "$2: no test has such a name"
  return 1
}

# complain TITLE [FILE]: a failure that is not the exit code of a step, with a file to show.
complain() {
  record 0 0 FAILED "$1"
  printf '   FAILED: %s\n' "$1"
  if [ $# -gt 1 ]; then cat "$2"; fi
}

# in_background NICENESS FUNCTION...: runs functions one after the other beside what follows. `join` shows their output.
in_background() {
  local niceness=$1
  shift
  (
    trap 'kill $child 2>/dev/null; wait; exit 143' TERM
    beside=()
    [ "$niceness" -eq 0 ] || renice --priority "$niceness" "$BASHPID" >/dev/null
    for function in "$@"; do "$function" || true; done
    exit 0
  ) >"$logs/beside.${#beside[@]}" 2>&1 </dev/null &
  beside+=($!)
}

# Waits for everything in the background and shows what it printed.
join() {
  local n
  for n in "${!beside[@]}"; do
    wait "${beside[n]}" || complain 'steps in the background broke off'
    cat "$logs/beside.$n"
  done
  beside=()
}

# The table of times and the last line. The exit code is 0 only without failures.
report() {
  local passed failed
  passed=$(awk -F'\t' '$3 == "ok" { n++ } END { print n + 0 }' "$results")
  failed=$(awk -F'\t' '$3 != "ok" { n++ } END { print n + 0 }' "$results")
  if [ "$passed" -gt 1 ]; then
    heading 'Where the time went'
    printf '   seconds     CPU\n'
    sort -t "$(printf '\t')" -k 1,1nr "$results" |
      awk -F'\t' '$1 + $2 > 0 { printf "   %5d s %5d s  %s\n", $1, $2, $4 }'
  fi
  printf '\n%d seconds\n%d passed, %d failed\n' "$SECONDS" "$passed" "$failed"
  [ "$failed" -eq 0 ]
}
