/* nbdkit-vram: the file that one piece of the stand-in's VRAM lies in
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* The data first, so that a mapping from offset 0 is the memory; behind it,
 * page aligned, a header that says what this is, and a word for each granule
 * that says whether the granule still is the garbage that fresh VRAM holds.
 * Garbage is made when a granule is first looked at, so that large disks cost
 * nothing until used.  The state lies in the file because processes share it.
 *
 * The data is reached by pread and pwrite and mapped nowhere in the process
 * (but by the Vulkan stand-in): no stray pointer hits it, it does not count as
 * the process's memory, and sanitizers see the host's side of a copy only, as
 * with a real GPU.
 */
#ifndef STANDIN_VRAM_FILE_H
#define STANDIN_VRAM_FILE_H

#include <stdatomic.h>
#include <stdint.h>

#define VRAM_GRANULE (64ULL << 10)

struct vram_header {
  char magic[16];
  uint64_t size; /* of the data */
  unsigned char uuid[16];
  uint64_t garbage; /* bytes from the start that begin as garbage */
  _Atomic uint32_t granules[];
};

struct vram_file {
  int fd;
  uint64_t size;
  struct vram_header *header;
  uint64_t header_size; /* of the mapping */
};

/* The size of a file for SIZE bytes of data. */
extern uint64_t vram_file_total (uint64_t size);

/* Takes FD over on success only.  -1 with errno on failure; EINVAL if an
 * opened file is not the stand-in's VRAM.
 */
extern int vram_file_format (struct vram_file *f, int fd, uint64_t size,
                             const unsigned char uuid[16], uint64_t garbage);
extern int vram_file_open (struct vram_file *f, int fd);
extern void vram_file_close (struct vram_file *f);

/* Forgets the file but leaves its descriptor open. */
extern void vram_file_release (struct vram_file *f);

/* All return 0, or -1 with errno; EFAULT if BUF cannot be accessed.  The range
 * must lie within the data.
 */
extern int vram_file_read (struct vram_file *f, void *buf, uint64_t size,
                           uint64_t offset);
extern int vram_file_write (struct vram_file *f, const void *buf,
                            uint64_t size, uint64_t offset);
extern int vram_file_set (struct vram_file *f, unsigned char value,
                          uint64_t size, uint64_t offset);

/* Before the data is read by other ways: makes what is garbage
 * within the first LIMIT bytes, and lets what was not touched behind them be
 * zeros.
 */
extern int vram_file_settle (struct vram_file *f, uint64_t limit);

/* How many bytes that are not zero stand in granules that were touched. */
extern uint64_t vram_file_dirty (struct vram_file *f);

#endif /* STANDIN_VRAM_FILE_H */
