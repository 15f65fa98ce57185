/* nbdkit-vram: the stand-in for NVIDIA's driver API: how tests control it, and
 * its internals
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* A libcuda.so.1 that keeps "VRAM" in host memory.  Put its folder first in
 * LD_LIBRARY_PATH:
 *
 *   tests/standin/.libs         the full driver
 *   tests/standin/old/.libs     a driver without virtual memory management
 *                               (cuMemCreate and its kin) and without
 *                               cuDeviceGetUuid_v2, cuStreamWriteValue32_v2
 *   tests/standin/broken/.libs  a driver without cuMemcpyDtoHAsync_v2
 *
 * It behaves like the driver where bugs hide.  Streams run on threads of their
 * own, so that work has not happened before a program has waited for it.  A
 * pageable cuMemcpyHtoD of 64 KiB or less returns early, and so does
 * cuMemsetD8.  An asynchronous copy from a pinned buffer reads it when it
 * runs.  New VRAM is garbage.  A CPU access to a device address faults.
 * Nothing works in a forked child.
 *
 * SIZE is a number with an optional K, M, G or T (powers of 1024).  CODE is a
 * CUresult as a number or by its name (CUDA_ERROR_OUT_OF_MEMORY).  NAME is a
 * function, with or without its _v2, or a pattern such as cuMemcpy*.  LIST is
 * one value for each device, separated by commas; the last one is for all
 * further devices, too.  A trigger FILE need not exist at the start: each call
 * looks for it, and so does a thread every few milliseconds.
 *
 * The machine (prefix STANDIN_CUDA_):
 *
 * DEVICES=N         number of GPUs, default 1, at most 16; 0 makes cuInit fail
 *                   with CUDA_ERROR_NO_DEVICE
 * NAMES=LIST        default "Stand-in GPU 0", "Stand-in GPU 1", ...
 * UUIDS=LIST        8-4-4-4-12 hex digits with or without "GPU-"; default
 *                   57a4d1ed-0000-4000-8000-00000000000N
 * PCI=LIST          default 0000:01:00.0, 0000:02:00.0, ...
 * MEMORY=SIZE,...   total VRAM, a LIST, default 8G.  VRAM takes no host memory
 *                   before it is accessed, nor after cuMemsetD8 with zeros
 * USED=SIZE,...     VRAM that other programs hold, a LIST, default 0
 * USED_FILE=FILE    a file with such a SIZE, for all devices, added to USED;
 *                   may be replaced at any time (write and rename)
 * POOL=DIR          an allocation takes a file of DIR that no process holds,
 *                   if there are files of its size (SIZE rounded up to pages,
 *                   and a page for each 63 MiB); fails if all are in use.  If
 *                   the files' pages are allocated and locked, VRAM needs no
 *                   memory when it is allocated, written, zeroed or freed.
 *                   It begins with what the file contains; GARBAGE does not
 *                   count.  Not with SHARED
 * CONTEXT=SIZE      VRAM that each active primary context takes, default 0
 * HOST_MEMORY=SIZE  the host's memory that cuInit takes, default 0
 * VERSION=N         the result of cuDriverGetVersion, default 12080
 * NO_VMM=1          attribute 102 is 0; cuMemCreate, cuMemAddressReserve and
 *                   import return CUDA_ERROR_NOT_SUPPORTED
 * NO_EXPORT=1       attribute 103 is 0; cuMemCreate of exportable memory
 *                   returns CUDA_ERROR_NOT_SUPPORTED
 * NO_MEMOPS=1       attributes 92, 93, 122 are 0; cuStreamWriteValue32 returns
 *                   CUDA_ERROR_NOT_SUPPORTED
 * DEVPTR_DIFFERS=1  cuMemHostGetDevicePointer returns another address than the
 *                   host's (else only for write-combined buffers)
 * GRANULARITY=SIZE  sizes given to cuMemCreate and cuMemAddressReserve must be
 *                   a multiple of this, default 2M
 * GARBAGE=SIZE      how much of each allocation begins as garbage (the rest is
 *                   zeros), default all
 * SHARED=DIR        an empty directory, best on a tmpfs: all processes with
 *                   the same DIR share the device's VRAM, which stays in use
 *                   while any process or socket holds a descriptor or mapping
 *                   of it (each allocation is a locked file there).  Without
 *                   it each process counts its own, and memory that only an
 *                   exported descriptor holds does not count
 *
 * Timing:
 *
 * DELAY=USEC[-USEC] a random pause of up to, or between, so many microseconds
 *                   comes before each piece of work on a stream, default 0
 * LATE=1            work on a stream is done as late as possible: one piece
 *                   whenever a program queries or waits for the stream or an
 *                   event of it.  Memory that is used too early then always
 *                   has the wrong content
 * SEED=N            for all random choices, default 1
 *
 * Faults:
 *
 * FAIL=NAME:WHICH:CODE,...
 *                   these calls fail and do nothing.  WHICH is N (the Nth
 *                   call, from 1), N+ (from the Nth on), N-M, or pP (with
 *                   probability P, such as p0.01).  Each item counts the calls
 *                   that match its NAME
 * FAIL_FILE=FILE    when FILE appears, its lines "NAME COUNT CODE" are read
 *                   and FILE is unlinked; the next COUNT ("all": all) matching
 *                   calls fail.  Write it under another name and rename it
 * INIT_FAIL=K:CODE  the first K ("all": all) calls of cuInit fail
 * LOSE_COPY=N       the device is lost when the Nth copy (of any kind, counted
 *                   as they are issued) should run
 * LOSE_FILE=FILE    the device is lost when FILE appears
 * LOSE_DEVICE=N     only this device is lost, default all
 * LOSE_CODE=CODE    every later call returns CODE, default 719
 *                   (CUDA_ERROR_LAUNCH_FAILED), but cuInit, queries about
 *                   devices and cuDevicePrimaryCtxRelease still work.  Work in
 *                   flight never completes and writes nothing more, but calls
 *                   that wait for it return
 * HANG_COPY=N       the Nth copy and every later one, and all work behind one
 *                   on its stream, never complete: cuStreamQuery returns
 *                   CUDA_ERROR_NOT_READY, and cuStreamSynchronize,
 *                   synchronous copies, cuCtxSynchronize, cuMemFree,
 *                   cuMemFreeHost and the last cuDevicePrimaryCtxRelease block
 * HANG_FILE=FILE    no stream begins any work while FILE exists
 * HANG_CALL_FILE=FILE
 *                   FILE has the NAME of a function whose calls do not return
 *                   while FILE exists; with a number after NAME, only so many
 *                   calls of the process hang
 * SHRINK=SIZE[:N]   right after each of the first N (default 1) calls of
 *                   cuMemGetInfo other programs take SIZE of VRAM
 *
 * Output:
 *
 * TRACE=FILE        "NAME COUNT" for every function, updated while the process
 *                   lives; COUNT is padded with spaces to ten digits
 * REPORT=FILE       written when a process that called cuInit exits by exit:
 *                   "leaked KIND COUNT BYTES" for each kind of object that was
 *                   not freed (context, stream, event, pinned, allocation,
 *                   handle, mapping, reservation), "lost" if a device was
 *                   lost, and always "dirty BYTES": how many bytes of
 *                   allocations that a CUDA call has written were not zero
 *                   when they were freed or left
 * ENVIRONMENT=FILE  "CUDA_DISABLE_PERF_BOOST=VALUE" as cuInit finds it
 *
 * In TRACE and REPORT %p stands for the process ID.
 *
 * A test in the same process can also use control.h.
 *
 * A variable with this prefix that is not in these tables ends the process,
 * and so does a bad value.  valgrind calls the stacks of threads that live to
 * the end "possibly lost": use --errors-for-leak-kinds=definite.
 *
 * The Vulkan stand-in's own table is in standin-vulkan.h.
 *
 * It does not support kernels, peer access, per-thread default streams,
 * cuMemHostRegister, interprocess events, and contexts other than the primary
 * ones.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "control.h"
#include "cuda-abi.h"
#include "settings.h"
#include "thread.h"
#include "vram-file.h"

#define MAX_DEVICES 16

/* Granularity of cuMemCreate and of addresses. */
#define GRANULARITY (2ULL << 20)

