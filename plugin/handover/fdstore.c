/* nbdkit-vram: the service manager's descriptor store
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sd_notify.h"
#include "handover/fdstore.h"

/* How long the supervisor may take to answer, in ms. */
#define ANSWER_MS 10000

bool
fdstore_exists (void)
{
  return sd_notify_address () != NULL;
}

int
fdstore_put (const char *name, int fd)
{
  char text[128];

  /* FDPOLL=0: otherwise the manager drops a descriptor when poll reports an
   * error for it, which a GPU's descriptor may.
   */
  snprintf (text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
  if (sd_notify_send (sd_notify_address (), text, &fd, 1, true) == -1) {
    log_error ("cannot hand %s to the service manager: %m", name);
    return -1;
  }
  return 0;
}

int
fdstore_remove (const char *name)
{
  char text[128];

  snprintf (text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
  if (sd_notify_send (sd_notify_address (), text, NULL, 0, true) == -1) {
    log_error ("cannot remove %s from the service manager: %m", name);
    return -1;
  }
  return 0;
}

int
fdstore_wait (void)
{
  if (sd_notify_barrier (sd_notify_address ()) == -1) {
    log_error ("the service manager does not receive messages: %m");
    return -1;
  }
  return 0;
}

int
fdstore_wait_supervisor (void)
{
  struct pollfd answer;
  int fds[2], r;
  char byte;

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1) {
    log_error ("socketpair: %m");
    return -1;
  }
  r = sd_notify_send (sd_notify_address (), "X_VRAM_ANSWER=1", &fds[1], 1,
                      true);
  close (fds[1]);
  answer = (struct pollfd){ .fd = fds[0], .events = POLLIN };
  /* A supervisor that dies closes its end without an answer. */
  if (r == -1 || poll (&answer, 1, ANSWER_MS) != 1 ||
      read (fds[0], &byte, 1) != 1) {
    log_error ("vram-swap daemon has not answered for 10 s");
    r = -1;
  }
  close (fds[0]);
  return r;
}

int
fdstore_check (void)
{
  struct pollfd end;
  int fds[2], r;

  if (pipe2 (fds, O_CLOEXEC) == -1) {
    log_error ("pipe2: %m");
    return -1;
  }
  /* Handed over last: if there is room for this one, there was room for all
   * others.
   */
  r = fdstore_put (FDSTORE_PROBE_NAME, fds[1]);
  close (fds[1]);
  if (r == 0)
    r = fdstore_wait ();
  /* Hung up: no process has the other end any more. */
  end = (struct pollfd){ .fd = fds[0] };
  if (r == 0 && poll (&end, 1, 0) != 0) {
    log_error ("the service manager does not keep all descriptors; raise "
               "FileDescriptorStoreMax= of the unit to 160");
    r = -1;
  }
  close (fds[0]);
  if (fdstore_remove (FDSTORE_PROBE_NAME) == -1)
    r = -1;
  return r;
}

void
fdstore_disconnected (void)
{
  if (fdstore_exists () && getenv ("VRAM_SWAP_SUPERVISED") &&
      sd_notify_send (sd_notify_address (), "X_VRAM_DISCONNECTED=1", NULL, 0,
                      false) == -1)
    log_debug (
        "cannot tell the supervisor that a client has disconnected: %m");
}

void
fdstore_ready (const char *status)
{
  char text[256];

  if (!fdstore_exists ())
    return;
  snprintf (text, sizeof text, "READY=1\nSTATUS=%s", status);
  if (sd_notify_send (sd_notify_address (), text, NULL, 0, true) == -1)
    log_debug ("cannot tell the service manager that the disk is ready: %m");
}
