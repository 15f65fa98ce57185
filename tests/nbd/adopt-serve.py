# nbdkit-vram: kills the server, and what keeps it, under load and checks each acknowledged write after each
# SPDX-License-Identifier: BSD-3-Clause
#
#   adopt-serve.py KILLS SIZE-IN-MIB FOLDER LOG COMMAND...     COMMAND is vram-swap serve; the socket is FOLDER/sock

import os, select, signal, sys
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

kills, mib, folder, log = int (sys.argv[1]), int (sys.argv[2]), sys.argv[3], sys.argv[4]
store = Store (sys.argv[5:], folder)
store.start_as_systemd (log)
store.wait_ready ()
kept = store.names ()
print ("kept: %d descriptors" % len (kept))


def server (load):
    """Who has answered all clients since the last death: its process, as a descriptor."""
    pids = {c.server for c in load.clients}
    if len (pids) != 1:
        raise SystemExit ("the clients have different servers: %s" % pids)
    pid = pids.pop ()
    try:
        fd = os.pidfd_open (pid)
        parent = int (open ("/proc/%d/stat" % pid).read ().rsplit (")", 1)[1].split ()[1])
    except OSError as e:
        raise SystemExit ("the server, process %d, has gone by itself: %s" % (pid, e))
    if parent != store.process.pid:
        raise SystemExit ("process %d is the server, and a child of %d, not of %d" % (pid, parent, store.process.pid))
    return fd


with Load (store, mib, 2) as load:
    for n in range (kills):
        load.go_on ()
        victim = server (load)
        if n % 3 == 2:
            # The server dies with it, and the next keeper gets the descriptors from outside.
            store.end (signal.SIGKILL)
            if not select.select ([victim], [], [], PATIENCE)[0]:
                raise SystemExit ("the server outlives its keeper")
            if store.names () != kept:
                raise SystemExit ("kept: %s" % store.names ())
            store.start_as_systemd (log)
        else:
            store.ready.clear ()
            signal.pidfd_send_signal (victim, signal.SIGSEGV if n % 3 == 1 else signal.SIGKILL)
        os.close (victim)
        store.wait_ready ()
store.end_for_good (kills)
print ("%d kills, %s" % (kills, load.summary ()))
