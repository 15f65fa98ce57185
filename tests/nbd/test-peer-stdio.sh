#!/usr/bin/env bash
# nbdkit-vram: nbdkit -s serves the program that started it, over pipes or a
# socket pair, but no client over TCP
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
launcher

cat >"$tmp/client.py" <<'END'
import os, socket, subprocess, sys

kind, command = sys.argv[1], sys.argv[2:]
if kind == "pipes":
    out, server_in = os.pipe ()
    server_out, back = os.pipe ()
    ends = (out, back)
    send = lambda data: os.write (server_in, data)
    receive = lambda n: os.read (server_out, n)
elif kind == "socketpair":
    mine, its = socket.socketpair ()
    ends = (its.fileno (), its.fileno ())
    send, receive = mine.send, mine.recv
elif kind == "named":  # as a super-server has it for a Unix socket
    listener = socket.socket (socket.AF_UNIX)
    listener.bind (os.environ["SOCKET"])
    os.chmod (os.environ["SOCKET"], 0o777)
    listener.listen ()
    mine = socket.socket (socket.AF_UNIX)
    if os.environ.get ("CLIENT"):
        os.setresuid (-1, int (os.environ["CLIENT"]), -1)
    mine.connect (os.environ["SOCKET"])
    os.setresuid (-1, 0, -1)
    its = listener.accept ()[0]
    ends = (its.fileno (), its.fileno ())
    send, receive = mine.send, mine.recv
else:                                      # as a super-server has it for TCP
    listener = socket.create_server (("127.0.0.1", 0))
    mine = socket.create_connection (listener.getsockname ())
    its = listener.accept ()[0]
    ends = (its.fileno (), its.fileno ())
    send, receive = mine.send, mine.recv
server = subprocess.Popen (command, stdin = ends[0], stdout = ends[1])
for end in set (ends):
    os.close (end)
hello = b""
try:
    while len (hello) < 18:
        data = receive (18 - len (hello))
        if not data:
            break
        hello += data
except ConnectionResetError:
    pass
print ("served" if hello.startswith (b"NBDMAGICIHAVEOPT") else "refused")
if kind == "pipes":
    os.close (server_in)
    os.close (server_out)
else:
    mine.close ()
server.wait ()
END

# connects KIND [PARAMETER...]: prints "served" or "refused" for a client of
# this kind.
connects ()
{
  local kind=$1
  shift
  timeout --kill-after=5 "$patience" python3 "$tmp/client.py" "$kind" \
    "${launch[@]}" -s "$VRAM_PLUGIN" size=16M "$@" \
    2>"$log"
}

[ "$(connects pipes)" = served ]
[ "$(connects socketpair)" = served ]
expect_no_log "error"
[ "$(connects tcp)" = refused ]
expect_log_times 1 \
  "refused a client that is not connected through a Unix socket"
[ "$(connects tcp allow=any)" = served ]

# A socket that was accepted has a peer, whose user is checked.
if [ "$(id -u)" -eq 0 ]; then
  chmod 711 "$tmp"
  export SOCKET=$tmp/named
  [ "$(connects named)" = served ]
  rm "$SOCKET"
  [ "$(CLIENT=65534 connects named)" = refused ]
  expect_log_times 1 "refused a client with uid 65534"
fi
