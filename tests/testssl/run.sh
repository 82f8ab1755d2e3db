#!/usr/bin/env bash
# testssl.sh judges the TLS of tidegate with the default configuration, with an ECDSA and with an RSA certificate.
#
#   tests/testssl/run.sh          what differs between servers and versions: protocols, ciphers, their order, known holes
#   tests/testssl/run.sh --all    every check of testssl.sh for both certificates: each cipher, forty simulated clients too
#
# Needs cargo, openssl, python3, hexdump and testssl (Debian: testssl.sh); says SKIPPED where one is missing, which is no
# failure. Fails at every finding above LOW that allowed.txt does not explain, and if a required check was not made.
# judge.py decides, after it has shown on samples that it can still fail.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# protocols, cipher categories, forward secrecy, the server's preferences and defaults, headers, known holes
checks=(-p -s -f -P -S -h -U)
# the checks whose result depends on the kind of key: ciphers, the certificate, known holes
rsa_checks=(-s -f -S -U)
case "${1:-}" in
  '') ;;
  --all) checks=() rsa_checks=() ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "tests/testssl/run.sh: no such option: $1; try --help" >&2; exit 64 ;;
esac

# shellcheck source=tests/lib/gateway.sh
. tests/lib/gateway.sh
work=$target/testssl
need testssl openssl python3 hexdump
python3 "$here/judge.py" --self-test
rm -rf "$work"
mkdir -p "$work"

# leaf NAME KEY...: a certificate for this name from the test's own CA, with the fields that a public CA writes.
leaf() {
  local name=$1
  shift
  openssl req -newkey "$@" -nodes -subj "/CN=$name" -keyout "$work/$name.key" -out "$work/$name.csr" 2>/dev/null
  printf '%s\n' "subjectAltName=DNS:$name" extendedKeyUsage=serverAuth keyUsage=digitalSignature \
    basicConstraints=CA:FALSE >"$work/extensions"
  openssl x509 -req -in "$work/$name.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 90 -sha256 \
    -extfile "$work/extensions" -out "$work/$name.crt" 2>/dev/null
  cat "$work/$name.crt" "$work/ca.pem" >"$work/$name.pem"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj '/CN=CA of this test' \
  -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
leaf ecdsa.test ec -pkeyopt ec_paramgen_curve:prime256v1
leaf rsa.test rsa:2048
start_gateway "$subnet.1" "$subnet.2" ecdsa.test rsa.test </dev/null

# scan NAME CHECK...: writes $work/NAME.json. testssl.sh connects to the gateway only and asks no name server.
scan() {
  local name=$1
  shift
  testssl "$@" --ip "$subnet.1" --nodns none --add-ca "$work/ca.pem" --warnings off --color 0 --quiet \
    --jsonfile "$work/$name.json" "$name:8443" >"$work/$name.txt" 2>&1 </dev/null || true
}
# both at once, because a scan mostly waits
scan ecdsa.test ${checks[@]+"${checks[@]}"} &
ecdsa=$!
scan rsa.test ${rsa_checks[@]+"${rsa_checks[@]}"} &
wait $! "$ecdsa"
expect_healthy_gateway
python3 "$here/judge.py" "$here/allowed.txt" "$work/ecdsa.test.json" "$work/rsa.test.json"
