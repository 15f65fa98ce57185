# nbdkit-vram: a server refuses to take over a disk that does not match, says
# why, and changes neither the store nor the data
# SPDX-License-Identifier: BSD-3-Clause
#
#   adopt-refused.py FOLDER COMMAND...
#
# COMMAND is a server of 136M, which has three chunks.

import os, signal, sys, threading
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

real_gpu = os.environ.get ("VRAM_REAL_GPU")
store = Store (sys.argv[2:], sys.argv[1])
store.start ()
store.wait_ready ()
client = Client (store.socket, 0, 136 * 256, 16, 7)
client.connect ()
for _ in range (300):
    client.issue ()
    client.reply ()
client.finish ()
store.end (signal.SIGKILL)
kept = store.names ()
# With a real GPU its device node is kept, too.
assert [name for name in kept if name != "vram-gpu"] == [
    "vram-chunk-0", "vram-chunk-1", "vram-chunk-2", "vram-state"], kept


def adopts (*parameters):
    """A server with these parameters takes it over, with all data."""
    store.start (*parameters)
    store.wait_ready ()
    client.connect ()
    client.finish ()
    store.end (signal.SIGKILL)
    assert store.names () == kept, store.names ()


class changed:
    """Changes a byte of the superblock inside a with statement."""

    def __init__ (self, offset):
        self.offset = offset

    def __enter__ (self):
        self.old = os.pread (store.fds["vram-state"], 1, self.offset)
        os.pwrite (store.fds["vram-state"], bytes ((self.old[0] ^ 0x10,)),
                   self.offset)

    def __exit__ (self, *_):
        os.pwrite (store.fds["vram-state"], self.old, self.offset)


class without:
    """Inside a with statement, removes names from the store, or replaces their
    descriptors."""

    def __init__ (self, *names, **others):
        self.names = names
        self.others = {name.replace ("_", "-"): fd
                       for name, fd in others.items ()}

    def __enter__ (self):
        self.old = dict (store.fds)
        for name in self.names:
            del store.fds[name]
        store.fds.update (self.others)

    def __exit__ (self, *_):
        store.fds = self.old


fds = store.fds
store.refuses ("size=72 MiB differs from the disk's 136 MiB",
               "size=72M")
store.refuses ("size=200 MiB differs", "size=200M")
with without ("vram-chunk-1"):
    store.refuses ("chunk 1 of 3 is missing")
with without ("vram-chunk-2"):
    store.refuses ("chunk 2 of 3 is missing")
with without (vram_chunk_3 = os.dup (fds["vram-chunk-0"])):
    store.refuses ("it has 3 chunks, not 4")
with without ("vram-state"):
    store.refuses ("its superblock, vram-state, is missing")
with without (vram_chunk_0 = fds["vram-chunk-2"],
              vram_chunk_2 = fds["vram-chunk-0"]):
    store.refuses ("cannot import chunk 0 of 3")
with without (vram_chunk_1 = os.open ("/dev/null", os.O_RDWR)):
    store.refuses ("cannot import chunk 1 of 3")
with without (vram_state = os.open ("/dev/zero", os.O_RDWR)):
    store.refuses ("it is not a memfd of this plugin")
with changed (0):
    store.refuses ("it is damaged, or not of this plugin")
with changed (8):
    store.refuses ("made by another version of this plugin")
for offset in (12, 16, 24, 32, 40, 48, 56, 71, 72, 79):
    with changed (offset):
        store.refuses ("its header is damaged")
if not real_gpu:
    os.environ["STANDIN_CUDA_UUIDS"] = "12345678-0000-4000-8000-000000000000"
    uuid = "GPU-57a4d1ed-0000-4000-8000-000000000000"
    store.refuses ("its GPU, " + uuid + ", is missing")
    del os.environ["STANDIN_CUDA_UUIDS"]
    os.environ["STANDIN_CUDA_DEVICES"] = "2"
    store.refuses ("it is on GPU-57a4d1ed-0000-4000-8000-000000000000, "
                   "but device=1",
                   "device=1")
    adopts ("device=0")
    # The other GPU has more free VRAM.
    os.environ["STANDIN_CUDA_USED"] = "7G,0"
    adopts ()
    # An error of the driver may be temporary, so nothing is lost.
    for failure in ("cuMemImportFromShareableHandle:2:CUDA_ERROR_UNKNOWN",
                    "cuMemSetAccess:3:CUDA_ERROR_UNKNOWN",
                    "cuMemMap:1:CUDA_ERROR_UNKNOWN",
                    "cuStreamCreate:1:CUDA_ERROR_UNKNOWN"):
        os.environ["STANDIN_CUDA_FAIL"] = failure
        store.refuses (": ")
    del os.environ["STANDIN_CUDA_FAIL"]

# These parameters match the disk, or do not concern it.
adopts ("size=136M")
adopts ("size=139264K")
adopts ("size=50%")
adopts ("size=max", "window=no")
adopts ("lanes=1", "staging=64K")
adopts ("min-size=500M")

store.start ()
store.wait_ready ()
assert store.end (signal.SIGTERM) == 0
assert store.names () == [], store.names ()