/* Pageable copies to the device up to this size return before they land. */
#define PAGEABLE_EARLY (64U << 10)

enum function {
#define FUNCTION(name, needs) FN_##name,
#include "functions.h"
#undef FUNCTION
  FN_COUNT
};

/* ---- config.c ---- */

struct config {
  int devices;
  char names[MAX_DEVICES][64];
  CUuuid uuids[MAX_DEVICES];
  int pci[MAX_DEVICES][4]; /* domain, bus, device, function */
  uint64_t memory[MAX_DEVICES];
  uint64_t used[MAX_DEVICES];
  const char *used_file;
  const char *pool;
  uint64_t context;
  uint64_t host_memory;
  int version;
  bool no_vmm, no_export, no_memops, devptr_differs, late;
  uint64_t granularity;
  uint64_t garbage;
  const char *shared;
  uint64_t delay_min, delay_max; /* microseconds */
  uint64_t seed;
  const char *fail, *fail_file;
  const char *init_fail;
  uint64_t lose_copy, hang_copy; /* 0: never */
  const char *lose_file, *hang_file, *hang_call_file;
  int lose_device; /* -1: all */
  CUresult lose_code;
  uint64_t shrink, shrink_times;
  const char *trace, *report, *environment;
};

/* Read from the environment at the first call; constant after that. */
extern struct config config;
extern void config_load (void);

