/* nbdkit-vram: tests how vram-swap runs programs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <string.h>

#include "msg.h"
#include "run.h"
#include "test.h"

static pid_t told;

static int
started (pid_t pid, void *opaque)
{
  told = pid;
  return opaque ? -1 : 0;
}

static int
shell (struct run *r, const char *script)
{
  const char *argv[] = { "sh", "-c", script, NULL };

  return run (r, argv, started, NULL);
}

int
main (void)
{
  struct run r = { .limit = 10 };
  long long before;
  const char *nothing[] = { "no-such-program-here", NULL };
  const char *touch[] = { "sh", "-c", "exit 0", NULL };

  CHECK (shell (&r, "echo one; echo two >&2") == 0);
  CHECK (strcmp (r.output, "one\ntwo") == 0);
  CHECK (strcmp (run_reason (&r), "one; two") == 0);

  CHECK (shell (&r, "echo x: error: no; echo see the manual; exit 1") == -1);
  CHECK (strcmp (run_reason (&r), "error: no") == 0);

  CHECK (shell (&r, "echo $$") == 0);
  CHECK (atol (r.output) == told);

  CHECK (shell (&r, "echo why; exit 3") == -1 && r.status == 3);
  CHECK (shell (&r, "kill -9 $$") == -1 && r.status == 128 + SIGKILL);
  CHECK (run (&r, nothing, NULL, NULL) == -1 && r.status == 127);

  /* Without root's rights, and with no way back to them. */
  r.as_server = true;
  CHECK (shell (&r, "id -u; id -G; grep NoNewPrivs /proc/self/status") == 0);
  if (geteuid () == 0)
    CHECK (strncmp (r.output, "0\n", 2) != 0 && !strstr (r.output, "\n0 ") &&
           strstr (r.output, "NoNewPrivs:\t1"));
  r.as_server = false;

  /* Not started at all when the caller could not take note of it. */
  CHECK (run (&r, touch, started, &r) == -1 && r.status == 127);

  /* More than is kept, and no lock-up over it. */
  CHECK (shell (&r, "head -c 300000 /dev/zero | tr '\\0' x") == 0);
  CHECK (strlen (r.output) == sizeof r.output - 1);

  /* A daemon that keeps the pipe does not keep us. */
  before = now_ms ();
  CHECK (shell (&r, "sleep 30 & echo left") == 0);
  CHECK (strcmp (r.output, "left") == 0);
  CHECK (now_ms () - before < 20000);

  /* Over the limit: first asked, then killed. */
  r.limit = 1;
  CHECK (shell (&r, "trap '' TERM; while :; do sleep 0.1; done") == -1);
  CHECK (r.timed_out && r.status == 124);

  /* A signal to us ends the program, too. */
  r.limit = 30;
  catch_signals ();
  CHECK (shell (&r, "kill -INT $PPID; sleep 30") == -1);
  CHECK (r.interrupted && r.status == 130);
  /* A program that must not be interrupted is not. */
  r.undisturbed = true;
  CHECK (shell (&r, "sleep 0.5; echo done") == 0);
  CHECK (interrupted () && !r.interrupted && strcmp (r.output, "done") == 0);
  r.undisturbed = false;
  /* And what is done afterwards to undo things is not disturbed by it. */
  finish_undisturbed ();
  CHECK (shell (&r, "sleep 0.2; echo undone") == 0);
  CHECK (strcmp (r.output, "undone") == 0);
  FINISH;
}
