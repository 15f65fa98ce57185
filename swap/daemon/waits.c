/* nbdkit-vram: the descriptors and moments that the daemon waits for
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <sys/epoll.h>

#include "daemon.h"
#include "msg.h"
#include "run.h"

void
daemon_set_timer (struct daemon *d, enum timer timer, long long in_ms)
{
  d->timer[timer] = in_ms < 0 ? 0 : now_ms () + in_ms;
}

void
daemon_watch (struct daemon *d, int fd, unsigned events)
{
  struct epoll_event e = { .events = events, .data.fd = fd };

  /* A regular file, as a made-up machine has for /proc/swaps, has no events.
   */
  if (fd != -1 && epoll_ctl (d->epoll, EPOLL_CTL_ADD, fd, &e) == -1 &&
      errno != EPERM)
    log_warning ("epoll: %m");
}

void
daemon_unwatch (struct daemon *d, int fd)
{
  epoll_ctl (d->epoll, EPOLL_CTL_DEL, fd, NULL);
}

int
daemon_next_timer (const struct daemon *d)
{
  const long long now = now_ms ();
  long long in = -1;

  for (unsigned i = 0; i < TIMERS; i++)
    if (d->timer[i] != 0) {
      const long long left = d->timer[i] > now ? d->timer[i] - now : 0;

      if (in == -1 || left < in)
        in = left;
    }
  return in > 3600000 ? 3600000 : (int) in;
}