extern CUresult parse_code (const char *what, const char *s);

/* ---- errors.c ---- */

/* The result called S, or -1. */
extern CUresult error_by_name (const char *s);

/* ---- trace.c ---- */

extern const char *const function_names[FN_COUNT];
extern void trace_call (enum function fn);

/* How often the function of this name (NULL: any) was called. */
extern unsigned trace_calls (const char *name);

enum resource {
  RES_CONTEXT,
  RES_STREAM,
  RES_EVENT,
  RES_PINNED,
  RES_ALLOCATION,
  RES_HANDLE,
  RES_MAPPING,
  RES_RESERVATION,
  RES_COUNT
};

/* Counts objects that were made (n > 0) and freed (n < 0), for REPORT. */
extern void report_resource (enum resource res, int n, int64_t bytes);
extern void report_dirty (uint64_t bytes);

/* How many objects of all kinds are not freed. */
extern int report_held (void);

/* ---- fault.c ---- */

extern void fault_load (void);

/* The error that an injected fault gives this call, or CUDA_SUCCESS.  Does not
 * return while HANG_CALL_FILE makes this call hang.
 */
extern CUresult fault_call (enum function fn);

/* See struct standin_control. */
extern void fault_fail (const char *name, unsigned nth, CUresult code);
extern unsigned fault_failed (void);
extern void fault_hang (bool hang);
extern void fault_hang_calls (const char *name);

/* Looks at the trigger files.  Takes context locks. */
extern void fault_poll (void);
extern bool fault_any_trigger (void);

/* Why device DEV is lost, or CUDA_SUCCESS. */
extern CUresult fault_lost (int dev);

/* The same for the first device that is lost, if any. */
extern CUresult fault_any_lost (void);

/* Loses device DEV (-1: those that LOSE_DEVICE names) and wakes all waiters.
 * Call it without any lock.
 */
extern void fault_lose (int dev, CUresult code);

/* The number of a copy that is being issued, from 1. */
extern uint64_t fault_number_copy (void);

/* Whether work (copy NUMBER, or 0 for other work) must not begin now. */
extern bool fault_hung (uint64_t number);

/* ---- context.c ---- */

struct context {
  int dev;
  pthread_mutex_t lock;   /* guards what follows, and streams and events */
  pthread_cond_t changed; /* see stream.c */
  unsigned int refs;      /* cuDevicePrimaryCtxRetain; 0: not active */
  unsigned int flags;
  struct stream *streams;
  struct stream *null_stream;
  uint64_t serial; /* of the last work issued to any stream */
  struct event *events;
};

extern struct context contexts[MAX_DEVICES];

/* Every entry point begins with this.  Counts the call, injects faults, and
 * checks what FN needs according to functions.h.  If FN needs a context, sets
 * *CTX.
 */
extern CUresult enter (enum function fn, struct context **ctx);

/* ---- stream.c ---- */

enum work_kind {
  WORK_TO_DEVICE,
  WORK_TO_HOST,
  WORK_SET,
  WORK_WRITE32,
  WORK_EVENT
};

