# nbdkit-vram: what tests of elastic=yes share: the facts in the superblock, and clients that move about
# SPDX-License-Identifier: BSD-3-Clause
#
# Standard library only, so that it runs on a bare machine. What tests import:
#
#   facts (store)            the words of the superblock about elastic VRAM, in a dict
#   set_limit (store, n)     as 'vram-swap limit' does
#   take (size)              the other programs of the GPU hold so much (STANDIN_CUDA_USED_FILE)
#   Nomad                    a client that uses one slot at a time, and forgets it when it moves on

import ctypes, mmap, os, struct, sys, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

# As plugin/disk/superblock.h has them.
SHARED_AT = 2048
WORDS = ("elastic", "held", "slots", "least", "spilled", "spill_size", "by_trim", "by_headroom", "by_limit", "unused",
         "moves_out", "moves_back", "us_max", "limit", "limit_obeyed")
FIRST = 288
LIMIT, WAKE = FIRST + 8 * WORDS.index ("limit"), FIRST + 8 * len (WORDS)

SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[os.uname ().machine]
FUTEX_WAKE = 1


def facts (store):
    words = os.pread (store.fds["vram-state"], 8 * len (WORDS), SHARED_AT + FIRST)
    return dict (zip (WORDS, struct.unpack ("%dQ" % len (WORDS), words)))


def set_limit (store, limit):
    memory = mmap.mmap (store.fds["vram-state"], 4096)
    wake = ctypes.c_uint32.from_buffer (memory, SHARED_AT + WAKE)
    ctypes.c_uint64.from_buffer (memory, SHARED_AT + LIMIT).value = limit
    wake.value += 1
    ctypes.CDLL (None).syscall (SYS_FUTEX, ctypes.byref (wake), FUTEX_WAKE, 1, None, None, 0)


def take (size):
    path = os.environ["STANDIN_CUDA_USED_FILE"]
    with open (path + ".new", "w") as f:
        f.write ("%d" % size)
    os.rename (path + ".new", path)


def wait_for (what, condition):
    deadline = time.monotonic () + PATIENCE
    while not condition ():
        if time.monotonic () > deadline:
            raise SystemExit ("after %d s there is still not: %s" % (PATIENCE, what))
        time.sleep (0.01)


class Nomad (Client):
    """Its part of the disk is a few slots, of which it uses one at a time."""

    slot = 0            # blocks
    moves = 0

    def issue (self):
        if not self.pending and self.random.random () < 0.3:
            self.moves += 1
            self.known[:] = bytes (len (self.known))
            self.camp = self.random.randrange (self.blocks // self.slot) * self.slot
            return self.request (TRIM, 0, self.blocks * BLOCK)
        # One at a time now and then, so that it can move.
        self.depth = 1 if self.random.random () < 0.05 else 16
        while True:
            count = self.random.choice ((1, 1, 1, 2, 8, 64))
            offset = (self.camp + self.random.randrange (self.slot - count)) * BLOCK
            length = count * BLOCK
            if self.random.random () < 0.2:
                offset, length = offset + self.random.randrange (BLOCK), length - BLOCK + 17
            if not self.overlaps (offset, length):
                break
        if self.random.random () < 0.6:
            content = self.random.randbytes (min (length, 509)) * (length // min (length, 509) + 1)
            self.known[offset:offset + length] = content[:length]
            self.request (WRITE, offset, content[:length])
        else:
            self.request (READ, offset, length)

    camp = 0
