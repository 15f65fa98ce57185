/* nbdkit-vram: who may see what the disk holds
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "privacy.h"

bool
privacy_peer_allowed (void)
{
  static atomic_flag warned = ATOMIC_FLAG_INIT;
  struct sockaddr_storage addr;
  socklen_t len = sizeof addr;
  int64_t uid;

  if (nbdkit_peer_name ((struct sockaddr *) &addr, &len) == -1)
    return false;
  if (addr.ss_family != AF_UNIX) {
    if (!atomic_flag_test_and_set (&warned))
      nbdkit_error ("warning: whoever can reach this server's address can read "
                    "and write the disk; use --unix, or allow=any to be "
                    "warned no more");
    return true;
  }
  uid = nbdkit_peer_uid ();
  if (uid == -1)
    return false;
  if (uid == 0 || uid == (int64_t) geteuid ())
    return true;
  nbdkit_error ("refused a client with uid %" PRId64 ": only root and uid %u, "
                "which this server runs as, may connect; allow=any lets "
                "everyone in whom the socket's permissions let in",
                uid, (unsigned) geteuid ());
  return false;
}

void
privacy_no_core_dumps (void)
{
  if (prctl (PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
    nbdkit_debug ("PR_SET_DUMPABLE: %m");
}