struct work {
  enum work_kind kind;
  CUdeviceptr dev; /* the device's side */
  void *host;      /* the host's side */
  void *staged;    /* a copy of the host's bytes, freed with the work */
  size_t size;
  uint32_t value;
  uint64_t number; /* of a copy, as fault_number_copy gave it */
  uint64_t serial;
  struct event *event;
  struct work *next;
};

/* The stream of a handle, or NULL if it is no stream of CTX. */
extern struct stream *stream_get (struct context *ctx, CUstream handle);

/* Queues WORK (from malloc, and freed here) and, if WAIT, waits until it is
 * done.  Returns CUDA_ERROR_OUT_OF_MEMORY if WORK is NULL.
 */
extern CUresult stream_issue (struct context *ctx, struct stream *s,
                              struct work *work, bool wait);

/* Waits until all work of the context is done that was issued so far. */
extern CUresult stream_wait_all (struct context *ctx);

/* Wakes waiting threads after a change of what they wait for. */
extern void stream_wake (struct context *ctx);

/* See struct standin_control. */
extern void stream_on_not_ready (void (*fn) (void));
extern unsigned stream_pending (void);
extern unsigned stream_most_busy (void);

/* Makes and ends the streams of a context. */
extern bool stream_begin (struct context *ctx);
extern void stream_end (struct context *ctx);

/* ---- copy.c ---- */

/* Does WORK.  Returns CUDA_ERROR_ILLEGAL_ADDRESS if it has no access. */
extern CUresult copy_execute (struct context *ctx, struct work *work);

/* ---- physical.c: VRAM itself ---- */

struct physical;

/* VRAM of SIZE bytes, a multiple of GRANULARITY, with one reference. */
extern CUresult
physical_create (struct physical **p, int dev, uint64_t size, bool exportable);
extern CUresult physical_import (struct physical **p, int fd);
extern void physical_ref (struct physical *p);
extern void physical_unref (struct physical *p);
extern uint64_t physical_size (const struct physical *p);
extern int physical_device (const struct physical *p);

/* A duplicate of its descriptor, or -1. */
extern int physical_export (struct physical *p);
extern bool physical_exportable (const struct physical *p);
extern struct vram_file *physical_file (struct physical *p);
/* Records for REPORT that it was written. */
extern void physical_written (struct physical *p);
extern uint64_t physical_free_bytes (int dev);
extern void physical_shrink (int dev);
/* For REPORT: counts the content of memory that was not freed. */
extern void physical_report_all (void);

/* ---- account.c: how much VRAM is in use ---- */

/* An empty file that counts as SIZE bytes of VRAM of device UUID while any
 * process holds its open file description, or -1 with ENOSPC if the sum would
 * exceed LIMIT.
 */
extern int account_create (const CUuuid *uuid, uint64_t size, uint64_t limit);
extern uint64_t account_used (const CUuuid *uuid);

/* ---- pool.c ---- */

/* A file of POOL for SIZE bytes of VRAM, which is in use while any process
 * holds its open file description.  Returns -1 with ENOMEM if all are in use,
 * ENOENT if there are none of this size.
 */
extern int pool_take (uint64_t size);

/* ---- address.c: device addresses ---- */

/* Whether P, a pointer of the CPU, is in the range of device addresses. */
extern bool address_is_device (uint64_t p);

/* Finds the memory at ADDR, with a new reference, the offset in it, and how
 * many bytes are contiguous.  False if nothing is mapped there, or DEV has no
 * such access.
 */
extern bool
address_find (CUdeviceptr addr, int dev, bool write, struct physical **p,
              uint64_t *offset, uint64_t *contiguous);

/* Whether the whole range may be accessed in this way. */
extern bool
address_check (CUdeviceptr addr, uint64_t size, int dev, bool write);
extern void address_free_all (int dev);

/* ---- host.c: pinned host memory ---- */

/* Whether [P, P + SIZE) is in one pinned buffer. */
extern bool host_is_pinned (const void *p, size_t size);

/* The host address of the 32-bit word at device address ADDR in a pinned
 * buffer, or NULL.
 */
extern void *host_from_device (CUdeviceptr addr, size_t size);
extern void host_free_all (int dev);

#endif /* STANDIN_H */
