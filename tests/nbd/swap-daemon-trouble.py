# nbdkit-vram: no fault of daemon, server or store ends a disk that later
# servers need, or replaces it by another one
# SPDX-License-Identifier: BSD-3-Clause
#
#   swap-daemon-trouble.py FOLDER CONF COMMAND...
#
# COMMAND is vram-swap daemon with a disk of 136M. The socket is FOLDER/sock.

import os, select, signal, sys, time
sys.path.insert (0, os.path.dirname (os.path.abspath (__file__)))
from store import *

folder, conf = sys.argv[1], sys.argv[2]
log = folder + "/log.trouble"
store = Store (sys.argv[3:], folder)
kept = ["vram-chunk-0", "vram-chunk-1", "vram-chunk-2", "vram-state"]
client = Client (store.socket, 0, 136 * 256, 16, 7)


def logged (words):
    """How often the log has these words."""
    return open (log, errors = "replace").read ().count (words)


def wait_until (what, condition):
    deadline = time.monotonic () + PATIENCE
    while not condition ():
        if time.monotonic () > deadline:
            raise SystemExit ("not within %d s: %s" % (PATIENCE, what))
        time.sleep (0.001)


def running ():
    """The PIDs of all servers with this socket."""
    found = []
    for pid in filter (str.isdigit, os.listdir ("/proc")):
        try:
            words = open ("/proc/%s/cmdline" % pid).read ().split ("\0")
        except OSError:
            continue
        if "--unix" in words and store.socket in words:
            found.append (int (pid))
    return found


def start (**more):
    store.start_as_systemd (log, **more)
    store.wait_ready ()
    assert store.names () == kept, store.names ()


def check ():
    """Checks all that was written."""
    client.connect ()
    client.finish ()


def ends (status):
    assert store.process.wait (PATIENCE) == status, store.process.returncode


def end_both ():
    """Kills the daemon and the server."""
    store.end (signal.SIGKILL)
    for pid in running ():
        fd = os.pidfd_open (pid)
        os.kill (pid, signal.SIGKILL)
        select.select ([fd], [], [], PATIENCE)
        os.close (fd)


def kill_server ():
    """Kills the server, waits until the next one has been started, and returns
    its PID."""
    store.ready.clear ()
    old = running ()
    os.kill (old[0], signal.SIGKILL)
    now = []

    def replaced ():
        now[:] = running ()
        return now and now != old
    wait_until ("another server runs", replaced)
    return now[0]


start ()
client.connect ()
for _ in range (300):
    client.issue ()
    client.reply ()
client.finish ()

# The daemon dies at any time while its next server starts. The next daemon
# goes on with that server, and there are never two servers.
os.environ["STANDIN_CUDA_DELAY"] = "20000"
for pause in (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5):
    kill_server ()
    time.sleep (pause)
    store.end (signal.SIGKILL)
    assert store.names () == kept, store.names ()
    start ()
    check ()
    # A child that was not a server yet has ended.
    assert len (running ()) == 1, running ()
del os.environ["STANDIN_CUDA_DELAY"]

# The daemon dies before nbdkit has read its parameters. nbdkit has asked for
# SIGTERM at the end of its parent.
open (folder + "/slow", "w").close ()
kill_server ()
wait_until ("nbdkit has begun", lambda: os.path.exists (folder + "/begun"))
store.end (signal.SIGKILL)
os.unlink (folder + "/slow")
start ()
check ()
assert len (running ()) == 1, running ()

# The next part needs a server that this daemon has started.
kill_server ()
store.wait_ready ()
check ()

# Other processes than the daemon cannot end the server by SIGTERM, SIGINT or
# SIGHUP.
server = running ()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill (server[0], number)
    time.sleep (0.2)
    check ()
    assert running () == server
store.ready.clear ()
os.kill (server[0], signal.SIGQUIT)
store.wait_ready ()
assert running () != server
check ()
assert logged ("told to end, but not by the supervisor") == 1

# With other settings, also wrong ones, the disk keeps its own, also under the
# next daemon.
settings = open (conf).read ()
with open (conf, "w") as f:
    f.write (settings.replace ("136M", "64M") + "device = 7\nprio = 1\n")
end_both ()
start ()
check ()
kill_server ()
store.wait_ready ()
check ()
with open (conf, "w") as f:
    f.write (settings)

# Two descriptors with the same name are refused.
end_both ()
for name in "vram-chunk-1", "vram-state":
    store.start_as_systemd (log, twice = name)
    ends (1)
    assert logged ("received two different descriptors named " + name) == 1
    assert store.names () == kept, store.names ()
start ()
check ()

# The daemon, told to end, ends the disk.
assert store.end (signal.SIGTERM) == 0
assert store.names () == [], store.names ()

# Runs in the place of nbdkit, and dies when it has handed out one chunk.
DIES = """#!%s
import array, os, signal, socket
s = socket.socket (socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect (os.environ["NOTIFY_SOCKET"])
fd = array.array ("i", [os.open ("/dev/null", os.O_RDWR)])
s.sendmsg ([b"FDSTORE=1\\nFDNAME=vram-chunk-0"],
           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd)])
os.kill (os.getpid (), signal.SIGKILL)
"""

# A part of a disk is released: one that the daemon finds, and one that a
# server has left.
start ()
end_both ()
with store.lock:
    store.fds["vram-chunk-9"] = store.fds.pop ("vram-state")
start ()
assert logged ("the disk of an earlier server is incomplete") == 1
end_both ()
with store.lock:
    for fd in store.fds.values ():
        os.close (fd)
    store.fds, store.stored = {}, 0
os.mkdir (folder + "/dies")
with open (folder + "/dies/nbdkit", "w") as f:
    f.write (DIES % sys.executable)
os.chmod (folder + "/dies/nbdkit", 0o755)
command = store.command
store.command = [word.replace ("PATH=", "PATH=" + folder + "/dies:", 1)
                 if word.startswith ("PATH=") else word
                 for word in command]
store.start_as_systemd (log)
ends (1)
assert logged ("its disk is lost") == 1
store.command = command
wait_until ("the store is empty",
            lambda: store.stored == 1 and store.names () == [])
time.sleep (0.2)
assert store.names () == [], store.names ()
assert store.stored == 1, store.stored

# Without a service manager at the socket, the daemon warns that the disk will
# end with its server. It does not wait for an answer.
address, store.address = store.address, folder + "/absent"
store.start_as_systemd (log)
wait_until ("a server runs", lambda: os.path.exists (store.socket))
client = Client (store.socket, 0, 136 * 256, 16, 8)
check ()
assert logged ("the service manager does not receive messages") > 0
assert logged ("warning: the disk ends with this server") == 1
assert store.end (signal.SIGTERM) == 0
