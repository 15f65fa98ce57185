# nbdkit-vram: runs a command with the sandbox of a systemd unit, without
# systemd
# SPDX-License-Identifier: BSD-3-Clause
#
#   confined.py UNIT WRITABLE COMMAND...
#
# The command gets the unit's sandbox, and the user and the two capabilities
# that the daemon gives its server. WRITABLE is the only folder that the
# command may write to, like RuntimeDirectory= for the service. For each
# restriction that is not possible on this machine it prints a line on standard
# error. An unknown directive is an error, so that none is added to the unit
# without a test.
#
# Needs root, Linux on x86-64 or aarch64, and libseccomp.so.2. The groups of
# system calls come from "systemd-analyze syscall-filter", or from the file
# VRAM_SYSCALL_GROUPS, which has its output on another machine.

import ctypes, errno, os, re, resource, subprocess, sys

libc = ctypes.CDLL (None, use_errno = True)

# <linux/prctl.h>, <linux/capability.h>, <linux/sched.h>, <linux/mount.h>
PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 8, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = {"CAP_IPC_LOCK": 14, "CAP_SYS_RESOURCE": 24}
CLONE_NEWNS, CLONE_NEWUTS = 0x20000, 0x4000000
NAMESPACES = (0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 |
              0x20000000 | 0x40000000)
MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
# Flags that a mount has and that a remount must repeat: nosuid, nodev, noexec,
# noatime, nodiratime, relatime.
KEPT = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024,
        "nodiratime": 2048, "relatime": 1 << 21}

# Directives that do not restrict the server, or cannot affect a driver.
OTHER = """Type NotifyAccess ExecStartPre ExecStart ExecReload TimeoutStartSec
TimeoutStopSec FileDescriptorStoreMax FileDescriptorStorePreserve Restart
RestartPreventExitStatus RestartSec KillMode SendSIGKILL OOMScoreAdjust
OOMPolicy ManagedOOMPreference MemorySwapMax RuntimeDirectory
RuntimeDirectoryMode RuntimeDirectoryPreserve StateDirectory
StateDirectoryMode CapabilityBoundingSet
IPAddressDeny""".split ()


def not_done (what, why):
    print ("confined: not done: %s: %s" % (what, why), file = sys.stderr,
           flush = True)


def call (name, *arguments):
    """Calls a function of the C library, and raises an exception if it
    fails."""
    result = getattr (libc, name) (*arguments)
    if result < 0:
        raise OSError (ctypes.get_errno (),
                       "%s: %s" % (name, os.strerror (ctypes.get_errno ())))
    return result


def directives (unit):
    """The directives of [Service]: a list of values each."""
    found, section = {}, None
    text = open (unit).read ().replace ("\\\n", "")
    for line in text.splitlines ():
        line = line.strip ()
        if line.startswith ("["):
            section = line
        elif section == "[Service]" and "=" in line and \
                not line.startswith ("#"):
            key, value = line.split ("=", 1)
            found.setdefault (key, []).append (value)
    return found


# --- Files ---

def mounts (below):
    """The mount points at and below a folder, deepest last, with their
    flags."""
    found = []
    for line in open ("/proc/self/mountinfo"):
        field = line.split ()
        point = re.sub (r"\\([0-7]{3})", lambda m: chr (int (m.group (1), 8)),
                        field[4])
        if (point + "/").startswith (below.rstrip ("/") + "/"):
            found.append ((point,
                           sum (KEPT.get (o, 0)
                                for o in field[5].split (","))))
    return sorted (found)


def mount (source, target, kind, flags, data = None):
    encode = lambda text: None if text is None else os.fsencode (text)
    call ("mount", encode (source), encode (target), encode (kind),
          ctypes.c_ulong (flags), encode (data))


def read_only (folder, but = ()):
    if not os.path.exists (folder):
        return
    if folder != "/":
        mount (folder, folder, None, MS_BIND | MS_REC)
    for point, flags in mounts (folder):
        if not any ((point + "/").startswith (b + "/") for b in but):
            mount (None, point, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def hide (path):
    """Covers a path with an empty file or folder without permissions, which
    systemd calls inaccessible."""
    if os.path.isdir (path):
        mount ("tmpfs", path, "tmpfs", MS_RDONLY, "mode=000")
    elif os.path.exists (path):
        mount ("/dev/null", path, None, MS_BIND)


def private_tmp (writable):
    # Folders that are needed, such as the build, stay visible.
    kept = {p: os.open (p, os.O_PATH) for p in needed + [writable]
            if p.startswith ("/tmp/")}
    mount ("tmpfs", "/tmp", "tmpfs", 0, "mode=1777")
    for path, fd in kept.items ():
        os.makedirs (path, exist_ok = True)
        mount ("/proc/self/fd/%d" % fd, path, None, MS_BIND | MS_REC)
    if os.path.isdir ("/var/tmp"):
        mount ("tmpfs", "/var/tmp", "tmpfs", 0, "mode=1777")


def protect_home (writable):
    for home in "/home", "/root", "/run/user":
        inside = [p for p in needed if p.startswith (home + "/")]
        if inside:
            not_done ("ProtectHome=yes for " + home, "%s is there" % inside[0])
        else:
            hide (home)


def protect_system (writable):
    mount (writable, writable, None, MS_BIND)
    read_only ("/", ("/dev", "/proc", "/sys", "/tmp", "/var/tmp", writable))


# In systemd's order, outer mounts first: directive, value, function.
FILES = [
    ("PrivateTmp", "yes", private_tmp),
    ("ProtectSystem", "strict", protect_system),
    ("ProtectHome", "yes", protect_home),
    ("ProtectKernelLogs", "yes",
     lambda w: [hide (p) for p in ("/proc/kmsg", "/dev/kmsg")]),
]


# --- System calls ---

class Compare (ctypes.Structure):
    """struct scmp_arg_cmp of <seccomp.h>"""
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int),
                ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


