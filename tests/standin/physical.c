/* nbdkit-vram: the stand-in's VRAM: allocation, export, import, and leaks
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "standin.h"

/* How many bytes of freed memory the next allocation begins with. */
#define REMNANT (256U << 10)

struct physical {
  struct vram_file file;
  int dev;
  dev_t st_dev; /* the same file is the same memory */
  ino_t st_ino;
  bool exportable;
  bool travelled; /* exported or imported: others may hold it */
  atomic_bool written;
  unsigned int refs;
  struct physical *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct physical *all;
/* Used by this process.  Not used with SHARED. */
static uint64_t used[MAX_DEVICES];
/* Taken by other programs (SHRINK). */
static uint64_t taken[MAX_DEVICES];
static uint64_t shrinks;
static unsigned char remnant[MAX_DEVICES][REMNANT];
static bool have_remnant[MAX_DEVICES];

uint64_t
physical_size (const struct physical *p)
{
  return p->file.size;
}

int
physical_device (const struct physical *p)
{
  return p->dev;
}

bool
physical_exportable (const struct physical *p)
{
  return p->exportable;
}

struct vram_file *
physical_file (struct physical *p)
{
  return &p->file;
}

void
physical_written (struct physical *p)
{
  atomic_store_explicit (&p->written, true, memory_order_relaxed);
}

static uint64_t
read_used_file (void)
{
  char buf[64];
  FILE *fp;
  uint64_t n = 0;

  fp = config.used_file ? fopen (config.used_file, "re") : NULL;
  if (!fp)
    return 0;
  if (fgets (buf, sizeof buf, fp))
    n = settings_size ("USED_FILE", buf);
  fclose (fp);
  return n;
}

/* How much of DEV all processes of the test may use; under the lock. */
static uint64_t
limit (int dev)
{
  uint64_t others = config.used[dev] + read_used_file () + taken[dev];

  return others < config.memory[dev] ? config.memory[dev] - others : 0;
}

uint64_t
physical_free_bytes (int dev)
{
  uint64_t max, sum;

  pthread_mutex_lock (&lock);
  max = limit (dev);
  sum = config.shared ? account_used (&config.uuids[dev]) : used[dev];
  pthread_mutex_unlock (&lock);
  return sum < max ? max - sum : 0;
}

void
physical_shrink (int dev)
{
  pthread_mutex_lock (&lock);
  if (shrinks < config.shrink_times) {
    shrinks++;
    taken[dev] += config.shrink;
  }
  pthread_mutex_unlock (&lock);
}

/* Adds an open file to the list, with one reference; under the lock. */
static struct physical *
add (const struct vram_file *file, int dev, bool exportable, bool travelled)
{
  struct physical *p = calloc (1, sizeof *p);
  struct stat st;

  if (!p)
    return NULL;
  if (fstat (file->fd, &st) == -1) {
    free (p);
    return NULL;
  }
  p->file = *file;
  p->dev = dev;
  p->st_dev = st.st_dev;
  p->st_ino = st.st_ino;
  p->exportable = exportable;
  p->travelled = travelled;
  p->refs = 1;
  p->next = all;
  all = p;
  used[dev] += file->size;
  return p;
}

/* Writes content that was freed before to the start of new memory. */
static void
leave_remnant (struct physical *p)
{
  if (!have_remnant[p->dev] || config.garbage < REMNANT)
    return;
  have_remnant[p->dev] = false;
  vram_file_write (&p->file, remnant[p->dev], REMNANT, 0);
}

/* Makes a file for SIZE bytes.  Sets *POOLED if it is of POOL. */
static int
make_file (uint64_t size, bool *pooled)
{
  int fd = -1;

  errno = ENOENT;
  if (config.pool)
    fd = pool_take (size);
  *pooled = fd != -1;
  if (fd != -1 || errno != ENOENT)
    return fd;
  return memfd_create ("stand-in VRAM", MFD_CLOEXEC);
}

CUresult
physical_create (struct physical **result, int dev, uint64_t size,
                 bool exportable)
{
  CUresult r = CUDA_ERROR_OUT_OF_MEMORY;
  struct vram_file file;
  struct physical *p;
  bool pooled = false;
  uint64_t max;
  int fd;

  pthread_mutex_lock (&lock);
  max = limit (dev);
  if (config.shared)
    fd = account_create (&config.uuids[dev], size, max);
  else if (used[dev] + size > max)
    fd = -1;
  else
    fd = make_file (size, &pooled);
  if (fd == -1)
    goto out;
  if (vram_file_format (&file, fd, size, config.uuids[dev].bytes,
                        config.garbage < size ? config.garbage : size,
                        pooled) == -1)
    goto out_close;
  p = add (&file, dev, exportable, false);
  if (!p)
    goto out_unmap;
  leave_remnant (p);
  *result = p;
  r = CUDA_SUCCESS;
  goto out;

out_unmap:
  vram_file_close (&file);
  goto out;
out_close:
  close (fd);
out:
  pthread_mutex_unlock (&lock);
  return r;
}

CUresult
physical_import (struct physical **result, int fd)
{
  CUresult r = CUDA_ERROR_INVALID_VALUE;
  struct vram_file file;
  struct physical *p;
  struct stat st;
  int copy, dev;

  if (fd < 0 || fstat (fd, &st) == -1)
    return r;
  pthread_mutex_lock (&lock);
  for (p = all; p; p = p->next)
    if (p->st_dev == st.st_dev && p->st_ino == st.st_ino) {
      p->refs++;
      *result = p;
      r = CUDA_SUCCESS;
      goto out;
    }
  /* The importer keeps its descriptor.  Ours is a duplicate. */
  copy = fcntl (fd, F_DUPFD_CLOEXEC, 0);
  if (copy == -1)
    goto out;
  if (vram_file_open (&file, copy) == -1)
    goto out_close;
  for (dev = 0; dev < config.devices; dev++)
    if (memcmp (file.header->uuid, config.uuids[dev].bytes, 16) == 0)
      break;
  if (dev == config.devices) {
    r = CUDA_ERROR_INVALID_DEVICE;
    goto out_unmap;
  }
  p = add (&file, dev, true, true);
  if (!p) {
    r = CUDA_ERROR_OUT_OF_MEMORY;
    goto out_unmap;
  }
  *result = p;
  r = CUDA_SUCCESS;
  goto out;

out_unmap:
  vram_file_close (&file);
  goto out;
out_close:
  close (copy);
out:
  pthread_mutex_unlock (&lock);
  return r;
}

int
physical_export (struct physical *p)
{
  int fd = fcntl (p->file.fd, F_DUPFD_CLOEXEC, 0);

  pthread_mutex_lock (&lock);
  if (fd != -1)
    p->travelled = true;
  pthread_mutex_unlock (&lock);
  return fd;
}

void
physical_ref (struct physical *p)
{
  pthread_mutex_lock (&lock);
  p->refs++;
  pthread_mutex_unlock (&lock);
}

static void
report_one (struct physical *p)
{
  if (config.report && p->written)
    report_dirty (vram_file_dirty (&p->file));
}

/* Keeps content for the next owner to find. */
static void
keep_remnant (struct physical *p)
{
  size_t i;

  if (p->travelled || !p->written ||
      vram_file_read (&p->file, remnant[p->dev], REMNANT, 0) == -1)
    return;
  /* Memory full of zeros would hide bugs that garbage shows. */
  for (i = 0; i < REMNANT; i++)
    if (remnant[p->dev][i] != 0) {
      have_remnant[p->dev] = true;
      break;
    }
}

void
physical_unref (struct physical *p)
{
  struct physical **q;

  pthread_mutex_lock (&lock);
  if (--p->refs == 0) {
    report_one (p);
    keep_remnant (p);
    for (q = &all; *q != p; q = &(*q)->next)
      ;
    *q = p->next;
    used[p->dev] -= p->file.size;
    vram_file_close (&p->file);
    free (p);
  }
  pthread_mutex_unlock (&lock);
}

void
physical_report_all (void)
{
  struct physical *p;

  pthread_mutex_lock (&lock);
  for (p = all; p; p = p->next)
    report_one (p);
  pthread_mutex_unlock (&lock);
}
