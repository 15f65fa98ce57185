/* nbdkit-vram: which users may connect
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/clock.h"
#include "common/log.h"
#include "peer.h"

void
peer_log_refusal (int64_t uid, uint64_t now_ms)
{
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static int64_t users[REFUSED_USERS_MAX];
  static unsigned count;
  static uint64_t unsaid, said_ms;
  uint64_t more = 0;
  unsigned i = 0;
  bool is_new;

  pthread_mutex_lock (&lock);
  while (i < count && users[i] != uid)
    ++i;
  is_new = i == count && count < REFUSED_USERS_MAX;
  if (is_new)
    users[count++] = uid;
  else
    ++unsaid;
  if (!is_new && now_ms >= said_ms + REFUSED_AGAIN_MS) {
    more = unsaid;
    unsaid = 0;
  }
  if (is_new || more > 0)
    said_ms = now_ms;
  pthread_mutex_unlock (&lock);

  if (is_new)
    log_error ("refused a client with uid %" PRId64 ": only root and uid "
               "%u, which this server runs as, may connect; allow=any "
               "accepts every user that the socket's permissions allow",
               uid, (unsigned) geteuid ());
  else if (more > 0)
    log_error ("refused %" PRIu64 " more clients, the last with uid %" PRId64,
               more, uid);
  else
    log_debug ("refused another client with uid %" PRId64, uid);
}

/* Whether the only client is the program that started the server: nbdkit -s on
 * pipes or a socket pair.  A socket without a name was not accepted from a
 * listening one.
 */
static bool client_is_parent;

void
peer_load (void)
{
  struct sockaddr_un addr = { .sun_family = AF_UNSPEC };
  socklen_t len = sizeof addr;

  if (nbdkit_stdio_safe ())
    return;
  if (getsockname (STDIN_FILENO, (struct sockaddr *) &addr, &len) == -1)
    client_is_parent = errno == ENOTSOCK;
  else
    client_is_parent = addr.sun_family == AF_UNIX &&
                       len == offsetof (struct sockaddr_un, sun_path);
}

bool
peer_allowed (void)
{
  static atomic_flag logged = ATOMIC_FLAG_INIT;
  struct sockaddr_storage addr;
  socklen_t len = sizeof addr;
  int64_t uid;

  if (client_is_parent)
    return true;
  if (nbdkit_peer_name ((struct sockaddr *) &addr, &len) == -1)
    return false;
  if (addr.ss_family != AF_UNIX) {
    if (!atomic_flag_test_and_set (&logged))
      log_error ("refused a client that is not connected through a Unix "
                 "socket: everyone who reaches this server's address could "
                 "read and write the disk; use nbdkit --unix, or allow=any");
    return false;
  }
  uid = nbdkit_peer_uid ();
  if (uid == -1)
    return false;
  if (uid == 0 || uid == (int64_t) geteuid ())
    return true;
  peer_log_refusal (uid, clock_ms ());
  return false;
}

void
peer_no_core_dumps (void)
{
  if (prctl (PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
    log_debug ("PR_SET_DUMPABLE: %m");
}
