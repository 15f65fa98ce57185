/* nbdkit-vram: tests of the daemon's jobs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "job.h"
#include "test.h"

#define SCORE_FILE "/proc/self/oom_score_adj"

static bool
set_score (const char *score)
{
  FILE *fp = fopen (SCORE_FILE, "we");

  return fp && fputs (score, fp) != EOF && fclose (fp) == 0;
}

static int
check_score (const void *wanted)
{
  char score[16] = "";
  FILE *fp = fopen (SCORE_FILE, "re");

  return fp && fgets (score, sizeof score, fp) && strcmp (score, wanted) == 0
             ? 0
             : 1;
}

/* A job does not inherit the daemon's OOM score.  Raising the score needs no
 * capability, nor does lowering it again, unless a privileged process has
 * raised it.
 */
static void
test_oom_score (void)
{
  struct job job;
  int status = -1;

  if (!set_score ("500") || !set_score ("0") || !set_score ("500")) {
    printf ("skipped: the OOM score cannot be changed\n");
    exit (77);
  }
  CHECK (check_score ("500\n") == 0);
  CHECK (job_start (&job, check_score, "0\n") == 0);
  CHECK (waitpid (job.pid, &status, 0) == job.pid);
  CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
  job_close (&job);
}

int
main (void)
{
  test_oom_score ();
  FINISH;
}