NE, EQ, MASKED_EQ = 1, 4, 7
ALLOW = 0x7fff0000
KILL_PROCESS = 0x80000000


def refuse (number):
    return 0x00050000 | number


class Filter:
    """A seccomp filter. A system call that no rule matches gets the default
    action."""

    def __init__ (self, default):
        self.lib = ctypes.CDLL ("libseccomp.so.2")
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.default = default
        context = self.lib.seccomp_init (ctypes.c_uint32 (default))
        self.context = ctypes.c_void_p (context)
        if not self.context:
            raise OSError (errno.ENOMEM, "seccomp_init")
        # SystemCallArchitectures=native
        self.check (self.lib.seccomp_attr_set (self.context, 2,
                                               ctypes.c_uint32 (KILL_PROCESS)))

    def check (self, result):
        if result < 0:
            raise OSError (-result, "libseccomp: " + os.strerror (-result))

    def rule (self, action, name, *compares):
        number = self.lib.seccomp_syscall_resolve_name (name.encode ())
        # A negative number means another architecture's system call, or one
        # that the library does not know.
        if number < 0:
            return
        array = (Compare * max (1, len (compares))) (*compares)
        self.check (self.lib.seccomp_rule_add_array (self.context,
            ctypes.c_uint32 (action), number, len (compares),
                                                     array))

    def load (self):
        self.check (self.lib.seccomp_load (self.context))


def syscall_groups ():
    path = os.environ.get ("VRAM_SYSCALL_GROUPS")
    text = open (path).read () if path else subprocess.run (
        ["systemd-analyze", "syscall-filter", "--no-pager"], check = True,
        stdout = subprocess.PIPE,
        stderr = subprocess.DEVNULL, text = True).stdout
    groups, group = {}, None
    for line in text.splitlines ():
        line = re.sub (r"\x1b\[[0-9;]*m", "", line)
        if line.startswith ("@"):
            group = groups.setdefault (line.strip (), [])
        elif group is not None and line.startswith (" ") and \
                not line.strip ().startswith ("#"):
            group.append (line.strip ())
    return groups


def members (groups, name):
    if not name.startswith ("@"):
        return {name}
    return set ().union (*(members (groups, m) for m in groups[name]))


def restrict_families (value):
    allowed = {"AF_UNIX": 1, "AF_INET": 2, "AF_NETLINK": 16}
    numbers = {allowed[name] for name in value.split ()}
    f = Filter (ALLOW)
    for family in set (range (64)) - numbers:
        f.rule (refuse (errno.EAFNOSUPPORT), "socket",
                Compare (0, EQ, family, 0))
    f.load ()


def restrict_namespaces (value):
    f = Filter (ALLOW)
    f.rule (refuse (errno.EPERM), "setns")
    # A filter cannot read clone3's flags, which are in memory. Libraries use
    # clone instead.
    f.rule (refuse (errno.ENOSYS), "clone3")
    for bit in range (32):
        if NAMESPACES >> bit & 1:
            for name in "unshare", "clone":
                f.rule (refuse (errno.EPERM), name,
                        Compare (0, MASKED_EQ, 1 << bit, 1 << bit))
    f.load ()


def restrict_realtime (value):
    f = Filter (ALLOW)
    for policy in 1, 2, 6: # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
        f.rule (refuse (errno.EPERM), "sched_setscheduler",
                Compare (1, MASKED_EQ, 0xff, policy))
    f.rule (refuse (errno.EPERM), "sched_setattr")
    f.load ()


def restrict_suid (value):
    f = Filter (ALLOW)
    for bit in 0o4000, 0o2000:
        for name, at in ("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir",
            1), ("mkdirat", 2), ("mknod", 1), \
                ("mknodat", 2):
            f.rule (refuse (errno.EPERM), name,
                    Compare (at, MASKED_EQ, bit, bit))
    f.load ()


def lock_personality (value):
    f = Filter (ALLOW)
    current = libc.personality (0xffffffff)
    f.rule (refuse (errno.EPERM), "personality", Compare (0, NE, current, 0))
    f.load ()


