/* nbdkit-vram: tests how vram-swap hears what a server says and passes it on
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "notify.h"
#include "test.h"

static unsigned
descriptors (void)
{
  unsigned n = 0;

  for (int fd = 0; fd < 200; fd++)
    n += fcntl (fd, F_GETFD) != -1;
  return n;
}

static bool
same_file (int a, int b)
{
  struct stat one, other;

  return fstat (a, &one) == 0 && fstat (b, &other) == 0 &&
         one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static void
close_all (struct notice *n)
{
  for (unsigned i = 0; i < n->n; i++)
    close (n->fds[i]);
  n->n = 0;
}

/* A notice of TEXT alone. */
static struct notice *
say (const char *text)
{
  static struct notice n;

  n = (struct notice){ .n = 0 };
  snprintf (n.text, sizeof n.text, "%s", text);
  return &n;
}

static int
notify_send (const char *address, const struct notice *n)
{
  return sd_notify_send (address, n->text, n->fds, n->n, true);
}

/* Other senders than our own put more into a message than it has room for. */
static void
send_raw (const char *address, const char *text, size_t length, int fd,
          unsigned fds)
{
  struct sockaddr_un a = { .sun_family = AF_UNIX };
  union {
    char space[CMSG_SPACE (sizeof (int) * 100)];
    struct cmsghdr align;
  } control;
  struct iovec iov = { .iov_base = (char *) text, .iov_len = length };
  struct msghdr m = { .msg_name = &a,
                      .msg_namelen = offsetof (struct sockaddr_un, sun_path) +
                                     strlen (address),
                      .msg_iov = &iov,
                      .msg_iovlen = 1 };
  int s = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

  memcpy (a.sun_path, address, strlen (address));
  if (fds > 0) {
    struct cmsghdr *c;

    memset (&control, 0, sizeof control);
    m.msg_control = control.space;
    m.msg_controllen = CMSG_SPACE (fds * sizeof (int));
    c = CMSG_FIRSTHDR (&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN (fds * sizeof (int));
    for (unsigned i = 0; i < fds; i++)
      memcpy (CMSG_DATA (c) + i * sizeof (int), &fd, sizeof (int));
  }
  CHECK (sendmsg (s, &m, MSG_NOSIGNAL) == (ssize_t) length);
  close (s);
}

static void
test_messages (const char *folder)
{
  const unsigned had = descriptors ();
  char address[128], other[128];
  int fd, fd2;
  struct notice n = { .n = 0 };
  struct stat st;
  pid_t child;

  snprintf (address, sizeof address, "%s/one", folder);
  snprintf (other, sizeof other, "%s/other", folder);
  fd = notify_listen (address);
  fd2 = notify_listen (other);
  CHECK (fd != -1 && fd2 != -1);
  CHECK (fcntl (fd, F_GETFD) & FD_CLOEXEC);
  /* Only this user may write to it, also with a umask of 0. */
  CHECK (stat (address, &st) == 0 && (st.st_mode & 077) == 0);
  CHECK (notify_receive (fd, &n) == 0);

  CHECK (notify_send (address, say ("READY=1\nSTATUS=all is well")) == 0);
  CHECK (notify_send (address, say ("STOPPING=1")) == 0);
  CHECK (notify_receive (fd2, &n) == 0);
  n.n = 3;
  CHECK (notify_receive (fd, &n) == 1);
  CHECK (strcmp (n.text, "READY=1\nSTATUS=all is well") == 0);
  CHECK (n.sender == getpid () && n.n == 0);
  CHECK (notify_receive (fd, &n) == 1);
  CHECK (strcmp (n.text, "STOPPING=1") == 0);
  CHECK (notify_receive (fd, &n) == 0);

  /* An empty message is received. */
  CHECK (notify_send (address, say ("")) == 0);
  CHECK (notify_receive (fd, &n) == 1 && n.text[0] == '\0');

  /* The sender, which has ended meanwhile. */
  child = fork ();
  if (child == 0)
    _exit (notify_send (address, say ("X=1")) == 0 ? 0 : 1);
  CHECK (waitpid (child, NULL, 0) == child);
  CHECK (notify_receive (fd, &n) == 1 && n.sender == child);

  /* The socket of a process that was killed is replaced. */
  close (fd);
  fd = notify_listen (address);
  CHECK (fd != -1 && notify_send (address, say ("X=1")) == 0);
  CHECK (notify_receive (fd, &n) == 1);

  close (fd);
  close (fd2);
  unlink (address);
  unlink (other);
  CHECK (descriptors () == had);
}

static void
test_descriptors (const char *folder)
{
  const unsigned had = descriptors ();
  struct notice out = { .text = "FDSTORE=1\nFDNAME=vram-state" },
                n = { .n = 0 };
  char address[128];
  int fd;
  int zero = open ("/dev/zero", O_RDONLY | O_CLOEXEC);
  int null = open ("/dev/null", O_RDONLY | O_CLOEXEC);

  snprintf (address, sizeof address, "%s/one", folder);
  fd = notify_listen (address);
  for (unsigned count = 1; count <= NOTIFY_FDS_MAX; count++) {
    out.n = count;
    for (unsigned i = 0; i < count; i++)
      out.fds[i] = i % 2 ? null : zero;
    CHECK (notify_send (address, &out) == 0);
    CHECK (notify_receive (fd, &n) == 1);
    CHECK (strcmp (n.text, out.text) == 0);
    CHECK (n.sender == getpid ());
    CHECK (n.n == count);
    for (unsigned i = 0; i < n.n; i++) {
      CHECK (same_file (n.fds[i], i % 2 ? null : zero));
      CHECK (fcntl (n.fds[i], F_GETFD) & FD_CLOEXEC);
    }
    close_all (&n);
  }

  /* A descriptor that is not open. */
  out.n = 1;
  out.fds[0] = 199;
  errno = 0;
  CHECK (notify_send (address, &out) == -1 && errno == EBADF);
  CHECK (notify_receive (fd, &n) == 0);

  /* More than there is room for: the rest is not ours to close, and not open.
   */
  for (unsigned count = NOTIFY_FDS_MAX + 1; count <= 100; count += 13) {
    send_raw (address, "FDSTORE=1", 9, zero, count);
    CHECK (notify_receive (fd, &n) == 1);
    CHECK (n.sender == getpid ());
    CHECK (n.n == NOTIFY_FDS_MAX);
    for (unsigned i = 0; i < NOTIFY_FDS_MAX; i++)
      CHECK (same_file (n.fds[i], zero));
    close_all (&n);
  }

  close (zero);
  close (null);
  close (fd);
  unlink (address);
  CHECK (descriptors () == had);
}

/* Text that is longer than there is room for, or has an end in it. */
static void
test_text (const char *folder)
{
  char address[128], text[2 * sizeof ((struct notice *) 0)->text];
  struct notice n = { .n = 0 };
  int fd;

  snprintf (address, sizeof address, "%s/one", folder);
  fd = notify_listen (address);
  memset (text, 'x', sizeof text);
  send_raw (address, text, sizeof n.text - 1, -1, 0);
  CHECK (notify_receive (fd, &n) == 1);
  CHECK (strlen (n.text) == sizeof n.text - 1);
  send_raw (address, text, sizeof text, -1, 0);
  CHECK (notify_receive (fd, &n) == 1);
  CHECK (strlen (n.text) == sizeof n.text - 1);
  send_raw (address, "A=1\0B=2", 7, -1, 0);
  CHECK (notify_receive (fd, &n) == 1);
  CHECK (strcmp (n.text, "A=1") == 0);
  CHECK (notify_receive (fd, &n) == 0);
  close (fd);
  unlink (address);
}

static void
test_value (void)
{
  static const struct {
    const char *text, *name, *value; /* NULL: no such line */
  } cases[] = {
    { "FDSTORE=1\nFDPOLL=0\nFDNAME=vram-chunk-0", "FDSTORE", "1" },
    { "FDSTORE=1\nFDPOLL=0\nFDNAME=vram-chunk-0", "FDPOLL", "0" },
    { "FDSTORE=1\nFDPOLL=0\nFDNAME=vram-chunk-0", "FDNAME", "vram-chunk-0" },
    { "FDSTORE=1\nFDPOLL=0\nFDNAME=vram-chunk-0", "FDSTOREREMOVE", NULL },
    /* Of two that begin alike each is itself alone. */
    { "FDSTOREREMOVE=1\nFDNAME=vram-state", "FDSTORE", NULL },
    { "FDSTOREREMOVE=1\nFDNAME=vram-state", "FDSTOREREMOVE", "1" },
    { "XFDNAME=a\nFDNAME=b", "FDNAME", "b" },
    { "STATUS=FDNAME=a", "FDNAME", NULL },
    { "STATUS=a=b", "STATUS", "a=b" },
    { "A=1\nA=2", "A", "1" },
    { "A=\nB=2\n", "A", "" },
    { "A=\nB=2\n", "B", "2" },
    { "\n\n\nB=2", "B", "2" },
    { "A", "A", NULL },
    { "A\n=1", "A", NULL },
    { "", "A", NULL },
    { "\n", "A", NULL },
    { "LONG=1234567890", "LONG", "1234567" },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char buf[8], large[32];
    const struct notice *n = say (cases[i].text);
    const size_t size = cases[i].name[0] == 'L' ? sizeof buf : sizeof large;
    char *to = cases[i].name[0] == 'L' ? buf : large;
    const char *value = notify_value (n, cases[i].name, to, size);

    if (cases[i].value ? value != to || strcmp (value, cases[i].value) != 0
                       : value != NULL) {
      fprintf (stderr, "%s of '%s' is %s\n", cases[i].name, cases[i].text,
               value ? value : "not there");
      failures++;
    }
  }
}

/* NOTIFY_SOCKET as systemd has it, and as it should not be. */
static void
test_addresses (const char *folder)
{
  const unsigned had = descriptors ();
  const size_t room = sizeof ((struct sockaddr_un *) 0)->sun_path;
  struct sockaddr_un a = { .sun_family = AF_UNIX };
  char text[200], address[128];
  int fd;

  /* A path; the folder's name is short. */
  snprintf (a.sun_path, sizeof a.sun_path, "%s/notify", folder);
  errno = 0;
  CHECK (notify_send (a.sun_path, say ("X=1")) == -1 && errno == ENOENT);
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK (bind (fd, (struct sockaddr *) &a, sizeof a) == 0);
  CHECK (notify_send (a.sun_path, say ("X=1")) == 0);
  CHECK (recv (fd, text, sizeof text, MSG_DONTWAIT) == 3);
  CHECK (memcmp (text, "X=1", 3) == 0);
  close (fd);
  errno = 0;
  CHECK (notify_send (a.sun_path, say ("X=1")) == -1 && errno == ECONNREFUSED);
  unlink (a.sun_path);

  /* The listener has ended. */
  snprintf (address, sizeof address, "%s/one", folder);
  fd = notify_listen (address);
  close (fd);
  errno = 0;
  CHECK (notify_send (address, say ("X=1")) == -1 && errno == ECONNREFUSED);
  unlink (address);
  /* Where it cannot be, and a name that is too long. */
  CHECK (notify_listen ("/dev/null/one") == -1);

  errno = 0;
  CHECK (notify_send ("", say ("X=1")) == -1 && errno == EINVAL);
  memset (text, 'x', sizeof text);
  text[0] = '@';
  text[room] = '\0';
  CHECK (notify_listen (text) == -1);
  errno = 0;
  CHECK (notify_send (text, say ("X=1")) == -1 && errno == ENAMETOOLONG);
  text[room - 1] = '\0';
  errno = 0;
  CHECK (notify_send (text, say ("X=1")) == -1 && errno == ECONNREFUSED);
  errno = 0;
  CHECK (notify_send ("vsock:2:1234", say ("X=1")) == -1 && errno == ENOENT);
  CHECK (descriptors () == had);
}

int
main (void)
{
  const char *folder = test_folder ();

  test_messages (folder);
  test_descriptors (folder);
  test_text (folder);
  test_value ();
  test_addresses (folder);
  rmdir (folder);
  FINISH;
}
