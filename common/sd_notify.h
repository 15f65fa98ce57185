/* nbdkit-vram: messages to a service manager, as sd_notify(3) describes them
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SD_NOTIFY_H
#define VRAM_SD_NOTIFY_H

#include <stdbool.h>

/* The most descriptors in one message. */
#define SD_NOTIFY_FDS_MAX 8

/* Where the service manager listens (NOTIFY_SOCKET): a path, or an abstract
 * name after @.  NULL if it is not set, or is not a Unix socket (a virtual
 * machine's manager), because descriptors cannot be sent there.
 */
extern const char *sd_notify_address (void);

/* Send TEXT, lines of NAME=VALUE, and COUNT descriptors to ADDRESS.  With WAIT
 * this waits up to 10 seconds for room in the socket.  Returns 0, or -1 with
 * errno set.
 */
extern int sd_notify_send (const char *address, const char *text,
                           const int *fds, unsigned count, bool wait);

/* Wait up to 10 seconds until the manager at ADDRESS has taken all messages so
 * far.  Returns 0, or -1 with errno set.
 */
extern int sd_notify_barrier (const char *address);

#endif /* VRAM_SD_NOTIFY_H */
