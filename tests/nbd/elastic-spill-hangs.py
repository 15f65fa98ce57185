# nbdkit-vram: the disk of the spill file does not answer for a while
# SPDX-License-Identifier: BSD-3-Clause
#
#   elastic-spill-hangs.py FOLDER COMMAND...
#
# COMMAND is a server of 64M, 8 slots. The disk of its spill file hangs while
# the file exists that VRAM_TEST_HANG names (tests/preload/aio.c).

import os, signal, sys
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from elastic import *

SLOT = 8 << 20
EIO = 5

store = Store (sys.argv[2:], sys.argv[1])
hang = os.environ["VRAM_TEST_HANG"]
take (0)
store.start ()
store.wait_ready ()
if not has_spill_file (store):
    store.end (signal.SIGTERM)
    sys.exit (77)
client = Client (store.socket, 0, 64 * 256, 1, 1)
client.connect ()


def fill (slot):
    data = client.random.randbytes (1 << 20)
    client.known[slot * SLOT:slot * SLOT + len (data)] = data
    client.request (WRITE, slot * SLOT, data)
    client.reply ()


def answer ():
    """The next answer: the command's offset and error."""
    _, error, handle = struct.unpack (">IIQ", client.receive (16))
    command, offset, content = client.pending.pop (handle)
    if command == READ and not error:
        client.check (offset, client.receive (content), [])
    return offset, error


wait_for ("the file can be used",
          lambda: facts (store)["spill_size"] == 64 << 20)
for slot in 0, 1, 2:
    fill (slot)
set_limit (store, 1)
wait_for ("all is in the file", lambda: facts (store)["spilled"] == 3 * SLOT)
client.verify ([])
# A reserve, and no room for anything to move back.
set_limit (store, 2 * SLOT)
wait_for ("there is a reserve", lambda: facts (store)["held"] == 2 * SLOT)
fill (5)
wait_for ("one slot is in VRAM", lambda: facts (store)["slots"] == SLOT)

# A request that waits for the disk fails in time, and others do not wait.
open (hang, "w").close ()
client.request (READ, 0, BLOCK)
client.request (READ, 5 * SLOT, BLOCK)
assert answer () == (5 * SLOT, 0)
assert answer () == (0, EIO)
for command in READ, WRITE:
    client.request (command, SLOT,
                    BLOCK if command == READ else b"x" * BLOCK)
    assert answer () == (SLOT, EIO)
fill (5)
assert facts (store)["spilled"] == 3 * SLOT, facts (store)
os.unlink (hang)


def answers ():
    client.request (READ, SLOT, BLOCK)
    return answer () == (SLOT, 0)


wait_for ("the disk answers again", answers)
client.verify ([])

# It answers late, but in time.
open (hang, "w").close ()
client.request (READ, SLOT, BLOCK)
client.request (READ, 5 * SLOT, BLOCK)
assert answer () == (5 * SLOT, 0)
os.unlink (hang)
assert answer () == (SLOT, 0)

# The server dies while a request waits for the disk.
open (hang, "w").close ()
client.request (WRITE, SLOT, b"x" * BLOCK)
client.request (READ, 5 * SLOT, BLOCK)
assert answer () == (5 * SLOT, 0)
store.end (signal.SIGKILL)
os.unlink (hang)
store.start ()
store.wait_ready ()
client.pending = {}
client.connect ()
client.verify ([(SLOT, SLOT + BLOCK)])
client.request (WRITE, SLOT, bytes (client.known[SLOT:SLOT + BLOCK]))
client.reply ()
client.finish ()
store.end_for_good (1)
