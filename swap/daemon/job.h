/* nbdkit-vram: work of the daemon that may block, in a child of its own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_JOB_H
#define VRAM_SWAP_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/log.h"

/* The device that a job attaches. */
struct attachment {
  int device;       /* N of /dev/nbdN, -1 for none */
  pid_t attach_pid; /* the process that attaches it */
  unsigned connections;
  unsigned timeout; /* seconds, 0 for none */
  int64_t size;     /* bytes, 0 before it is attached */
};

/* What a job tells, one packet each. */
struct job_packet {
  enum { JOB_MESSAGE, JOB_PROGRESS, JOB_ATTACHMENT } type;
  enum log_level level; /* of a message */
  union {
    char text[900];
    struct {
      char what[16];
      int64_t total, left; /* bytes */
    } progress;
    struct attachment attachment;
  } u;
};

struct job {
  pid_t pid;  /* 0: none runs */
  int socket; /* packets come from here; -1 */
  bool cancelled;
  long long cancelled_at;
};

#define JOB_NONE                                                              \
  {                                                                           \
    .socket = -1                                                              \
  }

/* Runs WORK in a child, which has no descriptor of the daemon's but the
 * standard ones, is swapped and killed like any program, and whose messages
 * come as packets.  What WORK returns is its exit status.  Returns 0, or -1
 * with a message.
 */
int
job_start (struct job *job, int (*work) (const void *arg), const void *arg);

/* Takes the next packet if there is one.  An attachment has to be answered. */
bool job_receive (const struct job *job, struct job_packet *packet);

/* Lets the job keep its attachment, or has it detach. */
void job_answer (const struct job *job, bool go_on);

/* Asks the job to undo what it has done and to end.  What hangs in the kernel
 * does not.
 */
void job_cancel (struct job *job);

/* Once it has ended. */
void job_close (struct job *job);

/* Waits for what a daemon that died has left at work, up to MS. */
void job_await_orphans (unsigned ms);

/* --- In the child --- */

/* Has the daemon remember A.  False when it cannot. */
bool job_tell_attachment (const struct attachment *a);

void job_tell_progress (const char *what, int64_t total, int64_t left);

#endif
