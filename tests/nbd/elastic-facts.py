# nbdkit-vram: an elastic disk holds VRAM for its data only, and gives the rest
# back
# SPDX-License-Identifier: BSD-3-Clause
#
#   elastic-facts.py FOLDER COMMAND...
#
# COMMAND is a server of 64M, in 8 slots, with headroom=8M, on a GPU of 128M.

import os, signal, sys
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from elastic import *

MIB = 1 << 20
RESERVE = 2 * SLOT

store = Store (sys.argv[2:], sys.argv[1])
take (0)
store.start ()
store.wait_ready ()
client = Client (store.socket, 0, 64 * 256, 1, 1)
client.connect ()


def fill (slot, count = 1):
    for offset in range (slot * SLOT, (slot + count) * SLOT, MIB):
        data = client.random.randbytes (MIB)
        client.known[offset:offset + MIB] = data
        client.request (WRITE, offset, data)
        client.reply ()


def trim (slot, count = 1):
    client.known[slot * SLOT:(slot + count) * SLOT] = bytes (count * SLOT)
    client.request (TRIM, slot * SLOT, count * SLOT)
    client.reply ()


def refused ():
    """True if a write into the last slot, which is empty, fails."""
    client.request (WRITE, 7 * SLOT, b"x" * BLOCK)
    _, error, handle = struct.unpack (">IIQ", client.receive (16))
    del client.pending[handle]
    return error == ENOSPC


def kept ():
    return sum (name.startswith ("vram-chunk-") for name in store.names ())


def obeyed (limit):
    wait_for ("the limit is obeyed",
              lambda: facts (store)["limit_obeyed"] == limit)


def held (size):
    wait_for ("%d bytes held" % size, lambda: facts (store)["held"] == size)
    wait_for ("as many kept", lambda: kept () * SLOT == size)


# A disk without data holds only its reserve.
assert facts (store)["elastic"] == 2, facts (store)
wait_for ("nothing is used", lambda: facts (store)["slots"] == 0)
held (RESERVE)
client.verify ([])
held (RESERVE)

# All slots are filled, and then trimmed.
fill (0, 8)
held (8 * SLOT)
client.verify ([])
trim (0, 8)
held (RESERVE)
client.verify ([])
assert facts (store)["by_trim"] > 0, facts (store)

# The next server finds the data, and holds no more VRAM than it needs.
fill (0, 3)
held (3 * SLOT + RESERVE)
store.end (signal.SIGKILL)
store.start ()
store.wait_ready ()
client.connect ()
client.verify ([])
held (3 * SLOT + RESERVE)

# A limit is obeyed as far as slots hold no data.
set_limit (store, 4 * SLOT)
held (4 * SLOT)
obeyed (4 * SLOT)
set_limit (store, SLOT)
held (3 * SLOT)
assert facts (store)["least"] == 3 * SLOT, facts (store)
assert facts (store)["limit_obeyed"] == 4 * SLOT, facts (store)
assert refused ()
client.verify ([])
trim (1, 2)
held (SLOT)
obeyed (SLOT)
set_limit (store, (1 << 64) - 1)
held (SLOT + RESERVE)
assert facts (store)["by_limit"] > 0, facts (store)

# Other programs take all VRAM, and end.
fill (0, 3)
trim (2)
take (128 * MIB)
held (2 * SLOT)
assert refused ()
fill (0, 2)
client.verify ([])
take (0)
held (2 * SLOT + RESERVE)
fill (7)
client.verify ([])
assert facts (store)["by_headroom"] > 0, facts (store)
assert facts (store)["us_max"] > 0, facts (store)

client.finish ()
store.end_for_good (1)
