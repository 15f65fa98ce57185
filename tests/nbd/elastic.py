# nbdkit-vram: what tests of elastic=yes share
# SPDX-License-Identifier: BSD-3-Clause
#
# It uses the standard library only, so that it runs on a bare machine. Tests
# import:
#
#   facts (store)         the superblock's fields about elastic VRAM
#   has_spill_file (store)  whether the servers could make the spill file
#   set_limit (store, n)  sets a limit, as 'vram-swap limit' does
#   take (size)           lets other programs hold so many bytes of VRAM
#                         (STANDIN_CUDA_USED_FILE)
#   Nomad                 a client that uses one slot at a time, and trims it
#                         when it moves on
#   Squeezer              another program that takes VRAM for short times

import ctypes, mmap, os, struct, sys, threading, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

# As in plugin/disk/superblock.h.
SHARED_AT = 2048
WORDS = ("elastic", "held", "slots", "least", "spilled", "spill_size",
         "by_trim", "by_headroom", "by_limit", "unused",
         "moves_out", "moves_back", "us_max", "limit", "limit_obeyed")
FIRST = 288
LIMIT, WAKE = FIRST + 8 * WORDS.index ("limit"), FIRST + 8 * len (WORDS)

SLOT = 8 << 20 # bytes; the disks of the tests have 8 slots

SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[os.uname ().machine]
FUTEX_WAKE = 1
ENOSPC = 28


def facts (store):
    words = os.pread (store.fds["vram-state"], 8 * len (WORDS),
                      SHARED_AT + FIRST)
    return dict (zip (WORDS, struct.unpack ("%dQ" % len (WORDS), words)))


def has_spill_file (store):
    """Whether the servers that became ready have a file, if one is
    configured."""
    with open (store.folder + "/log.servers", errors = "replace") as log:
        return "no spill file: " not in log.read ()


def set_limit (store, limit):
    memory = mmap.mmap (store.fds["vram-state"], 4096)
    wake = ctypes.c_uint32.from_buffer (memory, SHARED_AT + WAKE)
    ctypes.c_uint64.from_buffer (memory, SHARED_AT + LIMIT).value = limit
    wake.value += 1
    ctypes.CDLL (None).syscall (SYS_FUTEX, ctypes.byref (wake), FUTEX_WAKE, 1,
                                None, None, 0)


def take (size):
    path = os.environ["STANDIN_CUDA_USED_FILE"]
    with open (path + ".new", "w") as f:
        f.write ("%d" % size)
    os.rename (path + ".new", path)


def wait_for (what, condition):
    deadline = time.monotonic () + PATIENCE
    while not condition ():
        if time.monotonic () > deadline:
            raise SystemExit ("after %d s still not: %s" % (PATIENCE, what))
        time.sleep (0.01)


class Nomad (Client):
    """A client that uses one slot of its part of the disk at a time."""

    slot = SLOT // BLOCK
    moves = 0

    def reply (self):
        """As Client's, but sends a request again that failed for lack of
        VRAM."""
        magic, error, handle = struct.unpack (">IIQ", self.receive (16))
        command, offset, content = self.pending[handle]
        if magic != 0x67446698 or error not in (0, ENOSPC):
            raise SystemExit ("magic %x, error %d" % (magic, error))
        data = None
        if command == READ and not error:
            data = self.receive (content)
        del self.pending[handle]
        if error:
            return self.request (command, offset, content)
        self.answered += 1
        if command == READ:
            self.check (offset, data, [])

    def issue (self):
        if not self.pending and self.random.random () < 0.3:
            self.moves += 1
            self.known[:] = bytes (len (self.known))
            slot = self.random.randrange (self.blocks // self.slot)
            self.camp = slot * self.slot
            return self.request (TRIM, 0, self.blocks * BLOCK)
        # One request at a time now and then, so that it can move.
        self.depth = 1 if self.random.random () < 0.05 else 16
        while True:
            count = self.random.choice ((1, 1, 1, 2, 8, 64))
            first = self.camp + self.random.randrange (self.slot - count)
            offset = first * BLOCK
            length = count * BLOCK
            if self.random.random () < 0.2:
                offset += self.random.randrange (BLOCK)
                length += 17 - BLOCK
            if not self.overlaps (offset, length):
                break
        if self.random.random () < 0.6:
            some = min (length, 509)
            content = self.random.randbytes (some) * (length // some + 1)
            self.known[offset:offset + length] = content[:length]
            self.request (WRITE, offset, content[:length])
        else:
            self.request (READ, offset, length)

    camp = 0


class Squeezer (threading.Thread):
    """Takes VRAM of a GPU of 128M for short times. Leaves a slot for each
    client of the load, and no reserve."""

    def __init__ (self, load):
        super ().__init__ (daemon = True)
        self.load = load
        self.over = threading.Event ()
        self.start ()

    def run (self):
        left = len (self.load.clients) * SLOT + (12 << 20)
        while not self.over.is_set ():
            for taken in (128 << 20) - left, 0:
                take (taken)
                self.over.wait (self.load.random.random () * 0.3)

    def end (self):
        self.over.set ()
        self.join ()
