/* nbdkit-vram: the descriptors with which a disk outlives its server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_DESCRIPTORS_H
#define VRAM_SWAP_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The plugin's chunks and its state; descriptors by their names. */
#define DESCRIPTORS_MAX 160

struct descriptors {
  size_t n;
  bool ambiguous; /* two disks were passed: neither is taken over */
  struct descriptor {
    int fd;
    char name[32];
    void *locked; /* the state's memory, kept in RAM */
    size_t size;
  } one[DESCRIPTORS_MAX];
};

/* Whether NAME is a name of a disk's descriptors. */
bool descriptors_know (const char *name);

/* Those that systemd passes at the start (LISTEN_FDS): takes them over and out
 * of the environment, where nbdkit would take them for sockets.  Others' are
 * closed.  Two files of one name are an error, and both stay open.
 */
void descriptors_take (struct descriptors *d);

bool descriptors_has (const struct descriptors *d, const char *name);

/* Keeps FD under NAME, and closes the descriptor that had this name. */
void descriptors_add (struct descriptors *d, const char *name, int fd);

/* Closes the descriptor of that name. */
void descriptors_remove (struct descriptors *d, const char *name);

/* Whether a server can take the disk over: it is complete, since the
 * superblock is handed over last, and no server has given it up.
 */
bool descriptors_complete (const struct descriptors *d);

/* Tells the server by the state that we keep the disk, so that no signal but
 * ours ends it, or that the disk ends with the server.
 */
void descriptors_tell (const struct descriptors *d, bool ends);

/* Tell the server how much VRAM it may hold, in bytes; INT64_MAX: there is no
 * limit; -1: what its parameter limit= says.
 */
void descriptors_limit (const struct descriptors *d, int64_t limit);

/* The superblock of the disk that is kept, as far as its servers have filled
 * it, or NULL when there is none, or one of an unknown version.
 */
struct superblock_header;
struct superblock_shared;
const struct superblock_header *
descriptors_header (const struct descriptors *d);
struct superblock_shared *descriptors_shared (const struct descriptors *d);

/* How many bytes of that disk hold data, and how many bytes of its VRAM cannot
 * be given back.
 */
int64_t descriptors_used (const struct descriptors *d);
int64_t descriptors_least (const struct descriptors *d);

/* "adopt=FD:NAME,..." into BUF, which is returned. */
const char *
descriptors_adopt (const struct descriptors *d, char *buf, size_t size);

/* In a child, before it becomes the server: let it inherit them all. */
void descriptors_inherit (const struct descriptors *d);

#endif
