# nbdkit-vram: kills the server again and again under load and checks each acknowledged write after each
# SPDX-License-Identifier: BSD-3-Clause
#
#   adopt-kills.py KILLS SIZE-IN-MIB CONNECTIONS FOLDER COMMAND...

import os, random, signal, sys, threading, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

kills, mib, connections, folder = int (sys.argv[1]), int (sys.argv[2]), int (sys.argv[3]), sys.argv[4]
store = Store (sys.argv[5:], folder)
store.start ()
store.wait_ready ()
kept = store.names ()
print ("kept: %d descriptors" % len (kept))

blocks = mib * 256 // connections
clients = [Client (store.socket, i * blocks, blocks, 16, 1000 + i) for i in range (connections)]
stop = threading.Event ()
wrong = []


def run (client):
    try:
        client.run (stop)
        client.finish ()
    except BaseException as e:
        wrong.append (e)


threads = [threading.Thread (target = run, args = (c,), daemon = True) for c in clients]
for t in threads:
    t.start ()
dice = random.Random (int (os.environ.get ("VRAM_SEED", "0")) or None)
outages = []
try:
    for n in range (kills):
        answered = [c.answered for c in clients]
        # Not before every client has had answers from this server, and then at any instant.
        deadline = time.monotonic () + PATIENCE
        while any (c.answered < a + 20 for c, a in zip (clients, answered)) and not wrong:
            if time.monotonic () > deadline:
                raise SystemExit ("the load does not go on")
            time.sleep (0.002)
        time.sleep (dice.random () * 0.1)
        if wrong:
            break
        began = time.monotonic ()
        status = store.end (signal.SIGSEGV if n % 10 == 9 else signal.SIGKILL)
        if store.names () != kept:
            raise SystemExit ("kept: %s" % store.names ())
        store.start ()
        store.wait_ready ()
        outages.append ((time.monotonic () - began) * 1000)
finally:
    stop.set ()
    for t in threads:
        t.join (PATIENCE)
if wrong or any (t.is_alive () for t in threads):
    raise SystemExit ("a client failed: %s" % (wrong or "it hangs"))
if str (kills + 1) not in store.status.split ():
    raise SystemExit ("the status is '%s' after %d kills" % (store.status, kills))

status = store.end (signal.SIGTERM)
if status != 0:
    raise SystemExit ("the last server's exit status is %d" % status)
if store.names ():
    raise SystemExit ("still kept after a clean stop: %s" % store.names ())
outages.sort ()
print ("%d kills, %d requests answered, %d sent again; outage p50 %.0f ms, max %.0f ms"
       % (len (outages), sum (c.answered for c in clients), sum (c.resent for c in clients),
          outages[len (outages) // 2], outages[-1]))
