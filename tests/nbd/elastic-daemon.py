# nbdkit-vram: kills an elastic server and its daemon, and checks the data
# SPDX-License-Identifier: BSD-3-Clause
#
#   elastic-daemon.py KILLS FOLDER LOG COMMAND...
#
# COMMAND is vram-swap daemon with a disk of 64M, 8 slots, on a GPU of 128M.
# The socket is FOLDER/sock.

import fcntl, os, signal, sys, termios
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from elastic import *

kills, folder, log = int (sys.argv[1]), sys.argv[2], sys.argv[3]
store = Store (sys.argv[4:], folder)
take (0)
store.start_as_systemd (log)
store.wait_ready ()
assert facts (store)["elastic"] == 2, facts (store)


def all_read ():
    """True if the store has read all messages, as systemd does before it
    starts a process."""
    waiting = struct.unpack (
        "i", fcntl.ioctl (store.notify, termios.FIONREAD, bytes (4)))[0]
    with store.lock:
        return waiting == 0


load = Load (store, 64, 4, Nomad)
squeezer = Squeezer (load)
deaths = 0
with load:
    for n in range (kills):
        load.go_on ()
        pids = {c.server for c in load.clients}
        if len (pids) != 1:
            raise SystemExit ("the clients have different servers: %s" % pids)
        victim = os.pidfd_open (pids.pop ())
        store.ready.clear ()
        if n % 3 != 1:
            store.end (signal.SIGKILL)
        if n % 3 != 0:
            signal.pidfd_send_signal (victim, signal.SIGKILL)
            deaths += 1
        os.close (victim)
        if n % 3 != 1:
            wait_for ("all messages are read", all_read)
            store.start_as_systemd (log)
        store.wait_ready ()
    wait_for ("a slot is given back", lambda: facts (store)["by_headroom"])
    squeezer.end ()
    last = facts (store)
store.end_for_good (deaths)
print ("%d kills, %s; %s" % (kills, load.summary (), last))
