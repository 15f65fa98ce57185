/* nbdkit-vram: the user that the server runs as
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_UNPRIVILEGED_H
#define VRAM_SWAP_UNPRIVILEGED_H

#include <stdbool.h>
#include <sys/types.h>

#define SERVER_USER "vram-swap"

struct unprivileged {
  bool same; /* as this process: it is not root, or --user root was said */
  uid_t uid;
  gid_t gid;
  gid_t groups[64];
  int n_groups;
};

/* Looks the user up, so that no file has to be opened for it later.  Returns
 * 0, or -1 with a message.
 */
int unprivileged_find (struct unprivileged *u, const char *user);

/* In a child: becomes that user, with the capabilities to lock memory and to
 * be an I/O flusher and no others, now or after any execve.  Opens no file.
 * Returns 0, or -1 with errno set.
 */
int unprivileged_become (const struct unprivileged *u);

#endif
