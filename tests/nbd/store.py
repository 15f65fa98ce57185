# nbdkit-vram: a stand-in for systemd's descriptor store, and a client that
# repeats requests that were not answered
# SPDX-License-Identifier: BSD-3-Clause
#
# It uses the standard library only, so that it runs on a bare machine. Tests
# import:
#
#   Store    starts servers, keeps their descriptors, and passes these to the
#            next server
#   Client   an NBD connection with many requests in flight, which knows the
#            content of its part of the disk
#   Load     several clients, for servers that are killed under load

import array, fcntl, os, random, select, signal, socket, struct, subprocess
import sys, threading, time

PATIENCE = float (os.environ.get ("VRAM_PATIENCE", "60"))

# Gives the descriptors in argv[1] the numbers 3, 4 and so on, and executes the
# rest of its arguments.
LISTEN = """
import os, sys
fds = [int (fd) for fd in sys.argv[1].split (",") if fd]
for i, fd in enumerate (fds):
    os.dup2 (fd, 3 + i)
    os.close (fd)
os.environ["LISTEN_PID"] = str (os.getpid ())
os.execvp (sys.argv[2], sys.argv[2:])
"""


class Store:
    """Keeps descriptors by name, as systemd does for a unit with
    FileDescriptorStoreMax=."""

    def __init__ (self, command, folder):
        # nbdkit and its options, the plugin, and parameters
        self.command = command
        self.folder = folder
        self.socket = folder + "/sock"
        self.fds = {}               # name -> descriptor
        self.stored = 0             # how many were stored in all
        self.process = None
        self.starts = 0
        self.ready = threading.Event ()
        self.status = ""
        self.lock = threading.Lock ()
        self.notify = socket.socket (socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = folder + "/notify"
        if os.path.exists (self.address):
            os.unlink (self.address)
        self.notify.bind (self.address)
        os.chmod (self.address, 0o666) # as systemd's is
        threading.Thread (target = self.listen, daemon = True).start ()

    def listen (self):
        while True:
            select.select ([self.notify], [], [])
            # In one step, so that a message that waits no more was taken.
            with self.lock:
                self.receive ()

    def receive (self):
        # Without close-on-exec a server that is started now would inherit
        # them, and a barrier would never be closed.
        data, control, _, _ = self.notify.recvmsg (4096,
            socket.CMSG_SPACE (253 * 4), socket.MSG_CMSG_CLOEXEC)
        fds = array.array ("i")
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes (content[:len (content) // 4 * 4])
        words = dict (line.partition ("=")[::2]
                      for line in data.decode ().split ("\n"))
        self.take (words, list (fds))

    def take (self, words, fds):
        name = words.get ("FDNAME", "stored")
        if "FDSTORE" in words:
            if name in self.fds:
                os.close (self.fds[name])
            self.fds[name], *fds = fds
            self.stored += 1
        if "FDSTOREREMOVE" in words and name in self.fds:
            os.close (self.fds.pop (name))
        # closing a barrier's descriptor is the answer to it
        for fd in fds:
            os.close (fd)
        if "READY" in words:
            self.status = words.get ("STATUS", "")
            self.ready.set ()

    def names (self):
        with self.lock:
            return sorted (self.fds)

    def adopt (self):
        """The value of adopt=."""
        with self.lock:
            return ",".join ("%d:%s" % (fd, name)
                             for name, fd in self.fds.items ())

    def start (self, *parameters, log = None):
        """Starts a server with the descriptors that are kept, and does not
        wait for it. Its output goes to log, or is appended to a common log.
        Parameters replace those of the same name in the command."""
        parameters = list (parameters)
        names = [parameter.partition ("=")[0] for parameter in parameters]
        command = [word for word in self.command if "=" not in word
                   or word.partition ("=")[0] not in names]
        adopt = self.adopt ()
        if adopt:
            parameters.append ("adopt=" + adopt)
        if os.path.exists (self.socket):
            os.unlink (self.socket)
        self.ready.clear ()
        with self.lock:
            fds = list (self.fds.values ())
        out = open (log, "wb") if log else open (self.folder + "/log.servers",
                                                 "ab")
        self.process = subprocess.Popen (command + parameters, pass_fds = fds,
                                         stdin = subprocess.DEVNULL,
                                         stdout = out, stderr = out,
                                         env = dict (os.environ,
                                             NOTIFY_SOCKET = self.address))
        self.starts += 1
        out.close ()

    def start_as_systemd (self, log, twice = None):
        """Starts vram-swap daemon with the descriptors that are kept, as
        LISTEN_FDS. The name twice is given to another file, too."""
        with self.lock:
            names = list (self.fds) + ([twice] if twice else [])
            # Away from their final numbers.
            fds = [fcntl.fcntl (self.fds[name], fcntl.F_DUPFD_CLOEXEC, 500)
                   for name in self.fds]
            if twice:
                fds.append (fcntl.fcntl (os.memfd_create ("another"),
                                         fcntl.F_DUPFD_CLOEXEC, 500))
        environment = dict (os.environ, NOTIFY_SOCKET = self.address)
        if names:
            environment.update (LISTEN_FDS = str (len (names)),
                                LISTEN_FDNAMES = ":".join (names))
        self.ready.clear ()
        out = open (log, "ab")
        self.process = subprocess.Popen ([sys.executable, "-c", LISTEN,
                                          ",".join (map (str, fds))]
                                          + self.command,
                                         stdin = subprocess.DEVNULL,
                                         stdout = out, stderr = out,
                                         env = environment,
                                         pass_fds = fds)
        self.starts += 1
        for fd in fds:
            os.close (fd)
        out.close ()

    def wait_ready (self):
        deadline = time.monotonic () + PATIENCE
        while not self.ready.wait (0.05):
            if self.process.poll () is not None:
                raise SystemExit ("the server ended with %d"
                                  % self.process.returncode)
            if time.monotonic () > deadline:
                raise SystemExit ("the server is not ready after %d s"
                                  % PATIENCE)

    def end (self, signal_number):
        """Sends a signal, waits for the end, returns the exit status."""
        self.process.send_signal (signal_number)
        return self.process.wait (PATIENCE)

    def end_for_good (self, deaths):
        """Ends the server, the next one after so many deaths, with SIGTERM.
        Nothing must be kept."""
        if str (deaths + 1) not in self.status.split ():
            raise SystemExit ("the status is '%s' after %d deaths"
                              % (self.status, deaths))
        status = self.end (signal.SIGTERM)
        if status != 0:
            raise SystemExit ("the last exit status is %d" % status)
        if self.names ():
            raise SystemExit ("still kept after a clean stop: %s"
                              % self.names ())

    def refuses (self, words, *parameters):
        """A server must refuse to start with the descriptors that are kept,
        print words, and not change the store."""
        before = self.names ()
        log = self.folder + "/log.refused"
        self.start (*parameters, log = log)
        status = self.process.wait (PATIENCE)
        output = open (log, errors = "replace").read ()
        if status != 1:
            raise SystemExit ("status %d, not 1, with:\n%s" % (status, output))
        if words not in output:
            raise SystemExit ("'%s' is not in:\n%s" % (words, output))
        if self.names () != before:
            raise SystemExit ("the store has changed: %s" % self.names ())


BLOCK = 4096
READ, WRITE, DISC, TRIM, ZEROES = 0, 1, 2, 4, 6


class HungUp (Exception):
    pass


class Client:
    """A connection, and the part of the disk that only this client writes."""

    def __init__ (self, path, first, blocks, depth, seed):
        self.path, self.first = path, first
        self.blocks, self.depth = blocks, depth
        self.random = random.Random (seed)
        # the content of its part when no request is in flight
        self.known = bytearray (blocks * BLOCK)
        # handle -> (command, offset, data or length)
        self.pending = {}
        self.handle = 0
        self.answered = self.resent = 0
        # the server's PID
        self.server = None
        self.socket = None

    # --- The protocol ---

    def receive (self, count):
        data = bytearray (count)
        view = memoryview (data)
        while count:
            try:
                n = self.socket.recv_into (view[-count:])
            except OSError:
                n = 0
            if n == 0:
                raise HungUp
            count -= n
        return data

    def send (self, data):
        try:
            self.socket.sendall (data)
        except OSError:
            raise HungUp

    def connect (self):
        """Connects and negotiates. Retries until a server answers."""
        deadline = time.monotonic () + PATIENCE
        while True:
            try:
                self.socket = socket.socket (socket.AF_UNIX,
                                             socket.SOCK_STREAM)
                self.socket.settimeout (PATIENCE)
                self.socket.connect (self.path)
                self.receive (18)
                self.send (struct.pack (">IQIIIH", 3, 0x49484156454f5054, 7, 6,
                                        0, 0))
                while True:
                    _, _, kind, length = struct.unpack (">QIII",
                        self.receive (20))
                    self.receive (length)
                    if kind == 1:
                        # The server, which listens on the socket.
                        credentials = self.socket.getsockopt (
                            socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                        self.server = struct.unpack ("3i", credentials)[0]
                        return
                    if kind & 0x80000000:
                        raise SystemExit ("the server refuses: %x" % kind)
            except (OSError, HungUp):
                self.socket.close ()
                if time.monotonic () > deadline:
                    raise SystemExit ("no server after %d s" % PATIENCE)
                time.sleep (0.01)

    def request (self, command, offset, content):
        """content is the data of a write, and the number of bytes of any other
        command."""
        data = content if command == WRITE else b""
        length = len (content) if command == WRITE else content
        self.handle += 1
        self.pending[self.handle] = (command, offset, content)
        self.send (struct.pack (">IHHQQI", 0x25609513, 0, command, self.handle,
                                self.first * BLOCK + offset, length)
                   + data)

    def reply (self):
        """Takes one reply; returns the data of a read."""
        magic, error, handle = struct.unpack (">IIQ", self.receive (16))
        if magic != 0x67446698 or error:
            raise SystemExit ("magic %x, error %d for %s"
                              % (magic, error, self.pending.get (handle)))
        command, offset, content = self.pending[handle]
        data = self.receive (content) if command == READ else None
        del self.pending[handle]
        self.answered += 1
        if command == READ:
            self.check (offset, data, [])
        return data

    # --- The load ---

    def in_flight (self):
        """Byte ranges that a request in flight may change."""
        return [(offset,
                 offset + (len (content) if command == WRITE else content))
                for command, offset, content in self.pending.values ()
                if command != READ]

    def overlaps (self, offset, length):
        return any (offset < offset_of + (len (c) if command == WRITE else c)
                    and offset_of < offset + length
                    for command, offset_of, c in self.pending.values ())

    def issue (self):
        """Sends a request to a range where no other is in flight."""
        unaligned = self.random.random () < 0.2
        while True:
            if unaligned:
                length = self.random.randrange (1, 3 * BLOCK)
                offset = self.random.randrange (self.blocks * BLOCK - length)
            else:
                count = self.random.choice ((1, 1, 1, 1, 2, 8, 64))
                length = count * BLOCK
                offset = self.random.randrange (self.blocks - count) * BLOCK
            if not self.overlaps (offset, length):
                break
        dice = self.random.random ()
        if dice < 0.6:
            content = self.random.randbytes (min (length, 509))
            content = (content * (length // len (content) + 1))[:length]
            self.known[offset:offset + length] = content
            self.request (WRITE, offset, content)
        elif dice < 0.75:
            # Zeroed ranges and trimmed blocks read as zeros.
            self.known[offset:offset + length] = bytes (length)
            self.request (ZEROES if unaligned else TRIM, offset, length)
        else:
            self.request (READ, offset, length)

    def check (self, offset, data, unknown):
        """Data from offset must be as known, except in the ranges unknown."""
        expected = self.known[offset:offset + len (data)]
        if data == expected:
            return
        for start, end in unknown:
            start, end = max (start - offset, 0), min (end - offset,
                len (data))
            if start < end:
                data[start:end] = expected[start:end]
        if data != expected:
            at = next (i for i in range (len (data)) if data[i] != expected[i])
            raise SystemExit ("WRONG at byte %d of the part that begins at "
                              "block %d: %d, not %d"
                              % (offset + at, self.first, data[at],
                                 expected[at]))

    def verify (self, unknown):
        """Reads and checks all, while no other request is in flight."""
        kept, self.pending = self.pending, {}
        for offset in range (0, self.blocks * BLOCK, 1 << 20):
            length = min (1 << 20, self.blocks * BLOCK - offset)
            self.handle += 1
            self.send (struct.pack (">IHHQQI", 0x25609513, 0, READ,
                                    self.handle, self.first * BLOCK + offset,
                                    length))
            magic, error, handle = struct.unpack (">IIQ", self.receive (16))
            if (magic, error, handle) != (0x67446698, 0, self.handle):
                raise SystemExit ("verify: magic %x, error %d"
                                  % (magic, error))
            self.check (offset, self.receive (length), unknown)
        self.pending = kept

    def resend (self):
        """After a new connection: checks all that was answered, then sends
        the other requests again."""
        pending, self.pending = list (self.pending.values ()), {}
        try:
            unknown = [(o, o + (len (c) if command == WRITE else c))
                       for command, o, c in pending if command != READ]
            self.verify (unknown)
            for n, (command, offset, content) in enumerate (pending):
                self.resent += 1
                self.request (command, offset, content)
        except HungUp:
            # The server was killed again. Keep the requests that were not
            # sent yet.
            sent = list (self.pending.values ())
            self.pending = {-i - 1: item
                            for i, item in enumerate (sent
                                + pending[len (sent):])}
            raise

    def run (self, stop):
        while not stop.is_set () or self.pending:
            try:
                if self.socket is None:
                    self.connect ()
                    self.resend ()
                while not stop.is_set ():
                    while len (self.pending) < self.depth:
                        self.issue ()
                    self.reply ()
                while self.pending:
                    self.reply ()
            except HungUp:
                self.socket.close ()
                self.socket = None

    def finish (self):
        self.verify ([])
        self.send (struct.pack (">IHHQQI", 0x25609513, 0, DISC, 0, 0, 0))
        self.socket.close ()
        self.socket = None


class Load:
    """Clients with a part of the disk and a thread each, which run inside a
    with statement."""

    def __init__ (self, store, mib, connections, kind = Client):
        blocks = mib * 256 // connections
        self.clients = [kind (store.socket, i * blocks, blocks, 16, 1000 + i)
                        for i in range (connections)]
        self.threads = [threading.Thread (target = self.run, args = (c,),
                                          daemon = True) for c in self.clients]
        self.stop = threading.Event ()
        self.wrong = []
        self.random = random.Random (int (os.environ.get ("VRAM_SEED", "0"))
                                     or None)

    def run (self, client):
        try:
            client.run (self.stop)
            client.finish ()
        except BaseException as e:
            self.wrong.append (e)

    def __enter__ (self):
        for t in self.threads:
            t.start ()
        return self

    def __exit__ (self, *_):
        self.stop.set ()
        for t in self.threads:
            t.join (PATIENCE)
        self.no_failure ()
        if any (t.is_alive () for t in self.threads):
            raise SystemExit ("a client hangs")

    def no_failure (self):
        if self.wrong:
            raise SystemExit ("a client failed: %s" % self.wrong)

    def go_on (self):
        """Returns at a random time after every client has had more answers
        than the previous server can have sent before it died."""
        answered = [c.answered for c in self.clients]
        deadline = time.monotonic () + PATIENCE
        while any (c.answered < a + 20
                   for c, a in zip (self.clients, answered)):
            self.no_failure ()
            if time.monotonic () > deadline:
                raise SystemExit ("the load does not go on")
            time.sleep (0.002)
        time.sleep (self.random.random () * 0.1)
        self.no_failure ()

    def summary (self):
        answered = sum (c.answered for c in self.clients)
        resent = sum (c.resent for c in self.clients)
        return "%d requests answered, %d sent again" % (answered, resent)
