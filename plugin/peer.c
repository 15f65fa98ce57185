/* nbdkit-vram: who may see what the disk holds
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/log.h"
#include "common/clock.h"
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
               "%u, which this server runs as, may connect; allow=any lets "
               "everyone in whom the socket's permissions let in",
               uid, (unsigned) geteuid ());
  else if (more > 0)
    log_error ("refused %" PRIu64 " more clients, the last with uid %" PRId64,
               more, uid);
  else
    log_debug ("refused another client with uid %" PRId64, uid);
}

bool
peer_allowed (void)
{
  static atomic_flag warned = ATOMIC_FLAG_INIT;
  struct sockaddr_storage addr;
  socklen_t len = sizeof addr;
  int64_t uid;

  if (nbdkit_peer_name ((struct sockaddr *) &addr, &len) == -1)
    return false;
  if (addr.ss_family != AF_UNIX) {
    if (!atomic_flag_test_and_set (&warned))
      log_warning ("whoever can reach this server's address can read "
                   "and write the disk; use --unix, or allow=any to be "
                   "warned no more");
    return true;
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
