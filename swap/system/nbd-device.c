/* nbdkit-vram: the kernel's end, /dev/nbdN
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "msg.h"
#include "nbd-device.h"
#include "nbd-netlink.h"
#include "root.h"
#include "run.h"

/* The device's threads have to run for that, which takes a while when all CPUs
 * are busy with what comes first.
 */
#define DETACH_MS 60000

bool
nbd_loaded (void)
{
  return file_exists (root_path ("/sys/module/nbd"));
}

int
nbd_load (void)
{
  const char *argv[] = { "modprobe", "nbd", NULL };
  /* Time enough for a machine that is busy starting up: ended too early, as by
   * our own end, it leaves the driver without its devices.
   */
  struct run r = { .limit = 120, .undisturbed = true };

  if (nbd_loaded ())
    return 0;
  if (run (&r, argv, NULL, NULL) == -1) {
    log_error ("cannot load the nbd module: modprobe: %s", run_reason (&r));
    return -1;
  }
  return 0;
}

bool
nbd_attached_by (unsigned n, pid_t *pid)
{
  int64_t number;

  /* There as long as a client is. */
  if (!read_number (root_path ("/sys/block/nbd%u/pid", n), &number))
    return false;
  *pid = number;
  return true;
}

bool
nbd_attached (unsigned n)
{
  pid_t pid;

  return nbd_attached_by (n, &pid);
}

bool
nbd_exists (unsigned n)
{
  return file_exists (root_path ("/sys/block/nbd%u", n));
}

int
nbd_find_free (unsigned first)
{
  for (unsigned n = first; file_exists (root_path ("/sys/block/nbd%u", n));
       n++)
    if (!nbd_attached (n))
      return n;
  return -1;
}

int64_t
nbd_size (unsigned n)
{
  int64_t sectors;

  if (!read_number (root_path ("/sys/block/nbd%u/size", n), &sectors))
    return 0;
  return sectors * 512;
}

unsigned
nbd_connections (unsigned n)
{
  unsigned queues = 0;

  /* Each is a queue of its own. */
  while (file_exists (root_path ("/sys/block/nbd%u/mq/%u", n, queues)))
    queues++;
  return queues > 0 ? queues : 1;
}

int
nbd_attach (unsigned n, const struct nbd_attach *a, char *why, size_t size)
{
  char device[32], connections[16], timeout[16];
  const char *argv[16];
  struct run r = { .limit = 30 };
  size_t i = 0;

  snprintf (device, sizeof device, "/dev/nbd%u", n);
  snprintf (connections, sizeof connections, "%u", a->connections);
  snprintf (timeout, sizeof timeout, "%u", a->timeout);
  argv[i++] = "nbd-client";
  argv[i++] = "-unix";
  argv[i++] = a->socket;
  argv[i++] = device;
  /* What the kernel swaps in; nbd-client's default is 512. */
  argv[i++] = "-block-size";
  argv[i++] = "4096";
  argv[i++] = "-connections";
  argv[i++] = connections;
  if (a->timeout > 0) {
    argv[i++] = "-timeout";
    argv[i++] = timeout;
  }
  argv[i] = NULL;

  if (run (&r, argv, a->started, a->opaque) == -1) {
    snprintf (why, size, "nbd-client: %s", run_reason (&r));
    return -1;
  }
  /* nbd-client returns when it has handed the sockets over. */
  for (unsigned tries = 0; tries < 100; tries++) {
    if (nbd_attached (n) && nbd_size (n) > 0)
      return 0;
    if (!pause_ms (20))
      break;
  }
  snprintf (why, size, "nbd-client succeeded, but /dev/nbd%u is not connected",
            n);
  return -1;
}

/* In a child: reads the device's first block, past the page cache, on CPU. */
static void __attribute__ ((noreturn))
read_on_cpu (const char *device, int cpu)
{
  /* O_DIRECT wants memory that is aligned as the device's blocks are. */
  static char block[4096] __attribute__ ((aligned (4096)));
  cpu_set_t set;
  int fd;

  CPU_ZERO (&set);
  CPU_SET (cpu, &set);
  /* It is offline, or no program here may use it. */
  if (sched_setaffinity (0, sizeof set, &set) == -1)
    _exit (0);
  fd = open (device, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd == -1 || pread (fd, block, sizeof block, 0) != sizeof block)
    _exit (1);
  _exit (0);
}

int
nbd_verify (unsigned n, unsigned ms)
{
  char device[32];
  static pid_t pids[CPU_SETSIZE];
  long cpus = sysconf (_SC_NPROCESSORS_CONF);
  long long deadline = now_ms () + ms;
  int left = 0, status, ret = 0;

  snprintf (device, sizeof device, "/dev/nbd%u", n);
  if (cpus > CPU_SETSIZE)
    cpus = CPU_SETSIZE;
  for (int cpu = 0; cpu < cpus; cpu++) {
    pids[cpu] = fork ();
    if (pids[cpu] == 0)
      read_on_cpu (device, cpu);
    if (pids[cpu] == -1)
      ret = -1;
    else
      left++;
  }
  while (left > 0 && now_ms () < deadline) {
    for (int cpu = 0; cpu < cpus; cpu++)
      if (pids[cpu] > 0 && waitpid (pids[cpu], &status, WNOHANG) > 0) {
        pids[cpu] = 0;
        left--;
        if (status != 0)
          ret = -1;
      }
    if (left > 0 && !pause_ms (2))
      break;
  }
  /* A child that hangs in the kernel ends with the attachment. */
  return left == 0 ? ret : -1;
}

/* How long a request waits before the kernel looks whether its connection is
 * still the same, milliseconds.
 */
