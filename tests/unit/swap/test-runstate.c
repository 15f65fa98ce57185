/* nbdkit-vram: tests what outlives the daemon
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "root.h"
#include "runstate.h"
#include "test.h"

#define FILE_NAME RUN_FOLDER "/state"

/* Every field, with values that fit nothing smaller. */
static void
test_all_fields (void)
{
  struct runstate st = {
    .device = 12,
    .reason = "a=b, and so on",
    .attach_pid = 4194303,
    .connections = 4294967295U,
    .timeout = 3000000000U,
    .size = INT64_C (0x123456789abcde0),
    .disk = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    .since = INT64_C (0x123456789abcded),
    .outages = 7,
    .outage_last_ms = INT64_C (0x123456789abcdec),
    .outage_longest_ms = INT64_C (0x123456789abcdeb),
    .outage_at = INT64_C (0x123456789abcdea),
    .init_swap_max = "18446744073709551615",
  };
  struct runstate back;

  for (unsigned s = 0; s < STATES; s++)
    for (unsigned c = 0; c < CAUSES; c++) {
      st.state = s;
      st.cause = c;
      CHECK (runstate_write (&st) == 0);
      memset (&back, 0x55, sizeof back);
      CHECK (runstate_read (&back));
      CHECK (back.state == st.state && back.cause == st.cause);
      CHECK (strcmp (back.reason, st.reason) == 0);
      CHECK (back.device == st.device && back.attach_pid == st.attach_pid);
      CHECK (back.connections == st.connections);
      CHECK (back.timeout == st.timeout && back.size == st.size);
      CHECK (strcmp (back.disk, st.disk) == 0 && back.since == st.since);
      CHECK (back.outages == st.outages);
      CHECK (back.outage_last_ms == st.outage_last_ms);
      CHECK (back.outage_longest_ms == st.outage_longest_ms);
      CHECK (back.outage_at == st.outage_at);
      CHECK (strcmp (back.init_swap_max, st.init_swap_max) == 0);
    }
  CHECK (!file_exists (root_path (FILE_NAME ".new")));
}

static bool
is_nothing (const struct runstate *st)
{
  struct runstate nothing;

  runstate_reset (&nothing);
  return st->state == STATE_OFF && st->cause == CAUSE_NONE &&
         st->device == -1 && st->outages == 0 && st->reason[0] == '\0' &&
         st->disk[0] == '\0';
}

/* What another version has written, is cut off, or is no state at all. */
static void
test_damaged (void)
{
  static const char *const nothing[] = {
    "",          "\n",           "=",           "===\n=1\n",   "device",
    "devices=3", "state=up\n",   "cause=\n",    "unknown=1\n", "DEVICE=3\n",
    " device=3", "attach_pid\n", "state=on \n",
  };
  struct runstate st;

  unlink (root_path (FILE_NAME));
  memset (&st, 0x55, sizeof st);
  CHECK (!runstate_read (&st));
  CHECK (is_nothing (&st));
  for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
    test_write (root_path (FILE_NAME), nothing[i]);
    CHECK (runstate_read (&st));
    CHECK (is_nothing (&st));
  }
  test_write (root_path (FILE_NAME), "unknown=7\ndevice=3\ngarbage\nstate=on");
  CHECK (runstate_read (&st));
  CHECK (st.device == 3 && st.state == STATE_ON);
}

/* What cannot be written is said, and leaves the file as it was. */
static void
test_cannot_write (void)
{
  struct runstate st, back;

  runstate_reset (&st);
  st.device = 5;
  CHECK (runstate_write (&st) == 0);
  CHECK (mkdir (root_path (FILE_NAME ".new"), 0755) == 0);
  st.device = 6;
  CHECK (runstate_write (&st) == -1);
  CHECK (runstate_read (&back) && back.device == 5);
  CHECK (rmdir (root_path (FILE_NAME ".new")) == 0);
}

/* As the version that had no daemon wrote it. */
static void
test_old_version (void)
{
  struct runstate st;

  CHECK (!runstate_read_old (&st) && is_nothing (&st));
  test_write (root_path ("/run/vram-swap.state"),
              "device=2\nattach_pid=77\nconnections=4\ntimeout=60\n"
              "server_pid=5\nwatcher_started=1\npaused=no\nawake=0\n");
  CHECK (runstate_read_old (&st));
  CHECK (st.device == 2 && st.attach_pid == 77 && st.connections == 4 &&
         st.timeout == 60);
  unlink (root_path ("/run/vram-swap.state"));
}

int
main (void)
{
  root_prefix = test_folder ();
  CHECK (mkdir (root_path ("/run"), 0755) == 0);
  CHECK (mkdir (root_path (RUN_FOLDER), 0755) == 0);
  test_all_fields ();
  test_damaged ();
  test_cannot_write ();
  test_old_version ();
  unlink (root_path (FILE_NAME));
  rmdir (root_path (RUN_FOLDER));
  rmdir (root_path ("/run"));
  rmdir (root_prefix);
  FINISH;
}
