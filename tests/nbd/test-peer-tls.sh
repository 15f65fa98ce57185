#!/usr/bin/env bash
# nbdkit-vram: with the man page's TLS options only clients with a certificate
# are served over TCP
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program nbdcopy
requires_program openssl
requires_program python3
requires_nbdsh
"$NBDKIT" --dump-config | grep -qx tls=yes || skip "this nbdkit has no TLS"
nbdsh -c 'assert h.supports_tls ()' || skip "this libnbd has no TLS"

# The man page's command line, with this test's folder and port.
page=$top_srcdir/man/nbdkit-vram-plugin.pod
[ -e "$page" ] || skip "the sources are not here"
read -ra options < <(
  sed -n '/^ nbdkit --tls=require/,/allow=any$/p' "$page" |
    sed 's/^ nbdkit//' | tr -d '\\\n'
  echo)
[ "${#options[@]}" -eq 8 ]

# certificate NAME PURPOSE: makes a certificate, signed by ca-key.pem.
certificate ()
{
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" \
    -keyout "$1-key.pem" -out "$1.csr"
  printf '%s\n' subjectAltName=DNS:localhost "extendedKeyUsage=$2" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca-cert.pem -CAkey ca-key.pem \
    -CAcreateserial -days 2 -extfile "$1.ext" -out "$1-cert.pem"
}

mkdir "$tmp/certificates" "$tmp/authority"
cd "$tmp/certificates"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca \
  -addext keyUsage=critical,keyCertSign -keyout ca-key.pem -out ca-cert.pem
certificate server serverAuth
certificate client clientAuth
cp ca-cert.pem "$tmp/authority"
cd "$tmp"

# A port that was just free, or another one if it is taken meanwhile.
for ((try = 1; ; try++)); do
  port=$(python3 -c 'import socket
s = socket.socket ()
s.bind (("127.0.0.1", 0))
print (s.getsockname ()[1])')
  arguments=()
  for option in "${options[@]}"; do
    case $option in
      --tls-certificates=*)
        arguments+=(--tls-certificates="$tmp/certificates") ;;
      --port | vram | 4G) ;;
      10809) transport=(--ipaddr 127.0.0.1 --port "$port") ;;
      *) arguments+=("$option") ;;
    esac
  done
  launch_vram "${arguments[@]}" size=16M
  secure="nbds://localhost:$port/?tls-certificates=$tmp"
  for ((i = 0; i < patience * 20; i++)); do
    ! nbdinfo --size "$secure/certificates" >"$tmp/size" || break 2
    ! ended "$server" || break
    sleep 0.05
  done
  [ "$try" -lt 5 ] || fail "no server on any of five ports"
done
[ "$(cat "$tmp/size")" -eq $((16 << 20)) ]

random_file "$tmp/data" 1M
nbdcopy "$tmp/data" "$secure/certificates"
nbdcopy "$secure/certificates" "$tmp/back"
cmp -n $((1 << 20)) "$tmp/data" "$tmp/back"
! nbdinfo --size "$secure/authority" || fail "served without a certificate"
! nbdinfo --size "nbd://localhost:$port" || fail "served without TLS"
stop_vram