def system_calls (value):
    groups = syscall_groups ()
    f = Filter (refuse (errno.EPERM))
    # systemd adds @default, too.
    for name in set ().union (*(members (groups, v) for v in value.split ()
                                + ["@default"])):
        f.rule (ALLOW, name)
    f.load ()


CALLS = [
    ("LockPersonality", lock_personality),
    ("RestrictAddressFamilies", restrict_families),
    ("RestrictNamespaces", restrict_namespaces),
    ("RestrictRealtime", restrict_realtime),
    ("RestrictSUIDSGID", restrict_suid),
    # allows no further filter, so it comes last
    ("SystemCallFilter", system_calls),
]


# --- User and capabilities ---

def capabilities (names):
    """The mask of these capabilities, without those that this process lacks,
    which are reported."""
    mine = next (int (line.split ()[1], 16)
                 for line in open ("/proc/self/status")
                 if line.startswith ("CapEff:"))
    mask = 0
    for name in names:
        if mine >> CAPABILITIES[name] & 1:
            mask |= 1 << CAPABILITIES[name]
        else:
            not_done (name, "this process does not have it")
    return mask


def become (uid, mask):
    for number in range (64):
        if not mask >> number & 1 and libc.prctl (PR_CAPBSET_DROP, number, 0,
                                                  0, 0) < 0:
            break # the kernel has no more
    call ("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups ([])
    os.setresgid (uid, uid, uid)
    os.setresuid (uid, uid, uid)
    header = (ctypes.c_uint32 * 2) (CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6) (*([mask & 0xffffffff] * 3
                                    + [mask >> 32] * 3))
    call ("capset", header, data)
    for number in range (64):
        if mask >> number & 1:
            call ("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)


def environment (values, writable):
    """The clean environment that systemd makes, and the variables of the tests
    and of a bundle for a bare machine."""
    kept = {k: v for k, v in os.environ.items () if re.match (
        r"(PATH|LD_LIBRARY_PATH|PYTHONPATH|LANG|VK_DRIVER_FILES|VRAM_\w+|"
        r"STANDIN_\w+|LISTEN_\w+|NOTIFY_SOCKET)$", k)}
    kept.update (HOME = "/", LOGNAME = "vram-swap", USER = "vram-swap",
                 SHELL = "/usr/sbin/nologin",
                 RUNTIME_DIRECTORY = writable)
    kept.update (v.split ("=", 1) for v in values)
    return kept


def main ():
    global needed
    unit, writable = sys.argv[1], os.path.realpath (sys.argv[2])
    command = sys.argv[3:]
    # The folders of programs, which must stay visible.
    needed = [os.path.realpath (p)
              for p in [os.path.dirname (os.path.abspath (__file__)),
                        os.getcwd ()] +
              os.environ.get ("VRAM_BUILD", "").split ()
              + os.environ.get ("PATH", "").split (":") if p]
    service = directives (unit)

    def take (key, default = None):
        return (service.pop (key, None) or [default])[-1]

    uid = 61184 # the server's user, which need not exist
    os.chown (writable, uid, uid)
    umask = int (take ("UMask", "0022"), 8)
    mask = capabilities (CAPABILITIES)
    for limit in "MEMLOCK", "CORE":
        value = take ("Limit" + limit)
        which = getattr (resource, "RLIMIT_" + limit)
        wanted = resource.RLIM_INFINITY if value == "infinity" else int (value)
        try:
            resource.setrlimit (which, (wanted, wanted))
        except (OSError, ValueError) as e:
            not_done ("Limit%s=%s" % (limit, value), e)

    namespace = True
    try:
        call ("unshare",
              CLONE_NEWNS
              | (CLONE_NEWUTS if take ("ProtectHostname") == "yes" else 0))
        mount (None, "/", None, MS_REC | MS_PRIVATE)
    except OSError as e:
        not_done ("all mounts", e)
        namespace = False
    for key, value, function in FILES:
        if take (key) != value:
            raise SystemExit ("confined: the unit does not have %s=%s, the "
                              "only value that is known" % (key, value))
        if namespace:
            try:
                function (writable)
            except OSError as e:
                not_done ("%s=%s" % (key, value), e)

    # The current folder may be covered by a new mount.
    os.chdir ("/")
    become (uid, mask)
    env = environment (service.pop ("Environment", []), writable)
    if take ("NoNewPrivileges") != "yes" or \
            take ("SystemCallErrorNumber") != "EPERM" or \
            take ("SystemCallArchitectures") != "native":
        raise SystemExit ("confined: the unit has unknown values for system "
                          "calls")
    call ("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    rules = [(key, function, take (key)) for key, function in CALLS]
    unknown = set (service) - set (OTHER)
    if unknown:
        raise SystemExit ("confined: the unit has unknown directives: "
                          + ", ".join (sorted (unknown)))
    for key, function, value in rules:
        if value is None:
            raise SystemExit ("confined: the unit does not have %s=" % key)
        try:
            function (value)
        except OSError as e:
            not_done ("%s=%s" % (key, value), e)
    os.umask (umask)
    os.execvpe (command[0], command, env)


main ()
