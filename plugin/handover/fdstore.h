/* nbdkit-vram: the service manager's descriptor store
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_FDSTORE_H
#define VRAM_FDSTORE_H

#include <stdbool.h>

/* The program that started this server and set NOTIFY_SOCKET keeps descriptors
 * for the next server.  It is systemd, for a unit with
 * FileDescriptorStoreMax=, or another program with the same protocol
 * (sd_notify).  It receives datagrams in order and does not answer.  Functions
 * that return int return 0, or -1 after log_error.  They wait for the manager
 * for a few seconds at most.  One thread at a time.
 */

/* Whether there is a manager.  Without one, only fdstore_ready may be called.
 */
extern bool fdstore_exists (void);

/* Have the manager keep a duplicate of FD under NAME, even if poll reports an
 * error for it.
 */
extern int fdstore_put (const char *name, int fd);

/* Have the manager close all descriptors under NAME. */
extern int fdstore_remove (const char *name);

/* Wait until the manager has taken all messages so far. */
extern int fdstore_wait (void);

/* The same for 'vram-swap daemon', without waiting for systemd, to which it
 * passes descriptors on.  systemd may be waiting for a page that is swapped
 * out to this disk.  The daemon answers when it keeps the descriptors and has
 * sent them to systemd's socket.  If it dies first, there is no answer.
 */
extern int fdstore_wait_supervisor (void);

/* As fdstore_wait, and check that the manager keeps descriptors and had room
 * for all of them.
 */
extern int fdstore_check (void);

/* The name of a descriptor that the manager keeps during fdstore_check. */
#define FDSTORE_PROBE_NAME "vram-probe"

/* Tell 'vram-swap daemon', if it supervises this server, that a client has
 * disconnected.  The kernel does not report that another program has detached
 * the device.
 */
extern void fdstore_disconnected (void);

/* Report that this server is ready, with STATUS as a line of text.  Does
 * nothing if there is no manager.
 */
extern void fdstore_ready (const char *status);

#endif /* VRAM_FDSTORE_H */
