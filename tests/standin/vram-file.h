/* nbdkit-vram: the file of one allocation of the stand-in's VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* The data comes first, so that a mapping from offset 0 is the memory.  Behind
 * it, page aligned, are a header that describes the file, and a word for each
 * granule, which says whether the granule still holds the garbage of new VRAM.
 * Garbage is written when a granule is first accessed, so that a large disk
 * takes memory only where it is used.  The words are in the file because
 * processes share them.
 *
 * The data is read and written by pread and pwrite, and only the Vulkan
 * stand-in maps it.  So no stray pointer hits it, it does not count as the
 * process's memory, and sanitizers see only the host's side of a copy, as with
 * a real GPU.
 */
#ifndef STANDIN_VRAM_FILE_H
#define STANDIN_VRAM_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VRAM_GRANULE (64ULL << 10)

struct vram_header {
  char magic[16];
  uint64_t size; /* of the data */
  unsigned char uuid[16];
  uint64_t garbage; /* bytes from the start that begin as garbage */
  uint64_t pooled;  /* not 0: its pages stay allocated */
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

/* On success the file owns FD.  A file that is POOLED keeps its pages, and its
 * content is the garbage of new VRAM.  Returns -1 with errno on failure, which
 * is EINVAL if an opened file is not the stand-in's VRAM.
 */
extern int
vram_file_format (struct vram_file *f, int fd, uint64_t size,
                  const unsigned char uuid[16], uint64_t garbage, bool pooled);
extern int vram_file_open (struct vram_file *f, int fd);
extern void vram_file_close (struct vram_file *f);

/* Frees the struct, but leaves the descriptor open. */
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

/* Call it before the data is accessed in other ways.  Writes the garbage of
 * granules that were not accessed yet in the first LIMIT bytes.  Behind those,
 * such granules become zeros.
 */
extern int vram_file_settle (struct vram_file *f, uint64_t limit);

/* How many bytes are not zero in granules that were accessed. */
extern uint64_t vram_file_dirty (struct vram_file *f);

#endif /* STANDIN_VRAM_FILE_H */
