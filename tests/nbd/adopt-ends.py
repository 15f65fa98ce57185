# nbdkit-vram: a disk that outlives servers holds its VRAM until it ends, and
# frees it then
# SPDX-License-Identifier: BSD-3-Clause
#
#   adopt-ends.py FOLDER COMMAND...
#
# COMMAND is a server of 136M on a stand-in GPU of 200M, which all processes
# share.

import os, signal, sys, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

store = Store (sys.argv[2:], sys.argv[1])
os.mkdir (sys.argv[1] + "/other")
other = Store (sys.argv[2:], sys.argv[1] + "/other")
other.socket = store.socket
kept = ["vram-chunk-0", "vram-chunk-1", "vram-chunk-2", "vram-state"]


def writes ():
    client = Client (store.socket, 0, 136 * 256, 16, 7)
    client.connect ()
    for _ in range (300):
        client.issue ()
        client.reply ()
    client.finish ()
    return client


# The store alone holds the VRAM of a server that was killed, and no other
# server can allocate it.
store.start ()
store.wait_ready ()
client = writes ()
store.end (signal.SIGKILL)
assert store.names () == kept, store.names ()
other.refuses ("VRAM is short")

# A server that takes the disk over and is told to end frees it.
store.start ()
store.wait_ready ()
client.connect ()
client.finish ()
assert store.end (signal.SIGTERM) == 0
assert store.names () == [], store.names ()
other.start ()
other.wait_ready ()

# The first server of a disk frees it, too.
writes ()
assert other.end (signal.SIGTERM) == 0
assert other.names () == [], other.names ()

# If the store keeps the descriptors in spite of that, the next server does not
# take over the disk that has ended.
store.start ()
store.wait_ready ()
writes ()
held = {name: os.dup (fd) for name, fd in store.fds.items ()}
assert store.end (signal.SIGTERM) == 0
assert store.names () == []
store.fds = held
log = sys.argv[1] + "/log.given-up"
store.start (log = log)
store.wait_ready ()
assert "the earlier server gave up the disk" in open (log).read ()
assert store.names () == kept, store.names ()
client = Client (store.socket, 0, 136 * 256, 16, 8)     # knows zeros
client.connect ()
client.finish ()
store.end (signal.SIGKILL)
store.start ()
store.wait_ready ()
assert store.end (signal.SIGTERM) == 0
assert store.names () == [], store.names ()
