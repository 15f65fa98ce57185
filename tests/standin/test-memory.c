/* nbdkit-vram: tests of the stand-in's VRAM: it is allocated, mapped, counted,
 * and outlives its process
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static void
test_vmm (void)
{
  CUmemAllocationProp p = prop ();
  CUmemGenericAllocationHandle h[3];
  static unsigned char a[8 * MIB], b[8 * MIB];
  CUdeviceptr base;
  size_t i, granularity, before, after, total;

  start ();
  OK (cu.cuMemGetInfo_v2 (&before, &total));
  OK (cu.cuMemGetAllocationGranularity (&granularity, &p, 0));
  CHECK (granularity == 2 * MIB);
  GIVES (cu.cuMemCreate (&h[0], MIB, &p, 0), CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemCreate (&h[0], 0, &p, 0), CUDA_ERROR_INVALID_VALUE);
  p.location.id = 1;
  GIVES (cu.cuMemCreate (&h[0], 2 * MIB, &p, 0), CUDA_ERROR_INVALID_DEVICE);
  p = prop ();
  GIVES (cu.cuMemAddressReserve (&base, MIB, 0, 0, 0),
         CUDA_ERROR_INVALID_VALUE);
  OK (cu.cuMemAddressReserve (&base, 10 * MIB, 0, 0, 0));

  /* Chunks of different sizes in one range, placed in no order. */
  OK (cu.cuMemCreate (&h[0], 2 * MIB, &p, 0));
  OK (cu.cuMemCreate (&h[1], 4 * MIB, &p, 0));
  OK (cu.cuMemCreate (&h[2], 2 * MIB, &p, 0));
  OK (cu.cuMemMap (base + 6 * MIB, 2 * MIB, 0, h[2], 0));
  OK (cu.cuMemMap (base, 2 * MIB, 0, h[0], 0));
  OK (cu.cuMemMap (base + 2 * MIB, 4 * MIB, 0, h[1], 0));
  GIVES (cu.cuMemMap (base + 4 * MIB, 2 * MIB, 0, h[2], 0),
         CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemMap (base + 8 * MIB + 4096, 2 * MIB, 0, h[2], 0),
         CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemMap (base + 10 * MIB, 2 * MIB, 0, h[2], 0),
         CUDA_ERROR_INVALID_VALUE);

  /* There is no access before cuMemSetAccess. */
  GIVES (cu.cuMemcpyHtoD_v2 (base, a, 16), CUDA_ERROR_INVALID_VALUE);
  allow (base, 8 * MIB, CU_MEM_ACCESS_FLAGS_PROT_READ);
  GIVES (cu.cuMemcpyHtoD_v2 (base, a, 16), CUDA_ERROR_INVALID_VALUE);
  OK (cu.cuMemcpyDtoH_v2 (a, base, 16));
  allow (base, 8 * MIB, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);

  for (i = 0; i < sizeof a; i++)
    a[i] = (unsigned char) (i >> 12);
  OK (cu.cuMemcpyHtoD_v2 (base, a, sizeof a));
  OK (cu.cuMemcpyDtoH_v2 (b, base, sizeof b));
  CHECK (memcmp (a, b, sizeof a) == 0);
  OK (cu.cuMemcpyDtoH_v2 (b, base + 2 * MIB - 100, 200));
  CHECK (memcmp (a + 2 * MIB - 100, b, 200) == 0);
  /* Past the last chunk nothing is mapped. */
  GIVES (cu.cuMemcpyDtoH_v2 (b, base + 8 * MIB - 1, 2),
         CUDA_ERROR_INVALID_VALUE);

  GIVES (cu.cuMemUnmap (base + 2 * MIB, 2 * MIB), CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemAddressFree (base, 10 * MIB), CUDA_ERROR_INVALID_VALUE);
  for (i = 0; i < 3; i++)
    OK (cu.cuMemRelease (h[i]));
  GIVES (cu.cuMemRelease (h[0]), CUDA_ERROR_INVALID_VALUE);
  /* Mappings hold a reference. */
  OK (cu.cuMemcpyDtoH_v2 (b, base, sizeof b));
  CHECK (memcmp (a, b, sizeof a) == 0);
  OK (cu.cuMemUnmap (base + 2 * MIB, 4 * MIB));
  GIVES (cu.cuMemcpyDtoH_v2 (b, base, sizeof b), CUDA_ERROR_INVALID_VALUE);
  OK (cu.cuMemUnmap (base, 2 * MIB));
  OK (cu.cuMemUnmap (base + 6 * MIB, 2 * MIB));
  OK (cu.cuMemAddressFree (base, 10 * MIB));
  OK (cu.cuMemGetInfo_v2 (&after, &total));
  CHECK (after == before);
}

