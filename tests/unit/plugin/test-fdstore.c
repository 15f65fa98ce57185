/* nbdkit-vram: tests of messages to the service manager, also to one that does
 * not listen
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "nbdkit-stubs.h"
#include "handover/fdstore.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* A manager that listens at a name, which is in NOTIFY_SOCKET. */
static int manager = -1;
static char name[200];

/* The last message that it received. */
static char text[512];
static unsigned fds_count;
static int fds[8];

static void
close_manager (void)
{
  close (manager);
  manager = -1;
  if (name[0] == '/')
    unlink (name);
}

/* Listens at AS, or at a path in a folder of its own. */
static void
open_manager (const char *as)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  size_t length;

  if (as)
    snprintf (name, sizeof name, "%s", as);
  else
    snprintf (name, sizeof name, "/tmp/vram-test-store.%ld", (long) getpid ());
  length = strlen (name);
  CHECK (length < sizeof address.sun_path);
  memcpy (address.sun_path, name, length);
  if (name[0] == '@')
    address.sun_path[0] = '\0';
  manager = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK (manager != -1);
  CHECK_EQ (
      bind (manager, (struct sockaddr *) &address,
            (socklen_t) (offsetof (struct sockaddr_un, sun_path) + length)),
      0);
  CHECK_EQ (setenv ("NOTIFY_SOCKET", name, 1), 0);
  stub_messages_clear ();
}

/* Receives the next message. */
static void
hear (void)
{
  union {
    char space[CMSG_SPACE (sizeof fds)];
    struct cmsghdr align;
  } control;
  struct iovec iov = { .iov_base = text, .iov_len = sizeof text - 1 };
  struct msghdr message = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.space,
                            .msg_controllen = sizeof control.space };
  struct cmsghdr *c;
  ssize_t n = recvmsg (manager, &message, MSG_CMSG_CLOEXEC);

  CHECK (n >= 0);
  text[n] = '\0';
  fds_count = 0;
  for (c = CMSG_FIRSTHDR (&message); c; c = CMSG_NXTHDR (&message, c)) {
    CHECK_EQ (c->cmsg_level, SOL_SOCKET);
    CHECK_EQ (c->cmsg_type, SCM_RIGHTS);
    fds_count = (unsigned) ((c->cmsg_len - CMSG_LEN (0)) / sizeof (int));
    CHECK (fds_count <= COUNT (fds));
    memcpy (fds, CMSG_DATA (c), fds_count * sizeof (int));
  }
}

/* There are no more messages. */
static void
hear_nothing (void)
{
  char byte;

  CHECK_EQ (recv (manager, &byte, 1, MSG_DONTWAIT), -1);
}

static unsigned
descriptors (void)
{
  unsigned n = 0;

  for (int fd = 0; fd < 200; ++fd)
    n += fcntl (fd, F_GETFD) != -1;
  return n;
}

