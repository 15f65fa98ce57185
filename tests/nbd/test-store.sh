#!/usr/bin/env bash
# nbdkit-vram: store=auto|yes|no with and without a service manager
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
unset NOTIFY_SOCKET

# Nobody to leave it to.
start_vram size=16M
stop_vram
start_vram size=16M store=no
stop_vram
refuses_to_start "store=yes: there is no service manager" size=16M store=yes
refuses_to_start "store=some: it must be auto, yes or no" size=16M store=some
export NOTIFY_SOCKET=vsock:2:1234
refuses_to_start "store=yes: there is no service manager" size=16M store=yes

# Somebody who does not listen.
export NOTIFY_SOCKET=$tmp/nobody
start_vram size=16M
expect_log "cannot hand vram-chunk-0 to the service manager"
expect_log "warning: the disk ends with this server"
stop_vram
# Nobody has it, so nobody is to give it back, once it has been tried.
expect_log_times 1 "cannot have the service manager close"

# It ends like any other together with the process that started the server, and is overwritten.
(
  start_vram size=16M
  echo "$server" >"$tmp/pid"
)
wait_for "$patience" ended "$(cat "$tmp/pid")"
clean_report
refuses_to_start "cannot hand vram-chunk-0 to the service manager" size=16M store=yes
start_vram size=16M store=no
expect_no_log "service manager"
stop_vram

# Somebody who does, at a name that is no path, and a driver without memory to pass on.
python3 - "@$tmp/manager" >"$tmp/told" <<'END' &
import socket, sys, os, array
s = socket.socket (socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind (sys.argv[1].replace ("@", "\0", 1))
print ("listening", flush = True)
while True:
    data, control, _, _ = s.recvmsg (4096, 1024)
    fds = array.array ("i")
    for _, _, content in control:
        fds.frombytes (content)
    print (data.decode ().replace ("\n", " "), len (fds), flush = True)
    for fd in fds:
        os.close (fd)
END
manager=$!
cleanup_fn kill "$manager"
wait_for "$patience" grep -q listening "$tmp/told"
export NOTIFY_SOCKET=@$tmp/manager
start_vram size=16M store=yes
stop_vram
cat "$tmp/told"
diff -u - <(sed 's/ of Stand-in.* 0$/ of GPU 0/; s/ of NVIDIA.* 0$/ of GPU 0/' "$tmp/told") <<'END'
listening
FDSTORE=1 FDPOLL=0 FDNAME=vram-chunk-0 1
FDSTORE=1 FDPOLL=0 FDNAME=vram-state 1
BARRIER=1 1
READY=1 STATUS=serving 16 MiB of GPU 0
FDSTOREREMOVE=1 FDNAME=vram-state 0
FDSTOREREMOVE=1 FDNAME=vram-chunk-0 0
BARRIER=1 1
END
if [ -z "$VRAM_REAL_GPU" ]; then
  export STANDIN_CUDA_NO_EXPORT=1
  start_vram size=16M
  stop_vram
  refuses_to_start "store=yes: this driver cannot export VRAM" size=16M store=yes
fi
