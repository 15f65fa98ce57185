#!/usr/bin/env bash
# nbdkit-vram: handover=auto, yes and no work with and without a service
# manager that keeps descriptors
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
unset NOTIFY_SOCKET

# No manager.
start_vram size=16M
stop_vram
start_vram size=16M handover=no
stop_vram
refuses_to_start "handover=yes: no service manager" size=16M \
  handover=yes
refuses_to_start "handover=some: it must be auto, yes or no" size=16M \
  handover=some
export NOTIFY_SOCKET=vsock:2:1234
refuses_to_start "handover=yes: no service manager" size=16M \
  handover=yes
# The parameter's old name.
refuses_to_start "handover=yes: no service manager" size=16M store=yes

# A manager that does not listen.
export NOTIFY_SOCKET=$tmp/absent
start_vram size=16M
expect_log "cannot hand vram-chunk-0 to the service manager"
expect_log "warning: .*the disk ends with this server"
stop_vram
# It asks the manager once to close the descriptors, and does not repeat that.
expect_log_times 1 "cannot remove vram-.* from the service manager"

# The disk ends, and is overwritten, when the process that started the server
# ends.
(
  start_vram size=16M
  echo "$server" >"$tmp/pid"
)
wait_for "$patience" ended "$(cat "$tmp/pid")"
clean_report
refuses_to_start "cannot hand vram-chunk-0 to the service manager" size=16M \
  handover=yes
start_vram size=16M handover=no
expect_no_log "service manager"
stop_vram

# manager LIMIT: starts a manager with an abstract socket. It keeps at most
# LIMIT descriptors, and writes its messages to $tmp/told.
manager ()
{
  [ -z "${manager-}" ] || kill "$manager"
  rm -f "$tmp/told"
  python3 - "@$tmp/manager" "$1" "$tmp/facts" >"$tmp/told" <<'END' &
import socket, struct, sys, os, array
s = socket.socket (socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind (sys.argv[1].replace ("@", "\0", 1))
limit = int (sys.argv[2])
kept = {}
print ("listening", flush = True)
while True:
    data, control, _, _ = s.recvmsg (4096, 1024)
    fds = array.array ("i")
    for _, _, content in control:
        fds.frombytes (content)
    print (data.decode ().replace ("\n", " "), len (fds), flush = True)
    words = dict (line.split ("=", 1) for line in data.decode ().split ("\n"))
    if "FDSTORE" in words and len (kept) < limit:
        kept[words["FDNAME"]] = fds.pop ()
    if "FDSTOREREMOVE" in words and words["FDNAME"] in kept:
        os.close (kept.pop (words["FDNAME"]))
    for fd in fds:
        os.close (fd)
    if data.startswith (b"READY=1") and "vram-state" in kept:
        # The superblock when the server is ready: copy_path, copy_reason,
        # gpu_name, gpu_pci.
        shared = os.pread (kept["vram-state"], 288, 2048)
        facts = [shared[at:at + n].split (b"\0")[0].decode ()
                 for at, n in ((80, 128), (208, 64), (272, 16))]
        print (*struct.unpack_from ("Q", shared, 64), *facts, sep = "|",
               file = open (sys.argv[3], "w"), flush = True)
END
  manager=$!
  cleanup_fn kill "$manager"
  wait_for "$patience" grep -q listening "$tmp/told"
}
export NOTIFY_SOCKET=@$tmp/manager

# told: prints the manager's messages, without the GPU's name and device node.
told ()
{
  sed '/FDNAME=vram-gpu/d
    s/ of Stand-in.* 0$/ of GPU 0/
    s/ of NVIDIA.* 0$/ of GPU 0/' "$tmp/told"
}

# The superblock describes the server.
manager 100
start_vram size=16M handover=yes window=no
if [ -z "$VRAM_REAL_GPU" ]; then
  wait_for "$patience" grep -Fx "2|window=no|Stand-in GPU 0|0000:01:00.0" \
    "$tmp/facts"
fi
stop_vram

# A manager with enough room gets all descriptors, and closes all at the end.
manager 100
start_vram size=16M handover=yes
nbdinfo "$uri" | grep ", server number 1, copies"
stop_vram
diff -u - <(told) <<'END'
listening
FDSTORE=1 FDPOLL=0 FDNAME=vram-chunk-0 1
FDSTORE=1 FDPOLL=0 FDNAME=vram-state 1
BARRIER=1 1
FDSTORE=1 FDPOLL=0 FDNAME=vram-probe 1
BARRIER=1 1
FDSTOREREMOVE=1 FDNAME=vram-probe 0
READY=1 STATUS=serving 16 MiB of GPU 0
FDSTOREREMOVE=1 FDNAME=vram-state 0
FDSTOREREMOVE=1 FDNAME=vram-chunk-0 0
BARRIER=1 1
END

# With a manager that keeps no descriptor, or not all, the disk ends with the
# server, and the log has a warning.
for limit in 0 2; do
  manager "$limit"
  start_vram size=130M
  expect_log "the service manager does not keep all descriptors"
  expect_log "warning: .*the disk ends with this server"
  nbdinfo "$uri" >"$tmp/info"
  ! grep "server number" "$tmp/info" || fail "there is a server number"
  stop_vram
  refuses_to_start \
    "the service manager does not keep all descriptors" \
    size=130M handover=yes
done

# A driver that cannot export VRAM.
manager 100
if [ -z "$VRAM_REAL_GPU" ]; then
  STANDIN_CUDA_NO_EXPORT=1 start_vram size=16M
  stop_vram
  STANDIN_CUDA_NO_EXPORT=1 refuses_to_start "handover=yes: .*" size=16M \
    handover=yes
fi

# The superblock cannot be made.
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || exit 0
preload=$VRAM_BUILD/tests/preload/.libs/memfd.so
[ -e "$preload" ] ||
  skip "a superblock that fails: $preload is not built; the rest passed"
run_as=(env "LD_PRELOAD=$preload")
start_vram size=16M
expect_log "cannot make the superblock: Function not impl"
expect_log "warning: .*the disk ends with this server"
stop_vram
refuses_to_start "cannot make the superblock" \
  size=16M handover=yes

# serves_on: a server that keeps its disk to itself still serves when
# gpu-timeout has passed: no call into the driver is under way.
serves_on ()
{
  sleep 4
  nbdinfo "$uri" >"$tmp/info"
  stop_vram
}

export NOTIFY_SOCKET=$tmp/absent
start_vram size=16M gpu-timeout=2
serves_on
run_as=()
[ -z "$VRAM_REAL_GPU" ] || exit 0
STANDIN_CUDA_FAIL=cuMemExportToShareableHandle:1:CUDA_ERROR_NOT_SUPPORTED \
  start_vram size=16M gpu-timeout=2 window=no
serves_on
