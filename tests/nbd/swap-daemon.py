# nbdkit-vram: kills the server and the daemon under load, and each time checks
# all acknowledged writes
# SPDX-License-Identifier: BSD-3-Clause
#
#   swap-daemon.py KILLS SIZE-IN-MIB FOLDER LOG COMMAND...
#
# COMMAND is vram-swap daemon. The socket is FOLDER/sock.

import os, select, signal, sys
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

kills, mib = map (int, sys.argv[1:3])
folder, log = sys.argv[3:5]
store = Store (sys.argv[5:], folder)
store.start_as_systemd (log)
store.wait_ready ()
kept = store.names ()
print ("kept: %d descriptors" % len (kept))


def server (load):
    """A pidfd of the server to which all clients are connected."""
    pids = {c.server for c in load.clients}
    if len (pids) != 1:
        raise SystemExit ("the clients have different servers: %s" % pids)
    pid = pids.pop ()
    try:
        return os.pidfd_open (pid)
    except OSError as e:
        raise SystemExit ("the server, process %d, has gone by itself: %s"
                          % (pid, e))


def ended (pidfd, seconds):
    return bool (select.select ([pidfd], [], [], seconds)[0])


deaths = 0
with Load (store, mib, 2) as load:
    for n in range (kills):
        load.go_on ()
        victim = server (load)
        if n % 4 in (0, 1):
            store.ready.clear ()
            signal.pidfd_send_signal (victim,
                                      signal.SIGSEGV if n % 4
                                      else signal.SIGKILL)
        else:
            store.end (signal.SIGKILL)
            # The server goes on without the daemon, or dies, too.
            if n % 4 == 3:
                signal.pidfd_send_signal (victim, signal.SIGKILL)
            elif ended (victim, 0.1):
                raise SystemExit ("the server does not outlive the daemon")
            if store.names () != kept:
                raise SystemExit ("kept: %s" % store.names ())
            store.start_as_systemd (log)
        deaths += n % 4 != 2
        store.wait_ready ()
        if n % 4 == 2 and ended (victim, 0):
            raise SystemExit ("the next daemon has ended the server")
        os.close (victim)
store.end_for_good (deaths)
print ("%d kills, %s" % (kills, load.summary ()))
