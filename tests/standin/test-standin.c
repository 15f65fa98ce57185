/* nbdkit-vram: tests that the stand-in drivers behave as their headers say
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "test.h"

struct cuda_entries cu;

#define DIR_TEMPLATE "/tmp/test-standin-XXXXXX"
char test_dir[] = DIR_TEMPLATE;

void
env (const char *name, const char *value)
{
  char full[64];

  snprintf (full, sizeof full, "STANDIN_CUDA_%s", name);
  setenv (full, value, 1);
}

const char *
path (const char *name)
{
  static char buf[4][128];
  static unsigned int turn;
  char *p = buf[turn++ % 4];

  snprintf (p, sizeof buf[0], "%s/%s", test_dir, name);
  return p;
}

void
use_hang_file (void)
{
  env ("HANG_FILE", path ("hang"));
}

void
write_file (const char *name, const char *text)
{
  char temporary[160];
  FILE *fp;

  snprintf (temporary, sizeof temporary, "%s.new", name);
  fp = fopen (temporary, "w");
  CHECK (fp);
  fputs (text, fp);
  CHECK (fclose (fp) == 0);
  CHECK (rename (temporary, name) == 0);
}

void
load (const char *library)
{
  void *dl = dlopen (library, RTLD_NOW | RTLD_LOCAL);

  if (!dl) {
    fprintf (stderr, "%s\n", dlerror ());
    _exit (1);
  }
#define FUNCTION(name, needs) *(void **) &cu.name = dlsym (dl, #name);
#include "functions.h"
#undef FUNCTION
}

CUcontext
start (void)
{
  CUcontext ctx;

  load ("libcuda.so.1");
  OK (cu.cuInit (0));
  OK (cu.cuDevicePrimaryCtxRetain (&ctx, 0));
  OK (cu.cuCtxSetCurrent (ctx));
  return ctx;
}

CUmemAllocationProp
prop (void)
{
  CUmemAllocationProp p;

  memset (&p, 0, sizeof p);
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  p.requested_handle_types = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return p;
}

void
allow (CUdeviceptr at, size_t size, int flags)
{
  CUmemAccessDesc desc;

  memset (&desc, 0, sizeof desc);
  desc.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  desc.flags = flags;
  OK (cu.cuMemSetAccess (at, size, &desc, 1));
}

CUdeviceptr
chunk (size_t size, CUmemGenericAllocationHandle *handle)
{
  CUmemAllocationProp p = prop ();
  CUdeviceptr at;

  OK (cu.cuMemCreate (handle, size, &p, 0));
  OK (cu.cuMemAddressReserve (&at, size, 0, 0, 0));
  OK (cu.cuMemMap (at, size, 0, *handle, 0));
  allow (at, size, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  return at;
}

bool
all (const void *buf, size_t size, unsigned char value)
{
  const unsigned char *p = buf;
  size_t i;

  for (i = 0; i < size; i++)
    if (p[i] != value)
      return false;
  return true;
}

int64_t
now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void
read_file (const char *name, char *buf, size_t size)
{
  int fd = open (name, O_RDONLY);
  ssize_t n;

  CHECK (fd != -1);
  n = read (fd, buf, size - 1);
  CHECK (n >= 0);
  buf[n] = 0;
  close (fd);
}

/* The cases make no folders in it. */
static void
remove_dir (void)
{
  DIR *d = opendir (test_dir);
  const struct dirent *e;

  while (d && (e = readdir (d)) != NULL)
    if (e->d_name[0] != '.')
      unlinkat (dirfd (d), e->d_name, 0);
  if (d)
    closedir (d);
  if (rmdir (test_dir) == -1)
    perror (test_dir);
}

static bool
run_one (const struct test *t)
{
  const char *slow = getenv ("VRAM_TEST_SLOW");
  int status;
  pid_t pid;

  strcpy (test_dir, DIR_TEMPLATE);
  if (!mkdtemp (test_dir)) {
    perror ("mkdtemp");
    return false;
  }
  pid = fork ();
  if (pid == -1) {
    perror ("fork");
    return false;
  }
  if (pid == 0) {
    /* Only a test that hangs takes this long. */
    alarm (slow ? 300 * (unsigned) strtoul (slow, NULL, 10) : 300);
    if (t->prepare)
      t->prepare ();
    t->run ();
    _exit (0);
  }
  if (waitpid (pid, &status, 0) != pid)
    status = -1;
  remove_dir ();
  printf ("%s %s", status == 0 ? "ok  " : "FAIL", t->name);
  if (WIFSIGNALED (status))
    printf (": %s", strsignal (WTERMSIG (status)));
  printf ("\n");
  return status == 0;
}

int
main (int argc, char **argv)
{
  static const struct test *const tables[] = { device_tests, stream_tests,
                                               memory_tests, fault_tests,
                                               report_tests, vulkan_tests };
  bool good = true, any = false;
  const struct test *t;
  size_t i;

  if (argc == 3 && strcmp (argv[1], "--import-other-gpu") == 0)
    return import_other_gpu (argv[2]);

  setvbuf (stdout, NULL, _IOLBF, 0);
  if (!getenv ("STANDIN_BUILDDIR")) {
    fputs ("STANDIN_BUILDDIR is not set: run this by make check\n", stderr);
    return 99;
  }
  for (i = 0; i < sizeof tables / sizeof tables[0]; i++)
    for (t = tables[i]; t->name; t++) {
      if (argc > 1 && strcmp (argv[1], t->name) != 0)
        continue;
      any = true;
      if (!run_one (t))
        good = false;
    }
  return good && any ? 0 : 1;
}
