/* nbdkit-vram: tests of the stand-in driver's report and trace
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

/* Runs BODY in a child that exits by exit, and reads its report. */
static void
report_of (void (*body) (void), char *buf, size_t size)
{
  int status;
  pid_t pid;

  env ("REPORT", path ("report"));
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    start ();
    body ();
    exit (0);
  }
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (status == 0);
  read_file (path ("report"), buf, size);
}

static void
leave_all (void)
{
  CUmemGenericAllocationHandle h;
  CUdeviceptr p = chunk (2 * MIB, &h);
  CUstream s;
  char *pinned;

  OK (cu.cuMemHostAlloc ((void **) &pinned, 100, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemsetD8_v2 (p, 0, 2 * MIB));
  OK (cu.cuMemsetD8_v2 (p + 5, 1, 7));
  OK (cu.cuCtxSynchronize ());
}

static void
leave_none (void)
{
  CUmemGenericAllocationHandle h;
  CUdeviceptr p = chunk (2 * MIB, &h);
  CUstream s;
  char *pinned;

  OK (cu.cuMemHostAlloc ((void **) &pinned, 100, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemsetD8_v2 (p, 3, 2 * MIB));
  OK (cu.cuMemsetD8_v2 (p, 0, 2 * MIB));
  OK (cu.cuCtxSynchronize ());
  OK (cu.cuMemUnmap (p, 2 * MIB));
  OK (cu.cuMemAddressFree (p, 2 * MIB));
  OK (cu.cuMemRelease (h));
  OK (cu.cuMemFreeHost (pinned));
  OK (cu.cuStreamDestroy_v2 (s));
  OK (cu.cuDevicePrimaryCtxRelease_v2 (0));
}

static void
test_report (void)
{
  char buf[1024];

  report_of (leave_all, buf, sizeof buf);
  CHECK (strcmp (buf, "leaked context 1 0\n"
                      "leaked stream 1 0\n"
                      "leaked pinned 1 100\n"
                      "leaked handle 1 2097152\n"
                      "leaked mapping 1 2097152\n"
                      "leaked reservation 1 2097152\n"
                      "dirty 7\n") == 0);
  report_of (leave_none, buf, sizeof buf);
  CHECK (strcmp (buf, "dirty 0\n") == 0);
}

static void
test_trace (void)
{
  char buf[4096];
  CUdeviceptr p;
  char src[16] = { 0 };

  env ("TRACE", path ("trace"));
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 16));
  OK (cu.cuMemcpyHtoD_v2 (p, src, 16));
  OK (cu.cuMemcpyHtoD_v2 (p, src, 16));
  read_file (path ("trace"), buf, sizeof buf);
  CHECK (strstr (buf, "cuInit          1\n"));
  CHECK (strstr (buf, "cuMemcpyHtoD_v2          2\n"));
  CHECK (strstr (buf, "cuMemcpyDtoH_v2          0\n"));
}

const struct test report_tests[] = {
  { "report", test_report, NULL },
  { "trace", test_trace, NULL },
  { NULL, NULL, NULL },
};
