# shellcheck shell=bash
# A gateway for the scripts that let a foreign suite test it (tests/autobahn/run.sh, tests/testssl/run.sh). They source this
# file in the root of the repository, after `set -euo pipefail`, and set `work` to a directory for their files.
#
# Everything started here ends when the script ends. TIDEGATE_PROGRAM names a program that is tested instead of a new build.

# shellcheck disable=SC2034,SC2154  # subnet is used by the scripts, work is set by them
target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

# The first three numbers of addresses for this process only: the tests of cargo use other ones, and so does another script
# that runs at the same time.
subnet=127.$((220 + $$ % 30)).$(($$ / 30 % 250))

started=()  # process ids
stop_started() {
  local pid
  for pid in ${started[@]+"${started[@]}"}; do kill "$pid" 2>/dev/null || true; done
  wait
}
trap stop_started EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# need COMMAND...: ends the script as skipped if a command is missing.
need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || { echo "SKIPPED ${work##*/}: the command $command is missing"; exit 0; }
  done
}

# start NAME ADDRESS PORT COMMAND...: starts a server and waits until it listens; its output goes to $work/NAME.log.
start() {
  local name=$1 address=$2 port=$3 deadline=$((SECONDS + 60)) pid
  shift 3
  "$@" >"$work/$name.log" 2>&1 </dev/null &
  pid=$!
  started+=("$pid")
  until (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "$name does not listen on $address:$port" >&2
      cat "$work/$name.log" >&2
      exit 1
    fi
    sleep 0.1
  done
}

# start_gateway ADDRESS STREAM_MANAGER NAME...: builds and starts tidegate on port 8443 of ADDRESS with the certificates
# $work/NAME.pem and keys $work/NAME.key. More lines of its configuration come from standard input.
start_gateway() {
  local address=$1 manager=$2 name
  shift 2
  [ -n "${TIDEGATE_PROGRAM:-}" ] || cargo build --locked --quiet --bin tidegate
  {
    printf '# made by a script below tests/\n[gateway]\nlisten = ["%s:8443"]\npin = false\n' "$address"
    printf '[stream_manager]\nurl = "http://%s:5080"\n[monitoring]\nlisten = "off"\n[admin]\nlisten = "off"\n' "$manager"
    for name in "$@"; do
      printf '[[tls.certificates]]\nchain = "%s.pem"\nkey = "%s.key"\n' "$work/$name" "$work/$name"
    done
    cat
  } >"$work/tidegate.toml"
  start tidegate "$address" 8443 "${TIDEGATE_PROGRAM:-$target/debug/tidegate}" run --config "$work/tidegate.toml"
  gateway=${started[-1]}
}

# Fails with the gateway's log if the gateway has exited or if a session of it panicked.
expect_healthy_gateway() {
  if kill -0 "$gateway" 2>/dev/null && ! grep -q 'panic at ' "$work/tidegate.log"; then return 0; fi
  echo 'the gateway exited or panicked; its log:'
  cat "$work/tidegate.log"
  exit 1
}
