# nbdkit-vram: kills a server while it takes and frees VRAM, and checks its
# data
# SPDX-License-Identifier: BSD-3-Clause
#
#   elastic-kills.py KILLS FOLDER COMMAND...
#
# COMMAND is a server of 64M, in 8 slots, on a GPU of 128M.

import os, signal, sys
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from elastic import *

kills, folder = int (sys.argv[1]), sys.argv[2]
store = Store (sys.argv[3:], folder)
take (0)
store.start ()
store.wait_ready ()
assert facts (store)["elastic"] == 2, facts (store)

load = Load (store, 64, 4, Nomad)
squeezer = Squeezer (load)


def moved ():
    return sum (c.moves for c in load.clients)


def spills ():
    return (any (word.startswith ("spill=") for word in store.command)
            and has_spill_file (store))


def enough ():
    """True if clients and slots have moved more often than servers were
    killed."""
    load.no_failure ()
    now = facts (store)
    if moved () <= kills or not now["by_headroom"]:
        return False
    return not spills () or (now["spill_size"] == 64 << 20 and
                             min (now["moves_out"], now["moves_back"]) > kills)


with load:
    for n in range (kills):
        load.go_on ()
        store.end (signal.SIGSEGV if n % 10 == 9 else signal.SIGKILL)
        store.start ()
        store.wait_ready ()
    wait_for ("clients and slots move", enough)
    squeezer.end ()
    last = facts (store)
store.end_for_good (kills)
print ("%d kills, %s, %d times a client moved on, %s; %s"
       % (kills, load.summary (), moved (),
          "with a spill file" if spills () else "without a spill file", last))
if spills ():
    assert last["spill_size"] == 64 << 20, last
