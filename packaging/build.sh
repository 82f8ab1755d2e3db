#!/usr/bin/env bash
# Builds everything that is published, below target/package/: the Debian package and the one with its debug symbols, a tarball,
# the list of components (SBOM, CycloneDX) and SHA256SUMS.
#
#   packaging/build.sh                    builds the program and packs it
#   packaging/build.sh --program FILE     packs a program that is built already, as tests do
#   packaging/build.sh --deb-only         only the Debian package, soon made and larger, for tests
#   packaging/build.sh --revision N       the Debian revision, 1 if not given
#   packaging/build.sh --output DIR       another place for the artefacts
#
# Needs what building the program needs, and dpkg-deb, binutils, tar, gzip and xz. cargo-deb, cargo-about and cargo-cyclonedx
# are built once, below target/tools. The same commit gives the same bytes: packaging/README.md says how far.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program='' deb_only=no revision=1 output=''
while [ $# -gt 0 ]; do
  case "$1" in
    --program) program=$2; shift 2 ;;
    --deb-only) deb_only=yes; shift ;;
    --revision) revision=$2; shift 2 ;;
    --output) output=$2; shift 2 ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "packaging/build.sh: no such option: $1; try --help" >&2; exit 64 ;;
  esac
done

target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
output=${output:-$target/package}
version=$(cargo metadata --no-deps --format-version 1 --locked |
  python3 -c 'import json, sys; print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "tidegate"))')
triple=$(rustc -vV | sed -n 's/^host: //p')
# the time of the commit stands in every artefact instead of the time of the build
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); fi
export SOURCE_DATE_EPOCH
umask 022

# --- tools --------------------------------------------------------------------------------------------------------------

tools=$target/tools
# tool NAME VERSION OPTION...: a command of cargo, built once. Little optimised: it runs for seconds.
tool() {
  local name=$1 wanted=$2
  shift 2
  if [ -e "$tools/$name-$wanted" ]; then return; fi
  env CARGO_TARGET_DIR="$tools/build" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 CARGO_PROFILE_RELEASE_DEBUG=0 \
    cargo install "$name" --version "=$wanted" --locked --quiet --force --root "$tools" "$@"
  rm -rf "$tools/build"
  touch "$tools/$name-$wanted"
}
# makes the .deb; kept by the author of lib.rs since 2016
tool cargo-deb 3.8.0

# --- the program --------------------------------------------------------------------------------------------------------

# Paths of this machine stay out of the program: they are no concern of its users, and two machines would build two programs.
build() {
  local cargo_home=${CARGO_HOME:-$HOME/.cargo} sysroot map rust='' c=''
  sysroot=$(rustc --print sysroot)
  for map in "$cargo_home=/cargo" "$sysroot=/rust" "$target=/target" "$PWD=/tidegate"; do
    rust="$rust --remap-path-prefix=$map"
    c="$c -ffile-prefix-map=$map"
  done
  RUSTFLAGS="${RUSTFLAGS:-}$rust" CFLAGS="${CFLAGS:-}$c" CXXFLAGS="${CXXFLAGS:-}$c" \
    cargo build --release --locked --quiet --bin tidegate
}
if [ -z "$program" ]; then
  build
  program=$target/release/tidegate
fi

# --- what the program and the sources generate ----------------------------------------------------------------------------

# cargo-deb looks for the program and for target/release/… of its list in the folder of a profile with this name
pack=$target/packaging-$$
trap 'rm -rf "$pack"' EXIT
stage=$pack/stage
mkdir -p "$stage/man" "$stage/completions" "$stage/examples"
cp "$program" "$pack/tidegate"
program=$pack/tidegate

