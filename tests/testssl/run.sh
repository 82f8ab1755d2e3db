#!/usr/bin/env bash
# tidegate's TLS as testssl.sh judges it, with the defaults of the configuration, an ECDSA and an RSA certificate.
#
#   tests/testssl/run.sh          what differs between servers and versions: protocols, ciphers, order, the known holes
#   tests/testssl/run.sh --all    everything, for both certificates: each cipher, forty simulated clients as well
#
# Needs cargo, openssl, python3 and testssl (Debian: testssl.sh); without the last one it says SKIPPED and is no failure.
# Fails at any finding above LOW that is not in allowed.txt, and if a check that has to be among them is not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# protocols, cipher categories, forward secrecy, server's preferences and defaults, header, known holes
checks=(-p -s -f -P -S -h -U)
# what an RSA key changes: which ciphers, the certificate, the holes
rsa_checks=(-s -f -S -U)
case "${1:-}" in
  '') ;;
  --all) checks=() rsa_checks=() ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "tests/testssl/run.sh: no such option: $1; try --help" >&2; exit 64 ;;
esac

for command in testssl openssl python3; do
  command -v "$command" >/dev/null || { echo "SKIPPED testssl: no $command here"; exit 0; }
done
target=$(cargo metadata --no-deps --format-version 1 --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cargo build --locked --quiet --bin tidegate
work=$target/testssl
rm -rf "$work"
mkdir -p "$work"

# leaf NAME KEY...: a certificate of our own CA for this name, as a public CA would make it
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

# an address that no other test has
street=127.$((220 + $$ % 30)).$(($$ / 30 % 250))
cat >"$work/tidegate.toml" <<END
# made by tests/testssl/run.sh
[gateway]
listen = ["$street.1:8443"]
pin = false

[[tls.certificates]]
chain = "$work/ecdsa.test.pem"
key = "$work/ecdsa.test.key"

[[tls.certificates]]
chain = "$work/rsa.test.pem"
key = "$work/rsa.test.key"

[stream_manager]
url = "http://$street.2:5080"

[admin]
listen = "off"
END
"$target/debug/tidegate" run --config "$work/tidegate.toml" >"$work/tidegate.log" 2>&1 </dev/null &
tidegate=$!
trap 'kill "$tidegate" 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
deadline=$((SECONDS + 60))
until (exec 3<>"/dev/tcp/$street.1/8443") 2>/dev/null; do
  if ! kill -0 "$tidegate" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
    echo 'the gateway does not come up' >&2
    cat "$work/tidegate.log" >&2
    exit 1
  fi
  sleep 0.1
done

# judge NAME CHECK...: nobody is asked but the gateway, no name server either
judge() {
  local name=$1
  shift
  testssl "$@" --ip "$street.1" --nodns none --add-ca "$work/ca.pem" --warnings off --color 0 --quiet \
    --jsonfile "$work/$name.json" "$name:8443" >"$work/$name.txt" 2>&1 </dev/null || true
}
# side by side: it mostly waits
judge ecdsa.test ${checks[@]+"${checks[@]}"} &
ecdsa=$!
judge rsa.test ${rsa_checks[@]+"${rsa_checks[@]}"} &
wait $! "$ecdsa"
if ! kill -0 "$tidegate" 2>/dev/null || grep -q 'panic at ' "$work/tidegate.log"; then
  cat "$work/tidegate.log"
  exit 1
fi
python3 "$here/judge.py" "$here/allowed.txt" "$work/ecdsa.test.json" "$work/rsa.test.json"