static bool
same_file (int a, int b)
{
  struct stat one, other;

  CHECK_EQ (fstat (a, &one), 0);
  CHECK_EQ (fstat (b, &other), 0);
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* The values of NOTIFY_SOCKET that name a manager. */
static void
test_exists (void)
{
  static const struct {
    const char *value;
    bool exists;
  } table[] = {
    { "/run/systemd/notify", true },
    { "@/org/freedesktop/systemd1/notify", true },
    { "@x", true },
    { "", false },
    { "/", false },
    { "@", false },
    { "run/notify", false },
    { "vsock:2:1234", false },
    { "-", false },
  };

  unsetenv ("NOTIFY_SOCKET");
  CHECK (!fdstore_exists ());
  for (size_t i = 0; i < COUNT (table); ++i) {
    setenv ("NOTIFY_SOCKET", table[i].value, 1);
    if (fdstore_exists () != table[i].exists)
      check_fail (__FILE__, __LINE__, "NOTIFY_SOCKET='%s'", table[i].value);
    /* If there is no manager, that is no error. */
    stub_messages_clear ();
    fdstore_ready ("nothing");
    CHECK_EQ (stub_errors_count (), 0);
  }
  unsetenv ("NOTIFY_SOCKET");
  fdstore_ready ("nothing");
  CHECK_EQ (stub_errors_count (), 0);
}

/* With a path and with an abstract name. */
static void
test_messages (void)
{
  char abstract[64];

  snprintf (abstract, sizeof abstract, "@vram-test-store/%ld",
            (long) getpid ());
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned had = descriptors ();
    int fd = open ("/dev/zero", O_RDONLY | O_CLOEXEC);

    open_manager (i ? abstract : NULL);
    CHECK_EQ (fdstore_put ("vram-chunk-7", fd), 0);
    hear ();
    CHECK_STR (text, "FDSTORE=1\nFDPOLL=0\nFDNAME=vram-chunk-7");
    CHECK_EQ (fds_count, 1);
    CHECK (same_file (fds[0], fd) && fds[0] != fd);
    close (fds[0]);
    /* The descriptor stays open here. */
    CHECK (fcntl (fd, F_GETFD) & FD_CLOEXEC);
    close (fd);

    CHECK_EQ (fdstore_remove ("vram-chunk-7"), 0);
    hear ();
    CHECK_STR (text, "FDSTOREREMOVE=1\nFDNAME=vram-chunk-7");
    CHECK_EQ (fds_count, 0);

    fdstore_ready ("serving 7 GiB of it");
    hear ();
    CHECK_STR (text, "READY=1\nSTATUS=serving 7 GiB of it");
    CHECK_EQ (fds_count, 0);
    hear_nothing ();

    CHECK_EQ (stub_errors_count (), 0);
    close_manager ();
    CHECK_EQ (descriptors (), had);
  }
}

/* The longest name that fits into an address, and a longer one. */
static void
test_long_names (void)
{
  const unsigned had = descriptors ();
  const size_t room = sizeof ((struct sockaddr_un *) 0)->sun_path;
  char longest[200];

  memset (longest, 'x', sizeof longest);
  longest[0] = '@';
  longest[room - 1] = '\0';
  open_manager (longest);
  CHECK_EQ (fdstore_remove ("a"), 0);
  hear ();
  close_manager ();

  longest[room - 1] = 'x';
  longest[room] = '\0';
  setenv ("NOTIFY_SOCKET", longest, 1);
  CHECK_EQ (fdstore_remove ("a"), -1);
  CHECK_HOLDS (stub_errors (),
               "cannot remove a from the service manager: File name too long");
  CHECK_EQ (descriptors (), had);
}

static atomic_bool asked, answered;

/* Reads a message, and then answers the barrier late. */
static void *
answer_late (void *opaque)
{
  const struct timespec while_ = { .tv_nsec = 50 * 1000 * 1000 };

  (void) opaque;
  hear ();
  CHECK_STR (text, "FDSTOREREMOVE=1\nFDNAME=x");
  hear ();
  CHECK_STR (text, "BARRIER=1");
  CHECK_EQ (fds_count, 1);
  atomic_store (&asked, true);
  nanosleep (&while_, NULL);
  atomic_store (&answered, true);
  close (fds[0]);
  return NULL;
}

/* fdstore_wait returns after the manager has read all messages. */
static void
test_wait (void)
{
  const unsigned had = descriptors ();
  pthread_t thread;

  open_manager (NULL);
  CHECK_EQ (fdstore_remove ("x"), 0);
  CHECK_EQ (pthread_create (&thread, NULL, answer_late, NULL), 0);
  CHECK_EQ (fdstore_wait (), 0);
  CHECK (atomic_load (&asked) && atomic_load (&answered));
  CHECK_EQ (pthread_join (thread, NULL), 0);
  CHECK_EQ (stub_errors_count (), 0);
  close_manager ();
  CHECK_EQ (descriptors (), had);
}

/* Answers, or dies if ARG is NULL. */
static void *
answer_or_die (void *arg)
{
  hear ();
  CHECK_STR (text, "X_VRAM_ANSWER=1");
  CHECK_EQ (fds_count, 1);
  if (arg)
    CHECK_EQ (write (fds[0], "1", 1), 1);
  close (fds[0]);
  return NULL;
}

