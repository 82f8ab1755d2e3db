# shellcheck shell=bash
# A Debian whose process 1 is a real systemd, in namespaces of its own: made by mmdebstrap from the mirror that this machine
# uses, booted by systemd-nspawn. Sourced by tests/systemd/run.sh, which sets `work`.
#
# The machine's own services, mounts and network are not touched: cgroup2 is mounted in a mount namespace, the container has a
# cgroup of its own and only a loopback interface, and what it writes goes to a tmpfs that ends with it.

# shellcheck disable=SC2154  # set by run.sh
: "$work"
cgroup=tidegate-test.$$
nspawn='' # the process id of systemd-nspawn
leader='' # the process that is number 1 inside

# The lines of sources.list for the Debian that this machine gets its packages from.
debian_sources() {
  apt-cache policy | awk '
    $1 ~ /^-?[0-9]+$/ && $2 ~ /^https?:/ { split($3, part, "/"); line = "deb " $2 " " part[1] " " part[2] }
    $1 == "release" && /o=Debian,/ && line != "" { print line; line = "" }' | sort -u
}

# make_root PACKAGE...: makes $work/root, once for each set of packages and each kind of sources.
make_root() {
  local sources wanted suite
  sources=$(debian_sources)
  if [ -z "$sources" ]; then apt-get --quiet update >/dev/null; sources=$(debian_sources); fi
  [ -n "$sources" ] || { echo "SKIPPED systemd: this machine has no apt source of Debian"; exit 0; }
  suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  wanted=$(printf '%s\n' "$suite" "$sources" "$@" | sha256sum | cut -c 1-64)
  if [ "$(cat "$work/root.made" 2>/dev/null)" = "$wanted" ]; then return; fi
  rm -rf "$work/root" "$work/root.made"
  printf '%s\n' "$sources" >"$work/sources.list"
  if ! mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "$*")" "$suite" "$work/root" "$work/sources.list" \
    >"$work/mmdebstrap.log" 2>&1; then
    if grep -qE 'Failed to fetch|Temporary failure|Could not (resolve|connect)' "$work/mmdebstrap.log"; then
      echo 'SKIPPED systemd: the packages of a Debian root can not be fetched from here'
      exit 0
    fi
    cat "$work/mmdebstrap.log"
    exit 1
  fi
  rm "$work/sources.list"
  echo "$wanted" >"$work/root.made"
}

# Before a command: runs it where cgroup2 is mounted over /sys/fs/cgroup. Nothing of it is seen outside.
# shellcheck disable=SC2016  # the inner shell expands it
namespace=(unshare --mount --propagation private sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' -)

# boot ROOT OPTION...: boots it and waits until systemd has started everything.
boot() {
  local root=$1 deadline=$((SECONDS + 60))
  shift
  # shellcheck disable=SC2016  # the inner shell expands it
  "${namespace[@]}" sh -c 'group=/sys/fs/cgroup/$1; shift; mkdir "$group"; echo $$ >"$group/cgroup.procs"; exec "$@"' - "$cgroup" \
    systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --volatile=overlay --console=pipe \
    --machine=tidegate-test --directory="$root" "$@" >"$work/boot.log" 2>&1 </dev/null 9>&- &
  nspawn=$!
  until [ -n "$leader" ] && inside systemctl is-system-running --quiet 2>/dev/null; do
    if ! kill -0 "$nspawn" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo 'systemd does not start in the container; its output:'
      cat "$work/boot.log"
      if [ -n "$leader" ]; then inside systemctl --failed || true; fi
      exit 1
    fi
    sleep 0.1
    # the first process of the container is the only child of systemd-nspawn
    read -r leader _ 2>/dev/null <"/proc/$nspawn/task/$nspawn/children" || true
  done
}

# inside COMMAND...: runs a command in the container, as root.
inside() { nsenter --target "$leader" --all "$@"; }

# Ends the container, in order if it can, and removes its cgroup.
halt() {
  local deadline=$((SECONDS + 20))
  [ -n "$nspawn" ] || return 0
  kill -TERM "$nspawn" 2>/dev/null || true
  while kill -0 "$nspawn" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then kill -KILL ${leader:+"$leader"} "$nspawn" 2>/dev/null || true; break; fi
    sleep 0.1
  done
  wait "$nspawn" 2>/dev/null || true
  "${namespace[@]}" find "/sys/fs/cgroup/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  nspawn='' leader=''
}
