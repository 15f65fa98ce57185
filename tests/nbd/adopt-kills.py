# nbdkit-vram: kills the server again and again under load, and each time
# checks all acknowledged writes
# SPDX-License-Identifier: BSD-3-Clause
#
#   adopt-kills.py KILLS SIZE-IN-MIB CONNECTIONS FOLDER COMMAND...

import os, signal, sys, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

kills, mib, connections = map (int, sys.argv[1:4])
folder = sys.argv[4]
store = Store (sys.argv[5:], folder)
store.start ()
store.wait_ready ()
kept = store.names ()
print ("kept: %d descriptors" % len (kept))

outages = []
with Load (store, mib, connections) as load:
    for n in range (kills):
        load.go_on ()
        began = time.monotonic ()
        store.end (signal.SIGSEGV if n % 10 == 9 else signal.SIGKILL)
        if store.names () != kept:
            raise SystemExit ("kept: %s" % store.names ())
        store.start ()
        store.wait_ready ()
        outages.append ((time.monotonic () - began) * 1000)
store.end_for_good (kills)
outages.sort ()
print ("%d kills, %s; outage p50 %.0f ms, max %.0f ms"
       % (len (outages), load.summary (), outages[len (outages) // 2],
          outages[-1]))