/* A supervisor that ends without an answer has kept nothing. */
static void
test_wait_supervisor (void)
{
  const unsigned had = descriptors ();
  pthread_t thread;

  open_manager (NULL);
  CHECK_EQ (pthread_create (&thread, NULL, answer_or_die, name), 0);
  CHECK_EQ (fdstore_wait_supervisor (), 0);
  CHECK_EQ (pthread_join (thread, NULL), 0);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_EQ (pthread_create (&thread, NULL, answer_or_die, NULL), 0);
  CHECK_EQ (fdstore_wait_supervisor (), -1);
  CHECK_EQ (pthread_join (thread, NULL), 0);
  CHECK_HOLDS (stub_errors (), "vram-swap daemon has not answered for 10 s");
  close_manager ();
  stub_messages_clear ();
  CHECK_EQ (fdstore_wait_supervisor (), -1);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_EQ (descriptors (), had);
}

/* Keeps a descriptor, or closes it at once if ARG is NULL. */
static void *
keep_descriptors (void *arg)
{
  int kept;

  hear ();
  CHECK_STR (text, "FDSTORE=1\nFDPOLL=0\nFDNAME=vram-probe");
  CHECK_EQ (fds_count, 1);
  kept = fds[0];
  if (arg == NULL)
    close (kept);
  hear ();
  CHECK_STR (text, "BARRIER=1");
  close (fds[0]);
  hear ();
  CHECK_STR (text, "FDSTOREREMOVE=1\nFDNAME=vram-probe");
  if (arg)
    close (kept);
  return NULL;
}

/* fdstore_check finds out whether the manager keeps descriptors. */
static void
test_check (void)
{
  const unsigned had = descriptors ();
  pthread_t thread;

  open_manager (NULL);
  CHECK_EQ (pthread_create (&thread, NULL, keep_descriptors, name), 0);
  CHECK_EQ (fdstore_check (), 0);
  CHECK_EQ (pthread_join (thread, NULL), 0);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_EQ (pthread_create (&thread, NULL, keep_descriptors, NULL), 0);
  CHECK_EQ (fdstore_check (), -1);
  CHECK_EQ (pthread_join (thread, NULL), 0);
  CHECK_HOLDS (stub_errors (), "does not keep all descriptors");
  close_manager ();
  CHECK_EQ (descriptors (), had);
}

/* If the manager ends before it answers a barrier, the wait ends, too, because
 * the manager's descriptors are closed.  The next message fails.
 */
static void *
go_away (void *opaque)
{
  (void) opaque;
  hear ();
  close_manager ();
  close (fds[0]);
  return NULL;
}

static void
test_gone (void)
{
  const unsigned had = descriptors ();
  pthread_t thread;
  int fd = open ("/dev/zero", O_RDONLY | O_CLOEXEC);

  open_manager (NULL);
  CHECK_EQ (pthread_create (&thread, NULL, go_away, NULL), 0);
  CHECK_EQ (fdstore_wait (), 0);
  CHECK_EQ (pthread_join (thread, NULL), 0);

  stub_messages_clear ();
  CHECK_EQ (fdstore_put ("vram-chunk-0", fd), -1);
  CHECK_HOLDS (stub_errors (), "cannot hand vram-chunk-0 to the service "
                               "manager: No such file or directory");
  CHECK_EQ (fdstore_remove ("vram-chunk-0"), -1);
  CHECK_HOLDS (stub_errors (), "cannot remove vram-chunk-0 from the service "
                               "manager: No such file or directory");
  CHECK_EQ (fdstore_wait (), -1);
  CHECK_HOLDS (stub_errors (),
               "the service manager does not receive messages: "
               "No such file or directory");
  CHECK_EQ (stub_errors_count (), 3);
  fdstore_ready ("nothing");
  CHECK_EQ (stub_errors_count (), 3);
  close (fd);
  CHECK_EQ (descriptors (), had);
}

/* The number is no open descriptor. */
static void
test_bad_descriptor (void)
{
  const unsigned had = descriptors ();

  open_manager (NULL);
  CHECK_EQ (fdstore_put ("vram-chunk-0", 199), -1);
  CHECK_HOLDS (stub_errors (), "cannot hand vram-chunk-0 to the service "
                               "manager: Bad file descriptor");
  hear_nothing ();
  close_manager ();
  CHECK_EQ (descriptors (), had);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_exists);
  RUN (test_messages);
  RUN (test_long_names);
  RUN (test_wait);
  RUN (test_wait_supervisor);
  RUN (test_check);
  RUN (test_gone);
  RUN (test_bad_descriptor);
  return check_end ();
}
