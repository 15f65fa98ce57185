/* nbdkit-vram: the service manager's descriptor store
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_FDSTORE_H
#define VRAM_FDSTORE_H

#include <stdbool.h>

/* The program that started this server and set NOTIFY_SOCKET, which is systemd
 * for a unit with FileDescriptorStoreMax=, or another that speaks its protocol
 * (sd_notify), keeps descriptors for the next server.  It does not answer:
 * what it is told are datagrams, which it takes in order.
 *
 * Those below that return int return 0, or -1 after log_error; they wait for
 * the manager for a few seconds at most.  One thread at a time.
 */

/* Whether there is a manager to talk to.  Without one nothing else may be
 * called but fdstore_ready.
 */
extern bool fdstore_exists (void);

/* Have the manager keep a duplicate of FD under NAME, whatever poll says of
 * the descriptor.
 */
extern int fdstore_put (const char *name, int fd);

/* Have the manager close all descriptors that it keeps under NAME. */
extern int fdstore_remove (const char *name);

/* Wait until the manager has taken all that it was told so far. */
extern int fdstore_wait (void);

/* The same where the manager is 'vram-swap daemon', without waiting for
 * systemd, which it passes things on to, and which may itself wait for a page
 * that is swapped out to this disk.  It answers only what it keeps, and what
 * systemd will find in its socket: a daemon that dies meanwhile does not
 * answer.
 */
extern int fdstore_wait_supervisor (void);

/* As fdstore_wait, and make sure that the manager keeps descriptors, and had
 * room for all of them.
 */
extern int fdstore_check (void);

/* The manager keeps this descriptor for as long as fdstore_check takes. */
#define FDSTORE_PROBE_NAME "vram-probe"

/* Tell 'vram-swap daemon', if it supervises this server, that a client has
 * gone. The kernel does not tell it when another program detaches its device.
 */
extern void fdstore_disconnected (void);

/* This server is ready to serve, and STATUS says what.  No error where no
 * program wants to know.
 */
extern void fdstore_ready (const char *status);

#endif /* VRAM_FDSTORE_H */
