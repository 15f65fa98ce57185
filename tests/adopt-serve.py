# nbdkit-vram: kills the server, and what keeps it, under load and checks each acknowledged write after each
# SPDX-License-Identifier: BSD-3-Clause
#
#   adopt-serve.py KILLS SIZE-IN-MIB FOLDER LOG COMMAND...     COMMAND is vram-swap serve; the socket is FOLDER/sock

import os, random, select, signal, sys, threading, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

kills, mib, folder, log = int (sys.argv[1]), int (sys.argv[2]), sys.argv[3], sys.argv[4]
store = Store (sys.argv[5:], folder)
store.start_as_systemd (log)
store.wait_ready ()
kept = store.names ()
print ("kept: %d descriptors" % len (kept))

blocks = mib * 256 // 2
clients = [Client (store.socket, i * blocks, blocks, 16, 1000 + i) for i in range (2)]
stop = threading.Event ()
wrong = []


def run (client):
    try:
        client.run (stop)
        client.finish ()
    except BaseException as e:
        wrong.append (e)


def server ():
    """Who has answered both clients since the last death: its process, as a descriptor."""
    pids = {c.server for c in clients}
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


threads = [threading.Thread (target = run, args = (c,), daemon = True) for c in clients]
for t in threads:
    t.start ()
dice = random.Random ()
try:
    for n in range (kills):
        # More than the server before can have answered without having been heard.
        answered = [c.answered for c in clients]
        deadline = time.monotonic () + PATIENCE
        while any (c.answered < a + 20 for c, a in zip (clients, answered)) and not wrong:
            if time.monotonic () > deadline:
                raise SystemExit ("the load does not go on")
            time.sleep (0.002)
        time.sleep (dice.random () * 0.1)
        if wrong:
            break
        victim = server ()
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
    raise SystemExit ("the exit status is %d" % status)
if store.names ():
    raise SystemExit ("still kept after a clean stop: %s" % store.names ())
print ("%d kills, %d requests answered, %d sent again"
       % (kills, sum (c.answered for c in clients), sum (c.resent for c in clients)))
