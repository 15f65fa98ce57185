/* nbdkit-vram: reads and writes of a file with a time limit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "disk/transfer.h"

int
transfer_open (struct transfer *t, size_t size)
{
  *t = (struct transfer){ .size = size };
  if (syscall (SYS_io_setup, 1, &t->context) == -1) {
    t->context = 0;
    return -1;
  }
  t->buffer = mmap (NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (t->buffer != MAP_FAILED) {
    /* The buffer must not need memory later.  MAP_POPULATE does nothing in a
     * process that has locked its memory with MCL_ONFAULT.
     */
    memset (t->buffer, 0, size);
    return 0;
  }
  t->buffer = NULL;
  transfer_close (t);
  errno = ENOMEM;
  return -1;
}

void
transfer_close (struct transfer *t)
{
  /* io_destroy would wait, and the disk may still write into the buffer. */
  if (transfer_is_late (t))
    return;
  if (t->context)
    syscall (SYS_io_destroy, t->context);
  if (t->buffer)
    munmap (t->buffer, t->size);
  *t = (struct transfer){ .size = 0 };
}

/* Wait until UNTIL_MS.  Returns whether the kernel has answered. */
static bool
wait_for_event (const struct transfer *t, uint64_t until_ms,
                struct io_event *event)
{
  struct timespec timeout;
  uint64_t now, left;
  long n;

  do {
    now = clock_ms ();
    left = until_ms > now ? until_ms - now : 0;
    timeout = (struct timespec){
      .tv_sec = (time_t) (left / 1000),
      .tv_nsec = (long) (left % 1000) * 1000000,
    };
    n = syscall (SYS_io_getevents, t->context, 1, 1, event, &timeout);
  } while (n == -1 && errno == EINTR);
  return n == 1;
}

static ssize_t
run (struct transfer *t, struct iocb *request, uint64_t until_ms)
{
  struct io_event event;

  if (syscall (SYS_io_submit, t->context, 1, &request) != 1)
    return -1;
  t->late = !wait_for_event (t, until_ms, &event);
  if (!t->late && event.res >= 0)
    return (ssize_t) event.res;
  errno = t->late ? ETIMEDOUT : (int) -event.res;
  return -1;
}

static struct iocb
request_of (const struct transfer *t, unsigned opcode, int fd, size_t at,
            size_t count, uint64_t offset)
{
  return (struct iocb){
    .aio_lio_opcode = (uint16_t) opcode,
    .aio_fildes = (uint32_t) fd,
    .aio_buf = (uintptr_t) (t->buffer + at),
    .aio_nbytes = count,
    .aio_offset = (int64_t) offset,
  };
}

ssize_t
transfer_read (struct transfer *t, int fd, size_t at, size_t count,
               uint64_t offset, uint64_t until_ms)
{
  struct iocb request = request_of (t, IOCB_CMD_PREAD, fd, at, count, offset);

  return run (t, &request, until_ms);
}

ssize_t
transfer_write (struct transfer *t, int fd, size_t at, size_t count,
                uint64_t offset, uint64_t until_ms)
{
  struct iocb request = request_of (t, IOCB_CMD_PWRITE, fd, at, count, offset);

  return run (t, &request, until_ms);
}

bool
transfer_is_late (struct transfer *t)
{
  struct io_event event;

  if (t->late)
    t->late = !wait_for_event (t, 0, &event);
  return t->late;
}
