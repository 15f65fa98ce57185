/* nbdkit-vram: stubs of nbdkit's functions, for tests without nbdkit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_NBDKIT_STUBS_H
#define VRAM_NBDKIT_STUBS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* The messages of nbdkit_error since the last stub_messages_clear, one in each
 * line, and their number.  Any thread may log.  Only what fits is kept.  Do
 * not call these, except for the number, while another thread logs.
 */
extern const char *stub_errors (void);
extern unsigned stub_errors_count (void);
extern void stub_messages_clear (void);

/* The same for nbdkit_debug. */
extern const char *stub_debugs (void);

/* The client's address, and the result of nbdkit_peer_uid. */
extern void stub_set_peer (sa_family_t family, int64_t uid);

/* nbdkit_add_extent collects extents here. */
struct nbdkit_extents {
  size_t count;
  struct {
    uint64_t offset, length;
    uint32_t type;
  } extent[64];
};

#endif /* VRAM_NBDKIT_STUBS_H */