/* Unmapping under a copy in flight loses the context, as on a GPU. */
static void
test_unmap_in_flight (void)
{
  CUmemGenericAllocationHandle h;
  unsigned char *pinned;
  CUdeviceptr p;
  CUstream s;

  start ();
  p = chunk (2 * MIB, &h);
  OK (cu.cuMemHostAlloc ((void **) &pinned, 4096, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  write_file (path ("hang"), "");
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned, p, 4096, s));
  OK (cu.cuMemUnmap (p, 2 * MIB));
  CHECK (unlink (path ("hang")) == 0);
  GIVES (cu.cuStreamSynchronize (s), CUDA_ERROR_ILLEGAL_ADDRESS);
  GIVES (cu.cuMemFreeHost (pinned), CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void
test_device_address_faults (void)
{
  int status;
  CUdeviceptr p;
  pid_t pid;

  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    signal (SIGSEGV, SIG_DFL);
    signal (SIGBUS, SIG_DFL);
    *(volatile char *) (uintptr_t) p = 1;
    _exit (0);
  }
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (WIFSIGNALED (status));
}

static void
test_accounting (void)
{
  CUmemAllocationProp p = prop ();
  CUmemGenericAllocationHandle h, h2;
  size_t free_bytes, total;
  CUdeviceptr a;

  env ("MEMORY", "64M");
  env ("USED", "10M");
  env ("USED_FILE", path ("used"));
  env ("CONTEXT", "6M");
  start ();
  OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
  CHECK (total == 64 * MIB && free_bytes == 48 * MIB);
  OK (cu.cuMemCreate (&h, 20 * MIB, &p, 0));
  OK (cu.cuMemAlloc_v2 (&a, 1));
  OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
  CHECK (free_bytes == 26 * MIB);
  GIVES (cu.cuMemCreate (&h2, 28 * MIB, &p, 0), CUDA_ERROR_OUT_OF_MEMORY);
  GIVES (cu.cuMemAlloc_v2 (&a, 27 * MIB), CUDA_ERROR_OUT_OF_MEMORY);
  OK (cu.cuMemCreate (&h2, 26 * MIB, &p, 0));
  OK (cu.cuMemRelease (h2));
  write_file (path ("used"), "2M\n");
  GIVES (cu.cuMemCreate (&h2, 26 * MIB, &p, 0), CUDA_ERROR_OUT_OF_MEMORY);
  OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
  CHECK (free_bytes == 24 * MIB);
}

/* Makes a pool of COUNT files for 2 MiB of VRAM each. */
static void
make_pool (int count)
{
  char name[32];
  int fd;

  while (count-- > 0) {
    snprintf (name, sizeof name, "pool-%d", count);
    fd = open (path (name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK (fd != -1);
    CHECK (posix_fallocate (fd, 0, 2 * MIB + 4096) == 0);
    close (fd);
  }
  env ("POOL", path ("."));
}

static ino_t
inode_of (int fd)
{
  struct stat st;

  CHECK (fstat (fd, &st) == 0);
  /* Allocated in full. */
  CHECK ((uint64_t) st.st_blocks * 512 >= 2 * MIB + 4096);
  return st.st_ino;
}

/* VRAM of a pool keeps its pages, is in use while an exported descriptor is
 * open, and holds old content after that.
 */
static void
test_pool (void)
{
  CUmemAllocationProp p = prop ();
  CUmemGenericAllocationHandle h[3];
  unsigned char buf[4096];
  int first, second, other;
  CUdeviceptr at;
  ino_t inode;

  make_pool (2);
  start ();
  at = chunk (2 * MIB, &h[0]);
  OK (cu.cuMemsetD8_v2 (at, 7, 2 * MIB));
  OK (cu.cuMemsetD8_v2 (at + MIB, 0, MIB));
  OK (cu.cuMemcpyDtoH_v2 (buf, at + MIB, sizeof buf));
  CHECK (all (buf, sizeof buf, 0));
  OK (cu.cuMemExportToShareableHandle (&first, h[0], 1, 0));
  inode = inode_of (first);
  OK (cu.cuMemCreate (&h[1], 2 * MIB, &p, 0));
  OK (cu.cuMemExportToShareableHandle (&second, h[1], 1, 0));
  CHECK (inode_of (second) != inode);
  GIVES (cu.cuMemCreate (&h[2], 2 * MIB, &p, 0), CUDA_ERROR_OUT_OF_MEMORY);
  OK (cu.cuMemCreate (&h[2], 4 * MIB, &p, 0));
  OK (cu.cuMemRelease (h[2]));

  OK (cu.cuMemUnmap (at, 2 * MIB));
  OK (cu.cuMemRelease (h[0]));
  GIVES (cu.cuMemCreate (&h[2], 2 * MIB, &p, 0), CUDA_ERROR_OUT_OF_MEMORY);
  close (first);
  at = chunk (2 * MIB, &h[0]);
  OK (cu.cuMemExportToShareableHandle (&other, h[0], 1, 0));
  CHECK (inode_of (other) == inode);
  OK (cu.cuMemcpyDtoH_v2 (buf, at + MIB - sizeof buf, sizeof buf));
  CHECK (all (buf, sizeof buf, 7));
}

static void
test_shrink (void)
{
  CUmemAllocationProp p = prop ();
  CUmemGenericAllocationHandle h;
  size_t free_bytes, total;

  env ("MEMORY", "64M");
  env ("SHRINK", "8M");
  start ();
  OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
  CHECK (free_bytes == 64 * MIB);
  GIVES (cu.cuMemCreate (&h, free_bytes, &p, 0), CUDA_ERROR_OUT_OF_MEMORY);
  OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
  CHECK (free_bytes == 56 * MIB);
  OK (cu.cuMemCreate (&h, free_bytes, &p, 0));
}

static void
send_fd (int sock, int fd)
{
  char byte = 0;
  union {
    struct cmsghdr align;
    char buf[CMSG_SPACE (sizeof (int))];
  } u;
  struct iovec iov = { &byte, 1 };
  struct msghdr m = { .msg_iov = &iov,
                      .msg_iovlen = 1,
                      .msg_control = u.buf,
                      .msg_controllen = sizeof u.buf };
  struct cmsghdr *c = CMSG_FIRSTHDR (&m);

  memset (u.buf, 0, sizeof u.buf);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN (sizeof (int));
  memcpy (CMSG_DATA (c), &fd, sizeof fd);
  CHECK (sendmsg (sock, &m, 0) == 1);
}

static int
receive_fd (int sock)
{
  char byte;
  union {
    struct cmsghdr align;
    char buf[CMSG_SPACE (sizeof (int))];
  } u;
  struct iovec iov = { &byte, 1 };
  struct msghdr m = { .msg_iov = &iov,
                      .msg_iovlen = 1,
                      .msg_control = u.buf,
                      .msg_controllen = sizeof u.buf };
  int fd;

  CHECK (recvmsg (sock, &m, 0) == 1);
  CHECK (CMSG_FIRSTHDR (&m));
  memcpy (&fd, CMSG_DATA (CMSG_FIRSTHDR (&m)), sizeof fd);
  return fd;
}

static void
import_and_compare (int fd, const unsigned char *want, size_t size)
{
  CUmemGenericAllocationHandle h;
  unsigned char *got = malloc (size);
  CUdeviceptr p;

  CHECK (got);
  OK (cu.cuMemImportFromShareableHandle (
      &h, (void *) (intptr_t) fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
  OK (cu.cuMemAddressReserve (&p, size, 0, 0, 0));
  OK (cu.cuMemMap (p, size, 0, h, 0));
  OK (cu.cuMemRelease (h));
  allow (p, size, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  OK (cu.cuMemcpyDtoH_v2 (got, p, size));
  CHECK (memcmp (got, want, size) == 0);
  OK (cu.cuMemUnmap (p, size));
  OK (cu.cuMemAddressFree (p, size));
  free (got);
}

/* Free VRAM, as another process sees it. */
static size_t
free_elsewhere (void)
{
  int fds[2];
  size_t free_bytes = 0, total;
  pid_t pid;

  CHECK (pipe (fds) == 0);
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    start ();
    OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
    CHECK (write (fds[1], &free_bytes, sizeof free_bytes) ==
           sizeof free_bytes);
    _exit (0);
  }
  close (fds[1]);
  CHECK (read (fds[0], &free_bytes, sizeof free_bytes) == sizeof free_bytes);
  close (fds[0]);
  CHECK (waitpid (pid, NULL, 0) == pid);
  return free_bytes;
}

/* This process does not use CUDA.  It holds a descriptor, as systemd would. */
static void
survive_sigkill (bool shared)
{
  enum { SIZE = 6 << 20 };
  unsigned char *want = malloc (SIZE);
  int sock[2], fd, status, i;
  pid_t pid;
  void *map;

  CHECK (want);
  for (i = 0; i < SIZE; i++)
    want[i] = (unsigned char) (i * 13 + (i >> 16));
  env ("MEMORY", "64M");
  if (shared)
    env ("SHARED", test_dir);
  CHECK (socketpair (AF_UNIX, SOCK_STREAM, 0, sock) == 0);
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    CUmemGenericAllocationHandle h;
    CUdeviceptr p;

    start ();
    p = chunk (SIZE, &h);
    OK (cu.cuMemcpyHtoD_v2 (p, want, SIZE));
    OK (cu.cuMemExportToShareableHandle (
        &fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    send_fd (sock[1], fd);
    pause ();
    _exit (0);
  }
  fd = receive_fd (sock[0]);
  CHECK (kill (pid, SIGKILL) == 0);
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);

  if (shared)
    CHECK (free_elsewhere () == 58 * MIB);
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    start ();
    import_and_compare (fd, want, SIZE);
    /* Import it again, to a second handle. */
    import_and_compare (fd, want, SIZE);
    _exit (0);
  }
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (status == 0);

  if (shared) {
    /* The memory is held by a socket, then by a mapping, then not at all. */
    CHECK (free_elsewhere () == 58 * MIB);
    send_fd (sock[1], fd);
    close (fd);
    CHECK (free_elsewhere () == 58 * MIB);
    fd = receive_fd (sock[0]);
    map = mmap (NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CHECK (map != MAP_FAILED);
    close (fd);
    CHECK (free_elsewhere () == 58 * MIB);
    CHECK (munmap (map, 4096) == 0);
    CHECK (free_elsewhere () == 64 * MIB);
  }
  free (want);
}

static void
test_survives_sigkill (void)
{
  survive_sigkill (false);
}

static void
test_counts_over_processes (void)
{
  survive_sigkill (true);
}

static void
test_import_refused (void)
{
  CUmemGenericAllocationHandle h;
  int fd, status;
  pid_t pid;

  start ();
  fd = open ("/dev/null", O_RDONLY);
  CHECK (fd != -1);
  GIVES (cu.cuMemImportFromShareableHandle (&h, (void *) (intptr_t) fd, 1),
         CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemImportFromShareableHandle (&h, (void *) (intptr_t) -1, 1),
         CUDA_ERROR_INVALID_VALUE);
  close (fd);
  fd = memfd_create ("not VRAM", 0);
  CHECK (fd != -1 && ftruncate (fd, 4 * MIB) == 0);
  GIVES (cu.cuMemImportFromShareableHandle (&h, (void *) (intptr_t) fd, 1),
         CUDA_ERROR_INVALID_VALUE);
  close (fd);

  /* VRAM of a GPU that this machine does not have. */
  chunk (2 * MIB, &h);
  OK (cu.cuMemExportToShareableHandle (&fd, h, 1, 0));
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    char number[16];

    snprintf (number, sizeof number, "%d", fd);
    fcntl (fd, F_SETFD, 0);
    env ("UUIDS", "deadbeef-0000-0000-0000-000000000000");
    execl ("/proc/self/exe", "test-standin", "--import-other-gpu", number,
           (char *) NULL);
    _exit (1);
  }
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (status == 0);
}

int
import_other_gpu (const char *number)
{
  CUmemGenericAllocationHandle h;

  start ();
  GIVES (cu.cuMemImportFromShareableHandle (
             &h, (void *) (intptr_t) atoi (number), 1),
         CUDA_ERROR_INVALID_DEVICE);
  return 0;
}

/* VRAM that is not accessed, or is zeroed, takes no host memory. */
static void
test_untouched_is_free (void)
{
  const uint64_t size = 6ULL << 30;
  CUmemGenericAllocationHandle h;
  CUdeviceptr p;
  unsigned char buf[4096];
  struct stat st;
  int fd;

  start ();
  p = chunk (size, &h);
  OK (cu.cuMemsetD8_v2 (p, 0, size));
  OK (cu.cuMemcpyDtoH_v2 (buf, p + size / 2, sizeof buf));
  CHECK (all (buf, sizeof buf, 0));
  OK (cu.cuMemExportToShareableHandle (
      &fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  CHECK (fstat (fd, &st) == 0);
  CHECK ((uint64_t) st.st_blocks * 512 < 16 * MIB);
}

const struct test memory_tests[] = {
  { "vmm", test_vmm, NULL },
  { "unmap_in_flight", test_unmap_in_flight, use_hang_file },
  { "device_address_faults", test_device_address_faults, NULL },
  { "accounting", test_accounting, NULL },
  { "pool", test_pool, NULL },
  { "shrink", test_shrink, NULL },
  { "survives_sigkill", test_survives_sigkill, NULL },
  { "counts_over_processes", test_counts_over_processes, NULL },
  { "import_refused", test_import_refused, NULL },
  { "untouched_is_free", test_untouched_is_free, NULL },
  { NULL, NULL, NULL },
};
