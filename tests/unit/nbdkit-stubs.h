/* nbdkit-vram: what nbdkit gives a plugin, for tests that run without nbdkit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_NBDKIT_STUBS_H
#define VRAM_NBDKIT_STUBS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* What nbdkit_error was given since the last stub_messages_clear, each message
 * on a line of its own, and how many there were.  Any thread may log; only
 * what fits is kept.  Call these, but for the count, while no other thread
 * logs.
 */
extern const char *stub_errors (void);
extern unsigned stub_errors_count (void);
extern void stub_messages_clear (void);

/* The same for nbdkit_debug. */
extern const char *stub_debugs (void);

/* Who the client is said to be: its address, and the answer of
 * nbdkit_peer_uid.
 */
extern void stub_set_peer (sa_family_t family, int64_t uid);

/* What nbdkit_add_extent collects into. */
struct nbdkit_extents {
  size_t count;
  struct {
    uint64_t offset, length;
    uint32_t type;
  } extent[64];
};

#endif /* VRAM_NBDKIT_STUBS_H */