#define LOOK_AGAIN "1000"

int
nbd_hold (unsigned n, unsigned connections, unsigned timeout, int64_t seconds)
{
  const char *path = root_path ("/sys/block/nbd%u/queue/io_timeout", n);
  struct nbd_netlink nl = { .fd = -1 };
  int ret = -1;

  if (nbd_netlink_open (&nl, false) == -1)
    return -1;
  if (nbd_netlink_set_limits (&nl, n, seconds, timeout) == -1) {
    log_error ("/dev/nbd%u is not attached by netlink (%m), so it could not "
               "be reconnected when the server dies; use nbd-client 3.17 or "
               "newer, built with libnl",
               n);
    goto out;
  }
  ret = 0;
  /* When a request's time is up, a single connection without a time-out is
   * left alone, and the request is sent again if the connection is a new one;
   * so that can be soon.  One of several connections, or one with a time-out,
   * is taken for lost instead: with a server that is alive but slow, a write
   * that was sent again could then be overtaken by itself.
   */
  if (connections == 1 && timeout == 0) {
    int fd = open (path, O_WRONLY | O_CLOEXEC);

    if (fd == -1 ||
        write (fd, LOOK_AGAIN, strlen (LOOK_AGAIN)) != strlen (LOOK_AGAIN))
      log_warning ("%s: %m", path);
    if (fd != -1)
      close (fd);
  }
out:
  nbd_netlink_close (&nl);
  return ret;
}

bool
nbd_open_node (unsigned n, char *path, size_t size, int *fd)
{
  struct stat st;
  unsigned major, minor;
  char text[32];
  bool made = false;

  *fd = -1;
  if (read_text (root_path ("/sys/block/nbd%u/dev", n), text, sizeof text) <=
          0 ||
      sscanf (text, "%u:%u", &major, &minor) != 2) {
    errno = ENODEV;
    return false;
  }
  snprintf (path, size, "%s", root_path ("/dev/nbd%u", n));
  if (stat (path, &st) == -1 || !S_ISBLK (st.st_mode) ||
      st.st_rdev != makedev (major, minor)) {
    snprintf (path, size, "%s", root_path ("/dev/vram-swap-nbd%u", n));
    unlink (path);
    if (mknod (path, S_IFBLK | 0600, makedev (major, minor)) == -1)
      return false;
    made = true;
  }
  /* The kernel has it to itself while swap is on. */
  *fd = open (path, O_RDWR | O_EXCL | O_CLOEXEC);
  return made;
}

/* Whether PATH, of /proc/swaps, names /dev/nbdN.  It is without its folder
 * when the mount namespace is gone that swap was switched on in, as after the
 * death of daemon and server.
 */
static bool
names_device (const char *path, unsigned n)
{
  char name[32];
  const size_t length = snprintf (name, sizeof name, "/nbd%u", n);

  if (strncmp (path, "/dev/", 5) == 0)
    path += 4;
  return strncmp (path, name, length) == 0 &&
         (path[length] == '\0' || strcmp (path + length, " (deleted)") == 0);
}

const struct swap *
nbd_find_swap (const struct swaps *s, unsigned n)
{
  unsigned major = 0, minor = 0;
  struct stat st;
  char text[32];

  for (size_t i = 0; i < s->n; i++)
    if (!s->swap[i].is_file && names_device (s->swap[i].path, n))
      return &s->swap[i];
  if (read_text (root_path ("/sys/block/nbd%u/dev", n), text, sizeof text) <=
          0 ||
      sscanf (text, "%u:%u", &major, &minor) != 2)
    return NULL;
  /* The node may have been renamed. */
  for (size_t i = 0; i < s->n; i++)
    if (!s->swap[i].is_file && stat (s->swap[i].path, &st) == 0 &&
        S_ISBLK (st.st_mode) && st.st_rdev == makedev (major, minor))
      return &s->swap[i];
  return NULL;
}

int
nbd_in_use (unsigned n)
{
  char path[64];
  int fd, saved;
  bool made = nbd_open_node (n, path, sizeof path, &fd);

  saved = errno;
  if (made)
    unlink (path);
  if (fd != -1) {
    close (fd);
    return 0;
  }
  errno = saved;
  return saved == EBUSY ? 1 : -1;
}

int
nbd_detach (unsigned n)
{
  int busy;

  if (!nbd_attached (n))
    return 0;
  /* A device that is in use is never detached: what is on it would be lost. */
  busy = nbd_in_use (n);
  if (busy != 0) {
    if (busy == 1)
      log_error ("/dev/nbd%u is in use and stays attached; stop the programs "
                 "that use it and run 'vram-swap down' again",
                 n);
    else
      log_error ("cannot open /dev/nbd%u, which stays attached: %m", n);
    return -1;
  }
  return nbd_disconnect (n, DETACH_MS);
}

int
nbd_disconnect (unsigned n, unsigned ms)
{
  const long long deadline = now_ms () + ms;
  struct nbd_netlink nl = { .fd = -1 };

  if (nbd_netlink_open (&nl, false) == -1)
    return -1;
  if (nbd_netlink_disconnect (&nl, n) == -1 && nbd_attached (n)) {
    log_error ("cannot detach /dev/nbd%u: %m", n);
    nbd_netlink_close (&nl);
    return -1;
  }
  nbd_netlink_close (&nl);
  while (nbd_attached (n)) {
    if (now_ms () >= deadline) {
      log_error ("cannot detach /dev/nbd%u: the kernel does not release it; "
                 "the next start uses another device",
                 n);
      return -1;
    }
    usleep (20000);
  }
  return 0;
}