"$program" man >"$stage/man/tidegate.1"
for command in $("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  if [ "$command" != help ]; then "$program" man "$command" >"$stage/man/tidegate-$command.1"; fi
done
gzip --best --no-name "$stage"/man/*.1
for shell in bash zsh fish; do "$program" completions "$shell" >"$stage/completions/tidegate.$shell"; done

cp examples/tidegate.toml packaging/certbot-deploy-hook.sh "$stage/examples/"
for folder in prometheus grafana; do
  if [ -d "packaging/$folder" ]; then cp -r "packaging/$folder" "$stage/examples/"; fi
done

cat >"$stage/changelog.Debian" <<END
tidegate ($version-$revision) unstable; urgency=medium

  * What changed is in changelog.gz beside this file.

 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END
gzip --best --no-name "$stage/changelog.Debian"

# the licences of the crates that are linked into the program. Reading all of them takes minutes, so the list is made again only
# if something changed, and tests do without it.
third_party=$target/third-party-$(cat Cargo.lock packaging/licences.* | sha256sum | cut -c 1-16).txt
if [ ! -s "$third_party" ] && [ "$deb_only" = no ]; then
  tool cargo-about 0.9.3 --features cli
  "$tools/bin/cargo-about" generate --locked --config packaging/licences.toml packaging/licences.hbs >"$third_party.new"
  mv "$third_party.new" "$third_party"
fi
if [ -s "$third_party" ]; then
  cp "$third_party" "$stage/THIRD-PARTY.txt"
else
  echo 'This package is for tests and may not be passed on: the licences of the libraries are missing.' >"$stage/THIRD-PARTY.txt"
fi

# --- the Debian package ---------------------------------------------------------------------------------------------------

# pack_deb OPTION...: calls cargo-deb for what was staged.
pack_deb() {
  "$tools/bin/cargo-deb" --quiet --no-build --locked --profile "${pack##*/}" --deb-revision "$revision" --output "$output/" "$@" \
    >/dev/null
}

mkdir -p "$output"
rm -f "$output"/tidegate*
if [ "$deb_only" = yes ]; then pack_deb --strip --fast; exit 0; fi
pack_deb --dbgsym
# cargo-deb makes it as Ubuntu's tools do. Debian's have a suffix that apt knows, and their documentation in the package that
# the symbols belong to.
for symbols in "$output"/*.ddeb; do
  dpkg-deb --raw-extract "$symbols" "$pack/symbols"
  sed -i -e 's/^Priority: .*/Priority: optional/' -e 's/^Recommends:/Depends:/' "$pack/symbols/DEBIAN/control"
  mkdir -p "$pack/symbols/usr/share/doc"
  ln -s tidegate "$pack/symbols/usr/share/doc/tidegate-dbgsym"
  dpkg-deb --root-owner-group -Zxz --build "$pack/symbols" "${symbols%.ddeb}.deb" >/dev/null
  rm -r "$symbols" "$pack/symbols"
done

# --- the tarball ----------------------------------------------------------------------------------------------------------

name=tidegate-$version-$triple
tree=$pack/$name
mkdir -p "$tree"/{bin,etc,share/{man,completions,examples,doc},lib/{systemd,sysusers.d,tmpfiles.d,sysctl.d}}
objcopy --strip-debug --strip-unneeded "$program" "$tree/bin/tidegate"
cp "$stage"/man/* "$tree/share/man/"
cp "$stage"/completions/* "$tree/share/completions/"
cp -r "$stage"/examples/. "$tree/share/examples/"
cp docs/{configuration,operations,incidents,parameters,promises,security}.md "$tree/share/doc/"
cp -r docs/{reference,migrate} "$tree/share/doc/"
cp systemd/README.md "$tree/share/doc/systemd.md"
cp systemd/tidegate.service systemd/tidegate.socket "$tree/lib/systemd/"
for kind in sysusers tmpfiles sysctl; do cp "packaging/tidegate.$kind.conf" "$tree/lib/$kind.d/tidegate.conf"; done
cp packaging/tidegate.toml "$tree/etc/"
cp packaging/tidegate.logrotate "$tree/etc/tidegate.logrotate"
cp README.md CHANGELOG.md LICENSE "$stage/THIRD-PARTY.txt" "$tree/"
tar --directory "$pack" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar \
  --create "$name" | xz --threads=1 >"$output/$name.tar.xz"

# --- the list of components -------------------------------------------------------------------------------------------------

tool cargo-cyclonedx 0.5.9
# it writes into the folder of the sources, so it gets a copy of them
sources=$pack/sources
mkdir "$sources"
tar --create --exclude=./target --exclude=node_modules --exclude=./.git . | tar --extract --directory "$sources"
"$tools/bin/cargo-cyclonedx" cyclonedx --quiet --manifest-path "$sources/Cargo.toml" --format json --target "$triple" \
  --no-build-deps --spec-version 1.5 --override-filename sbom
# the place of the copy is no part of the list, and neither is a number that is drawn for each build
python3 - "$sources" "$output/$name.cdx.json" <<'END'
import json, sys
sources, output = sys.argv[1:]
with open(f"{sources}/sbom.json") as file:
    text = file.read().replace(sources, "/tidegate")
sbom = json.loads(text)
sbom.pop("serialNumber", None)
with open(output, "w") as file:
    json.dump(sbom, file, indent=1, sort_keys=True)
    file.write("\n")
END

# --- sums -------------------------------------------------------------------------------------------------------------------

rm -r "$sources" "$tree"
(cd "$output" && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS && cat SHA256SUMS)
