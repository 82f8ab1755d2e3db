#!/usr/bin/env bash
# Downloads the Autobahn test suite, which runs on Python 2.7 only, and prints the command that starts it.
#
#   tests/autobahn/tool.sh DIRECTORY
#
# Uses a Python 2.7 of the machine (in PATH, or of pyenv), otherwise that of Debian 11: apt downloads it from the mirror that is
# configured on the machine and verifies it with Debian's keys; it is unpacked below DIRECTORY and not installed. Python packages
# come from the configured index of pip, each verified by its hash (requirements*.txt). A second call finds everything in
# DIRECTORY. Exit code 69 and one line with the reason: the suite can not be had on this machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
into=$(cd "$1" && pwd)
log=$into/tool.log

cannot() { echo "$1" >&2; exit 69; }

# Prints the first Python 2.7 with wide characters: the wheels are built for those.
find_python() {
  local python
  for python in python2.7 "$HOME"/.pyenv/versions/2.7*/bin/python2.7; do
    if "$python" -c 'import sys, ssl, hashlib; sys.exit(sys.maxunicode < 0x10ffff)' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

# Unpacks Debian's Python 2.7, by a configuration of apt that shares only the mirror and the keys with the machine's own.
unpack_python() {
  local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg apt=$into/apt root=$into/debian
  command -v apt-get >/dev/null || cannot 'no Python 2.7 here, and no apt-get to download it'
  # shellcheck disable=SC2016  # apt-get expands it
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
  if [ -z "$mirror" ] || [ ! -e "$keys" ]; then
    cannot "no Python 2.7 here, and apt has no mirror of Debian, or not Debian's keys"
  fi
  rm -rf "$apt" "$root" "$root.new"
  mkdir -p "$apt"/{lists,archives}/partial "$root.new"
  echo "deb [signed-by=$keys] $mirror bullseye main" >"$apt/sources.list"
  local options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists"
    -o "Dir::Cache=$apt" -o Acquire::Languages=none -o APT::Sandbox::User= -o Acquire::Retries=2)
  local packages=(python2.7-minimal libpython2.7-minimal libpython2.7-stdlib libpython2.7-dev libssl1.1 libffi7)
  { apt-get "${options[@]}" update && cd "$apt" && apt-get "${options[@]}" download "${packages[@]}"; } >>"$log" 2>&1 ||
    cannot "no Python 2.7 here, and Debian 11's can not be downloaded: $(tail -n 1 "$log")"
  local package
  for package in "$apt"/*.deb; do dpkg --extract "$package" "$root.new"; done
  mv "$root.new" "$root"
  rm -rf "$apt"
}

python=$(find_python || true)
libraries=''
if [ -z "$python" ]; then
  python=$into/debian/usr/bin/python2.7
  libraries=$into/debian/usr/lib/$(uname -m)-linux-gnu
  [ -x "$python" ] || (unpack_python) || exit $?
fi
headers=${libraries:+-I$into/debian/usr/include/python2.7 -I$into/debian/usr/include}
python2() { env LD_LIBRARY_PATH="$libraries" CPPFLAGS="$headers" PYTHONPATH="$into/pip" "$python" "$@"; }

# a changed list of packages, or another Python, leads to a new installation
wanted=$(cat "$here"/requirements*.txt <(echo "$python") | sha256sum | cut -c -16)
site=$into/site-$wanted
if [ ! -d "$site" ]; then
  : >"$log"
  rm -rf "$into"/site-* "$into/pip"
  python3 -m pip --version >/dev/null 2>&1 || cannot 'no pip for python3 (package python3-pip)'
  # today's pip downloads the last pip that supports Python 2.7; that one installs the rest
  python3 -m pip install --quiet --no-deps --require-hashes --python-version 2.7 --only-binary=:all: --no-compile \
    --target "$into/pip" --requirement "$here/requirements-pip.txt" >>"$log" 2>&1 ||
    cannot "pip for Python 2.7 can not be downloaded: $(tail -n 1 "$log")"
  python2 -m pip install --quiet --no-deps --require-hashes --no-build-isolation --target "$site.new" \
    --requirement "$here/requirements.txt" >>"$log" 2>&1 || cannot "the test suite can not be downloaded: $(tail -n 1 "$log")"
  python2 -m pip install --quiet --no-deps --require-hashes --no-build-isolation --target "$site.new" \
    --requirement "$here/requirements-fast.txt" >>"$log" 2>&1 || echo 'the suite will be slow, see tool.log' >&2
  mv "$site.new" "$site"
fi

cat >"$into/wstest.new" <<END
#!/bin/sh
# made by tests/autobahn/tool.sh
export LD_LIBRARY_PATH='$libraries'
exec '$python' -W ignore -c 'import site; site.addsitedir("$site"); from autobahntestsuite.wstest import run; run()' "\$@"
END
chmod +x "$into/wstest.new"
mv "$into/wstest.new" "$into/wstest"
"$into/wstest" --autobahnversion >>"$log" 2>&1 || cannot "the test suite does not start: $(tail -n 1 "$log")"
echo "$into/wstest"
